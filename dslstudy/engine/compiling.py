"""``torch.compile`` where it pays and works, the plain functions where it does not."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from dslstudy.errors import InputError

#: compiling takes about half a minute per loss; a run of fewer negatives in all is trained before that is won back
WORTH_COMPILING = 5_000_000_000
MODES = ("auto", "always", "never")


def compiler_available(device: torch.device) -> bool:
    """Whether torch can compile for a device here: a C++ compiler for CPUs, Triton for GPUs."""
    if device.type == "cpu":
        return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
    from importlib.util import find_spec

    return find_spec("triton") is not None


def decide(mode: str, negatives_scored: int, device: torch.device) -> bool:
    """Whether the losses of a run are compiled.

    The decision hangs on the run alone, not on its stack, since compiled sums are rounded otherwise than plain ones.

    Args:
        mode: ``always``, ``never``, or ``auto``: when there is a compiler and the run is long enough.
        negatives_scored: how many scores of negatives the run's losses will see.
        device: where it is trained.

    Raises:
        InputError: an unknown mode, or ``always`` without a compiler.
    """
    if mode not in MODES:
        raise InputError(f"compile must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "never":
        return False
    available = compiler_available(device)
    if mode == "always" and not available:
        missing = "a C++ compiler (g++ or clang++)" if device.type == "cpu" else "Triton"
        raise InputError(f"compiling needs {missing}, which is not there; install it, or use --compile auto")
    return available and (mode == "always" or negatives_scored >= WORTH_COMPILING)


class Compiled:
    """A function, compiled at the first call; a function that cannot be compiled is called as it is.

    Args:
        function: takes and returns tensors; everything else must be bound to it already.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.plain = function
        self._failed = False
        # one worker computes one run with one thread, so the kernels must not ask for more
        self._compiled = torch.compile(function, dynamic=False, options={"cpp.threads": 1})

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """The function's value, the same as plain up to rounding."""
        if not self._failed:
            try:
                return self._compiled(*inputs, **keywords)
            except InputError:
                raise
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # the compiler's errors have no common class
                self._failed = True
                name = getattr(self.plain, "__name__", None) or getattr(self.plain, "func", self.plain).__name__
                warnings.warn(
                    f"{name} could not be compiled ({type(error).__name__}) and runs uncompiled: same result, slower",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self.plain(*inputs, **keywords)


@cache
def compiled(function: Callable[..., Any]) -> Compiled:
    """The compiled form of a function, one per process."""
    return Compiled(function)
