"""``dslstudy run``: train one run, store its record, print it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dslstudy.commands import options
from dslstudy.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dslstudy.study import ClickRunConfig, Record, RunConfig


#: fields of a run that --set leaves to options
_OPTIONS = ("dataset", "seed", "split", "backbone", "loss", "method")


def parse_setting(text: str) -> tuple[str, Any]:
    """``temperature=0.2`` as a name and a number, or a word where it is none.

    Raises:
        InputError: no ``=`` in it, or nothing on one of its sides.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--set takes NAME=VALUE, for example --set temperature=0.2; got {text!r}")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    return name.strip(), value


def parse_settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """All settings of a command line.

    Raises:
        InputError: one is given twice.
    """
    settings: dict[str, Any] = {}
    for name, value in map(parse_setting, texts):
        if name in settings:
            raise InputError(f"--set {name} is given twice; leave one of them out")
        settings[name] = value
    return settings


@click.command("run")
@click.option(
    "--task",
    type=click.Choice(["ranking", "clicks"]),
    default="ranking",
    show_default=True,
    help="Rank items for users, or predict clicks.",
)
@click.option("--dataset", required=True, help="Name of a data set (see `dslstudy data list`) or path of your own.")
@click.option(
    "--split",
    default=None,
    help="Ranking: published, iid, popularity-shift or temporal; clicks: temporal, per-user or random.",
)
@click.option(
    "--backbone",
    default=None,
    help="Ranking: mf, lightgcn or xsimgcl; or a baseline: popularity, item-knn, ease.  [default: mf]",
)
@click.option(
    "--loss",
    default=None,
    help="Ranking: bpr, llpauc, softmax, advinfonce, bsl, psl, slatk or dsl.  [default: softmax; none for a baseline]",
)
@click.option("--method", default=None, help="Clicks: plain, c2al, membership, groupdro, ...  [default: plain]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the run (learning_rate, epochs, axis, ...), a hyperparameter of its loss (temperature, ...),"
    " backbone or method (lambda_head, ...), or a dial of a controlled world (rows, ...). Repeatable.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Of initialisation, order and negatives.")
@options.device
@options.compiling
@click.option("--store", default=None, metavar="FOLDER", help="Where the record goes.  [default: the user's cache]")
@click.option("--json", "as_json", is_flag=True, help="Print the record as one JSON object on standard output.")
@click.option("--force", is_flag=True, help="Train even if a fresh record is there.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def COMMAND(  # noqa: N802 - the name the command line looks for
    task: str,
    dataset: str,
    split: str | None,
    backbone: str | None,
    loss: str | None,
    method: str | None,
    settings: tuple[str, ...],
    seed: int,
    device: str,
    compile_: str,
    store: str | None,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Train one run and print its record.

    A run that has a fresh record already is not trained again (--force does).

    Example: dslstudy run --dataset movielens-100k --loss softmax --set temperature=0.2 --set learning_rate=0.1

    Example: dslstudy run --task clicks --dataset movielens-100k --method c2al --set axis=activity --set lambda_head=0.1
    """
    values: dict[str, Any] = {"dataset": _name_of(dataset), "seed": seed}
    given = parse_settings(settings)
    if named := [name for name in _OPTIONS if name in given]:
        raise InputError(f"--set {named[0]} is an option of its own: give --{named[0]} {given[named[0]]}")
    if task == "ranking":
        _refuse(task, method=method)
        config = _ranking_run(values, split, backbone, loss, given)
    else:
        _refuse(task, backbone=backbone, loss=loss)
        config = _click_run(values, split, method, given)
    from dslstudy.study import open_study

    study = open_study("paper", store=store, device=device, progress=not quiet, compile=compile_)
    record = study.retrain(config) if force else study.obtain([config])[0]
    click.echo(json.dumps(record.to_dict() | {"path": str(record.path)}) if as_json else _report(record))


def _name_of(dataset: str) -> str:
    """A data set of the registry as it is, one's own by its full path: two folders may have a file of one name each."""
    from dslstudy.data.registry import registry

    own = dataset not in registry(None) and Path(dataset).exists()
    return str(Path(dataset).resolve()) if own else dataset


def _refuse(task: str, **options: str | None) -> None:
    """Refuse the options of the other task."""
    for name, value in options.items():
        if value is not None:
            other = "clicks" if task == "ranking" else "ranking"
            raise InputError(f"--{name} belongs to --task {other}; this is --task {task}, leave it out")


def _ranking_run(
    values: dict[str, Any], split: str | None, backbone: str | None, loss: str | None, settings: dict[str, Any]
) -> "RunConfig":
    from dslstudy.models import BASELINES
    from dslstudy.study import with_settings

    values |= {"split": split or "default", "backbone": backbone or "mf"}
    return with_settings(values | {"loss": loss or ("none" if backbone in BASELINES else "softmax")}, settings)


def _click_run(
    values: dict[str, Any], split: str | None, method: str | None, settings: dict[str, Any]
) -> "ClickRunConfig":
    from dslstudy.study import with_click_settings

    if split is not None:
        settings = {"split": split} | settings
    config = with_click_settings(values | {"method": method or "plain"}, settings)
    for name, value in settings.items():
        if getattr(config, name, value) != value:
            raise InputError(f"{config.method} takes no {name}: leave it out, or name a --method that does")
    return config


def _report(record: "Record") -> str:
    """A record for people."""
    lines = [f"run {record.key}: {record.config.title}"]
    for part in ("validation", "test"):
        lines.append(f"  {part:<11}" + "  ".join(_metrics(getattr(record, part))))
        for cohort in ("head", "tail"):
            of_cohort = _metrics(getattr(record, part), cohort)
            if of_cohort:
                lines.append(f"    {cohort:<9}" + "  ".join(of_cohort))
    if record.selection["epochs"]:
        lines.append(f"  best epoch {record.selection['best_epoch']} of {record.selection['epochs']}")
    lines.append(f"  {record.cost['seconds']:.1f} s on {record.environment['device']}")
    return "\n".join([*lines, f"  record: {record.path}"])


def _metrics(metrics: "Mapping[str, float]", cohort: str = "") -> list[str]:
    """``name value`` of the metrics of a cohort, or of those that are of no cohort."""
    named = ((*name.partition("@"), value) for name, value in metrics.items())
    if cohort:
        return [f"{name} {value:.4f}" for name, _, of, value in named if of == cohort]
    return [f"{name}{at}{of} {value:.4f}" for name, at, of, value in named if of not in ("head", "tail")]
