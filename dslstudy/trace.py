"""Which records a process has read: the book links every page to the records behind it."""

import os
from pathlib import Path

#: environment variable: the file into which the paths of records are written, one per line
TRACE = "DSLSTUDY_TRACE"


def note(path: Path) -> None:
    """Remember that a record was read, if somebody wants to know."""
    target = os.environ.get(TRACE)
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(f"{path.resolve()}\n")


def noted(trace: Path) -> list[Path]:
    """The records in a trace that are still there, in the order in which they were first read."""
    if not trace.is_file():
        return []
    lines = dict.fromkeys(trace.read_text(encoding="utf-8").splitlines())
    return [path for path in map(Path, lines) if path.is_file()]
