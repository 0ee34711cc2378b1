"""The strict build: Jupyter Book over the stage, where any warning is an error that names its file and cell."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dslstudy.book import mathjax
from dslstudy.book.chapters import cell_label, read_notebook
from dslstudy.book.layout import BookError, Layout

JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
STRICT = ("--warningiserror", "--nitpick", "--keep-going")
WARNING = re.compile(r"^(?P<where>.*?)\s*(?P<level>WARNING|ERROR|CRITICAL|SEVERE): (?P<what>.*)$")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
#: From here on Jupyter Book only repeats that Sphinx failed
JUPYTER_BOOK_WRAPS = "\nThe above exception was the direct cause"
#: MyST-NB counts a notebook's lines as 10000 * (number of the cell) + line in the cell
LINES_PER_CELL = 10_000


def build(layout: Layout, target: Path, written: Mapping[str, Path], *, draft_of: tuple[str, ...] = ()) -> None:
    """Render the stage into ``target``; on failure ``target`` stays what it was.

    Args:
        layout: where everything lies.
        target: folder of the finished html.
        written: chapter name -> the notebook as written, to name cells in messages.
        draft_of: if given, only problems in these chapters count: the others may not be executed yet.

    Raises:
        BookError: listing every broken reference, missing image, unknown citation, ...
    """
    work = layout.output / "site"
    shutil.rmtree(work, ignore_errors=True)
    command = [*JUPYTER_BOOK, "build", str(layout.stage), "--path-output", str(work), *(() if draft_of else STRICT)]
    # colours would hide the file names from the search below
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = [place(layout, written, *problem) for problem in problems_in(run.stderr)]
    if draft_of:
        found = [line for line in found if any(line.startswith(f"notebooks/{name}.ipynb") for name in draft_of)]
    html = work / "_build" / "html"
    failed = run.returncode != 0 or not (html / "index.html").is_file()
    if found or (failed and not draft_of) or not html.is_dir():
        listing = "\n".join(dict.fromkeys(found)) or ANSI.sub("", run.stderr.partition(JUPYTER_BOOK_WRAPS)[0])[-4000:]
        raise BookError(f"the pages do not hold together:\n{listing}")
    mathjax.ship(html)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(html, target)
    shutil.rmtree(work)


def problems_in(log: str) -> list[tuple[str, str]]:
    """Where and what: the problems that Sphinx's log reports, each with the end of the traceback that follows it."""
    found: list[tuple[str, list[str]]] = []
    for line in ANSI.sub("", log).partition(JUPYTER_BOOK_WRAPS)[0].partition("\n=====")[0].splitlines():
        if match := WARNING.match(line):
            found.append((match["where"], [match["what"]]))
        elif found and line.strip() and (line.startswith(" ") or len(found[-1][1]) > 1):
            found[-1][1].append(line)
    return [(where, "\n".join([what, *more[-3:]])) for where, (what, *more) in found]


def place(layout: Layout, written: Mapping[str, Path], where: str, what: str) -> str:
    """A warning with its place in terms of the sources: ``notebooks/x.ipynb, cell 3, `first line`: what``."""
    path, _, line = where.rstrip(":").rpartition(":")
    if not path or not line.isdigit():
        path, line = where.rstrip(":"), ""
    path = path.removeprefix(f"{layout.stage}/").removeprefix(f"{layout.root}/")
    path = path.replace(".ip.rst", ".ipynb")  # sphinx-proof's way to write a notebook's name
    name = path.removeprefix("notebooks/").removesuffix(".ipynb")
    if name in written and (layout.stage / path).is_file():
        cells = read_notebook(layout.stage / path).cells
        # a missing image comes without a line: then the cell is the one that mentions its name
        mentioned = re.split(r"[\s/]", what)[-1].strip("'\"")
        index = int(line) // LINES_PER_CELL - 1 if line else None
        found = [cell for number, cell in enumerate(cells) if (number == index if line else mentioned in cell.source)]
        if found:
            return f"{path}, {cell_label(read_notebook(written[name]), found[0].get('id'), found[0].source)}: {what}"
    if (layout.toc.parent / path).is_file():
        path = f"book/{path}"
    return f"{path}{f':{line}' if line else ''}: {what}" if path else what
