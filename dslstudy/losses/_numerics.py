"""The numerical heart the losses share: masked means and a log-sum-exp of margins that nothing finite can overflow.

Scores, not margins, are shifted: with ``top = max_j s_j`` over the real negatives,

    log Σ_j w_j exp((s_j - s_i)/τ)  =  (top - s_i)/τ + log Σ_j w_j exp((s_j - top)/τ),

so that every exponent of the sum is at most log w_j, and the one number that can be too large for the dtype, the first
term, is saturated at the dtype's largest value. Writing it on scores also saves the (..., B, N) tensor of margins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses._checks import Hyperparameter, Scores, per_negative


def live_examples(mask: Tensor | None) -> Tensor | None:
    """(..., B) bool: which examples have a real negative; None if all have (no mask)."""
    return None if mask is None else mask.any(-1)


def count_real(values: Tensor, mask: Tensor | None) -> Tensor | float:
    """Number of real entries on the last axis (..., 1), at least one so that it can divide."""
    if mask is None:
        return float(max(values.shape[-1], 1))
    return mask.sum(-1, keepdim=True, dtype=values.dtype).clamp_(min=1)


def hide(values: Tensor, mask: Tensor | None, fill: float) -> Tensor:
    """``values`` with ``fill`` where the mask is False, zero gradient there."""
    return values if mask is None else torch.where(mask, values, fill)


def saturate(values: Tensor, share: float = 1.0) -> Tensor:
    """Clamp infinities that finite inputs produced to ``share`` of the dtype's largest value."""
    limit = share * torch.finfo(values.dtype).max
    return values.clamp(-limit, limit)


def finite_peak(values: Tensor) -> Tensor:
    """Largest value on the last axis (..., 1), zero where all are -inf; a constant for the gradient."""
    peak = values.detach().amax(-1, keepdim=True)
    return torch.where(peak == -torch.inf, 0.0, peak)


def from_top(scores: Scores) -> tuple[Tensor, Tensor]:
    """``s_j - top`` (..., B, N), -inf where masked, and ``top`` (..., B), the highest score of a real negative."""
    negatives = hide(scores.negatives, scores.mask, -torch.inf)
    top = finite_peak(negatives)
    return negatives - top, top.squeeze(-1)


def log_sum_exp(logits: Tensor, live: Tensor | None) -> Tensor:
    """``log Σ_j exp(logits_j)`` over the last axis, -inf = masked; zero, with zero gradient, where not ``live``."""
    peak = finite_peak(logits)
    total = (logits - peak).exp_().sum(-1)
    return hide(hide(total, live, 1.0).log() + peak.squeeze(-1), live, 0.0)


def log_sum_exp_margins(
    scores: Scores,
    temperature: Hyperparameter,
    *,
    positive_temperature: Hyperparameter | None = None,
    log_weight: Tensor | None = None,
    shifted: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """``log Σ_j w_j exp(s_j/τ) - s_i/τ⁺`` over the real negatives; zero for an example that has none.

    Args:
        scores: checked scores.
        temperature: τ, a number, (..., 1) or one per example (..., B).
        positive_temperature: τ⁺, likewise; None for τ.
        log_weight: (..., B, N) log w_j, not +inf or NaN, finite for real negatives; None for w = 1.
        shifted: the result of ``from_top(scores)`` if it is at hand; it is not changed.

    Returns:
        (..., B), finite for finite scores, at worst saturated at the dtype's largest value.
    """
    below, top = from_top(scores) if shifted is None else shifted
    inverse = 1.0 / temperature
    if isinstance(inverse, Tensor) and inverse.requires_grad:
        # d/d(1/τ) multiplies the weights, zero where masked, with the scores: keep those finite, for 0·∞ is not 0.
        logits = saturate(below) * per_negative(inverse)
    elif shifted is None:
        logits = below.mul_(per_negative(inverse))  # our own temporary, so in place
    else:
        logits = below * per_negative(inverse)

    live = live_examples(scores.mask)
    if log_weight is None:
        # The largest logit is exactly 0.
        tail = hide(logits.exp_().sum(-1), live, 1.0).log()
    else:
        tail = log_sum_exp(logits + log_weight, live)

    if positive_temperature is None:
        head = saturate((top - scores.positive) * inverse)
    else:
        # Written so that equal temperatures give the same bits as one temperature.
        positive_inverse = 1.0 / positive_temperature
        head = saturate((top - scores.positive) * positive_inverse, 0.5)
        head = head + saturate(top * (inverse - positive_inverse), 0.5)
    return hide(head + tail, live, 0.0)


def z_scores(values: Tensor, mask: Tensor | None) -> Tensor:
    """Z-scores over the last axis, with the population standard deviation; zero where masked.

    Values that are constant to within rounding have z-score zero: their differences are noise, which a division by the
    standard deviation would blow up.

    Args:
        values: (..., N), finite where real.
        mask: (..., N) bool, True = real; None = all.
    """
    if values.shape[-1] == 0:
        return values
    count = count_real(values, mask)
    # A z-score does not depend on shift and scale: in [-1, 0] the squares can neither overflow nor all underflow.
    peak = finite_peak(hide(values, mask, -torch.inf))
    below = saturate(hide(values - peak, mask, 0.0))
    spread = -below.detach().amin(-1, keepdim=True)
    magnitude = torch.maximum(peak.abs(), (peak - spread).abs())
    constant = spread <= 8 * torch.finfo(values.dtype).eps * magnitude
    scaled = below / torch.where(constant, 1.0, spread)
    centred = hide(scaled - scaled.sum(-1, keepdim=True) / count, mask, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / count
    return centred * torch.where(constant, 0.0, torch.where(constant, 1.0, variance).rsqrt())
