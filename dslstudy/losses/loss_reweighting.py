"""The softmax loss, its examples weighted by their own loss values.

Looked at in the chapter "Ablations and readings".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import count_real, hide, log_sum_exp_margins, saturate, standardise, weights_of


def loss_reweighting_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: Hyperparameter,
    strength: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """Softmax loss with weighted examples, ``w_i l_i`` with ``l_i = log Σ_j exp(d_j/τ)``.

    The weights come from the loss values of the batch, in stop-gradient, and have mean one:

        z_i = z-score of l_i over the batch, clipped to [-3, 3];  w_i = exp(δ z_i) / mean_batch exp(δ z)

    ``δ = 0`` is ``softmax_loss``, to the last bit. Positive δ favours the examples that are still wrong, negative δ
    those that are right already. This is DSL's per-example temperature with its force and without its spread: τ_i
    scales an example's pull by τ/τ_i *and* changes over which negatives it is spread; w_i scales the pull alone. So
    ``δ = -γ`` is the fair comparison. An example without real negatives is left out of the batch statistics.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        strength: δ, likewise, of either sign.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature that is not positive.

    Source: in the spirit of Wang et al., "Denoising Implicit Feedback for Recommendation" (WSDM 2021), whose weights
    fall with an example's loss; the form is chosen to match DSL's temperatures. Chapter: "Ablations and readings".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    delta = _checks.hyperparameter(strength, scores.positive, "strength")
    plain = log_sum_exp_margins(scores, _checks.temperature(temperature, scores.positive))
    live = None if scores.mask is None else scores.mask.any(-1)
    return saturate(plain * _mean_one_weights(plain, live, delta))


@torch.no_grad()
def _mean_one_weights(values: Tensor, live: Tensor | None, strength: Hyperparameter) -> Tensor:
    """``w_i`` (..., B), mean one over the live examples; one for the others."""
    weights = weights_of(live, values)
    centred, factor = standardise(values, live, weights)
    # The limit is out of reach of sane strengths (|z| <= 3); it keeps absurd ones from dividing infinities.
    relative = (strength * (centred * factor).clamp(-3.0, 3.0)).clamp(-30.0, 30.0).exp()
    mean = (relative if weights is None else relative * weights).sum(-1, keepdim=True) / count_real(relative, weights)
    return hide(relative / mean.clamp(min=1e-30), live, 1.0)


class LossReweighting(RankingLoss):
    """``loss_reweighting_loss`` as a module.

    >>> import torch
    >>> criterion = LossReweighting(temperature=0.5, strength=-0.2)
    >>> scores, negatives = torch.tensor([1.0, 0.4]), torch.tensor([[0.5, 0.0], [0.5, 0.0]])
    >>> round(criterion(scores, negatives).item(), 4)
    -0.2052
    """

    def __init__(
        self, temperature: Hyperparameter = 0.2, strength: Hyperparameter = -0.2, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, temperature=temperature, strength=strength)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return loss_reweighting_loss(positive, negatives, mask=mask, **self.hyperparameters)
