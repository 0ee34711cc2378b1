"""A click configuration names its run: one spelling, one key, nothing unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.study import ClickRunConfig, RunConfig, with_click_settings

WORLD = {"dataset": "synthetic-clicks", "axis": "cohort", "pair": "labels", "head": "head", "tail": "tail"}
CONFIGS = st.builds(
    ClickRunConfig,
    dataset=st.sampled_from(["movielens-100k", "tmall"]),
    axis=st.sampled_from(["activity", "popularity"]),
    bins=st.integers(1, 3),
    method=st.sampled_from(["plain", "c2al", "membership"]),
    random_pair_seed=st.none() | st.integers(0, 5),
    learning_rate=st.floats(1e-6, 1.0),
    seed=st.integers(0, 2**40),
)


@given(CONFIGS)
def test_a_config_survives_being_written_down(config):
    assert ClickRunConfig.from_dict(config.to_dict()) == config
    assert ClickRunConfig.from_dict(config.to_dict()).key == config.key


@given(CONFIGS, CONFIGS)
def test_keys_tell_runs_apart(one, other):
    assert (one.key == other.key) == (one == other)


def test_tasks_have_keys_of_their_own():
    assert ClickRunConfig(dataset="movielens-100k").key != RunConfig(dataset="movielens-100k").key
    assert len(ClickRunConfig(dataset="movielens-100k").key) == 16


def test_the_baseline_has_one_spelling_whatever_it_is_compared_with():
    plain = ClickRunConfig(dataset="movielens-100k")
    for axis, bins, chance in (("activity", 1, None), ("popularity", 2, None), ("age", 1, 7)):
        assert ClickRunConfig(dataset="movielens-100k", axis=axis, bins=bins, random_pair_seed=chance).key == plain.key
    assert plain.axis == plain.pair == ""


def test_what_a_pair_does_not_depend_on_does_not_name_it():
    assert ClickRunConfig(**WORLD, method="c2al", bins=3).key == ClickRunConfig(**WORLD, method="c2al").key
    extremes = [
        ClickRunConfig(dataset="tmall", axis="activity", method="c2al", divergence=name).key for name in ("js", "kl")
    ]
    assert extremes[0] == extremes[1]
    found = [
        ClickRunConfig(dataset="tmall", axis="activity", method="c2al", pair="discover", divergence=name).key
        for name in ("js", "kl")
    ]
    assert len({*found, extremes[0]}) == 3


def test_a_world_has_one_spelling():
    plain = ClickRunConfig(dataset="synthetic-clicks")
    spelled = ClickRunConfig(dataset="synthetic-clicks", dataset_parameters={"noise": 0, "rows": 200_000})
    assert plain.key == spelled.key
    assert plain.dataset_parameters["rows"] == 200_000
    other = ClickRunConfig(dataset="synthetic-clicks", dataset_parameters={"head_rate": 0.1, "rows": 1000})
    assert other.key != plain.key
    assert other.title == "synthetic-clicks rows=1000 head_rate=0.1 plain seed 0"


def test_titles_name_the_cohorts():
    config = ClickRunConfig(dataset="tmall", axis="activity", bins=2, method="c2al", random_pair_seed=3, seed=4)
    assert config.title == "tmall activity 2 bins random 3 c2al lambda_head=0.1 lambda_tail=0.1 seed 4"
    assert "cohort head against tail" in ClickRunConfig(**WORLD, method="one_head").title


def test_settings_find_their_place():
    config = with_click_settings(
        {"dataset": "synthetic-clicks", "method": "c2al"},
        {"lambda_head": 1, "rows": 5000, "axis": "activity", "epochs": 2, "contrast": 2},
    )
    assert config.method_parameters == {"lambda_head": 1.0, "lambda_tail": 0.1}
    assert (config.dataset_parameters["rows"], config.dataset_parameters["contrast"]) == (5000, 2.0)
    assert (config.axis, config.epochs) == ("activity", 2)
    own = with_click_settings({"dataset": "movielens-100k"}, {"quantiles": 20})
    assert own.dataset_parameters == {"quantiles": 20}


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ({}, {"lerning_rate": 1.0}, "did you mean 'learning_rate'"),
        ({"method": "c2al"}, {"axis": "age", "lamda_head": 1.0}, "did you mean 'lambda_head'"),
        ({}, {"lambda_head": 1.0}, "unknown setting 'lambda_head'"),
        ({}, {"rows": 100}, "unknown setting 'rows'"),
        ({"method": "c2all"}, {}, "did you mean 'c2al'"),
        ({"method": "c2al"}, {}, "needs cohorts: name an axis"),
        ({"method": "c2al"}, {"axis": "age", "pair": "extreme"}, "did you mean 'extremes'"),
        ({"method": "c2al"}, {"axis": "age", "bins": 0}, "bins must be at least 1"),
        ({"method": "c2al"}, {"axis": "age", "bins": 1.5}, "whole number"),
        ({"method": "c2al"}, {"axis": "age", "pair": "labels", "head": "young"}, "needs two bins of age"),
        ({"method": "c2al"}, {"axis": "age", "head": "young"}, "with pair 'labels' only"),
        ({"method": "c2al"}, {"axis": "age", "pair": "discover", "divergence": "jss"}, "did you mean 'js'"),
        ({"method": "groupdro"}, {"axis": "age", "random_pair_seed": 1}, "takes no random pair"),
        ({"method": "c2al"}, {"axis": "age", "random_pair_seed": -1}, "at least 0"),
        ({}, {"split_seed": 0.5}, "whole number"),
    ],
)
def test_settings_without_a_place(values, settings, message):
    with pytest.raises(InputError, match=message):
        with_click_settings({"dataset": "movielens-100k"} | values, settings)


def test_unknown_fields_and_dials_are_refused():
    with pytest.raises(InputError, match="unknown field of a click run 'datset'"):
        ClickRunConfig.from_dict({"datset": "movielens-100k"})
    with pytest.raises(InputError, match="did you mean 'contrast'"):
        ClickRunConfig(dataset="synthetic-clicks", dataset_parameters={"contrst": 1.0})
    with pytest.raises(InputError, match="noise is a probability"):
        ClickRunConfig(dataset="synthetic-clicks", dataset_parameters={"noise": 2.0})
