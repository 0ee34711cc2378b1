"""Lays out what Sphinx reads: prose, settings and executed notebooks side by side in one folder outside the sources."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import nbformat

from dslstudy.book import records
from dslstudy.book.chapters import read_notebook
from dslstudy.book.layout import Layout

INJECTED = "injected-parameters"  # papermill's tag


def lay_out(layout: Layout, copies: Mapping[str, Path]) -> None:
    """Fill the stage anew.

    Args:
        layout: where everything lies.
        copies: chapter name -> the notebook to show for it.
    """
    shutil.rmtree(layout.stage, ignore_errors=True)
    shutil.copytree(layout.toc.parent, layout.stage)
    shutil.copy(layout.config, layout.stage)
    folder = layout.stage / "notebooks"
    folder.mkdir(exist_ok=True)
    for name, path in copies.items():
        notebook = presentable(read_notebook(path))
        records.link(notebook, layout.stage)
        nbformat.write(notebook, folder / f"{name}.ipynb")


def presentable(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook without papermill's marks, showing the parameters that were used, not their defaults."""
    (defaults, used) = ([cell for cell in notebook.cells if tag in tags(cell)] for tag in ("parameters", INJECTED))
    if used:
        notebook.cells = [cell for cell in notebook.cells if cell not in defaults]
        used[0].source = used[0].source.removeprefix("# Parameters\n")
        # the chapter's wish to hide or remove its parameters holds for those in their place
        used[0].metadata["tags"] = [INJECTED, *(tag for cell in defaults for tag in tags(cell) if tag != "parameters")]
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
    return notebook


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """A cell's tags."""
    return cell.metadata.get("tags", [])
