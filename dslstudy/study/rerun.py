"""The command that makes a run (book: Rerun and cite)."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.study.click_config import ClickRunConfig, complete_parameters
from dslstudy.study.config import RunConfig

_RANKING_OPTIONS = ("dataset", "split", "backbone", "loss", "seed")
_CLICK_OPTIONS = ("dataset", "method", "seed")
_PARAMETERS = ("backbone_parameters", "loss_parameters", "dataset_parameters", "method_parameters")


def command_of(config: RunConfig | ClickRunConfig) -> str:
    """The command line that makes a run: what differs from the defaults, spelled out.

    Args:
        config: of a ranking or a click run.
    """
    values = config.to_dict()
    usual = {each.name: each.default for each in fields(config)}
    if isinstance(config, RunConfig):
        words, options = ["dslstudy", "run"], _RANKING_OPTIONS
        usual |= {"loss": "none"} if config.is_baseline else {}
        settings = {} if config.is_baseline else _differing(config.loss_parameters, OBJECTIVES[config.loss].defaults)
        settings |= config.backbone_parameters
    else:
        words, options = ["dslstudy", "run", "--task", config.task], _CLICK_OPTIONS
        settings = _differing(config.dataset_parameters, complete_parameters(config.dataset, {}))
        settings |= config.method_parameters
    for name in options:
        if name in ("dataset", "seed") or values[name] != usual[name]:
            words += [f"--{name}", str(values[name])]
    own = {name: value for name, value in values.items() if name not in (*options, *_PARAMETERS)}
    for name, value in {**_differing(own, usual), **settings}.items():
        if value not in ("", None) and (name, value) != ("bins", 0):  # what a run has no use for stands empty
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _differing(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != usual.get(name)}
