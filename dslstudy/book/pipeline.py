"""Everything ``dslstudy book`` does, in order."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dslstudy.book import numbers, site
from dslstudy.book.chapters import read_chapters, read_notebook, select
from dslstudy.book.execute import Executor
from dslstudy.book.layout import BookError, Layout
from dslstudy.book.stage import lay_out
from dslstudy.errors import InputError


def make_book(
    layout: Layout,
    *,
    profile: str = "quick",
    only: tuple[str, ...] = (),
    jobs: int = 2,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Execute the notebooks of the table of contents and render the book.

    Args:
        layout: the source tree and the output folder.
        profile: decides the size of everything: ``smoke``, ``quick`` or ``paper``.
        only: names of single chapters; the rest is then taken as it is, and a draft is rendered if some of it is
            missing or out of date.
        jobs: notebooks executed at the same time.
        parameters: more papermill parameters, each known to every executed notebook.
        force: execute unchanged notebooks too.
        report: receives progress, one line each.

    Returns:
        The book's first page.

    Raises:
        InputError: for an unknown chapter or parameter, a damaged notebook, or a build that is already running.
        BookError: if a cell fails, a number has no record, or the pages do not hold together.
    """
    chapters = read_chapters(layout)
    chosen = select(chapters, only)
    executor = Executor(layout, profile, parameters or {}, jobs, force, report)
    with alone(layout):
        executor.run(chosen)
        check_numbers([executor.copy(chapter) for chapter in chosen])
        fresh = executor.up_to_date(chapters)
        draft = bool(only) and not all(fresh.values())
        target = layout.draft if draft else layout.html
        copies = {chapter.name: executor.copy(chapter) for chapter in chapters}
        if draft:
            missing = ", ".join(name for name, is_fresh in fresh.items() if not is_fresh)
            report(f"a draft, because these are not executed or out of date: {missing}")
            copies = {c.name: copies[c.name] if copies[c.name].is_file() else c.path for c in chapters}
        started = time.monotonic()
        report("rendering the pages")
        lay_out(layout, copies)
        written = {chapter.name: chapter.path for chapter in chapters}
        site.build(layout, target, written, draft_of=tuple(c.name for c in chosen) if draft else ())
        report(f"rendered in {time.monotonic() - started:.1f} s")
    first = target / "index.html"
    if not first.is_file():
        raise BookError(f"no {first} was written")
    return first


def check_numbers(copies: list[Path]) -> None:
    """See that executed chapters which promise it show no number but those computed from records.

    Raises:
        BookError: naming each number that stands there by itself.
    """
    found = []
    for path in copies:
        notebook = read_notebook(path)
        if numbers.uses_records(notebook):
            wrong = [*numbers.complaints(notebook), *numbers.complaints_of_records(notebook)]
            found += [f"notebooks/{path.name}, {what}" for what in wrong]
    if found:
        raise BookError("numbers that no record gives:\n" + "\n".join(found))


@contextlib.contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Hold the output folder: two builds at once would tear each other's files. The lock ends with the process."""
    try:
        layout.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BookError(f"cannot make the output folder {layout.output} ({error.strerror}); choose another") from error
    with (layout.output / ".lock").open("w") as stream:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: no such lock
            yield
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another build is writing to {layout.output}: wait for it, or use --output") from error
        yield
