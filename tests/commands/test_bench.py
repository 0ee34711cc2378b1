"""`dslstudy bench` as a stranger would call it: real processes, ratios, records, and errors that name the mend."""

import json
import subprocess
import sys

import pytest

from dslstudy.cli import main
from dslstudy.commands import bench
from dslstudy.commands.bench import Bench, report
from dslstudy.errors import InputError
from dslstudy.study.benchmarks import read_benchmark
from dslstudy.study.suites import checkout_folder, read_plan


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line in this process; returns exit code, standard output and standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["dslstudy", "bench", *words])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


def test_a_suite_end_to_end(call, tmp_path):
    words = ["--suite", "steps", "--smoke", "--repeats", "1", "--only", "per-example", "--only", "gather-matmul"]
    code, out, err = call(*words, "--threads", "1", "--out", str(tmp_path))
    assert code == 0, err
    assert "per-example / gather-matmul, updates_per_second" in out
    assert "wanted >= 5" in out
    assert "steps" in err  # the progress bar
    record = read_benchmark("steps", tmp_path)
    assert record.command == (
        "dslstudy bench --suite steps --only per-example --only gather-matmul --repeats 1 --threads 1 --smoke"
    )
    assert record.data["name"] == "synthetic-ranking"
    assert record.environment["threads"] == 1
    assert record.ceilings["gigaflops_per_second"] > 0
    for contender in record.contenders:
        (trial,) = contender.trials
        assert trial["interactions_per_second"] > 0
        assert trial["peak_memory_mb"] > 50
    assert report(record) in out


def test_trainings_are_judged_by_one_evaluator(tmp_path):
    plan = read_plan("time-to-quality").smoke().only(["batch-shared"])
    measuring = Bench(checkout_folder(), peers=tmp_path, threads=1, device="cpu", progress=False)
    record = measuring.measure(plan, "dslstudy bench")
    trials = record.contenders[0].trials
    assert len(trials) == plan.repeats
    for trial in trials:
        values = [entry["validation_ndcg"] for entry in trial["history"]]
        assert trial["validation_ndcg"] == max(values)
        assert trial["best_epoch"] == trial["history"][values.index(max(values))]["epoch"]
        assert 0 < trial["test_ndcg"] < 1
        assert trial["seconds_to_target"] == trial["history"][0]["seconds"]  # the smoke target is zero
    assert trials[0]["validation_ndcg"] != trials[1]["validation_ndcg"]  # each repeat has its own seed


def test_everyone_is_measured_once_in_a_round_and_first_in_turn(monkeypatch, tmp_path):
    plan = read_plan("stack").smoke()
    order = []
    monkeypatch.setattr(Bench, "_ceilings", lambda *_: {})
    monkeypatch.setattr(
        Bench,
        "_run",
        lambda self, interpreter, script, spec, place: order.append(spec["settings"]) or {"x": spec["seed"]},
    )
    record = Bench(checkout_folder(), peers=tmp_path, threads=1, device="cpu", progress=False).measure(plan, "")
    settings = [dict(contender.settings) for contender in plan.contenders]
    assert order == [*settings, *settings[1:], settings[0]]
    assert [[trial["x"] for trial in contender.trials] for contender in record.contenders] == [[0, 1]] * 4


def test_swept_data_are_made_once_for_each_size(monkeypatch, tmp_path):
    plan = read_plan("scaling").smoke()
    seen = []
    monkeypatch.setattr(Bench, "_ceilings", lambda *_: {})
    monkeypatch.setattr(Bench, "_run", lambda self, interpreter, script, spec, place: seen.append(spec) or {})
    Bench(checkout_folder(), peers=tmp_path, threads=1, device="cpu", progress=False).measure(plan, "")
    files = {spec["data"] for spec in seen}
    assert len(files) == 3  # the base, twice as many users, twice as many items
    assert all("num_users" not in spec["settings"] for spec in seen)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "stepz"], "did you mean 'steps'"),
        ([], "--suite NAME, or --suite all"),
        (["--suite", "steps", "--only", "per-exmple"], "did you mean 'per-example'"),
        (["--suite", "peers", "--smoke", "--peers", "/nowhere"], "make peers"),
        (["--suite", "scaling", "--dataset", "gowalla"], "makes its own data"),
        (["--suite", "steps", "--dataset", "gowala"], "gowalla"),
        (["--suite", "steps", "--seconds", "-1"], "some seconds"),
        (["--suite", "steps", "--device", "abacus"], "not available"),
        (["--suite", "steps", "--repeats", "0"], "not in the range"),
    ],
)
def test_bad_input_is_one_clear_error_and_exit_code_two(words, message, call, tmp_path):
    code, _, err = call(*words, "--quiet", "--out", str(tmp_path))
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_contender_that_fails_says_why(tmp_path):
    measuring = Bench(tmp_path, peers=tmp_path, threads=1, device="cpu", progress=False)
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no luck today')")
    with pytest.raises(InputError, match=r"broken\.py ended with exit code 1: no luck today"):
        measuring._run(sys.executable, script, {}, tmp_path)


def test_a_contender_knows_its_threads_and_its_task(tmp_path):
    measuring = Bench(tmp_path, peers=tmp_path, threads=3, device="cpu", progress=False)
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, os, sys\n"
        "task = json.load(open(sys.argv[1]))\n"
        "json.dump(task | {'threads': os.environ['OMP_NUM_THREADS']}, open(sys.argv[2], 'w'))\n"
    )
    assert measuring._run(sys.executable, script, {"a": 1}, tmp_path) == {"a": 1, "threads": "3"}


def test_records_of_changed_suites_do_not_replace_committed_ones(monkeypatch, call, tmp_path):
    monkeypatch.setenv("DSLSTUDY_BENCHMARKS", str(tmp_path))
    root = checkout_folder().parent
    assert bench._default_out(root, other=False) == tmp_path
    assert bench._default_out(root, other=True) == root / "_build" / "benchmarks"


def test_list_names_every_contender(call):
    code, out, _ = call("--list")
    assert code == 0
    assert "steps: One training step" in out
    assert "recbole-lightgcn" in out


def test_numbers_keep_six_digits():
    assert bench._rounded({"a": [1.23456789, 3], "b": True, "c": None}) == {"a": [1.23457, 3], "b": True, "c": None}
    assert json.dumps(bench._rounded(123456789.0)) == "123457000.0"


def test_help_reads_without_torch():
    code = (
        "import sys; from dslstudy.cli import cli;"
        "cli(['bench', '--help'], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--suite" in result.stdout
