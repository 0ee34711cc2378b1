"""No number without a record: the walk over the executed book, and that the walk finds what it is there to find."""

import json
import re
import shutil
from math import exp
from pathlib import Path

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dslstudy.book import numbers
from dslstudy.book.chapters import read_chapters, read_notebook, settings
from dslstudy.book.execute import Executor
from dslstudy.book.layout import BookError, Layout
from dslstudy.book.pipeline import check_numbers, make_book
from dslstudy.data.published import published
from dslstudy.metrics.significance import LEVEL, paired_bootstrap
from dslstudy.study.ranking_claims import dsl_claims
from dslstudy.study.spaces import SPACES
from dslstudy.study.store import read_arrays, write_arrays
from dslstudy.tables import p_value_text

ROOT = Layout.of(Path(__file__).parents[2])
READS = "from dslstudy.study import open_study\nfrom dslstudy.tables import say\nstudy = open_study('paper')"


def walk(*cells):
    made = [new_markdown_cell(cell[3:]) if cell.startswith("md:") else new_code_cell(cell) for cell in cells]
    return numbers.complaints(new_notebook(cells=made))


@pytest.mark.parametrize(
    "text",
    [
        "DSL gains 6.2 % over SL.",
        "it needs 20 trials",
        "the difference is +0.0012.",
        "a table\n\n| loss | NDCG |\n|---|---|\n| SL | 0.1257 |",
        "between 0.12 and $x$",
    ],
)
def test_numbers_in_prose_are_found(text):
    assert len(walk(f"md:{text}")) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "NDCG@20 on MovieLens-100K, readings R1 to R5, with its 95 % interval",
        "$\\tau = 0.2$ and\n\n$$\\alpha = 0.3$$ (eq-1)",
        "`--share 1/2` {cite}`slatk2025` in 2025\n\n```console\n$ dslstudy run --seed 3\n```",
        "1. first\n2. second",
        "without weights (α = β = 0), and for γ < 0.2",
    ],
)
def test_names_formulas_code_and_lists_are_no_results(text):
    assert walk(f"md:{text}") == []


@pytest.mark.parametrize(
    "cell",
    [
        'say("DSL gains 6.2 % here")',
        'say(f"{study} gains 6.2 %")',
        'say(f"gains {6.2:.1f} %")',
        'gain = 6\nsay(f"gains {gain} %")',
        'gain = 0.0012 * len(study.records(1))\nsay(f"gains {gain} %")',
        'gain = 0.0012\nsay(f"{study} gains {gain} %")',
        "import pandas as pd\npd.DataFrame({'gain': [6, 7]})",
        "rows = []\nrows.append(6)\nrows",
        "print(6)",
        "display(6)",
        "def gain():\n    return 0.131\n\n\nsay(f'{gain()}')",
        "def gain(of):\n    return sum(of)\n\n\nsay(f'{gain([0.131])}')",
        "def gain(of):\n    return of.test + 0.131\n\n\nsay(f'{gain(study.records(1))}')",
        "for each in study.records(1):\n    gain = 0.0012\n    say(f'{gain}')",
        "for each in study.records(1):\n    pass\nif study:\n    gain = 6\n    say(f'{gain}')",
    ],
)
def test_typed_numbers_are_found_in_code(cell):
    assert len(walk(READS, cell)) >= 1


@pytest.mark.parametrize(
    "cell",
    [
        'records = study.records("gowalla")\nsay(f"{len(records)} runs")',
        'rows = []\nfor each in study.records("gowalla"):\n    rows.append(each.test)\nrows',
        "say(f\"{chr(10).join(f'{x:.2f}' for x in study.records(1))}\")",
        "import numpy as np\nlow, high = np.quantile(study.records('cd'), [0.025, 0.975])\nsay(f'{low} to {high}')",
        "def best(of):\n    return max(of)\n\n\nsay(f'{best(study.records(1))}')",
        "scale = 0.3\nassert scale * len(study.records(1)) < 0.7",
        "good = bool(study)\nsay(f\"{'better' if good else 'worse'}\")",
        "for each in study.records(1):\n    gain = each.test\n    say(f'{gain}')",
        "if study.records(1):\n    word = 'some'\nelse:\n    word = 'none'\nsay(f'{word}')",
    ],
)
def test_what_follows_from_the_package_is_no_typed_number(cell):
    assert walk(READS, cell) == []


def test_a_book_with_a_typed_number_is_not_built(book, tmp_path):
    path = book.notebook("a", 'from dslstudy.tables import say\nsay("a gain of 6.2 %")')
    notebook = read_notebook(path)
    notebook.metadata["dslstudy"]["numbers"] = "computed"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(BookError, match=r"a\.ipynb, cell 3: a number in prose: “a gain of 6.2 %”") as error:
        make_book(book.layout, profile="smoke", report=lambda line: None)
    assert "has read no record" in str(error.value)


def test_a_record_under_a_wrong_name_is_found(tmp_path):
    from dslstudy.study import RunConfig, open_study

    study = open_study("smoke", store=tmp_path, progress=False)
    (record,) = study.obtain([RunConfig(dataset="synthetic-ranking", backbone="popularity", loss="none")])
    notebook = new_notebook(metadata={"dslstudy": {"records": [record.to_dict()]}})
    assert numbers.complaints_of_records(notebook) == []
    notebook.metadata.dslstudy.records[0]["key"] = "0" * 16
    assert numbers.complaints_of_records(notebook) == [f"record {'0' * 16} is not the run that its key names"]


# -- the executed book ------------------------------------------------------------------------------------------------

CHAPTERS = [chapter for chapter in read_chapters(ROOT) if settings(chapter.read()).get("numbers") == "computed"]
STUDY = {
    "protocol-and-search",
    "iid-results",
    "popularity-shift",
    "ablations-and-readings",
    "sensitivity",
    "who-gains",
    "noise",
    "inside-training",
}
#: chapters that read records and nothing else; the others look into models as well
OF_RECORDS = {"protocol-and-search", "iid-results", "ablations-and-readings", "sensitivity"}
FRACTION = re.compile(r"(?<![\w@./-])[+-]?\d+\.\d+(?![\w.-])")


def test_all_chapters_of_the_study_promise_it():
    assert {chapter.name for chapter in CHAPTERS} >= STUDY | {"intro"}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The chapters of the study at profile smoke; and, of those of records alone, once more with other records."""
    folder = tmp_path_factory.mktemp("walk")
    committed = ROOT.root / "results" / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLSTUDY_CACHE", str(folder / "cache"))
        patch.setenv("DSLSTUDY_RESULTS", str(folder / "results"))
        for name in ("amazon2014-health", "search"):
            if (committed / name).is_dir():
                shutil.copytree(committed / name, folder / "results" / name)
        first = execute(CHAPTERS, folder / "first")
        change_records(folder)
        second = execute([chapter for chapter in CHAPTERS if chapter.name in OF_RECORDS], folder / "second")
        yield first, second, allowed(folder)
    shutil.rmtree(folder)


def execute(chapters, folder):
    executor = Executor(Layout.of(ROOT.root, folder), "smoke", jobs=1, report=lambda line: None)
    executor.run(chapters)
    return {chapter.name: executor.copy(chapter) for chapter in chapters}


def test_the_executed_study_shows_no_number_without_a_record(executed):
    check_numbers(list(executed[0].values()))


@pytest.mark.parametrize("name", sorted(OF_RECORDS))
def test_with_other_records_every_number_is_another(executed, name):
    """What stays the same is a setting, a level or a published value, and known as such."""
    first, second, known = executed
    before, after = (shown(read_notebook(copies[name])) for copies in (first, second))
    assert sum(map(len, before.values())) > 20
    for cell, values in before.items():
        alike = len(values) == len(after[cell])
        stayed = (
            {a for a, b in zip(values, after[cell], strict=True) if a == b} if alike else {*values} & {*after[cell]}
        )
        assert stayed <= known, f"cell {cell} shows numbers that no record changes: {sorted(stayed - known)}"


def allowed(folder):
    """Numbers that are no results: of search spaces, protocols, levels and publications, as they may be printed."""
    values = {LEVEL, 0.001}
    values |= {value for space in SPACES.values() for of_setting in space.values() for value in of_setting}
    values |= {value for value in published("ranking")[["recall@20", "ndcg@20"]].to_numpy().ravel() if value == value}
    # temperatures that are as sharp on average; after how many trials one of so many good ones comes
    values |= {t * exp(-(g**2)) for t in SPACES["dsl"]["temperature"] for g in SPACES["dsl"]["gamma"]}
    values |= {(n + 1) / (good + 1) for n in range(1, 21) for good in range(n + 1)}
    values |= {claim.reported for claim in dsl_claims() if claim.reported is not None}
    for path in folder.rglob("*.matched"):  # measured on models
        values |= set(json.loads(path.read_text()).values())
    for path in folder.rglob("*.pull"):
        values |= set(json.loads(path.read_text())["shares"])
    numbers_of = [value for value in values if isinstance(value, int | float)]
    # the smallest p-value that the resamples can give, times the number of comparisons it is corrected for
    floor = paired_bootstrap(np.ones(2), np.zeros(2)).p_value
    smallest = {p_value_text(count * floor) for count in range(1, 31)}
    return smallest | {
        f"{value:{sign}{form}}" for value in numbers_of for sign in ["-", "+"] for form in (".1f", ".2f", ".4f", "g")
    }


def change_records(folder):
    """Multiply the test metrics of each ranking record by a number of its own, and bend validation for all alike.

    For all alike, so that every search chooses as before and nothing is trained anew.
    """
    for path in sorted(folder.rglob("*/[0-9a-f]*.json")):
        record = json.loads(path.read_text())
        if record.get("task") != "ranking":
            continue
        rng = np.random.default_rng(int(record["key"], 16))
        factors = {name: rng.uniform(0.3, 0.7) for name in record["test"]}
        record["test"] = {name: value * factors[name] for name, value in record["test"].items()}
        record["validation"] = {name: 0.37 * value**1.3 for name, value in record["validation"].items()}
        for epoch in record["history"]:
            epoch["validation"] = 0.37 * epoch["validation"] ** 1.3
        path.write_text(json.dumps(record))
        users, *values = read_arrays(path.with_suffix(".npz"), ["users", *factors], mend="")
        changed = {name: of_user * factors[name] for name, of_user in zip(factors, values, strict=True)}
        write_arrays(path.with_suffix(".npz"), {"users": users, **changed})


def shown(notebook):
    """Cell number -> the numbers with a fraction that it shows, in prose or in tables."""
    found = {}
    for number, cell in enumerate(notebook.cells):
        texts = []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            texts.append(data.get("text/html") or data.get("text/markdown") or data.get("text/plain", ""))
        text = re.sub(r"<(style|script).*?</\1>|<[^>]*>|`[^`]*`", " ", " ".join(texts), flags=re.DOTALL)
        found[number] = FRACTION.findall(text)
    return found
