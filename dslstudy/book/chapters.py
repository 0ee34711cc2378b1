"""The executable chapters: which ones the table of contents lists, in which order, with which parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml

from dslstudy.book.layout import Layout
from dslstudy.errors import InputError


@dataclass(frozen=True)
class Chapter:
    """One notebook of the table of contents.

    Attributes:
        name: file name without ``.ipynb``.
        path: the notebook as written.
        after: names of the chapters that must be executed before it.
    """

    name: str
    path: Path
    after: tuple[str, ...] = ()

    def read(self) -> nbformat.NotebookNode:
        """The notebook as written."""
        return read_notebook(self.path)


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook in format 4.

    Raises:
        InputError: if the file is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        raise InputError(f"{path} is not a readable notebook ({type(error).__name__}: {error})") from error


def settings(notebook: nbformat.NotebookNode) -> Mapping[str, Any]:
    """The notebook's own settings for this pipeline: its metadata under ``dslstudy``."""
    return notebook.metadata.get("dslstudy", {})


def toc_entries(toc: Path) -> list[str]:
    """Every document of a ``jb-book`` table of contents in reading order, the root first.

    Raises:
        InputError: if the file is not such a table.
    """

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, list):
            for entry in node:
                yield from walk(entry)
        elif isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            yield from (found for key in ("parts", "chapters", "sections") for found in walk(node.get(key)))

    try:
        table = yaml.safe_load(toc.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{toc} is not valid YAML: {error}") from error
    entries = list(walk(table))
    if not isinstance(table, dict) or "root" not in table:
        raise InputError(f"{toc} has no root page: write `root: intro`")
    return entries


def read_chapters(layout: Layout) -> list[Chapter]:
    """The notebooks that the table of contents lists, in its order.

    Raises:
        InputError: if one is missing, is no notebook, or waits (``after``) for one that is not listed or comes later.
    """
    chapters: list[Chapter] = []
    for entry in toc_entries(layout.toc):
        folder, _, name = entry.rpartition("/")
        if folder != "notebooks":
            continue
        name = name.removesuffix(".ipynb")
        path = layout.notebooks / f"{name}.ipynb"
        if not path.is_file():
            raise InputError(f"{layout.show(layout.toc)} lists {entry}, but there is no {layout.show(path)}")
        after = tuple(settings(read_notebook(path)).get("after", ()))
        if unknown := [other for other in after if other not in {chapter.name for chapter in chapters}]:
            raise InputError(f"{layout.show(path)} comes after {unknown[0]!r}, which is not listed before it")
        chapters.append(Chapter(name, path, after))
    return chapters


def select(chapters: list[Chapter], only: tuple[str, ...]) -> list[Chapter]:
    """The named chapters and those they come after; all of them if none is named.

    Raises:
        InputError: if a name is not a chapter's.
    """
    by_name = {chapter.name: chapter for chapter in chapters}
    wanted: set[str] = set()
    queue = list(only) or list(by_name)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise InputError(f"there is no notebook {name!r} in the book: choose from {', '.join(by_name) or 'none'}")
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].after)
    return [chapter for chapter in chapters if chapter.name in wanted]


def check_parameters(chapter: Chapter, parameters: Mapping[str, Any]) -> None:
    """See that the notebook's ``parameters`` cell knows every parameter that will be set.

    Papermill itself only logs a warning about an unknown one, and the chapter would silently keep its default.

    Raises:
        InputError: if it does not.
    """
    known = papermill.inspect_notebook(str(chapter.path))
    for name in parameters:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none (is a cell tagged `parameters`?)"
            raise InputError(f"{chapter.path.name} has no parameter {name!r}: {has}")


def cell_label(notebook: nbformat.NotebookNode, cell_id: str | None, source: str) -> str:
    """How a message names a cell: its place in the notebook as written (from 1) and its first line.

    Args:
        notebook: the notebook as written; papermill's additions shift the places in the executed one.
        cell_id: the cell's id in the executed copy.
        source: the cell's text.
    """
    place = next((index for index, cell in enumerate(notebook.cells, start=1) if cell.get("id") == cell_id), None)
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    first = first if len(first) <= 80 else f"{first[:79]}…"
    return f"{f'cell {place}' if place else 'the injected parameters'}, `{first}`"
