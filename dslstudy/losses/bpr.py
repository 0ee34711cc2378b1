"""Bayesian personalised ranking (BPR), the pairwise logistic loss.

Derived in the chapter "From BPR to the softmax loss".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dslstudy.losses import _checks
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import count_real, hide, saturate, weights_of


def bpr_loss(positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """BPR: the mean over the real negatives of ``-log sigmoid(s_ui - s_uj) = log(1 + exp(d_j))``.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives. The paper draws one per positive; N of them give a mean.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores.

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback" (UAI 2009), BPR-OPT, without its
    regulariser (that is the optimiser's weight decay). Chapter: "From BPR to the softmax loss".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    # exp(-inf) = 0: a masked pair costs log(1 + 0) = 0.
    margins = hide(saturate(scores.negatives - scores.positive.unsqueeze(-1), 0.5), scores.mask, -torch.inf)
    count = count_real(margins, weights_of(scores.mask, margins))
    # Beyond the threshold x and log(1 + exp(x)) are the same number. Dividing before summing: the mean of finite losses
    # is finite, their sum need not be.
    return (functional.softplus(margins, threshold=40.0) / count).sum(-1)


class BPR(RankingLoss):
    """``bpr_loss`` as a module.

    >>> import torch
    >>> criterion = BPR()
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    0.3937
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return bpr_loss(positive, negatives, mask=mask)
