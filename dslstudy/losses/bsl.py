"""The bilateral softmax loss (BSL): one temperature for the positive, another for the negatives.

Set out in the chapter "From BPR to the softmax loss", section "The other losses of the tables".
"""

from __future__ import annotations

from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import log_sum_exp_margins


def bsl_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    positive_temperature: Hyperparameter,
    temperature: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """Bilateral softmax loss ``l_i = -s_ui/τ₁ + log Σ_j exp(s_uj/τ₂)``; with ``τ₁ = τ₂`` it is ``softmax_loss``.

    The published loss of a user, ``-τ₁ log E_i exp(s_ui/τ₁) + τ₂ log E_j exp(s_uj/τ₂)``, takes the expectation over all
    positives i of the user. With one positive per example, the sampled form, three scalings are about:

    * the formula divided by τ₁, ``-s_ui/τ₁ + (τ₂/τ₁) log Σ_j exp(s_uj/τ₂)``: it equals ``(τ₂/τ₁) softmax_loss`` at τ₂,
      so τ₁ only rescales the loss, which Adam without weight decay hardly notices;
    * the authors' repository, ``-s_ui/t + c log Σ_j exp(s_uj/t)``, c from 0.8 to 1.32: it equals c times this function
      at ``τ₂ = t, τ₁ = c t``;
    * this function, where the two temperatures act as their names say.

    So BSL is also the softmax loss with a weight ``τ₂/τ₁`` on the positive, ``log Σ_j exp(s_uj/τ₂) - (τ₂/τ₁) s_ui/τ₂``:
    a weight below one (``τ₁ > τ₂``) pulls positives less, which guards against noisy ones. Unlike SL it is not a
    function of the margins: for ``τ₁ ≠ τ₂`` it changes when all scores of a user move together.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        positive_temperature: τ₁ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        temperature: τ₂ > 0, likewise.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature that is not positive.

    Source: Wu et al., "BSL: Understanding and Improving Softmax Loss for Recommendation" (ICDE 2024, arXiv 2312.12882),
    the BSL objective, and the code released with it. Chapter: "From BPR to the softmax loss", section "The other losses
    of the tables".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    return log_sum_exp_margins(
        scores,
        _checks.temperature(temperature, scores.positive),
        positive_temperature=_checks.temperature(positive_temperature, scores.positive, "positive_temperature"),
    )


class BSL(RankingLoss):
    """``bsl_loss`` as a module.

    >>> import torch
    >>> criterion = BSL(positive_temperature=1.0, temperature=0.5)
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    0.3133
    """

    def __init__(
        self, positive_temperature: Hyperparameter = 0.2, temperature: Hyperparameter = 0.2, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, positive_temperature=positive_temperature, temperature=temperature)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return bsl_loss(positive, negatives, mask=mask, **self.hyperparameters)
