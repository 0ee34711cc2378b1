"""A run's command makes that run and no other."""

import shlex

import pytest

from dslstudy.commands.run import COMMAND, _click_run, _ranking_run, parse_settings
from dslstudy.study import PROFILES
from dslstudy.study.click_experiments import headline, public, world
from dslstudy.study.config import RunConfig
from dslstudy.study.experiments import (
    backbone_reference_runs,
    baseline_runs,
    health_reference_runs,
    negative_sharing_runs,
)
from dslstudy.study.rerun import command_of

QUICK, PAPER = PROFILES["quick"], PROFILES["paper"]
RANKING = [
    *(runs[1] for runs in health_reference_runs().values()),
    *(runs[2] for runs in backbone_reference_runs().values()),
    *(runs[3] for runs in negative_sharing_runs().values()),
    *baseline_runs(PAPER, split="temporal").values(),
    RunConfig(dataset="movielens-100k", hidden_probability=0.3, loss="dsl", loss_parameters={"alpha": 1 / 3}),
]
CLICKS = [runs[1] for place in (world, public) for runs in headline(QUICK, place(QUICK)).values()]


def parsed(command):
    words = shlex.split(command)
    assert words[:2] == ["dslstudy", "run"]
    given = COMMAND.make_context("run", words[2:]).params
    return given, {"dataset": given["dataset"], "seed": given["seed"]}, parse_settings(given["settings"])


@pytest.mark.parametrize("config", RANKING, ids=lambda config: config.title)
def test_the_command_of_a_ranking_run_makes_that_run(config):
    given, values, settings = parsed(command_of(config))
    assert given["task"] == "ranking"
    assert _ranking_run(values, given["split"], given["backbone"], given["loss"], settings).key == config.key


@pytest.mark.parametrize("config", CLICKS, ids=lambda config: config.title)
def test_the_command_of_a_click_run_makes_that_run(config):
    given, values, settings = parsed(command_of(config))
    assert given["task"] == "clicks"
    assert _click_run(values, given["split"], given["method"], settings).key == config.key
