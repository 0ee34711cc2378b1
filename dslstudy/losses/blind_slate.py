"""DSL with a slate that does not know kappa: the two scales side by side, neither informing the other.

An ablation, looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import log_sum_exp_margins
from dslstudy.losses.dsl import SlateSize, dsl_terms


def blind_slate_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    item_similarity: Tensor,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    gamma: Hyperparameter,
    slate_size: SlateSize,
    mask: Tensor | None = None,
) -> Tensor:
    """``dsl_loss`` in reading R1, but for the slate: the m negatives with the largest margin d_j, kappa left out.

    The weights kappa are those of ``dsl_loss``, the temperatures τ_i those of ``dsl_loss`` with ``α = β = 0``. So it is
    ``dsl_loss`` itself where kappa is one (``α = β = 0``) and where the slate does not matter (``γ = 0``).

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        item_similarity: (..., B, N) or broadcastable, similarity of each negative to the example's positive (cosine).
        temperature: τ > 0. Like α, β and γ, a number or a tensor that broadcasts over the leading axes ``...``.
        alpha: weight α of the hardness.
        beta: weight β of the item-item similarity.
        gamma: strength γ of the per-example temperature.
        slate_size: m >= 1, an int or one per run.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: as ``dsl_loss``.

    Source: an ablation of our reading of arXiv 2602.07206 (2026). Chapter: "Ablations and readings".
    """
    inputs = {"item_similarity": item_similarity, "temperature": temperature, "mask": mask}
    tau = dsl_terms(positive, negatives, alpha=0.0, beta=0.0, gamma=gamma, slate_size=slate_size, **inputs).tau
    return dsl_at(tau, positive, negatives, alpha=alpha, beta=beta, **inputs)


def dsl_at(
    tau: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    item_similarity: Tensor,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """``dsl_loss`` in reading R1 at temperatures per example that something else inferred.

    Args:
        tau: (..., B) temperatures τ_i > 0, constants for the gradient.
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        item_similarity: (..., B, N) or broadcastable, similarity of each negative to the example's positive (cosine).
        temperature: τ > 0; checked with the rest, the weights do not depend on it.
        alpha: weight α of the hardness.
        beta: weight β of the item-item similarity.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example.
    """
    scores = _checks.check_scores(positive, negatives, mask)
    weights = {"alpha": alpha, "beta": beta, "gamma": 0.0, "slate_size": 1}  # kappa depends on neither of the last two
    inputs = {"item_similarity": item_similarity, "temperature": temperature, "mask": mask}
    kappa = dsl_terms(positive, negatives, **weights, **inputs).kappa
    # masked negatives have weight zero, absurd exponents underflow to it: the logarithm must be finite for both
    log_kappa = kappa.clamp(min=torch.finfo(kappa.dtype).tiny).log()
    return log_sum_exp_margins(scores, tau, log_weight=log_kappa)


class BlindSlate(RankingLoss):
    """``blind_slate_loss`` as a module.

    >>> import torch
    >>> criterion = BlindSlate(temperature=0.5, alpha=-0.3, beta=0.2, gamma=0.2, slate_size=1)
    >>> scores, similarity = torch.tensor([1.0]), torch.tensor([[0.9, 0.1]])
    >>> round(criterion(scores, torch.tensor([[0.5, 0.0]]), item_similarity=similarity).item(), 4)
    -0.7339
    """

    def __init__(
        self,
        temperature: Hyperparameter = 0.2,
        alpha: Hyperparameter = -0.3,
        beta: Hyperparameter = 0.2,
        gamma: Hyperparameter = 0.2,
        slate_size: SlateSize = 20,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, temperature=temperature, alpha=alpha, beta=beta, gamma=gamma, slate_size=slate_size)

    def losses(
        self, positive: Tensor, negatives: Tensor, *, item_similarity: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """One loss per example (..., B)."""
        return blind_slate_loss(positive, negatives, item_similarity=item_similarity, mask=mask, **self.hyperparameters)
