"""Locks between real processes: one holds, the other waits or goes on; the dead hold nothing."""

import os
import select
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.study import locks
from dslstudy.study.locks import Locks, locks_of

# the module alone, as a script: a process that must be killed need not know torch
HOLDER = f"""
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("locks", {locks.__file__!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
print("tries", flush=True)
with module.Locks(sys.argv[1]).held(sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def started(path, *keys):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), *keys], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "tries\n"
    return process


def holder(path, *keys):
    process = started(path, *keys)
    assert process.stdout.readline() == "held\n"
    return process


def free(path, key):
    with Locks(path).tried(key) as held:
        return held


def test_what_another_process_holds_cannot_be_had(tmp_path):
    path = tmp_path / "deep" / "locks"
    process = holder(path, "00ff", "abcdef0123456789")
    assert not free(path, "00ff")
    assert not free(path, "abcdef0123456789")
    assert free(path, "00fe")
    process.communicate("\n")
    assert free(path, "00ff")


def test_a_place_where_no_lock_can_be_is_said_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError) as caught, Locks(tmp_path / "file" / "locks").held(["1"]):
        pass
    assert caught.value.__context__ is None


def test_a_killed_process_holds_nothing(tmp_path):
    process = holder(tmp_path / "locks", "1")
    assert not free(tmp_path / "locks", "1")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert free(tmp_path / "locks", "1")


def test_held_waits_for_its_turn(tmp_path):
    first = holder(tmp_path / "locks", "1")
    second = started(tmp_path / "locks", "2", "1")
    readable, _, _ = select.select([second.stdout], [], [], 0.3)
    assert not readable
    first.communicate("\n")
    assert second.stdout.readline() == "held\n"
    second.communicate("\n")


def test_one_object_for_a_store(tmp_path):
    assert locks_of(tmp_path) is locks_of(tmp_path)
    assert not locks_of(tmp_path).path.exists()  # nothing is written before a lock is taken


@given(st.lists(st.text("0123456789abcdef", min_size=1, max_size=32), max_size=5))
def test_any_hexadecimal_names_can_be_held(tmp_path_factory, keys):
    path = tmp_path_factory.mktemp("locks") / "locks"
    with Locks(path).held(keys), Locks(path).held([]):
        pass
