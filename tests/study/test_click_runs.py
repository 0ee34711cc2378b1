"""Click runs in the same store: metrics, kept rows, models, and the code that makes a record stale."""

import ast
import json

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from dslstudy.c2al.methods import METHODS
from dslstudy.errors import InputError
from dslstudy.study import ClickRunConfig, RunConfig, open_study, provenance
from dslstudy.study.click_cohorts import click_split, cohort_pair, discovery, sides
from dslstudy.study.click_rows import click_metrics, kept_arrays, kept_probabilities, rows_of

WORLD = {
    "dataset": "synthetic-clicks",
    "dataset_parameters": {"rows": 6000, "users": 200, "fields": 3, "field_size": 10},
    "epochs": 1,
    "batch_size": 256,
    "embedding_size": 4,
    "hidden": 8,
}
PAIR = {"axis": "cohort", "pair": "labels", "head": "head", "tail": "tail"}


def config(**changes) -> ClickRunConfig:
    return ClickRunConfig(**WORLD | changes)


def entropy(rate):
    return -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)


def test_a_record_has_the_metrics_of_rows_and_cohorts(study):
    (record,) = study.obtain([config(method="c2al", **PAIR)])
    kept = rows_of(record)
    assert (kept.labels == click_split(record.config).test.labels).all()
    chosen = {"": np.ones(len(kept.labels), bool), "@head": kept.side == 1, "@tail": kept.side == -1}
    for suffix, rows in chosen.items():
        y, p = kept.labels[rows].astype(float), kept.probabilities[rows]
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        assert record.test[f"log_loss{suffix}"] == pytest.approx(loss, abs=1e-5)
        assert record.test[f"ne{suffix}"] == pytest.approx(loss / entropy(y.mean()), abs=1e-5)
        ones = y.sum()
        above = rankdata(p)[y == 1].sum() - ones * (ones + 1) / 2
        assert record.test[f"auc{suffix}"] == pytest.approx(above / ones / (len(y) - ones), abs=1e-3)
        assert 0 <= record.test[f"ece{suffix}"] < 1
    assert set(record.validation) == set(record.test)
    truth = click_split(record.config).truth
    assert ((kept.side == 1) == (truth.cohorts["test"] == 1)).all()
    assert record.data["test_cohorts"] == {"head": int(chosen["@head"].sum()), "tail": int(chosen["@tail"].sum())}
    assert record.data["bayes"]["ne"] == truth.bayes_ne("test") < record.test["ne"]


def test_a_record_tells_its_story(study):
    (record,) = study.obtain([config(method="c2al", **PAIR)])
    written = json.loads(record.path.read_text())
    assert written["task"] == "clicks"
    assert ClickRunConfig.from_dict(written["config"]) == record.config
    assert written["data"]["pair"] == {"head": ["head"], "tail": ["tail"]}
    assert written["data"]["train"] == 4200
    assert [entry["epoch"] for entry in written["history"]] == [1]
    assert written["validation"]["log_loss"] == pytest.approx(written["history"][-1]["validation_loss"], abs=1e-5)
    assert written["model"]["attention 1 entropy"] == pytest.approx(0.8, abs=0.2)
    assert not record.stale


def test_heads_are_thrown_away(study):
    plain, c2al = study.obtain([config(), config(method="c2al", **PAIR)])
    assert plain.model["parameters"] == c2al.model["parameters"]


def test_the_baseline_is_one_run_and_keeps_no_cohorts(study):
    (record,) = study.obtain([config(**PAIR)])
    assert record.key == config().key
    assert rows_of(record).side is None
    assert set(record.test) == {"ne", "auc", "log_loss", "ece"}


def test_both_tasks_are_obtained_together(study):
    ranking = RunConfig(dataset="synthetic-ranking", backbone="popularity", loss="none")
    records = study.obtain([config(), ranking, config(seed=1), config()])
    assert [record.task for record in records] == ["clicks", "ranking", "clicks", "clicks"]
    assert records[0] == records[3]
    stamps = [record.path.stat().st_mtime_ns for record in records]
    assert [record.path.stat().st_mtime_ns for record in study.obtain([config(), ranking])] == stamps[:2]
    with pytest.raises(InputError, match="rows are kept of click runs"):
        rows_of(records[1])


def test_same_seed_same_record_in_another_store(study, tmp_path):
    wanted = config(method="c2al", **PAIR)
    (record,) = study.obtain([wanted])
    (again,) = open_study("smoke", store=tmp_path, progress=False).obtain([wanted])
    assert (again.test, again.validation, again.history, again.model) == (
        record.test,
        record.validation,
        record.history,
        record.model,
    )
    assert np.array_equal(rows_of(again).probabilities, rows_of(record).probabilities)


@pytest.mark.parametrize("spread", [1e-4, 0.01, 1, 3])
def test_kept_predictions_give_the_metrics_and_the_order(spread):
    """Also of a model that has collapsed and whose predictions hardly differ."""
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(2 - spread * rng.normal(size=20_000)))
    labels = (rng.random(20_000) < p).astype(np.uint8)
    kept = kept_probabilities(kept_arrays(p.astype(np.float32), None))
    assert np.abs(np.log(kept / (1 - kept)) - np.log(p / (1 - p))).max() < spread * 2**-10
    before, after = click_metrics(labels, p), click_metrics(labels, kept)
    assert after["ne"] == pytest.approx(before["ne"], abs=2e-5)
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-3)


def test_what_is_kept_is_small():
    p = np.random.default_rng(0).beta(0.3, 4, size=20_000)
    assert kept_arrays(p, None)["logit_steps"].dtype == np.int16


@pytest.mark.parametrize("p", [[0.3] * 5, [0.0, 1.0], [1e-7] * 9_999 + [1 - 1e-7]])
def test_constant_and_certain_predictions_can_be_kept(p):
    arrays = kept_arrays(np.array(p), None)
    kept = kept_probabilities({name: np.asarray(values) for name, values in arrays.items()})
    assert kept == pytest.approx(np.clip(p, 1e-7, 1 - 1e-7), rel=0.02)


def test_a_cohort_of_one_label_has_no_entropy_to_divide_by():
    labels, p = np.array([0, 1, 0, 0]), np.array([0.2, 0.6, 0.3, 0.1])
    metrics = click_metrics(labels, p, np.array([1, 1, -1, -1]))
    assert "ne@head" in metrics
    assert "ne@tail" not in metrics
    assert metrics["log_loss@tail"] == pytest.approx(-np.log([0.7, 0.9]).mean())


def test_labels_and_users_lie_once_beside_all_runs(study):
    records = study.obtain([config(seed=seed) for seed in range(3)])
    assert len(list(records[0].path.parent.glob("rows-*.npz"))) == 1
    assert [rows_of(record).probabilities.shape for record in records] == [(1200,)] * 3
    users = rows_of(records[0]).users
    own = click_split(config()).test.users
    assert all(len(set(own[users == user])) == 1 for user in np.unique(users)[:20])
    assert len(np.unique(users)) == len(np.unique(own))


@pytest.mark.parametrize("pair", [{"axis": "activity"}, {"axis": "activity", "bins": 2}, PAIR])
def test_random_pairs_are_as_large_and_of_the_same_unit(pair):
    real, chance = config(method="c2al", **pair), config(method="c2al", **pair, random_pair_seed=5)
    one, other = sides(real, "train"), sides(chance, "train")
    for side in (1, -1):
        assert (other == side).sum() == pytest.approx((one == side).sum(), abs=60)
    assert (one != other).any()
    users = click_split(real).train.users
    of_user = {user: set(other[users == user]) for user in np.unique(users)}
    assert all(len(where) == 1 for where in of_user.values())
    assert cohort_pair(config()) is None


def test_discovery_is_one_for_all_seeds_and_lands_in_the_record(study):
    wanted = [config(method="c2al", axis="cohort", pair="discover", seed=seed) for seed in range(2)]
    assert discovery(wanted[0]) is discovery(wanted[1])
    first, second = study.obtain(wanted)
    assert first.data["pair"] == second.data["pair"]
    found = discovery(wanted[0])
    assert first.data["pair"]["head"] == [found.labels[place] for place in found.pair.head]


def test_models_are_kept_and_mended(study):
    wanted = config(method="c2al", **PAIR)
    trained = study.train(wanted)
    features = [torch.from_numpy(each.values.astype(np.int64)) for each in trained.split.test.features]
    again = study.train(wanted)
    with torch.no_grad():
        one, other = trained.model(features), again.model(features)
    assert torch.equal(one, other)
    assert np.allclose(torch.sigmoid(one).numpy(), rows_of(trained.record).probabilities, atol=1e-3)
    file = study.store.path(wanted).with_suffix(".model.npz")
    file.write_bytes(file.read_bytes()[:200])
    mended = study.train(wanted)
    with torch.no_grad():
        assert torch.equal(mended.model(features), one)
    assert file.stat().st_size > 200


def test_a_profile_refuses_worlds_that_are_too_large(study):
    large = config(dataset_parameters=WORLD["dataset_parameters"] | {"rows": 30_000})
    with pytest.raises(InputError, match="profile 'smoke' does not train on synthetic-clicks"):
        study.obtain([large])
    with pytest.raises(InputError, match="profile 'smoke' does not train on tmall"):
        study.train(ClickRunConfig(dataset="tmall", method="c2al", axis="activity"))


def test_fingerprints_cover_the_method_and_what_it_imports():
    names = ("plain", "c2al", "one_head", "membership")
    prints = {name: provenance.code_fingerprint(config(method=name, **PAIR)) for name in names}
    assert len(set(prints.values())) == len(names)
    files = provenance._imported("dslstudy.c2al.methods.one_head")
    assert {"c2al/methods/one_head.py", "c2al/methods/c2al.py", "c2al/labels.py", "c2al/objective.py"} <= files
    assert provenance.code_fingerprint(config()) != provenance.code_fingerprint(ClickRunConfig(dataset="tmall"))


#: imported by click runs, yet without a say in their results, or guarded by the fingerprint of the rows themselves
ELSEWHERE = {
    "data/click_formats.py",
    "data/click_truth.py",
    "c2al/divergences.py",
    "data/click_world.py",
    "data/fetch.py",
    "data/interactions.py",
    "data/registry.py",
    "data/splits.py",
    "engine/config.py",
    "engine/ranking.py",
    "errors.py",
    "metrics/significance.py",
}


@pytest.mark.parametrize("dataset", ["synthetic-clicks", "movielens-100k"])
@pytest.mark.parametrize("method", METHODS)
def test_no_file_that_a_result_depends_on_is_left_out(dataset, method):
    chosen = {"axis": "activity", "method": method}
    files = set(provenance.click_code(ClickRunConfig(dataset=dataset, **chosen)))
    for name in files:
        for node in ast.walk(ast.parse((provenance.PACKAGE / name).read_text())):
            source = getattr(node, "module", None) or ""
            if source.startswith("dslstudy."):
                path = source.removeprefix("dslstudy.").replace(".", "/") + ".py"
                assert path in files | ELSEWHERE or not (provenance.PACKAGE / path).exists(), f"{name} imports {path}"


def test_damaged_rows_are_named(study):
    (record,) = study.obtain([config(seed=4)])
    file = record.path.with_suffix(".npz")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="missing or damaged"):
        rows_of(record)
    study.retrain(config(seed=4))


def test_ones_own_log_that_changed_is_trained_again(study, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"u{user},{colour},{click}" for user, colour, click in rng.integers(0, (40, 5, 2), size=(600, 3))]
    file = tmp_path / "log.csv"
    (tmp_path / "log.toml").write_text(
        'label = { column = "click" }\nuser = "user"\nfeatures = [{ column = "colour" }]\n'
        'axes = [{ name = "activity", unit = "user", count = "user", quantiles = 4 }]\n'
    )

    def write(some):
        file.write_text("user,colour,click\n" + "\n".join(some) + "\n")

    write(rows)
    own = ClickRunConfig(dataset=str(file), method="c2al", axis="activity", epochs=1)
    (first,) = study.obtain([own])
    write(rows[:-100])
    from dslstudy.study.click_cohorts import _split

    _split.cache_clear()
    (second,) = study.obtain([own])
    assert first.data["fingerprint"] != second.data["fingerprint"]
    assert first.data["train"] > second.data["train"]
