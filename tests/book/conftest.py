"""Tiny books, made in a temporary folder and run through the real pipeline with the real settings."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from dslstudy.book.chapters import read_chapters
from dslstudy.book.execute import Executor
from dslstudy.book.layout import Layout

ROOT = Path(__file__).parents[2]
PARAMETERS = 'profile = "smoke"'


def code(text, *tags):
    return nbformat.v4.new_code_cell(text, metadata={"tags": list(tags)} if tags else {})


@dataclass
class TinyBook:
    """A source tree with an intro page and whatever notebooks are added."""

    root: Path

    def notebook(self, name, *cells, after=(), parameters=PARAMETERS):
        """Write a notebook: strings are code cells. Returns its path."""
        cells = [code(parameters, "parameters"), *(code(cell) if isinstance(cell, str) else cell for cell in cells)]
        cells = [nbformat.v4.new_markdown_cell(f"# Chapter {name}"), *cells]
        # ids as in a notebook that is edited: the same cell keeps its own
        for number, cell in enumerate(cells):
            cell.id = f"{name}-{number}"
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        metadata = {"kernelspec": kernel, "dslstudy": {"after": list(after)}}
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
        chapters = sorted(path.stem for path in path.parent.glob("*.ipynb"))
        listing = "\n".join(f"  - file: notebooks/{chapter}" for chapter in chapters)
        (self.root / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: intro\nchapters:\n{listing}\n")
        return path

    @property
    def layout(self):
        return Layout.of(self.root)

    def execute(self, *, profile="smoke", **options):
        """Execute all notebooks. Returns the progress lines."""
        lines = []
        layout = self.layout
        Executor(layout, profile, report=lines.append, **options).run(read_chapters(layout))
        return lines


@pytest.fixture(scope="module")
def make_book(tmp_path_factory):
    """A function that makes a new tiny book."""

    def make():
        root = tmp_path_factory.mktemp("book")
        shutil.copy(ROOT / "_config.yml", root)
        (root / "book").mkdir()
        shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
        shutil.copy(ROOT / "book" / "references.bib", root / "book")
        (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
        (root / "book" / "intro.md").write_text("# A tiny book\n")
        return TinyBook(root)

    return make


@pytest.fixture
def book(make_book):
    return make_book()
