"""The sampled softmax loss (SL), the baseline everything here departs from.

Derived in the chapters "From BPR to the softmax loss" and "Softmax loss is a robust loss".
"""

from __future__ import annotations

from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import log_sum_exp_margins


def softmax_loss(
    positive: Tensor, negatives: Tensor, *, temperature: Hyperparameter, mask: Tensor | None = None
) -> Tensor:
    """Sampled softmax loss ``l_i = log Σ_j exp(d_j/τ)`` with margins ``d_j = s_uj - s_ui``.

    The sum runs over the real negatives: it is a sum, not a mean, and the positive is not in it (the form of the PSL
    and SL@K papers; InfoNCE adds the positive, that is ``log(1 + Σ_j ...)``). So the loss may be negative.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature that is not positive.

    Source: Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation" (TOIS 2024), in the form
    of Yang et al., "PSL" (NeurIPS 2024), section 2. Chapter: "From BPR to the softmax loss".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    return log_sum_exp_margins(scores, _checks.temperature(temperature, scores.positive))


class Softmax(RankingLoss):
    """``softmax_loss`` as a module.

    >>> import torch
    >>> criterion = Softmax(temperature=0.5)
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    -0.6867
    """

    def __init__(self, temperature: Hyperparameter = 0.2, *, reduction: str = "mean") -> None:
        super().__init__(reduction, temperature=temperature)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return softmax_loss(positive, negatives, mask=mask, **self.hyperparameters)
