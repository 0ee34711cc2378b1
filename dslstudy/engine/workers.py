"""Worker threads for the CPU: each computes one run, or one share of a batch, with one thread of torch's own.

Splitting the work once, at the top, beats torch's threads, which split each small operation and wait at its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch

_here = threading.local()


class Workers:
    """As many workers as torch has threads; a context manager, inside which torch itself uses one.

    Args:
        device: anything but a CPU needs no workers: then everything runs in the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.threads > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.threads, "dslstudy-worker", initializer=_become_worker)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self.threads)

    def spread(self, function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
        """``[function(x) for x in inputs]``, at the same time. A call from within a worker stays in that worker."""
        inputs = list(inputs)
        if self._pool is None or len(inputs) < 2 or getattr(_here, "is_worker", False):
            return [function(x) for x in inputs]
        return list(self._pool.map(function, inputs))

    @contextmanager
    def all_threads(self) -> Iterator[None]:
        """For one large operation in the calling thread, while the workers have nothing to do."""
        if self._pool is None:
            yield
            return
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(1)


def _become_worker() -> None:
    _here.is_worker = True
    torch.set_num_threads(1)
