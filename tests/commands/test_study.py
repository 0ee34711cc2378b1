"""`dslstudy study` as a stranger would call it: a plan, cells, a store found again, errors of one line."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from dslstudy.cli import main
from dslstudy.commands.study import parse_share
from dslstudy.errors import InputError
from dslstudy.study.study import DivergedError, Study

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
import killed

SMALL = ["study", "--profile", "smoke", "--backbone", "mf", "--loss", "softmax", "--loss", "dsl", "--device", "cpu"]


def dslstudy(*words):
    """Call the command line in this process; its exit code."""
    sys.argv = ["dslstudy", *words]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Calls with a store of this test: exit code, standard output, standard error."""
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    monkeypatch.setattr(sys, "argv", [])

    def calling(*words, store="store"):
        code = dslstudy(*words, "--store", str(tmp_path / store))
        return code, *capsys.readouterr()

    return calling


def test_plan_then_cells_then_nothing_to_do(call, tmp_path):
    code, plan, err = call(*SMALL, "--dry-run")
    assert (code, err) == (0, "")
    assert "0/3" in plan
    assert "not yet run" in plan
    assert "0 of 2 cells done" in plan
    assert "10 missing runs" in plan
    assert not (tmp_path / "store").exists()

    code, out, err = call(*SMALL)
    assert code == 0, err
    assert "study 100%" in err
    assert "10 of 10 runs" in err
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*.json")}
    assert len(records) == 10

    code, again, err = call(*SMALL, "--json")
    assert (code, err) == (0, "")
    cells = json.loads(again)
    assert [(cell["loss"], cell["state"], len(cell["trials"])) for cell in cells] == [
        ("softmax", "done", 3),
        ("dsl", "done", 3),
    ]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*.json")} == records
    for cell in cells:
        mean = sum(cell["test"]["ndcg@20"]) / len(cell["seeds"])
        assert f"{mean:.4f}" in out


@pytest.mark.parametrize(("profile", "data"), [("smoke", "synthetic-ranking"), ("quick", "movielens-100k")])
def test_the_shifted_table_is_on_its_own_split(call, profile, data):
    code, out, err = call(
        "study", "--profile", profile, "--only", "popularity-shift", "--dry-run", "--json", "--device", "cpu"
    )
    assert (code, err) == (0, "")
    cells = json.loads(out)
    assert {(cell["dataset"], cell["split"]) for cell in cells} == {(data, "popularity-shift")}
    assert {cell["cell"].split()[1] for cell in cells} == {"popularity-shift"}
    assert {"softmax", "dsl"} <= {cell["loss"] for cell in cells}


def test_killed_it_goes_on_where_it_was(call, tmp_path):
    process = killed.start(killed.command, tmp_path, "store", *SMALL, "--quiet")
    records = tmp_path / "store" / "synthetic-ranking"
    while process.is_alive() and len(list(records.glob("*.json"))) < 4:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 4 <= len(before) < 10
    assert call(*SMALL, "--quiet")[0] == 0
    after = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert len(after) == 10
    assert before.items() <= after.items()
    assert call(*SMALL, "--quiet", store="whole")[0] == 0
    whole = tmp_path / "whole" / "synthetic-ranking"
    assert {path.name for path in whole.glob("*.json")} == {path.name for path in after}


def test_a_seed_that_diverges_holds_no_other_cell_up(call, monkeypatch):
    train = Study._train

    def diverging(self, configs):
        hot = [config for config in configs if config.loss == "softmax" and config.seed == 1 and config.epochs > 2]
        models = train(self, [config for config in configs if config not in hot])
        if hot:
            raise DivergedError(hot)
        return models

    monkeypatch.setattr(Study, "_train", diverging)
    code, out, err = call(*SMALL, "--quiet")
    assert code == 2
    assert "synthetic-ranking mf dsl" in out
    states = {line.split()[2]: line.split("  ")[-1].strip() for line in out.splitlines() if "mf" in line}
    assert states["dsl"] == "done"
    assert states["softmax"] == "3 of 3 trials, 1 of 2 seeds"
    assert "not all cells could be completed; the others were. synthetic-ranking mf softmax: " in err
    assert "diverged" in err


def test_a_stray_file_among_the_records_stops_no_plan(call, tmp_path):
    (tmp_path / "store" / "synthetic-ranking").mkdir(parents=True)
    (tmp_path / "store" / "synthetic-ranking" / "notes.json").write_text('"not a record"')
    code, plan, err = call(*SMALL, "--dry-run")
    assert (code, err) == (0, "")
    assert "0 of 2 cells done" in plan


def test_a_store_that_cannot_be_made_is_one_line(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(*SMALL, "--quiet", store="file/below")
    assert code == 2
    assert f"cannot write to the store {tmp_path / 'file' / 'below'}" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "sofmax"], "did you mean 'softmax"),
        (["--dataset", "movielens-100"], "unknown data set"),
        (["--share", "3/2"], "--share takes I/N"),
        (["--only", "popularity-shift", "--dataset", "movielens-100k"], "of table popularity-shift at profile smoke"),
        (["--device", "abacus"], "not available"),
        (["--loss", "softmax", "--backbone", "ease"], "no such cell"),
        (["--loss", "softmax", "--share", "9/9"], "--share 9/9 has no cell"),
    ],
)
def test_bad_input_is_one_line(call, words, message):
    code, out, err = call("study", "--profile", "smoke", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["1", "0/2", "3/2", "a/b", "1/", "/2", "-1/2", "1/2/3"])
def test_shares_that_are_none(text):
    with pytest.raises(InputError, match="--share takes I/N"):
        parse_share(text)


def test_a_share():
    assert parse_share("2/3") == (2, 3)
