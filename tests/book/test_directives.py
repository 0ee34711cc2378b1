"""Pages written from the code: what the directives put into them."""

import re
from pathlib import Path

import click
import pytest

import dslstudy.losses
from dslstudy.book.directives import click_row, dataset_row, escape_prose, plain_prose, public_modules, walk_commands
from dslstudy.cli import COMMANDS, cli
from dslstudy.data import load_click_split
from dslstudy.data.registry import registry

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a sum |x| over users * items", r"a sum \|x\| over users \* items"),
        ("* a bullet with (R, *, N)", r"* a bullet with (R, \*, N)"),
        ("  * an *emphasised word* and ``a*b|c``", "  * an *emphasised word* and ``a*b|c``"),
        ("**strong** and tau_ and tau_i", r"**strong** and tau\_ and tau_i"),
        (r"already \*args", r"already \*args"),
        ("see :func:`x_` and `name_`", "see :func:`x_` and `name_`"),
    ],
)
def test_formulas_in_docstrings_are_no_markup(line, expected):
    assert escape_prose(line) == expected


def test_literal_blocks_and_examples_stay_as_they_are():
    lines = ["Text |a|::", "", "    x * y", "    |b|", "", "More |c|.", ">>> 2 * 3", ".. note:: |d|"]
    expected = [r"Text \|a\|::", "", "    x * y", "    |b|", "", r"More \|c\|.", ">>> 2 * 3", ".. note:: |d|"]
    plain_prose(None, "function", "f", None, None, lines)
    assert lines == expected


def test_public_modules_are_found_below_a_package_and_private_ones_left_out():
    found = public_modules("dslstudy.losses")
    assert "dslstudy.losses.softmax" in found
    files = Path(dslstudy.losses.__file__).parent.glob("[!_]*.py")
    assert found == [f"dslstudy.losses.{path.stem}" for path in sorted(files)]
    assert public_modules("dslstudy.dro") == ["dslstudy.dro"]


def test_every_public_module_is_on_an_api_page():
    pages = "\n".join(path.read_text() for path in (ROOT / "book" / "reference").glob("api-*.md"))
    listed = re.findall(r"\{package-api\} (\S+)", pages)
    documented = [module for name in listed for module in public_modules(name)]
    assert len(documented) == len(set(documented))
    hidden = {"dslstudy.cli"} | set(public_modules("dslstudy.commands"))  # on the command line's page
    assert set(documented) == set(public_modules("dslstudy")) - hidden


def test_every_command_is_walked():
    paths = [path for path, _ in walk_commands(cli, click.Context(cli, info_name="dslstudy"))]
    assert paths[0] == "dslstudy"
    assert {f"dslstudy {name}" for name in COMMANDS} <= set(paths)
    assert len(paths) == len(set(paths))


def test_a_data_set_is_a_row_with_its_counts():
    row = dataset_row(registry()["amazon2014-health"])
    assert row[0] == "amazon2014-health"
    assert row[1:] == ["1,974", "1,200", "48,189", "iid", "37,784", "10,405"]


def test_a_click_log_is_a_row_with_its_label_and_axes():
    specs = registry("clicks")
    assert click_row(specs["movielens-100k"]) == [
        "movielens-100k",
        "rating ≥ 4",
        "temporal",
        "age, activity, popularity, film year",
    ]
    assert click_row(specs["tmall"])[:3] == ["tmall", "label", "random"]
    world = load_click_split("synthetic-clicks", rows=100)
    assert click_row(specs["synthetic-clicks"]) == ["synthetic-clicks", "drawn", world.name, ", ".join(world.axes)]


def test_every_citation_of_the_registry_is_in_the_bibliography():
    keys = re.findall(r"^@\w+\{(\S+),", (ROOT / "book" / "references.bib").read_text(), flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert {spec.cite for spec in registry(None).values() if spec.cite} <= set(keys)
