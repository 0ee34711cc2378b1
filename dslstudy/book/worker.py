"""Executes one notebook in a process of its own: ``python -m dslstudy.book.worker SOURCE TARGET FOLDER``.

What the kernel reads of the store is traced into the file that ``DSLSTUDY_TRACE`` names, and kept with the copy.
The parameters come as one line of JSON on standard input. That pipe stays open as a lifeline: when the parent dies,
however suddenly, reading from it ends, and so do this process and (because its parent is gone) the kernel.
Exit code 0 means executed; 3 means that the notebook failed, described by one JSON object on standard output.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError, strip_color

from dslstudy.book import records
from dslstudy.book.kernels import STARTS, private_sockets
from dslstudy.trace import TRACE

FAILED = 3


def run(source: Path, target: Path, folder: Path, parameters: dict[str, Any]) -> None:
    """Let papermill execute ``source`` into ``target``, with another kernel if the first dies before any cell."""
    for start in range(1, STARTS + 1):
        try:
            with private_sockets() as config:
                papermill.execute_notebook(
                    str(source),
                    str(target),
                    parameters=parameters,
                    kernel_name="python3",
                    cwd=str(folder),
                    progress_bar=False,
                    config=config,
                )
            return
        except RuntimeError:  # a failing cell raises another one
            if start == STARTS or reached(target):
                raise
            print("the kernel died before it ran a cell; starting another", file=sys.stderr, flush=True)


def reached(target: Path) -> list[nbformat.NotebookNode]:
    """The cells of an executed copy, as far as it got, that were started."""
    cells = nbformat.read(target, as_version=4).cells if target.is_file() else []
    return [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]


def execute(source: Path, target: Path, folder: Path, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Execute ``source`` into ``target`` with ``folder`` as the kernel's working directory.

    Returns:
        None, or what failed: ``id`` and ``source`` of the cell (both None if no cell was reached), ``count`` (its
        execution number), ``traceback``.
    """
    try:
        run(source, target, folder, parameters)
    except PapermillExecutionError as error:
        notebook = nbformat.read(target, as_version=4)
        cell = next(cell for cell in notebook.cells if cell.metadata.get("papermill", {}).get("exception"))
        report = {"count": error.exec_count, "traceback": strip_color("\n".join(error.traceback))}
    except Exception as error:  # the kernel died, or never started
        cell = next((cell for cell in reversed(reached(target)) if cell.cell_type == "code"), None)
        report = {"count": None, "traceback": f"{type(error).__name__}: {error}"}
    else:
        notebook = nbformat.read(target, as_version=4)
        records.keep(notebook, Path(os.environ[TRACE]))
        nbformat.write(notebook, target)
        return None
    return {**report, "id": cell.get("id") if cell else None, "source": cell.source if cell else None}


def end_with_parent() -> None:
    """Leave as soon as the parent process is gone."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Entry point of the process."""
    source, target, folder = (Path(argument) for argument in sys.argv[1:])
    parameters = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    if report := execute(source, target, folder, parameters):
        print(json.dumps(report))
        sys.stdout.flush()
    # not sys.exit: the thread above is blocked inside a read that an orderly shutdown would wait for
    os._exit(FAILED if report else 0)


if __name__ == "__main__":
    main()
