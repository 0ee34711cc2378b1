"""What a study promises beyond its store: baselines, devices, errors that lose nothing."""

import pytest

from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.ranking import Stack
from dslstudy.errors import InputError
from dslstudy.study import RunConfig, get_profile, open_study, with_settings
from dslstudy.study.study import _stacks

TINY = {"dataset": "synthetic-ranking", "embedding_size": 8, "num_negatives": 16, "epochs": 4, "evaluate_every": 2}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    return open_study("smoke", store=tmp_path / "store", progress=False)


@pytest.mark.parametrize("backbone", ["popularity", "item-knn", "ease"])
def test_baselines_are_runs_too(study, backbone):
    config = RunConfig(dataset="synthetic-ranking", backbone=backbone, loss="none")
    (record,) = study.obtain([config])
    assert 0 < record.test["ndcg@20"] < 1
    assert record.selection["epochs"] == 0
    assert record.cost["interactions_per_second"] is None
    with pytest.raises(InputError, match="no embedding tables"):
        study.train(config)


def test_a_baseline_knows_its_hyperparameters():
    with pytest.raises(InputError, match="unknown setting"):
        with_settings({"dataset": "synthetic-ranking", "backbone": "ease", "loss": "none"}, {"neighbours": 3})


def test_a_diverging_run_is_an_error_that_names_it(study):
    bad = RunConfig(**TINY, score="inner-product", learning_rate=1e30)
    good = RunConfig(**TINY)
    with pytest.raises(InputError, match=r"diverged .* learning rate 1e\+30; lower it"):
        study.obtain([good, bad])
    assert study.find(good) is not None
    assert study.find(bad) is None


def test_a_killed_sweep_goes_on_from_its_checkpoint(study, tmp_path, monkeypatch):
    configs = [RunConfig(**TINY, seed=seed) for seed in range(3)]
    whole = open_study("smoke", store=tmp_path / "other", progress=False).obtain(configs)
    plain, epochs = Stack.epoch, []

    def epoch(self):
        epochs.append(self.epoch_number + 1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        plain(self)

    monkeypatch.setattr(Stack, "epoch", epoch)
    monkeypatch.setattr(Checkpoint, "due", True)
    with pytest.raises(KeyboardInterrupt):
        study.obtain(configs)
    assert len(list((tmp_path / "store" / "in-flight").iterdir())) == 1
    again = study.obtain(configs)
    assert epochs == [1, 2, 3, 3, 4]
    for one, other in zip(again, whole, strict=True):
        assert (one.history, one.test, one.validation) == (other.history, other.test, other.validation)
        assert (one.per_user("ndcg@20") == other.per_user("ndcg@20")).all()
    assert not list((tmp_path / "store" / "in-flight").iterdir())


def test_stacks_hold_what_can_be_trained_together():
    configs = [RunConfig(**TINY, seed=seed) for seed in range(5)]
    configs += [RunConfig(**TINY | {"dataset": "movielens-100k"}), RunConfig(**TINY | {"num_negatives": 8})]
    configs += [RunConfig(dataset="synthetic-ranking", backbone="popularity", loss="none")]
    stacks = _stacks(configs, 2)
    assert sorted(len(stack) for stack in stacks) == [1, 1, 1, 1, 2, 2]
    assert [config for stack in stacks for config in stack] == configs


def test_unknown_profile_and_device():
    with pytest.raises(InputError, match="did you mean 'quick'"):
        get_profile("quik")
    with pytest.raises(InputError, match="not available"):
        open_study("smoke", device="cuda:17")
