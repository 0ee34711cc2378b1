"""The notebooks as files: what each must have, so that the book, nbval and a reader can rely on it."""

from pathlib import Path

import nbformat
import pytest

from dslstudy.book.chapters import check_parameters, read_chapters, settings
from dslstudy.book.layout import Layout

ROOT = Path(__file__).parent.parent
LAYOUT = Layout.of(ROOT)
PATHS = sorted(LAYOUT.notebooks.glob("*.ipynb"))
LONGEST_CELL = 40


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_table_of_contents_lists_exactly_the_notebooks():
    assert sorted(chapter.name for chapter in read_chapters(LAYOUT)) == [path.stem for path in PATHS]


def test_every_profile_can_be_injected():
    for chapter in read_chapters(LAYOUT):
        check_parameters(chapter, {"profile": "smoke"})


def test_format_and_kernel(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


def test_it_begins_with_its_title(notebook):
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.lstrip().startswith(("# ", "("))  # "(label)=" may stand before the title


def test_one_parameters_cell_with_the_quick_profile(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'profile = "quick"' in tagged[0].source
    assert not [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]


def test_code_cells_are_short(code_cells):
    for number, cell in enumerate(code_cells, start=1):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, f"code cell {number} is too long: move code into dslstudy"


def test_outputs_are_stored_only_where_they_are_checked(notebook, code_cells):
    outputs = [output for cell in code_cells for output in cell.outputs]
    if not settings(notebook).get("keep-outputs"):
        assert not outputs, "strip the outputs, or set the metadata dslstudy.keep-outputs"
        assert all(cell.execution_count is None for cell in code_cells)
        return
    assert outputs, "it says that it keeps its outputs, but has none"
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1)), (
        "run it from top to bottom"
    )
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_nothing_tells_where_it_was_written(path):
    text = path.read_text(encoding="utf-8")
    assert not [place for place in ("/root/", "/home/", "/tmp/", "site-packages") if place in text]
