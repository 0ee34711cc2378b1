"""Runs the notebooks: papermill in one process each, several at a time, unchanged ones not at all.

An executed notebook counts only together with its receipt, a small JSON file written after it, which holds the hashes
of what went in and of what came out. Both appear by renaming: a run killed at any moment leaves either the whole or
nothing, and a copy altered since is noticed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dslstudy.book import worker
from dslstudy.book.chapters import Chapter, cell_label, check_parameters
from dslstudy.book.fingerprint import difference, digest, file_hash, notebook_parts, shared_parts
from dslstudy.book.layout import BookError, Layout
from dslstudy.trace import TRACE

#: Several notebooks run side by side: threads inside each would only fight. The rest keeps a kernel's output the same.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


@dataclass
class Execution:
    """One notebook on its way through the queue."""

    chapter: Chapter
    parts: dict[str, str]
    process: subprocess.Popen | None = None
    started: float = 0.0
    failure: str | None = None
    done: bool = False


@dataclass
class Executor:
    """Executes chapters at one profile.

    Args:
        layout: where everything lies.
        profile: also the name of the folder that receives the executed copies.
        parameters: injected into each notebook beside ``profile``.
        jobs: notebooks that run at the same time.
        force: execute unchanged ones too.
        report: receives one line per event.
    """

    layout: Layout
    profile: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 2
    force: bool = False
    report: Callable[[str], None] = print

    def __post_init__(self) -> None:
        """Make the folders and hash what all notebooks share."""
        self.folder = self.layout.executed(self.profile)
        self.running = self.folder / "running"
        self.failed = self.folder / "failed"
        self.injected = {"profile": self.profile, **self.parameters}
        self.shared = shared_parts(self.layout)

    def copy(self, chapter: Chapter) -> Path:
        """Where a chapter's executed copy lies."""
        return self.folder / f"{chapter.name}.ipynb"

    def receipt(self, chapter: Chapter) -> Path:
        """Where the hashes that vouch for the copy lie."""
        return self.folder / f"{chapter.name}.json"

    def parts(self, chapters: list[Chapter]) -> dict[str, dict[str, str]]:
        """What each chapter depends on, by name; ``chapters`` in the book's order."""
        found: dict[str, dict[str, str]] = {}
        for chapter in chapters:
            after = {name: digest(found[name]) for name in chapter.after}
            found[chapter.name] = notebook_parts(chapter.path, self.injected, self.shared, after)
        return found

    def why_not_reused(self, chapter: Chapter, parts: Mapping[str, str]) -> str | None:
        """None if the executed copy is whole and up to date, else the reason in words."""
        copy, receipt = self.copy(chapter), self.receipt(chapter)
        if not (copy.is_file() and receipt.is_file()):
            return "not executed yet"
        try:
            known = json.loads(receipt.read_text(encoding="utf-8"))
            sha256, old = known["sha256"], dict(known["parts"])
        except (ValueError, KeyError, TypeError):
            return "its receipt is damaged"
        if sha256 != file_hash(copy):
            return "its executed copy was altered"
        if old != parts:
            return f"changed: {difference(old, parts)}"
        return None

    def up_to_date(self, chapters: list[Chapter]) -> dict[str, bool]:
        """Which chapters have a copy that can be used as it is."""
        parts = self.parts(chapters)
        return {chapter.name: self.why_not_reused(chapter, parts[chapter.name]) is None for chapter in chapters}

    def run(self, chapters: list[Chapter]) -> None:
        """Execute what is not up to date. All that can run does, then failures are raised together.

        Raises:
            InputError: before anything runs, if a notebook does not know one of the parameters.
            BookError: naming each failed notebook, its cell, and the traceback.
        """
        for chapter in chapters:
            check_parameters(chapter, self.injected)
        parts = self.parts(chapters)
        queue = [Execution(chapter, parts[chapter.name]) for chapter in chapters]
        shutil.rmtree(self.running, ignore_errors=True)
        self.running.mkdir(parents=True)
        try:
            self._drain(queue)
        finally:
            for execution in queue:
                if execution.process and execution.process.poll() is None:
                    execution.process.terminate()
                    execution.process.wait()
            shutil.rmtree(self.running, ignore_errors=True)
        if failures := [execution.failure for execution in queue if execution.failure]:
            raise BookError("\n\n".join(failures))

    def _drain(self, queue: list[Execution]) -> None:
        """Start, watch and finish executions until none is left."""
        numbers = {execution.chapter.name: f"[{n}/{len(queue)}]" for n, execution in enumerate(queue, start=1)}
        reasons = {e.chapter.name: self.why_not_reused(e.chapter, e.parts) for e in queue}
        if self.force:
            reasons = {name: reason or "asked for" for name, reason in reasons.items()}
        states = {execution.chapter.name: execution for execution in queue}
        while not all(execution.done for execution in queue):
            for execution in queue:
                name, number = execution.chapter.name, numbers[execution.chapter.name]
                if execution.done:
                    continue
                if execution.process is not None:
                    if execution.process.poll() is not None:
                        self._finish(execution, number)
                    continue
                # outside a partial run's selection there is nothing to wait for
                before = [states[other] for other in execution.chapter.after if other in states]
                if broken := [other.chapter.name for other in before if other.failure]:
                    execution.done, execution.failure = True, f"{name} was not executed: {broken[0]} failed"
                elif not all(other.done for other in before):
                    continue
                elif reasons[name] is None:
                    execution.done = True
                    self.report(f"{number} {name}: reused, nothing it depends on has changed")
                elif sum(e.process is not None and not e.done for e in queue) < self.jobs:
                    self.report(f"{number} {name}: executing ({reasons[name]})")
                    self._start(execution)
            time.sleep(0.05)

    def _start(self, execution: Execution) -> None:
        """Give a notebook its process; the old copy no longer counts from here on."""
        chapter = execution.chapter
        self.receipt(chapter).unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", worker.__name__),
            *(str(chapter.path), str(self.running / chapter.path.name), str(chapter.path.parent)),
        ]
        with (
            (self.running / f"{chapter.name}.out").open("wb") as out,
            (self.running / f"{chapter.name}.err").open("wb") as err,
        ):
            environment = {**os.environ, **KERNEL_ENVIRONMENT, TRACE: str(self.running / f"{chapter.name}.records")}
            execution.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=environment
            )
        execution.process.stdin.write(json.dumps(self.injected).encode() + b"\n")
        execution.process.stdin.flush()
        execution.started = time.monotonic()

    def _finish(self, execution: Execution, number: str) -> None:
        """Put the copy in its place and vouch for it, or keep what a failed run left."""
        chapter, seconds = execution.chapter, time.monotonic() - execution.started
        execution.process.stdin.close()
        execution.done = True
        result = self.running / chapter.path.name
        if execution.process.returncode == 0:
            receipt = {"parts": execution.parts, "sha256": file_hash(result), "seconds": round(seconds, 1)}
            draft = self.running / f"{chapter.name}.json"
            draft.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
            (self.failed / chapter.path.name).unlink(missing_ok=True)
            result.replace(self.copy(chapter))
            draft.replace(self.receipt(chapter))
            self.report(f"{number} {chapter.name}: {seconds:.1f} s")
            return
        self.report(f"{number} {chapter.name}: FAILED after {seconds:.1f} s")
        execution.failure = self._describe_failure(execution)
        if result.is_file():
            self.failed.mkdir(exist_ok=True)
            kept = result.replace(self.failed / chapter.path.name)
            execution.failure += f"\nThe notebook as far as it got: {self.layout.show(kept)}"

    def _describe_failure(self, execution: Execution) -> str:
        """Which notebook, which cell, which exception."""
        chapter = execution.chapter
        out, err = ((self.running / f"{chapter.name}.{kind}").read_text(errors="replace") for kind in ("out", "err"))
        where = self.layout.show(chapter.path)
        if execution.process.returncode != worker.FAILED:
            return (
                f"{where}: the process that executed it ended with code {execution.process.returncode}\n{err}".rstrip()
            )
        failure = json.loads(out.splitlines()[-1])
        if failure["source"] is None:
            return f"{where}: its kernel did not start: {failure['traceback']}\n{err}".rstrip()
        count = f" (In [{failure['count']}])" if failure["count"] else ""
        label = cell_label(chapter.read(), failure["id"], failure["source"])
        return f"{where} failed in {label}{count}:\n{failure['traceback'].rstrip()}"
