"""The command as a user meets it: through `dslstudy.cli.main`, its streams and its exit code."""

import json
import sys

import pytest

from dslstudy import cli
from dslstudy.data.fetch import sha256_of, write_atomically
from dslstudy.data.registry import FileSpec, Form, Source, dataset_names, dataset_spec, registry


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DSLSTUDY_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `dslstudy data ...` and return (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dslstudy", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capsys.readouterr()
        return exited.value.code or 0, out, err

    return call


@pytest.fixture
def mirrored(tmp_path, monkeypatch):
    """A registered data set of one small file that lies in a mirror; it needs no network and has no other source."""
    path = tmp_path / "mirror/toy/part.bin"
    write_atomically(path, b"content")
    file = FileSpec("toy/part.bin", sha256_of(path))
    toy = dict(vars(dataset_spec("amazon2014-health")))
    toy |= {"name": "toy", "forms": (Form("none", (file,), (Source("mirror"),)),)}
    known = {"toy": type(dataset_spec("gowalla"))(**toy), "synthetic-ranking": registry()["synthetic-ranking"]}
    for place in ("dslstudy.data.registry.registry", "dslstudy.commands.data.registry"):
        monkeypatch.setattr(place, lambda task="ranking": known)
    monkeypatch.setenv("DSLSTUDY_MIRROR", str(tmp_path / "mirror"))
    return path


def fails_in_one_line(result, *parts):
    code, out, err = result
    assert code == 2
    assert err.startswith("dslstudy: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    for part in parts:
        assert str(part) in err
    return True


def test_list_is_a_table(run, cache):
    code, out, err = run("list")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0].split() == ["name", "task", "users", "items", "interactions", "split", "cache"]
    assert [row.split()[0] for row in rows[1:13]] == list(dataset_names(None))
    assert rows[1].split()[1:3] == ["ranking,", "clicks"]
    assert "1,027,464" in out
    assert "published (popularity-shift)" in out
    assert out.count("not fetched") == 10
    assert out.endswith(f"Default: movielens-100k. Cache: {cache}\n")


def test_list_as_json(run):
    rows = json.loads(run("list", "--json")[1])
    assert [row["name"] for row in rows] == list(dataset_names(None))
    assert rows[1]["train"] == 37784
    assert [row["name"] for row in rows if "clicks" in row["tasks"]] == list(dataset_names("clicks"))
    assert rows[-1]["cache"] == "generated"


def test_fetch_verify_and_repair(run, mirrored, cache):
    placed = cache / "toy/part.bin"
    assert "nothing to verify" in run("verify")[1]
    assert fails_in_one_line(run("verify", "toy"), f"{placed} is missing", "`dslstudy data fetch toy` mends it")
    assert run("fetch", "toy")[:2] == (0, f"{placed}\n")
    assert run("verify") == (0, f"ok  toy  {placed}\n", "")
    assert json.loads(run("list", "--json")[1])[0]["cache"] == "ok"
    placed.write_bytes(b"damage")
    assert fails_in_one_line(run("verify"), f"{placed} is altered")
    assert json.loads(run("list", "--json")[1])[0]["cache"] == "damaged"
    code, out, _ = run("verify", "--json")
    assert code == 2
    assert [(file["state"], file["path"]) for file in json.loads(out)] == [("altered", str(placed))]
    assert run("fetch", "--all")[0] == 0
    assert placed.read_bytes() == b"content"
    assert run("verify", "toy")[0] == 0


def test_one_that_cannot_be_had_does_not_stop_the_others(run, mirrored, monkeypatch, cache):
    mirrored.unlink()
    assert fails_in_one_line(run("fetch", "toy", "synthetic-ranking"), "cannot get toy", cache / "toy/part.bin")
    assert run("verify", "synthetic-ranking")[:2] == (0, "nothing to verify: no files needed\n")


def test_offline_fetch_names_file_source_and_place(run, cache):
    place = cache / "ir-benchmark/data_iid/gowalla/proc.zip"
    sha256 = dataset_spec("gowalla").forms[0].files[0].sha256
    address = "https://raw.githubusercontent.com/Tiny-Snow/IR-Benchmark-Dataset/"
    assert fails_in_one_line(run("fetch", "--offline", "gowalla"), place, sha256, address, "DSLSTUDY_MIRROR is not set")


def test_fetch_wants_names(run):
    assert fails_in_one_line(run("fetch"), "name the data sets to fetch", "--all")
    assert fails_in_one_line(run("fetch", "gowalla", "--all"), "not both")


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_unknown_names_get_near_ones(run, command):
    assert fails_in_one_line(run(command, "gowala"), "unknown data set 'gowala': did you mean gowalla")


def test_describe_prose(run):
    code, out, err = run("describe", "synthetic-ranking", "--split", "popularity-shift", "--seed", "3")
    assert (code, err) == (0, "")
    for part in (
        "Synthetic interactions",
        "13.3333%",
        "20 / 20 / 20.0 / 20",
        "Gini",
        "popularity-shift, seed 3",
        "Cite:",
    ):
        assert part in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("train", "valid", "test"))] == [
        "train",
        "validation",
        "test",
    ]


def test_describe_a_click_log(run):
    code, out, err = run("describe", "synthetic-clicks")
    assert (code, err) == (0, "")
    assert out.startswith("Controlled click world (synthetic-clicks)\n")
    facts = json.loads(run("describe", "synthetic-clicks", "--task", "clicks", "--json")[1])
    assert facts["rows"] == 200_000
    assert f"train       {facts['split']['train']['rows']:,}" in out
    assert f"on test: {facts['bayes_ne']:.4f}" in out
    tail = facts["axes"][0]["bins"][2]
    assert tail["label"] == "tail"
    assert ["tail", f"{tail['train']:,}", f"{tail['test']:,}"] in [line.split()[:3] for line in out.splitlines()]
    assert fails_in_one_line(run("describe", "tmall", "--task", "ranking"), "tmall is no data set for ranking")
    assert fails_in_one_line(run("describe", "synthetic-clicks", "--split", "iid"), "'split' is not one of the dials")


def test_describe_a_click_log_of_ones_own(run, tmp_path):
    rows = [f"u{number % 7},{number % 2},{number % 3}" for number in range(100)]
    (tmp_path / "own.csv").write_text("\n".join(["who,bought,colour", *rows]))
    (tmp_path / "own.toml").write_text('label = {column = "bought"}\nuser = "who"\nfeatures = [{column = "colour"}]\n')
    facts = json.loads(run("describe", tmp_path / "own.csv", "--json")[1])
    assert facts["split"]["name"] == "random"
    assert [facts["split"][part]["rows"] for part in ("train", "validation", "test")] == [70, 10, 20]
    assert facts["features"] == [{"name": "colour", "ids": 4, "width": 1, "unknown_in_test": 0.0}]
    code, out, _ = run("describe", tmp_path / "own.csv")
    assert (code, facts["axes"]) == (0, [])
    assert "colour     4" in out


def test_describe_json_of_own_data(run, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user in range(6) for item in range(10)))
    facts = json.loads(run("describe", path, "--json", "--validation-fraction", "0")[1])
    assert (facts["users"], facts["items"], facts["interactions"]) == (6, 10, 60)
    assert facts["split"]["test"]["interactions"] == 12
    assert facts["split"]["validation"]["interactions"] == 0
    assert "Cite" not in run("describe", path)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthetic-ranking", "--split", "published"], "offers no split 'published'"),
        (["no/such/path"], "neither a registered data set nor an existing path"),
        (["movielens-10k"], "did you mean movielens-100k?"),
    ],
)
def test_describe_explains_mistakes(run, arguments, message):
    assert fails_in_one_line(run("describe", *arguments), message)


@pytest.mark.parametrize("command", [(), ("list",), ("fetch",), ("describe",), ("verify",)])
def test_help_reads_well(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert out.startswith("Usage: dslstudy data")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "..." not in out.replace("[ARGS]...", "").replace("[NAME]...", ""), "no help text is cut short"
