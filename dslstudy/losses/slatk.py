"""SL@K: the softmax loss, weighted by whether the positive is among the user's top K.

Set out in the chapter "From BPR to the softmax loss", section "The other losses of the tables".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.errors import InputError
from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import hide, log_sum_exp_margins


def slatk_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: Hyperparameter,
    weight_temperature: Hyperparameter,
    quantile: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """SL@K, ``l_i = sigmoid((s_ui - β_u)/τ_w) · log Σ_j exp(d_j/τ)`` with margins ``d_j = s_uj - s_ui``.

    The weight smooths "s_ui is above the user's top-K quantile β_u". The gradient flows through it as well, so that the
    pull on the positive is not the push against the negatives: where the loss is positive, the weight's gradient pushes
    the positive *down* (chapter "Ablations and readings"). The quantile is a constant, estimated now and then
    (``topk_quantile``).

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        weight_temperature: τ_w > 0, likewise.
        quantile: β_u, a number or one per example, (..., B) or broadcastable to it; it gets no gradient.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores or quantiles, a temperature that is not positive.

    Source: Yang et al., "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in Recommender
    Systems" (KDD 2025), the SL@K objective. Chapter: "From BPR to the softmax loss", section "The other losses of the
    tables".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    tau = _checks.temperature(temperature, scores.positive)
    weight_tau = _checks.temperature(weight_temperature, scores.positive, "weight_temperature")
    threshold = _checks.check_per_example("quantile", quantile, scores.positive)
    if isinstance(threshold, Tensor):
        threshold = threshold.detach()
    weight = ((scores.positive - threshold) / weight_tau).sigmoid()
    return weight * log_sum_exp_margins(scores, tau)


def topk_quantile(scores: Tensor, k: int, *, mask: Tensor | None = None) -> Tensor:
    """The K-th largest score of each user, the β_u of ``slatk_loss``, without gradient.

    Args:
        scores: (..., B, M) scores of each user's items: all of them, or its positives together with sampled negatives
            (then ``k`` stays K: the paper's estimate relies on the positives being the likely top).
        k: K >= 1. A user with fewer than K real scores gets the smallest one.
        mask: (..., B, M) bool, True = a real score; None = all real.

    Returns:
        (..., B); zero for a user without real scores.

    Raises:
        InputError: K below one, no scores, wrong mask.

    Source: Yang et al. (KDD 2025), the sampled quantile estimate. Chapter: "From BPR to the softmax loss", section "The
    other losses of the tables".
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if scores.ndim < 1 or scores.shape[-1] == 0:
        raise InputError("scores has no column: give at least one score per user")
    with torch.no_grad():
        if mask is not None:
            mask = _checks.expand_to(mask, scores, "mask")
        best = hide(scores, mask, -torch.inf).topk(min(k, scores.shape[-1]), dim=-1).values
        real = best > -torch.inf
        last = real.sum(-1, keepdim=True) - 1
        return hide(best.gather(-1, last.clamp(min=0)), last >= 0, 0.0).squeeze(-1)


class SLatK(RankingLoss):
    """``slatk_loss`` as a module; the quantile is an input of the call.

    The default ``weight_temperature`` of 1 is not the study's, which is 2.5 (``dslstudy.engine.objectives``).

    >>> import torch
    >>> criterion = SLatK(temperature=0.5, weight_temperature=1.0)
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]]), quantile=torch.tensor([0.6])).item(), 4)
    -0.4111
    """

    def __init__(
        self, temperature: Hyperparameter = 0.2, weight_temperature: Hyperparameter = 1.0, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, temperature=temperature, weight_temperature=weight_temperature)

    def losses(
        self, positive: Tensor, negatives: Tensor, *, quantile: Hyperparameter, mask: Tensor | None = None
    ) -> Tensor:
        """One loss per example (..., B)."""
        return slatk_loss(positive, negatives, quantile=quantile, mask=mask, **self.hyperparameters)
