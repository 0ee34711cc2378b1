"""Runs with hidden items: their spelling, their records, and that no other run notices."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dslstudy.errors import InputError
from dslstudy.study import RunConfig, open_study, with_settings
from dslstudy.study import provenance as origin
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.study import _stacks, hidden_of, split_of

RECORDS = sorted((Path(__file__).parents[2] / "results" / "runs").glob("*/*.json"))
SMALL = {
    "dataset": "synthetic-ranking",
    "embedding_size": 8,
    "num_negatives": 16,
    "batch_size": 256,
    "epochs": 2,
    "evaluate_every": 1,
}


@pytest.fixture
def study(tmp_path):
    return open_study("smoke", store=tmp_path / "store", progress=False)


def test_runs_that_hide_nothing_keep_their_keys():
    # written down before anything could be hidden
    assert RunConfig(dataset="movielens-100k").key == "c4557f4d513de838"
    assert "hidden" not in repr(RunConfig(dataset="movielens-100k"))  # names a run in a checkpoint
    ranking = [
        record for record in map(json.loads, (p.read_text() for p in RECORDS)) if record.get("task") == "ranking"
    ]
    assert ranking
    for record in ranking:
        if "hidden_fraction" in record["config"]:
            continue
        stored = hashlib.sha256(json.dumps(record["config"], sort_keys=True).encode()).hexdigest()[:16]
        assert RunConfig.from_dict(record["config"]).key == record["key"] == stored


def test_one_run_has_one_spelling():
    spelled = [
        RunConfig(dataset="a", hidden_probability=0),
        RunConfig(dataset="a", hidden_fraction=0.1),
        RunConfig(dataset="a", hidden_fraction=0.1, hidden_probability=0.0),
    ]
    assert len({config.key for config in spelled}) == 1
    assert spelled[0].key != RunConfig(dataset="a").key
    again = RunConfig.from_dict(json.loads(json.dumps(spelled[0].to_dict())))
    assert again == spelled[0]
    assert "hidden 0.1 drawn with 0" in spelled[0].title


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_probability": 1.5}, "from 0 to 1"),
        ({"hidden_probability": -0.1}, "from 0 to 1"),
        ({"hidden_probability": "often"}, "finite number"),
        ({"hidden_fraction": 0}, "greater than 0"),
        ({"hidden_fraction": 1.0}, "below 1"),
        ({"hidden_probability": 0.1, "negative_sampling": "batch"}, "negative_sampling=example"),
        ({"backbone": "ease", "loss": "none", "hidden_probability": 0.1}, "draws no negatives"),
    ],
)
def test_what_cannot_be_hidden_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        with_settings({"dataset": "movielens-100k"} | settings, {})


def test_a_stack_hides_the_same_from_all():
    configs = [
        RunConfig(**SMALL, seed=seed, **hidden)
        for hidden in ({}, {"hidden_probability": 0.0}, {"hidden_probability": 0.2}, {"hidden_fraction": 0.2})
        for seed in (0, 1)
    ]
    assert [len(stack) for stack in _stacks(configs, 16)] == [2, 2, 2, 2]


def test_only_runs_with_hidden_items_depend_on_their_code(monkeypatch):
    plain, hiding = RunConfig(**SMALL), RunConfig(**SMALL, hidden_probability=0.2)
    before = [code_fingerprint(config) for config in (plain, hiding)]
    code = origin._code_of
    monkeypatch.setattr(
        origin, "_code_of", lambda path: code(path) + ("changed" if path.stem == "false_negatives" else "")
    )
    after = [code_fingerprint(config) for config in (plain, hiding)]
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_hidden_items_are_neither_trained_on_nor_ranked(study):
    config = RunConfig(**SMALL, hidden_probability=0.5)
    model = study.train(config)
    split, (kept, hidden) = split_of(config), hidden_of(config)
    assert (model.record.data["train"], model.record.data["hidden"]) == (len(kept), len(hidden))
    assert len(kept) + len(hidden) == len(split.train)
    gains = 1 / np.log2(np.arange(2, 22))
    scores = model.user_table @ model.item_table.T
    found = []
    for user in model.record.per_user("users"):
        seen = {int(i) for part in (kept, hidden, split.validation) for i in part.items[part.users == user]}
        wanted = {int(i) for i in split.test.items[split.test.users == user]}
        ranking = [item for item in np.argsort(-scores[user], kind="stable") if item not in seen][:20]
        earned = sum(gain for gain, item in zip(gains, ranking, strict=True) if item in wanted)
        found.append(earned / gains[: len(wanted)].sum())
    np.testing.assert_allclose(model.record.per_user("ndcg@20"), found, atol=1e-5)


def test_false_negatives_do_harm_and_a_second_time_nothing_is_trained(study):
    configs = [RunConfig(**SMALL | {"epochs": 4}, hidden_probability=p) for p in (0.0, 1.0)]
    without, always = study.obtain(configs)
    assert always.test["ndcg@20"] < without.test["ndcg@20"]
    assert [record.path.stat().st_mtime_ns for record in (without, always)] == [
        record.path.stat().st_mtime_ns for record in study.obtain(configs)
    ]


def test_the_command_line_hides(tmp_path):
    small = [f"--set={name}={value}" for name, value in SMALL.items() if name != "dataset"]
    command = ["run", "--dataset", "synthetic-ranking", "--quiet", "--store", str(tmp_path), *small]
    result = dslstudy(*command, "--set", "hidden_probability=0.2", "--json")
    assert result.returncode == 0, result.stderr
    written = json.loads(result.stdout)
    assert (written["config"]["hidden_fraction"], written["config"]["hidden_probability"]) == (0.1, 0.2)
    result = dslstudy(*command, "--set", "hidden_probability=2")
    assert result.returncode == 2
    assert result.stderr == "dslstudy: error: hidden_probability must be from 0 to 1, got 2\n"


def dslstudy(*words):
    command = [sys.executable, "-c", "from dslstudy.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
