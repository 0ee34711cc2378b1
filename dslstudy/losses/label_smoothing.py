"""The softmax loss with smoothed labels: part of each positive's label is spread over its negatives.

Looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter, Scores
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import count_real, hide, log_sum_exp_margins, saturate, weights_of


def label_smoothing_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: Hyperparameter,
    label_smoothing: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """Softmax loss with smoothed labels, ``l_i = log Σ_j exp(d_j/τ) - ε mean_j d_j/τ``, ``d_j = s_uj - s_ui``.

    The label that the softmax loss gives to the positive alone is 1 - ε for the positive and ε/N for each negative:

        log Σ_j exp(s_uj/τ) - (1 - ε) s_ui/τ - ε mean_j s_uj/τ,

    which is the same. ``ε = 0`` is ``softmax_loss``. Every negative is pulled up by ε/(Nτ) and the positive down by
    ε/τ, whatever their scores. Where smoothing spreads the label over all classes, the positive among them, ε is larger
    by the factor (N + 1)/N.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        label_smoothing: -1 < ε <= 1, likewise; below zero it sharpens the label instead.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature that is not positive, ε out of range.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (CVPR 2016), section 7, applied
    to sampled negatives. Chapter: "Ablations and readings".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    tau = _checks.temperature(temperature, scores.positive)
    epsilon = _checks.hyperparameter(label_smoothing, scores.positive, "label_smoothing", above=-1.0, at_most=1.0)
    plain = log_sum_exp_margins(scores, tau)
    return saturate(plain - epsilon * saturate(_mean_margin(scores) / tau))


def _mean_margin(scores: Scores) -> Tensor:
    """Mean of d_j over the real negatives (..., B); zero without any."""
    negatives = hide(scores.negatives, scores.mask, 0.0)
    # Divide before summing: the mean of finite scores is finite, their sum need not be.
    mean = (negatives / count_real(negatives, weights_of(scores.mask, negatives))).sum(-1)
    live = None if scores.mask is None else scores.mask.any(-1)
    return hide(saturate(mean - scores.positive), live, 0.0)


class LabelSmoothing(RankingLoss):
    """``label_smoothing_loss`` as a module.

    >>> import torch
    >>> criterion = LabelSmoothing(temperature=0.5, label_smoothing=0.1)
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    -0.5367
    """

    def __init__(
        self, temperature: Hyperparameter = 0.2, label_smoothing: Hyperparameter = 0.1, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, temperature=temperature, label_smoothing=label_smoothing)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return label_smoothing_loss(positive, negatives, mask=mask, **self.hyperparameters)
