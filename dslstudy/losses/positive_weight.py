"""The softmax loss with a weight on the positive: the cheapest rival of SL@K and DSL.

Looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import log_sum_exp_margins


def positive_weight_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: Hyperparameter,
    weight: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """Softmax loss with a weighted positive, ``l_i = log Σ_j exp(s_uj/τ) - c s_ui/τ``; ``c = 1`` is ``softmax_loss``.

    The pull on the positive is c/τ, that on the negatives together stays 1/τ. With ``c < 1`` the scores of a user are
    pushed down as a whole, which a loss of margins never does, and a positive, possibly a false one, is pulled less.
    It is ``bsl_loss`` with the positive's temperature τ/c, written for those who know the weight that they want.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        weight: c > 0, likewise.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature or weight that is not positive.

    Source: a special case of Wu et al., "BSL" (ICDE 2024, arXiv 2312.12882); with one positive per example.
    Chapter: "Ablations and readings".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    tau = _checks.temperature(temperature, scores.positive)
    share = _checks.hyperparameter(weight, scores.positive, "weight", above=0.0)
    return log_sum_exp_margins(scores, tau, positive_temperature=tau / share)


class PositiveWeight(RankingLoss):
    """``positive_weight_loss`` as a module.

    >>> import torch
    >>> criterion = PositiveWeight(temperature=0.5, weight=0.9)
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    -0.4867
    """

    def __init__(
        self, temperature: Hyperparameter = 0.2, weight: Hyperparameter = 0.9, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, temperature=temperature, weight=weight)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return positive_weight_loss(positive, negatives, mask=mask, **self.hyperparameters)
