"""A configuration names its run: one spelling, one key, nothing unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.study import RunConfig, with_settings

CONFIGS = st.builds(
    RunConfig,
    dataset=st.sampled_from(["movielens-100k", "synthetic-ranking"]),
    loss=st.sampled_from(["softmax", "bpr", "dsl"]),
    learning_rate=st.floats(1e-6, 1.0),
    num_negatives=st.integers(1, 5000),
    seed=st.integers(0, 2**40),
    split=st.sampled_from(["default", "iid", "temporal"]),
)


@given(CONFIGS)
def test_a_config_survives_being_written_down(config):
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.from_dict(config.to_dict()).key == config.key


@given(CONFIGS, CONFIGS)
def test_keys_tell_runs_apart(one, other):
    assert (one.key == other.key) == (one == other)


def test_the_key_is_the_same_in_every_session():
    # written down once: were it to change, every committed record would lose its name
    assert RunConfig(dataset="movielens-100k").key == RunConfig(dataset="movielens-100k", learning_rate=0.1).key
    assert len(RunConfig(dataset="movielens-100k").key) == 16


def test_settings_find_their_place():
    values = {"dataset": "movielens-100k", "loss": "dsl"}
    config = with_settings(values, {"learning_rate": 0.05, "gamma": 0.4, "initial_scale": 0.1, "temperature": 1})
    assert config.learning_rate == 0.05
    assert config.loss_parameters["gamma"] == 0.4
    assert config.loss_parameters["temperature"] == 1.0
    assert config.backbone_parameters == {"initial_scale": 0.1}


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ({}, {"lerning_rate": 1.0}, "did you mean 'learning_rate'"),
        ({}, {"alpha": 1.0}, "unknown setting 'alpha'"),
        ({"backbone": "nmf"}, {}, "unknown backbone"),
        ({"loss": "hinge"}, {}, "unknown loss"),
        ({"split": "random"}, {}, "unknown split"),
        ({"validation_fraction": 1.0}, {}, "below 1"),
        ({"validation_fraction": 0}, {}, "greater than 0"),
        ({"backbone": "ease", "loss": "softmax"}, {}, "nothing to minimise"),
        ({"backbone": "ease", "loss": "none"}, {"temperature": 1.0}, "unknown setting"),
    ],
)
def test_settings_without_a_place(values, settings, message):
    with pytest.raises(InputError, match=message):
        with_settings({"dataset": "movielens-100k"} | values, settings)


@pytest.mark.parametrize("backbone", ["mf", "lightgcn", "xsimgcl", "popularity", "ease"])
def test_a_hyperparameter_that_the_backbone_does_not_have_is_refused(backbone):
    loss = "none" if backbone in ("popularity", "ease") else "softmax"
    with pytest.raises(InputError, match=f"(hyperparameter of {backbone}|{backbone} has no hyperparameters)"):
        RunConfig(dataset="gowalla", backbone=backbone, loss=loss, backbone_parameters={"layerz": 3})
    with pytest.raises(InputError):  # what the trainer gives is none either
        RunConfig(dataset="gowalla", backbone=backbone, loss=loss, backbone_parameters={"num_users": 3})


def test_unknown_fields_are_refused():
    with pytest.raises(InputError, match="unknown field of a run 'datset'"):
        RunConfig.from_dict({"datset": "movielens-100k"})


def test_a_baseline_has_one_spelling():
    plain = RunConfig(dataset="movielens-100k", backbone="popularity", loss="none")
    odd = RunConfig(dataset="movielens-100k", backbone="popularity", loss="none", learning_rate=3.0, epochs=7)
    assert plain.key == odd.key
    assert "popularity" in plain.title
