"""Notebooks really run: in parallel, in order, reused, failing, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dslstudy.book.chapters import read_chapters, read_notebook
from dslstudy.book.execute import Executor
from dslstudy.book.layout import BookError
from dslstudy.errors import InputError

pytestmark = pytest.mark.book


def outputs(path):
    cells = read_notebook(path).cells
    return "".join(out.get("text", "") for cell in cells if cell.cell_type == "code" for out in cell.outputs)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def meet(own, other):
    """A cell that goes on only when another notebook runs at the same time."""
    return (
        "import pathlib, time\n"
        f"pathlib.Path({str(own)!r}).touch()\n"
        "end = time.monotonic() + 60\n"
        f"while not pathlib.Path({str(other)!r}).exists() and time.monotonic() < end:\n"
        "    time.sleep(0.05)\n"
        f"assert pathlib.Path({str(other)!r}).exists(), 'nobody came'"
    )


def test_executed_copies_are_reused_until_something_changes(book, tmp_path):
    """Independent notebooks meet while they run; then a change of each kind makes exactly the right ones run again."""
    book.notebook(
        "a", meet(tmp_path / "a", tmp_path / "b"), "print(profile)\nimport os; print(os.environ['OMP_NUM_THREADS'])"
    )
    b = book.notebook("b", meet(tmp_path / "b", tmp_path / "a"))
    book.notebook("c", f"assert not list(__import__('pathlib').Path({str(tmp_path)!r}).glob('z'))", after=["b"])
    source = b.read_bytes()

    lines = book.execute(profile="quick")
    executed = book.layout.executed("quick")
    assert outputs(executed / "a.ipynb") == "quick\n1\n"
    assert lines.index("[3/3] c: executing (not executed yet)") > next(
        i for i, x in enumerate(lines) if x.startswith("[2/3] b: ") and x.endswith(" s")
    )
    assert b.read_bytes() == source, "the source tree stays as it was"
    assert sorted(path.name for path in executed.iterdir()) == [f"{n}.{e}" for n in "abc" for e in ("ipynb", "json")]

    assert book.execute(profile="quick") == [
        f"[{i}/3] {n}: reused, nothing it depends on has changed" for i, n in enumerate("abc", 1)
    ]

    (executed / "a.json").write_text('{"parts"')
    b.write_text(b.read_text().replace("nobody came", "nobody"))
    lines = book.execute(profile="quick")
    assert "[1/3] a: executing (its receipt is damaged)" in lines
    assert "[2/3] b: executing (changed: notebook)" in lines
    assert "[3/3] c: executing (changed: chapter b)" in lines

    executor = Executor(book.layout, "quick")
    chapters = read_chapters(book.layout)
    assert executor.up_to_date(chapters) == {"a": True, "b": True, "c": True}
    (executed / "c.ipynb").write_text((executed / "c.ipynb").read_text().replace("Chapter", "Part"))
    assert executor.why_not_reused(chapters[2], executor.parts(chapters)["c"]) == "its executed copy was altered"
    assert Executor(book.layout, "smoke").up_to_date(chapters) == {"a": False, "b": False, "c": False}


def test_failures_name_notebook_and_cell_and_the_rest_still_runs(book):
    book.notebook("a", "x = 1", "\n# why it fails\nassert x == 2, 'x is not two'")
    book.notebook("b", "print('fine')")
    book.notebook("c", "print('never')", after=["a"])
    book.notebook("d", "import os\nos._exit(7)")
    with pytest.raises(BookError) as caught:
        book.execute()
    message = str(caught.value)
    executed = book.layout.executed("smoke")
    assert "a.ipynb failed in cell 4, `# why it fails` (In [4]):" in message
    assert "AssertionError: x is not two" in message
    assert "c was not executed: a failed" in message
    assert "d.ipynb failed in cell 3, `import os`" in message
    assert "DeadKernelError" in message
    assert "\x1b" not in message
    assert outputs(executed / "b.ipynb") == "fine\n"
    assert not list(executed.glob("[acd].*")), "nothing that failed counts as executed"
    kept = read_notebook(executed / "failed" / "a.ipynb")
    assert any(out.output_type == "error" for cell in kept.cells if cell.cell_type == "code" for out in cell.outputs)
    assert str(executed / "failed" / "a.ipynb") in message


@pytest.fixture
def failing_kernel(tmp_path, monkeypatch):
    """Kernels named python3 fail to start, the first ``times`` of them. Returns a file with a line for each start."""

    def fail(times):
        starts = tmp_path / "starts"
        launch = tmp_path / "launch.py"
        launch.write_text(
            "import pathlib, sys\n"
            f"starts = pathlib.Path({str(starts)!r})\n"
            "with starts.open('a') as stream:\n    stream.write('start\\n')\n"
            f"if len(starts.read_text().splitlines()) <= {times}:\n    sys.exit('no room for a kernel')\n"
            "import runpy\nrunpy.run_module('ipykernel_launcher', run_name='__main__')\n"
        )
        kernels = tmp_path / "share" / "kernels" / "python3"
        kernels.mkdir(parents=True)
        argv = [sys.executable, str(launch), "-f", "{connection_file}"]
        (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "P", "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
        return starts

    return fail


def test_a_kernel_that_dies_before_any_cell_is_replaced_once(book, failing_kernel):
    starts = failing_kernel(times=1)
    book.notebook("a", "print('fine')")
    book.execute()
    assert outputs(book.layout.executed("smoke") / "a.ipynb") == "fine\n"
    assert starts.read_text().splitlines() == ["start"] * 2


def test_a_kernel_that_never_starts_is_said_with_its_own_words(book, failing_kernel):
    starts = failing_kernel(times=9)
    book.notebook("a", "print('never')")
    with pytest.raises(BookError, match=r"(?s)a\.ipynb: its kernel did not start: .*no room for a kernel"):
        book.execute()
    assert starts.read_text().splitlines() == ["start"] * 2


@pytest.mark.parametrize(("times", "code"), [(1, 0), (9, 1)])
def test_nbval_replaces_a_kernel_that_dies_before_any_cell_once(book, failing_kernel, times, code):
    starts = failing_kernel(times)
    path = book.notebook("a", "print('fine')")
    root = Path(__file__).parents[2]
    plugins = ("-p", "no:cacheprovider", "-p", "tests.nbval_kernels")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", *plugins, str(path)],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert starts.read_text().splitlines() == ["start"] * 2


def test_a_kernel_that_dies_in_a_cell_is_not_replaced(book, tmp_path):
    """A second one could do twice what the first had done."""
    book.notebook(
        "a", f"with open({str(tmp_path / 'starts')!r}, 'a') as f:\n    f.write('start\\n')", "import os\nos._exit(7)"
    )
    with pytest.raises(BookError, match=r"a\.ipynb failed in cell 4, `import os`"):
        book.execute()
    assert (tmp_path / "starts").read_text() == "start\n"


def test_kernels_side_by_side_share_no_address(book):
    """Nobody can take from a kernel what it was promised: its sockets are files in a folder of its own."""
    for name in "ab":
        book.notebook(
            name, "from ipykernel.kernelapp import IPKernelApp\nk = IPKernelApp.instance()\nprint(k.transport, k.ip)"
        )
    book.execute()
    said = [outputs(book.layout.executed("smoke") / f"{name}.ipynb").split() for name in "ab"]
    assert [transport for transport, _ in said] == ["ipc", "ipc"]
    folders = [Path(address).parent for _, address in said]
    assert folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders), "nothing is left behind"


def test_a_folder_too_long_for_sockets_is_no_obstacle(book, tmp_path, monkeypatch):
    longest = tmp_path / ("long" * 30)
    longest.mkdir()
    monkeypatch.setenv("TMPDIR", str(longest))
    book.notebook("a", "print('fine')")
    book.execute()
    assert outputs(book.layout.executed("smoke") / "a.ipynb") == "fine\n"


def test_parameters_are_checked_before_anything_runs(book, tmp_path):
    book.notebook(
        "a", f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()", parameters="profile = ''\nseed = 0"
    )
    book.notebook("b")
    with pytest.raises(InputError, match=r"b\.ipynb has no parameter 'seed'"):
        book.execute(parameters={"seed": 3})
    assert not (tmp_path / "ran").exists()


def process_is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_run_leaves_nothing_half_done_and_is_resumed(book, tmp_path):
    gate, pid_file = tmp_path / "gate", tmp_path / "pid"
    book.notebook("a", "print('first')")
    book.notebook(
        "b",
        f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))",
        f"while not pathlib.Path({str(gate)!r}).exists():\n    time.sleep(0.05)\nprint('second')",
        after=["a"],
    )
    program = "from dslstudy.cli import main; main()"
    command = [sys.executable, "-c", program, "book", "--profile", "smoke", "--source", str(book.root)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: pid_file.is_file() and pid_file.read_text())
    kernel = int(pid_file.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: process_is_gone(kernel))

    gate.touch()
    lines = book.execute()
    assert lines[0] == "[1/2] a: reused, nothing it depends on has changed"
    assert lines[1] == "[2/2] b: executing (not executed yet)"
    assert outputs(book.layout.executed("smoke") / "b.ipynb") == "second\n"
