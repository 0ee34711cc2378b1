"""The table of contents and the notebooks' own settings."""

import nbformat
import pytest

from dslstudy.book.chapters import cell_label, check_parameters, read_chapters, read_notebook, select, toc_entries
from dslstudy.book.layout import Layout
from dslstudy.errors import InputError


def names(chapters):
    return [chapter.name for chapter in chapters]


def test_entries_come_in_reading_order_from_every_level(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "format: jb-book\nroot: intro\nparts:\n- caption: A\n  chapters:\n  - file: notebooks/b\n    sections:\n"
        "    - file: notebooks/a\n- caption: B\n  chapters:\n  - file: end\n"
    )
    assert toc_entries(toc) == ["intro", "notebooks/b", "notebooks/a", "end"]


@pytest.mark.parametrize("text", ["", "- a\n", "format: jb-book\n", "root: [\n"])
def test_a_broken_table_of_contents_is_refused(tmp_path, text):
    toc = tmp_path / "_toc.yml"
    toc.write_text(text)
    with pytest.raises(InputError, match=r"_toc\.yml"):
        toc_entries(toc)


def test_chapters_are_the_listed_notebooks(book):
    book.notebook("b", after=["a"])
    book.notebook("a")
    chapters = read_chapters(book.layout)
    assert names(chapters) == ["a", "b"]
    assert chapters[1].after == ("a",)


def test_a_listed_notebook_must_exist(book):
    book.notebook("a").unlink()
    with pytest.raises(InputError, match=r"lists notebooks/a, but there is no .*a\.ipynb"):
        read_chapters(book.layout)


def test_a_file_that_is_no_notebook_is_refused(book):
    book.notebook("a").write_text('{"cells": 3')
    with pytest.raises(InputError, match=r"a\.ipynb is not a readable notebook"):
        read_chapters(book.layout)


@pytest.mark.parametrize("other", ["b", "a", "nowhere"])
def test_a_chapter_comes_after_earlier_ones_only(book, other):
    book.notebook("a", after=[other])
    book.notebook("b")
    with pytest.raises(InputError, match=rf"comes after '{other}', which is not listed before it"):
        read_chapters(book.layout)


def test_selecting_takes_along_what_comes_before(book):
    book.notebook("a")
    book.notebook("b", after=["a"])
    book.notebook("c", after=["b"])
    book.notebook("d")
    chapters = read_chapters(book.layout)
    assert names(select(chapters, ("c",))) == ["a", "b", "c"]
    assert names(select(chapters, ())) == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="no notebook 'e' in the book: choose from a, b, c, d"):
        select(chapters, ("e",))


def test_unknown_parameters_are_refused(book):
    book.notebook("a", parameters='profile = "smoke"\nseeds: int = 3')
    (chapter,) = read_chapters(book.layout)
    check_parameters(chapter, {"profile": "quick", "seeds": 1})
    with pytest.raises(InputError, match=r"a\.ipynb has no parameter 'seed': it has profile, seeds"):
        check_parameters(chapter, {"profile": "quick", "seed": 1})


def test_a_notebook_without_parameters_is_refused(book):
    path = book.notebook("a")
    notebook = read_notebook(path)
    del notebook.cells[1]
    nbformat.write(notebook, path)
    with pytest.raises(InputError, match="it has none"):
        check_parameters(read_chapters(book.layout)[0], {"profile": "quick"})


def test_a_cell_is_named_by_place_and_first_line(book):
    notebook = read_notebook(book.notebook("a", "\n\n  x = 1\ny = 2"))
    cell = notebook.cells[2]
    assert cell_label(notebook, cell.id, cell.source) == "cell 3, `x = 1`"
    assert cell_label(notebook, "injected", "profile = 1") == "the injected parameters, `profile = 1`"


def test_a_folder_without_a_book_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"_toc\.yml is missing: run this in a clone"):
        Layout.of(tmp_path)
