"""The contract every loss keeps: shapes, dtypes, hyperparameters that broadcast, and errors that say how to mend them.

Shapes are always checked (it costs nothing). Values (finite scores, positive temperatures) are checked too, unless the
call is inside ``unchecked()`` or is being compiled: on a GPU each such check waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.errors import InputError

Hyperparameter = float | Tensor

_check_values: ContextVar[bool] = ContextVar("dslstudy_losses_check_values", default=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Skip the checks of values (not of shapes) inside the ``with`` block, for training loops that check once.

    Bad values then give bad numbers instead of an ``InputError``. Compiled losses never check values.

    >>> import torch
    >>> from dslstudy.losses import softmax_loss, unchecked
    >>> with unchecked():
    ...     bool(softmax_loss(torch.tensor([torch.nan]), torch.zeros(1, 2), temperature=0.2).isnan())
    True
    """
    token = _check_values.set(False)
    try:
        yield
    finally:
        _check_values.reset(token)


def checking_values() -> bool:
    """Whether values are checked here and now."""
    return not torch.compiler.is_compiling() and _check_values.get()


class Scores(NamedTuple):
    """Checked scores in their computing dtype: positive (..., B), negatives (..., B, N), mask (..., B, N) or None."""

    positive: Tensor
    negatives: Tensor
    mask: Tensor | None


def check_scores(positive: Tensor, negatives: Tensor, mask: Tensor | None) -> Scores:
    """Check the shape contract and bring the scores to one computing dtype (float32 for half types).

    Args:
        positive: (..., B) scores of the positives.
        negatives: (..., B, N) scores of the negatives, N >= 1.
        mask: (..., B, N) bool or broadcastable to it, True = a real negative; None = all are real.

    Raises:
        InputError: wrong types, shapes or dtypes; non-finite scores (masked ones are never looked at).
    """
    for name, scores in (("positive", positive), ("negatives", negatives)):
        if not isinstance(scores, Tensor) or not scores.is_floating_point():
            kind = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(f"{name} must be a floating-point torch tensor of scores, not {kind}")
    if positive.ndim < 1 or negatives.shape[:-1] != positive.shape:
        raise InputError(
            "scores must have the shapes positive (..., B) and negatives (..., B, N) with equal (..., B); "
            f"got {tuple(positive.shape)} and {tuple(negatives.shape)}"
        )
    if negatives.shape[-1] == 0:
        raise InputError("negatives has no column: give each example at least one negative (masked if need be)")
    if mask is not None:
        mask = _check_mask(mask, negatives)
    dtype = torch.promote_types(positive.dtype, negatives.dtype)
    if dtype.itemsize < 4:
        dtype = torch.float32
    positive, negatives = positive.to(dtype), negatives.to(dtype)
    if checking_values():
        check_finite("positive", positive)
        check_finite("negatives", negatives, mask)
    return Scores(positive, negatives, mask)


def _check_mask(mask: Tensor, negatives: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"mask must be a bool tensor (True = a real negative), not {kind}")
    return expand_to(mask, negatives, "mask")


def expand_to(tensor: Tensor, negatives: Tensor, name: str) -> Tensor:
    """``tensor`` seen as (..., B, N); InputError if it does not broadcast to that shape."""
    if tensor.shape == negatives.shape:
        return tensor
    try:
        return tensor.expand(negatives.shape)
    except RuntimeError:
        raise InputError(
            f"{name} must have the shape of negatives {tuple(negatives.shape)}, or broadcast to it; "
            f"got {tuple(tensor.shape)}"
        ) from None


def check_companion(name: str, tensor: Tensor, scores: Scores) -> Tensor:
    """A further (..., B, N) input, one number per negative, in the dtype of the scores; finite for real negatives.

    Raises:
        InputError: not a floating-point tensor, a wrong shape, non-finite values.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"{name} must be a floating-point torch tensor, not {kind}")
    tensor = expand_to(tensor.to(scores.negatives.dtype), scores.negatives, name)
    if checking_values():
        check_finite(name, tensor, scores.mask)
    return tensor


def check_per_example(name: str, value: Hyperparameter, positive: Tensor) -> Hyperparameter:
    """A number, or a tensor that broadcasts to (..., B), in the dtype of ``positive``; finite.

    Raises:
        InputError: a wrong type or shape, non-finite values.
    """
    if not isinstance(value, Tensor):
        return hyperparameter(value, positive, name)
    if checking_values():
        check_finite(name, value)
    try:
        return value.to(device=positive.device, dtype=positive.dtype).expand(positive.shape)
    except RuntimeError:
        raise InputError(
            f"{name} must be a number or have the shape of positive {tuple(positive.shape)}; got {tuple(value.shape)}"
        ) from None


def check_finite(name: str, values: Tensor, mask: Tensor | None = None) -> None:
    """InputError if a value (where ``mask``, if given) is NaN or infinite; one cheap pass when all is well."""
    # Any NaN or infinity makes the sum non-finite; so may huge or masked values, so look closer before raising.
    if torch.isfinite(values.detach().sum()):
        return
    bad = ~torch.isfinite(values)
    if mask is not None:
        bad = bad & mask
    if bad.any():
        raise InputError(
            f"{name} has {int(bad.sum())} NaN or infinite values: scores must be finite (did training diverge?)"
        )


def hyperparameter(
    value: Hyperparameter,
    positive: Tensor,
    name: str,
    *,
    above: float = -math.inf,
    at_most: float = math.inf,
) -> Hyperparameter:
    """A hyperparameter ready to broadcast with ``positive`` (..., B).

    Args:
        value: a number, or a tensor whose shape broadcasts over the leading axes ``...`` (a stack of runs).
        positive: (..., B) checked scores.
        name: what the error calls it.
        above: what it must exceed.
        at_most: the largest value allowed.

    Returns:
        The number as float, or a tensor of shape (..., 1) in the dtype and on the device of ``positive``.

    Raises:
        InputError: a shape that does not broadcast, a value that is not finite or out of range.
    """
    if isinstance(value, Tensor):
        check_broadcasts(name, value, positive)
        value = value.to(device=positive.device, dtype=positive.dtype).unsqueeze(-1)
        if checking_values():
            for number in value.detach().flatten().tolist():
                _check_range(name, number, above, at_most)
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or a tensor, not {type(value).__name__}") from None
    if not torch.compiler.is_compiling():
        _check_range(name, number, above, at_most)
    return number


def temperature(value: Hyperparameter, positive: Tensor, name: str = "temperature") -> Hyperparameter:
    """A temperature: a ``hyperparameter`` that is positive."""
    return hyperparameter(value, positive, name, above=0.0)


def check_broadcasts(name: str, value: Tensor, positive: Tensor) -> None:
    """InputError unless the shape of ``value`` broadcasts to the leading axes ``...`` of ``positive`` (..., B)."""
    shape, leading = tuple(value.shape), tuple(positive.shape[:-1])
    pairs = zip(reversed(shape), reversed(leading), strict=False)
    if len(shape) > len(leading) or any(size not in (1, wanted) for size, wanted in pairs):
        raise InputError(
            f"{name} must be a number, or broadcast over the leading axes {leading} of positive; "
            f"got a tensor of shape {shape}"
        )


def _check_range(name: str, number: float, above: float, at_most: float) -> None:
    if not math.isfinite(number):
        raise InputError(f"{name} must be finite, got {number}")
    if number <= above:
        raise InputError(f"{name} must be above {above:g}, got {number:g}")
    if number > at_most:
        raise InputError(f"{name} must be at most {at_most:g}, got {number:g}")


def per_negative(value: Hyperparameter) -> Hyperparameter:
    """A hyperparameter or a per-example (..., B) tensor, ready to broadcast with (..., B, N)."""
    return value.unsqueeze(-1) if isinstance(value, Tensor) else value
