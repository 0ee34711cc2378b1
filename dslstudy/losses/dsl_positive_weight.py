"""DSL with a weight on the positive: what its two scales are worth once the positive is pulled less.

A variation, looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import log_sum_exp_margins
from dslstudy.losses.dsl import SlateSize, dsl_terms


def dsl_positive_weight_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    item_similarity: Tensor,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    gamma: Hyperparameter,
    slate_size: SlateSize,
    weight: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """``dsl_loss`` in reading R1 with a weighted positive, ``l_i = log Σ_j kappa_j exp(s_uj/τ_i) - c s_ui/τ_i``.

    With ``c = 1`` it is ``dsl_loss``, with ``α = β = γ = 0`` it is ``positive_weight_loss``. What kappa and τ_i are
    inferred from does not know c.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        item_similarity: (..., B, N) or broadcastable, similarity of each negative to the example's positive (cosine).
        temperature: τ > 0. Like α, β, γ and c, a number or a tensor that broadcasts over the leading axes ``...``.
        alpha: weight α of the hardness.
        beta: weight β of the item-item similarity.
        gamma: strength γ of the per-example temperature.
        slate_size: m >= 1, an int or one per run.
        weight: c > 0, the pull on the positive as a share of 1/τ_i.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: as ``dsl_loss``, or a weight that is not positive.

    Source: a variation of our reading of arXiv 2602.07206 (2026) with the positive of Wu et al., "BSL" (ICDE 2024,
    arXiv 2312.12882). Chapter: "Ablations and readings".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    share = _checks.hyperparameter(weight, scores.positive, "weight", above=0.0)
    terms = dsl_terms(
        positive,
        negatives,
        item_similarity=item_similarity,
        temperature=temperature,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        slate_size=slate_size,
        mask=mask,
    )
    # masked negatives have weight zero, absurd exponents underflow to it: the logarithm must be finite for both
    log_kappa = terms.kappa.clamp(min=torch.finfo(terms.kappa.dtype).tiny).log()
    return log_sum_exp_margins(scores, terms.tau, positive_temperature=terms.tau / share, log_weight=log_kappa)


class DSLPositiveWeight(RankingLoss):
    """``dsl_positive_weight_loss`` as a module.

    >>> import torch
    >>> criterion = DSLPositiveWeight(temperature=0.5, alpha=-0.3, beta=0.2, gamma=0.2, slate_size=1, weight=0.9)
    >>> scores, similarity = torch.tensor([1.0]), torch.tensor([[0.9, 0.1]])
    >>> round(criterion(scores, torch.tensor([[0.5, 0.0]]), item_similarity=similarity).item(), 4)
    -0.5339
    """

    def __init__(
        self,
        temperature: Hyperparameter = 0.2,
        alpha: Hyperparameter = -0.3,
        beta: Hyperparameter = 0.2,
        gamma: Hyperparameter = 0.2,
        slate_size: SlateSize = 20,
        weight: Hyperparameter = 0.9,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            reduction,
            temperature=temperature,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            slate_size=slate_size,
            weight=weight,
        )

    def losses(
        self, positive: Tensor, negatives: Tensor, *, item_similarity: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """One loss per example (..., B)."""
        return dsl_positive_weight_loss(
            positive, negatives, item_similarity=item_similarity, mask=mask, **self.hyperparameters
        )
