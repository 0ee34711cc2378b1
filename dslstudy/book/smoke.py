"""Copies of the notebooks at profile ``smoke``: what the tests execute cell by cell with nbval."""

import shutil
from pathlib import Path

import papermill

from dslstudy.book.chapters import Chapter, check_parameters, read_chapters, settings
from dslstudy.book.layout import Layout
from dslstudy.book.numbers import uses_records


def keeps_outputs(chapter: Chapter) -> bool:
    """Whether a notebook is stored with its outputs (``{"dslstudy": {"keep-outputs": true}}`` in its metadata)."""
    return bool(settings(chapter.read()).get("keep-outputs", False))


def write_copies(layout: Layout) -> tuple[list[Path], list[Path]]:
    """Write each output-free notebook of the book with ``profile = "smoke"`` injected.

    Those that promise to show computed numbers only are left out: a test executes them and walks what they show.

    Returns:
        The copies, and the notebooks that are stored with outputs: those stand for themselves.
    """
    target = layout.output / "smoke"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    copies, kept = [], []
    for chapter in read_chapters(layout):
        if keeps_outputs(chapter):
            kept.append(chapter.path)
            continue
        if uses_records(chapter.read()):
            continue
        parameters = {"profile": "smoke"}
        check_parameters(chapter, parameters)
        copies.append(target / chapter.path.name)
        papermill.execute_notebook(
            str(chapter.path), str(copies[-1]), parameters=parameters, kernel_name="python3", prepare_only=True
        )
    return copies, kept
