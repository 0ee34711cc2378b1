"""`dslstudy run` as a stranger would call it: a real process, its exit code, what it prints where."""

import json
import os
import re
import subprocess
import sys

import pytest

from dslstudy.cli import main
from dslstudy.commands.run import parse_setting, parse_settings
from dslstudy.errors import InputError
from dslstudy.study import RunStore

SMALL = ["--set", "epochs=2", "--set", "evaluate_every=1", "--set", "num_negatives=8", "--set", "embedding_size=4"]


def dslstudy(*words, **environment):
    command = [sys.executable, "-m", "dslstudy", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_json_on_standard_output_progress_on_standard_error(tmp_path):
    words = ["run", "--dataset", "synthetic-ranking", *SMALL, "--seed", "3", "--json", "--store", str(tmp_path)]
    first = dslstudy(*words)
    assert first.returncode == 0, first.stderr
    record = json.loads(first.stdout)
    assert record["config"]["seed"] == 3
    assert record["config"]["num_negatives"] == 8
    assert "epoch" in first.stderr
    again = json.loads(dslstudy(*words).stdout)
    assert again["finished"] == record["finished"]  # read, not trained
    forced = json.loads(dslstudy(*words, "--force", "--quiet").stdout)
    assert forced["test"] == record["test"]  # same seed, same bits, in another process
    assert forced["history"] == record["history"]


def test_for_people(tmp_path):
    result = dslstudy("run", "--dataset", "synthetic-ranking", "--backbone", "popularity", "--store", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "ndcg@20" in result.stdout
    assert str(tmp_path) in result.stdout


CLICKS = ["--task", "clicks", "--dataset", "synthetic-clicks", "--set", "rows=6000", "--set", "epochs=1"]


def test_click_runs_are_printed_and_stored_like_ranking_runs(tmp_path):
    cohorts = ["--set", "axis=cohort", "--set", "pair=labels", "--set", "head=head", "--set", "tail=tail"]
    words = ["run", *CLICKS, *cohorts, "--method", "c2al", "--set", "lambda_head=0.5", "--store", str(tmp_path)]
    result = dslstudy(*words, "--json")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["task"] == "clicks"
    assert record["config"]["method_parameters"] == {"lambda_head": 0.5, "lambda_tail": 0.1}
    assert record["config"]["dataset_parameters"]["rows"] == 6000
    assert "epoch" in result.stderr
    shown = dslstudy(*words).stdout  # read, not trained
    assert f"run {record['key']}: synthetic-clicks rows=6000 cohort head against tail c2al" in shown
    assert f"ne {record['test']['ne']:.4f}" in shown
    assert re.search(rf"^    tail +ne {record['test']['ne@tail']:.4f}  auc", shown, flags=re.MULTILINE)
    assert str(tmp_path) in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "movielens-100"], "did you mean movielens-100k"),
        (["--dataset", "synthetic-ranking", "--loss", "sofmax"], "did you mean 'softmax'"),
        (["--dataset", "synthetic-ranking", "--set", "temprature=1"], "did you mean 'temperature'"),
        (["--dataset", "synthetic-ranking", "--set", "temperature"], "NAME=VALUE"),
        (["--dataset", "synthetic-ranking", "--set", "loss=bpr"], "give --loss bpr"),
        (["--dataset", "synthetic-ranking", "--set", "seed=3"], "give --seed 3"),
        (["--dataset", "synthetic-ranking", "--set", "temperature=-1"], "greater than 0"),
        (["--dataset", "synthetic-ranking", "--split", "published-ish"], "unknown split"),
        (["--dataset", "synthetic-ranking", "--device", "abacus"], "not available"),
        (["--dataset", "synthetic-ranking", "--seed", "x"], "not a valid integer"),
        ([], "Missing option '--dataset'"),
        (["--task", "click", "--dataset", "synthetic-clicks"], "is not one of 'ranking', 'clicks'"),
        ([*CLICKS, "--loss", "softmax"], "--loss belongs to --task ranking"),
        (["--dataset", "synthetic-ranking", "--method", "c2al"], "--method belongs to --task clicks"),
        ([*CLICKS, "--method", "c2la"], "did you mean 'c2al'"),
        ([*CLICKS, "--method", "c2al"], "needs cohorts: name an axis of synthetic-clicks"),
        ([*CLICKS, "--method", "c2al", "--set", "axis=age"], "no axis 'age'"),
        ([*CLICKS, "--method", "c2al", "--set", "axis=activity", "--set", "bins=9"], "on a side, not 9"),
        (["--task", "clicks", "--dataset", "movielens-100"], "movielens-100k"),
        ([*CLICKS, "--set", "axis=activity"], "plain takes no axis: leave it out"),
        (["--dataset", "synthetic-clicks"], "--task clicks on the command line"),
    ],
)
def test_bad_input_is_one_clear_error_and_exit_code_two(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dslstudy", "run", *words, "--store", str(tmp_path), "--quiet"])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert left.value.code == 2
    assert message in printed.err
    assert printed.out == ""


def test_a_file_that_cannot_be_had_is_one_line_too(monkeypatch, capsys):
    def refused(**_):
        raise PermissionError(13, "Permission denied", "/sealed/train.csv")

    monkeypatch.setattr("dslstudy.cli.cli", refused)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = "/sealed/train.csv: Permission denied; look whether it is there and you may read and write it"
    assert capsys.readouterr().err == f"dslstudy: error: {said}\n"


def test_files_of_one_name_in_two_folders_keep_a_record_each(tmp_path, monkeypatch, capsys):
    for folder, items in (("a", 12), ("b", 15)):
        (tmp_path / folder).mkdir()
        rows = "".join(f"{user},{item}\n" for user in range(30) for item in range(items))
        (tmp_path / folder / "train.csv").write_text("user,item\n" + rows)
        monkeypatch.chdir(tmp_path / folder)
        words = ["--dataset", "train.csv", "--backbone", "popularity", "--store", str(tmp_path / "store")]
        monkeypatch.setattr(sys, "argv", ["dslstudy", "run", *words, "--json", "--quiet"])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        assert json.loads(capsys.readouterr().out)["config"]["dataset"] == str(tmp_path / folder / "train.csv")
    assert len([*RunStore(tmp_path / "store")]) == 2


def test_bad_input_leaves_no_traceback(tmp_path):
    result = dslstudy("run", "--dataset", "movielens-100", "--store", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("dslstudy: error:")
    assert "Traceback" not in result.stderr


def test_help_reads_without_torch():
    code = (
        "import sys; from dslstudy.cli import cli;"
        "cli(['run', '--help'], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "NAME=VALUE" in result.stdout


def test_settings_are_numbers_or_words():
    assert parse_setting("epochs=3") == ("epochs", 3)
    assert parse_setting("temperature=2e-1") == ("temperature", 0.2)
    assert parse_setting("score=inner-product") == ("score", "inner-product")
    with pytest.raises(InputError, match="twice"):
        parse_settings(("epochs=3", "epochs=4"))
