"""Estimates: what is on record counts, else arithmetic; lengths of time for people."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.models import BACKBONES
from dslstudy.study import RunConfig, open_study, with_settings
from dslstudy.study.estimates import Estimates, in_words

TINY = {"dataset": "synthetic-ranking", "embedding_size": 8, "num_negatives": 16, "epochs": 2, "evaluate_every": 1}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    return open_study("smoke", store=tmp_path / "store", progress=False)


def test_runs_like_those_on_record_take_as_long(study):
    records = study.obtain([RunConfig(**TINY, seed=seed) for seed in range(3)])
    expected = median(record.cost["seconds"] for record in records)
    like = RunConfig(**TINY, seed=9, learning_rate=0.01, loss_parameters={"temperature": 0.5})
    assert Estimates(study).seconds(like) == expected
    other = RunConfig(**TINY | {"epochs": 4})
    assert Estimates(study).seconds(other) != expected
    assert Estimates(study).total([like, other]) == expected + Estimates(study).seconds(other)


@pytest.mark.parametrize("loss", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_records_twice_the_epochs_take_twice_as_long(study, loss, backbone):
    estimates = Estimates(study)
    run = {"dataset": "amazon2014-health", "backbone": backbone, "loss": loss}
    one, two = (estimates.seconds(with_settings(run, {"epochs": epochs})) for epochs in (40, 80))
    assert two == pytest.approx(2 * one)
    assert one > 0
    fewer = estimates.seconds(with_settings(run, {"epochs": 40, "num_negatives": 10}))
    assert fewer < one


def test_long_runs_are_expected_to_stop_early(study):
    run = {"dataset": "amazon2014-health", "loss": "softmax"}
    long, longer = (Estimates(study).seconds(with_settings(run, {"epochs": epochs})) for epochs in (150, 300))
    assert long == longer


def test_a_baseline_takes_next_to_nothing(study):
    assert Estimates(study).seconds(RunConfig(dataset="gowalla", backbone="ease", loss="none")) < 10


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (120, "2 min"), (5399, "90 min"), (7200, "2.0 h")]
)
def test_lengths_of_time(seconds, words):
    assert in_words(seconds) == words


@given(st.floats(0, 1e6))
def test_lengths_of_time_are_right_to_half_a_unit(seconds):
    number, unit = in_words(seconds).split()
    size = {"s": 1, "min": 60, "h": 3600}[unit]
    assert abs(float(number) * size - seconds) <= size * (0.05 if unit == "h" else 0.5) + 1e-6
