"""The numerical heart the losses share: masked means and a log-sum-exp of margins that nothing finite can overflow.

Scores, not margins, are shifted: with ``top = max_j s_j`` over the real negatives,

    log Σ_j w_j exp((s_j - s_i)/τ)  =  (top - s_i)/τ + log Σ_j w_j exp((s_j - top)/τ),

so that every exponent of the sum is at most log w_j, and the one number that can be too large for the dtype, the first
term, is saturated at the dtype's largest value. Writing it on scores also saves the (..., B, N) tensor of margins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.losses._checks import Hyperparameter, Scores, per_negative


def hide(values: Tensor, mask: Tensor | None, fill: float) -> Tensor:
    """``values`` with ``fill`` where the mask is False, zero gradient there."""
    return values if mask is None else torch.where(mask, values, fill)


def weights_of(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """The mask as numbers 1 and 0, for sums and counts (on a CPU far faster than sums of booleans)."""
    return None if mask is None else mask.to(like.dtype)


def count_real(values: Tensor, weights: Tensor | None) -> Tensor | float:
    """Number of real entries on the last axis (..., 1), at least one so that it can divide."""
    if weights is None:
        return float(max(values.shape[-1], 1))
    return weights.sum(-1, keepdim=True).clamp_(min=1.0)


def saturate(values: Tensor, share: float = 1.0) -> Tensor:
    """Clamp infinities that finite inputs produced to ``share`` of the dtype's largest value."""
    limit = share * torch.finfo(values.dtype).max
    return values.clamp(-limit, limit)


class Below(NamedTuple):
    """Scores of the negatives relative to the highest real one.

    Attributes:
        below: (..., B, N) ``s_j - top``, at most 0, and -inf where masked.
        top: (..., B) the highest score of a real negative, a constant for the gradient; zero without any.
        live: (..., B) bool, whether there is a real negative; None if there is no mask.
    """

    below: Tensor
    top: Tensor
    live: Tensor | None


def from_top(scores: Scores) -> Below:
    """The negatives' scores, seen from their top; the shift is a constant, since no loss depends on it."""
    negatives = hide(scores.negatives, scores.mask, -torch.inf)
    top = negatives.detach().amax(-1, keepdim=True)
    live = None
    if scores.mask is not None:
        live = top > -torch.inf
        top = hide(top, live, 0.0)
        live = live.squeeze(-1)
    return Below(negatives - top, top.squeeze(-1), live)


def log_sum_exp(logits: Tensor, live: Tensor | None) -> Tensor:
    """``log Σ_j exp(logits_j)`` over the last axis, -inf = masked; zero, with zero gradient, where not ``live``.

    ``logits`` must be a temporary of the caller's: its memory is reused.
    """
    peak = logits.detach().amax(-1, keepdim=True)
    peak = hide(peak, None if live is None else live.unsqueeze(-1), 0.0)
    total = logits.sub_(peak).exp_().sum(-1)
    return hide(hide(total, live, 1.0).log() + peak.squeeze(-1), live, 0.0)


def log_sum_exp_margins(
    scores: Scores,
    temperature: Hyperparameter,
    *,
    positive_temperature: Hyperparameter | None = None,
    log_weight: Tensor | None = None,
    seen: Below | None = None,
) -> Tensor:
    """``log Σ_j w_j exp(s_j/τ) - s_i/τ⁺`` over the real negatives; zero for an example that has none.

    Args:
        scores: checked scores.
        temperature: τ, a number, (..., 1) or one per example (..., B).
        positive_temperature: τ⁺, likewise; None for τ.
        log_weight: (..., B, N) log w_j, finite; None for w = 1.
        seen: the result of ``from_top(scores)`` if it is at hand; it is not changed.

    Returns:
        (..., B), finite for finite scores, at worst saturated at the dtype's largest value.
    """
    below, top, live = from_top(scores) if seen is None else seen
    inverse = 1.0 / temperature
    if isinstance(inverse, Tensor) and inverse.requires_grad:
        # d/d(1/τ) multiplies the weights, zero where masked, with the scores: keep those finite, for 0·∞ is not 0.
        logits = saturate(below) * per_negative(inverse)
        logits = hide(logits, scores.mask, -torch.inf)
    elif seen is None:
        logits = below.mul_(per_negative(inverse))  # our own temporary, so in place
    else:
        logits = below * per_negative(inverse)

    if log_weight is None:
        # The largest logit is exactly 0.
        tail = hide(logits.exp_().sum(-1), live, 1.0).log()
    else:
        tail = log_sum_exp(logits.add_(log_weight), live)

    if positive_temperature is None:
        head = saturate(saturate(top - scores.positive) * inverse)
    else:
        # Written so that equal temperatures give the same bits as one temperature.
        positive_inverse = 1.0 / positive_temperature
        head = saturate((top - scores.positive) * positive_inverse, 0.5)
        head = head + saturate(top * (inverse - positive_inverse), 0.5)
    return hide(head + tail, live, 0.0)


def standardise(values: Tensor, mask: Tensor | None, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Centred values and the factor that makes them z-scores, over the last axis.

    The z-scores, with the population standard deviation, are ``centred * factor``. Values that are constant to within
    rounding have factor zero: their differences are noise, which a division by their standard deviation would blow up.

    Args:
        values: (..., N), finite where real.
        mask: (..., N) bool, True = real; None = all.
        weights: ``weights_of(mask, values)``.

    Returns:
        centred (..., N), zero where masked, and factor (..., 1).
    """
    if values.shape[-1] == 0:
        return values, values.new_zeros((*values.shape[:-1], 1))
    count = count_real(values, weights)
    centred = hide(values, mask, 0.0)
    # Z-scores do not depend on the scale: in [-1, 1] no sum overflows, and squares cannot all underflow.
    scale = _largest_magnitude(centred)
    centred = centred / torch.where(scale > 0, scale, 1.0)
    centred = centred.sub_(centred.sum(-1, keepdim=True) / count)
    if weights is not None:
        centred = centred.mul_(weights)
    constant = _largest_magnitude(centred) <= 8 * torch.finfo(values.dtype).eps
    deviation = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / count**0.5
    return centred, torch.where(constant, 0.0, 1.0 / torch.where(constant, 1.0, deviation))


def _largest_magnitude(values: Tensor) -> Tensor:
    """Largest absolute value on the last axis (..., 1), a constant for the gradient."""
    # Two reductions beat abs(), which needs memory, and the infinity norm, which is not vectorised on a CPU.
    values = values.detach()
    return torch.maximum(values.amax(-1, keepdim=True), -values.amin(-1, keepdim=True))


def top_columns(values: Tensor, size: int) -> Tensor:
    """Columns (..., size) of the largest values on the last axis, in any order.

    ``topk`` in two rounds: the members must lie in the ``size`` groups of columns with the largest maxima. Exact, and
    on a CPU two to three times as fast as one ``topk`` of 1000 columns.
    """
    width = 8
    groups = values.shape[-1] // width
    if 4 * size > groups:
        return values.topk(size, dim=-1, sorted=False).indices
    # Group g holds the columns g, g + groups, g + 2·groups, ...; the last few columns, of no group, go to round two.
    grouped = width * groups
    best = values[..., :grouped].unflatten(-1, (width, groups)).amax(-2).topk(size, dim=-1, sorted=False).indices
    steps = torch.arange(0, grouped, groups, device=values.device)
    columns = (best.unsqueeze(-2) + steps.unsqueeze(-1)).flatten(-2)
    if grouped < values.shape[-1]:
        rest = torch.arange(grouped, values.shape[-1], device=values.device)
        columns = torch.cat([columns, rest.expand(*columns.shape[:-1], -1)], dim=-1)
    winners = values.gather(-1, columns).topk(size, dim=-1, sorted=False).indices
    return columns.gather(-1, winners)
