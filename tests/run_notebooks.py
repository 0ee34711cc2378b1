"""The notebooks' part of ``make test``: every cell runs, and stored outputs still hold.

Output-free notebooks run as copies at profile ``smoke`` (``pytest --nbval-lax``); notebooks that keep their outputs run
as they are and must reproduce them (``pytest --nbval``). The chapters of the study are not among them:
``tests/book/test_numbers.py`` executes these and walks every number they show.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dslstudy.book.layout import Layout
from dslstudy.book.smoke import write_copies

ROOT = Path(__file__).parent.parent


def check(notebooks: list[Path], mode: str, jobs: int) -> int:
    """Run nbval over notebooks, each on one worker (its cells share a kernel); print what it says when it has ended."""
    if not notebooks:
        return 0
    sanitize = ROOT / "tests" / "nbval_sanitize.cfg"
    command = [
        *(sys.executable, "-m", "pytest", "-n", str(min(jobs, len(notebooks))), "--dist", "loadfile", mode),
        *("--nbval-sanitize-with", str(sanitize), "--nbval-cell-timeout", "300", "-p", "no:cacheprovider"),
        *("-p", "tests.nbval_kernels"),
        *map(str, notebooks),
    ]
    ended = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"{mode}: {', '.join(path.name for path in notebooks)}\n{ended.stdout}", flush=True)
    return ended.returncode


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    jobs = parser.parse_args().jobs
    copies, kept = write_copies(Layout.of(ROOT))
    # One long notebook must not leave the other cores idle: both passes go at once and share the jobs.
    with ThreadPoolExecutor(2 if jobs > 1 else 1) as passes:
        lax = passes.submit(check, copies, "--nbval-lax", max(1, jobs // 2))
        strict = passes.submit(check, kept, "--nbval", max(1, jobs - jobs // 2))
    sys.exit(max(lax.result(), strict.result()))


if __name__ == "__main__":
    main()
