"""Locks between processes that share a store, so that no run is trained twice (book: Protocol and search).

All locks are bytes of one empty file. The system frees those of a process that ends, however it ends: nothing stale can
stay behind, and there is nothing to clean up.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

#: names are hexadecimal; so many digits fit the length that a file may have
_DIGITS = 15


class Locks:
    """The locks of a folder.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: int | None = None

    @contextmanager
    def held(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold the locks of some keys, waiting for those that another process holds.

        Args:
            keys: hexadecimal names, such as those of runs.
        """
        places = sorted({_place(key) for key in keys})  # in one order everywhere: nobody waits in a circle
        file = self._open()
        try:
            for place in places:
                fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
            yield
        finally:
            for place in places:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    @contextmanager
    def tried(self, key: str) -> Iterator[bool]:
        """Hold a key's lock if no other process does; gives whether it is held."""
        place = _place(key)
        try:
            fcntl.lockf(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._open(), fcntl.LOCK_UN, 1, place)

    def _open(self) -> int:
        # one descriptor for good: closing any would free all locks that this process holds on the file
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        return self._file


@cache
def locks_of(root: Path) -> Locks:
    """The locks of the store in a folder, the same object for everybody in this process."""
    return Locks(root / "in-flight" / "locks")


def _place(key: str) -> int:
    return int(key[:_DIGITS], 16)
