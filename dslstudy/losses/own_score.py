"""DSL whose temperature per example sees the positive's own score and none of its competitors.

An ablation, looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses.blind_slate import dsl_at
from dslstudy.losses.dsl import dsl_terms


def own_score_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    item_similarity: Tensor,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    gamma: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """``dsl_loss`` in reading R1 with ``-s_ui`` for the intensity of the competition: ``I_i = -s_ui``.

    A low score of the positive makes its example soft, whatever the negatives score; there is no slate. The weights
    kappa are those of ``dsl_loss``. So it is ``dsl_loss`` where the temperatures are all one (``γ = 0``).

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        item_similarity: (..., B, N) or broadcastable, similarity of each negative to the example's positive (cosine).
        temperature: τ > 0. Like α, β and γ, a number or a tensor that broadcasts over the leading axes ``...``.
        alpha: weight α of the hardness.
        beta: weight β of the item-item similarity.
        gamma: strength γ of the per-example temperature.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: as ``dsl_loss``.

    Source: an ablation of our reading of arXiv 2602.07206 (2026). Chapter: "Ablations and readings".
    """
    _checks.check_scores(positive, negatives, mask)
    # beside negatives that all score zero, the mean margin of any slate is -s_ui
    level = torch.zeros_like(negatives)
    inputs = {"item_similarity": item_similarity, "temperature": temperature, "mask": mask}
    tau = dsl_terms(positive, level, alpha=0.0, beta=0.0, gamma=gamma, slate_size=1, **inputs).tau
    return dsl_at(tau, positive, negatives, alpha=alpha, beta=beta, **inputs)


class OwnScore(RankingLoss):
    """``own_score_loss`` as a module.

    >>> import torch
    >>> criterion = OwnScore(temperature=0.5, alpha=0.0, beta=0.0, gamma=0.2)
    >>> scores, similarity = torch.tensor([1.0, 0.5]), torch.tensor([[0.9, 0.1]])
    >>> round(criterion(scores, torch.tensor([[0.5, 0.0], [0.5, 0.0]]), item_similarity=similarity).item(), 4)
    -0.3164
    """

    def __init__(
        self,
        temperature: Hyperparameter = 0.2,
        alpha: Hyperparameter = -0.3,
        beta: Hyperparameter = 0.2,
        gamma: Hyperparameter = 0.2,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, temperature=temperature, alpha=alpha, beta=beta, gamma=gamma)

    def losses(
        self, positive: Tensor, negatives: Tensor, *, item_similarity: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """One loss per example (..., B)."""
        return own_score_loss(positive, negatives, item_similarity=item_similarity, mask=mask, **self.hyperparameters)
