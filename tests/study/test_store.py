"""Records survive being killed, truncated and altered, or say what is wrong with them."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dslstudy.data.fetch import replacing
from dslstudy.errors import InputError
from dslstudy.study import RunConfig, RunStore, open_study
from dslstudy.study import provenance as provenance_module
from dslstudy.study.store import committed_store, read_arrays, write_arrays

TINY = {
    "dataset": "synthetic-ranking",
    "embedding_size": 8,
    "num_negatives": 16,
    "batch_size": 256,
    "epochs": 4,
    "evaluate_every": 2,
}


def config(**changes) -> RunConfig:
    return RunConfig(**TINY | changes)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    return open_study("smoke", store=tmp_path / "store", progress=False)


def test_a_record_tells_its_story(study):
    (record,) = study.obtain([config()])
    written = json.loads(record.path.read_text())
    assert RunConfig.from_dict(written["config"]) == config()
    assert written["key"] == config().key == record.path.stem
    assert written["data"]["train"] > 0
    assert len(written["code"]["fingerprint"]) == 12
    assert written["environment"]["torch"]
    assert written["cost"]["seconds"] > 0
    assert written["cost"]["peak_memory_mb"] > 0
    assert written["selection"]["metric"] == "ndcg@20"
    assert [entry["epoch"] for entry in written["history"]] == [2, 4]
    assert written["validation"]["ndcg@20"] == max(entry["validation"] for entry in written["history"])


def test_per_user_metrics_average_to_the_record(study):
    (record,) = study.obtain([config()])
    for metric in ("ndcg@20", "recall@20", "mrr@20"):
        assert record.per_user(metric).mean() == pytest.approx(record.test[metric], abs=1e-6)
    assert len(record.per_user("users")) == len(record.per_user("ndcg@20"))
    with pytest.raises(InputError, match="not 'ndcg@7'"):
        record.per_user("ndcg@7")


def test_nothing_is_trained_twice(study):
    first = study.obtain([config(), config(seed=1), config()])
    assert first[0] == first[2]
    stamps = [record.path.stat().st_mtime_ns for record in first]
    again = study.obtain([config(), config(seed=1)])
    assert [record.path.stat().st_mtime_ns for record in again] == stamps[:2]


def test_same_seed_same_record_in_another_store(study, tmp_path):
    (record,) = study.obtain([config()])
    (again,) = open_study("smoke", store=tmp_path / "other", progress=False).obtain([config()])
    assert (again.test, again.validation, again.history) == (record.test, record.validation, record.history)
    assert np.array_equal(again.per_user("ndcg@20"), record.per_user("ndcg@20"))


def test_a_profile_refuses_what_it_does_not_train(study):
    with pytest.raises(InputError, match="profile 'smoke' does not train on movielens-100k"):
        study.obtain([config(), config(dataset="movielens-100k")])
    assert study.find(config()) is None  # refused before anything was trained


def test_a_record_of_older_code_is_stale_and_trained_again(study, monkeypatch):
    (record,) = study.obtain([config()])
    assert not record.stale
    monkeypatch.setattr(provenance_module, "code_fingerprint", lambda _: "0" * 12)
    assert record.stale
    assert study.find(config()) == record  # still shown, with its mark
    assert study._fresh(config()) is None


def test_comments_do_not_make_a_record_stale_but_code_does(tmp_path):
    one, two, three = (tmp_path / f"{name}.py" for name in "abc")
    one.write_text('"""Doc."""\n\n\ndef f(x):\n    """Says."""\n    return x + 1\n')
    two.write_text('"""Other words."""\ndef f(x):\n    # why\n    return (x + 1)\n')
    three.write_text("def f(x):\n    return x + 2\n")
    code = provenance_module._code_of
    assert code(one) == code(two) != code(three)


def test_losses_have_fingerprints_of_their_own():
    prints = {loss: provenance_module.code_fingerprint(config(loss=loss)) for loss in ("softmax", "bpr", "dsl")}
    assert len(set(prints.values())) == 3


def test_a_loss_made_of_another_has_that_ones_code_in_its_fingerprint():
    code = provenance_module.losses_code
    assert code("softmax") == ["losses/softmax.py"]
    assert code("dsl") == ["losses/dsl.py"]
    assert code("blind_slate") == ["losses/blind_slate.py", "losses/dsl.py", "engine/rivals.py"]
    own = code("own_score")
    assert own == ["losses/own_score.py", "losses/blind_slate.py", "losses/dsl.py", "engine/rivals.py"]
    assert code("dsl_positive_weight") == ["losses/dsl_positive_weight.py", "losses/dsl.py", "engine/rivals.py"]
    assert code("positive_weight") == ["losses/positive_weight.py", "engine/rivals.py"]


def test_tables_are_kept_and_mended(study):
    model = study.train(config())
    assert np.allclose(np.linalg.norm(model.user_table, axis=1), 1, atol=1e-5)
    again = study.train(config())
    assert np.array_equal(model.item_table, again.item_table)
    tables = study.store.path(config()).with_suffix(".tables.npz")
    tables.write_bytes(tables.read_bytes()[:100])
    mended = study.train(config())
    assert np.array_equal(model.item_table, mended.item_table)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("validation", {}),
        ("test", {}),
        ("test", None),
        ("test", {"ndcg@20": 0.1}),
        ("code", {}),
        ("cost", "cheap"),
        ("cost", {"seconds": "long"}),
        ("test", {"ndcg@20": None, "recall@20": 0.1}),
        ("validation", {"ndcg@20": "high"}),
        ("history", None),
        ("config", {"dataset": "synthetic-ranking", "foo": 7}),
        ("config", {"dataset": "synthetic-ranking", "epochs": "x"}),
        ("selection", [1]),
    ],
)
def test_a_record_that_lacks_what_its_readers_need_is_damaged(study, part, content):
    (record,) = study.obtain([config()])
    record.path.write_text(json.dumps(json.loads(record.path.read_text()) | {part: content}))
    with pytest.raises(InputError, match=r"is damaged .*; delete it and run again"):
        study.obtain([config()])


@pytest.mark.parametrize("damage", ["truncate", "alter", "schema"])
def test_a_damaged_record_is_named(study, damage):
    (record,) = study.obtain([config()])
    text = record.path.read_text()
    values = json.loads(text)
    if damage == "truncate":
        record.path.write_text(text[: len(text) // 2])
    elif damage == "alter":
        values["config"]["learning_rate"] = 0.5
        record.path.write_text(json.dumps(values))
    else:
        values["schema"] = 99
        record.path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=record.path.name):
        study.obtain([config()])


def test_damaged_per_user_metrics_are_named(study):
    (record,) = study.obtain([config()])
    file = record.path.with_suffix(".npz")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="missing or damaged"):
        record.per_user("ndcg@20")
    file.unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        record.per_user("ndcg@20")


def test_a_record_that_cannot_be_read_is_not_called_damaged(study):
    """A lost connection to a disk is no reason to delete what lies on it."""
    path = study.store.path(config())
    path.mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        study.obtain([config()])


def test_a_record_without_its_arrays_is_trained_again(study):
    (record,) = study.obtain([config()])
    values = record.per_user("ndcg@20")
    record.path.with_suffix(".npz").unlink()
    (again,) = study.obtain([config()])
    assert np.array_equal(again.per_user("ndcg@20"), values)


def test_a_store_has_a_name_and_a_data_set_of_any_length_a_folder(tmp_path):
    with pytest.raises(InputError, match="empty name"):
        RunStore("")
    folder = RunStore(tmp_path).folder("/somewhere" * 50 + "/train.csv")
    folder.mkdir()
    assert folder.name.endswith("train.csv")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


SWEEP = """
import sys
from dslstudy.study import RunConfig, open_study
configs = [RunConfig(**{tiny!r}, seed=seed) for seed in range(6)]
open_study("smoke", store=sys.argv[1], progress=False).obtain(configs)
"""


def test_a_killed_sweep_loses_the_run_in_flight_only(tmp_path):
    script = SWEEP.format(tiny=TINY | {"epochs": 30, "evaluate_every": 30})
    sweep = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while len(list(RunStore(tmp_path))) < 2:
            assert sweep.poll() is None, "the sweep ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    done = {record.key: record.path.stat().st_mtime_ns for record in RunStore(tmp_path)}
    assert 2 <= len(done) < 6
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    after = {record.key: record.path.stat().st_mtime_ns for record in RunStore(tmp_path)}
    assert len(after) == 6
    assert {key: after[key] for key in done} == done


def test_ones_own_file_that_changed_is_trained_again(study, tmp_path):
    pairs = np.random.default_rng(0).integers(0, (30, 20), size=(400, 2))
    file = tmp_path / "log.csv"

    def write(rows):
        file.write_text("user,item\n" + "\n".join(f"u{u},i{i}" for u, i in rows) + "\n")

    write(pairs)
    own = config(dataset=str(file))
    (first,) = study.obtain([own])
    write(pairs[:-40])
    from dslstudy.study.study import _split

    _split.cache_clear()
    (second,) = study.obtain([own])
    assert first.data["fingerprint"] != second.data["fingerprint"]


def test_a_record_says_its_task_and_one_without_is_of_ranking(study):
    (record,) = study.obtain([config()])
    values = json.loads(record.path.read_text())
    assert values.pop("task") == record.task == "ranking"
    record.path.write_text(json.dumps(values))
    assert study.find(config()) == record
    record.path.write_text(json.dumps(values | {"task": "rankings"}))
    with pytest.raises(InputError, match="did you mean 'ranking'"):
        study.find(config())


def test_committed_records_can_be_read():
    records = list(committed_store())  # reading one checks that its key still fits its configuration
    assert "amazon2014-health" in {record.config.dataset for record in records if record.task == "ranking"}


def test_small_integers_stay_small(tmp_path):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"side": np.array([-1, 1], np.int8), "ids": np.array([3, 2**30]), "p": np.array([0.1, 0.2])})
    side, ids, p = read_arrays(path, ["side", "ids", "p"], mend="")
    assert (side.dtype, ids.dtype, p.dtype) == (np.int8, np.int32, np.float32)
    assert side.tolist() == [-1, 1]
    assert ids.tolist() == [3, 2**30]
    with pytest.raises(InputError, match="keeps side, ids, p, not 'q'"):
        read_arrays(path, ["q"], mend="")
