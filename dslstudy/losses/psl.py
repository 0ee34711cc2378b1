"""The pairwise softmax loss (PSL): the softmax loss with a gentler function in place of the exponential.

Set out in the chapter "From BPR to the softmax loss", section "The other losses of the tables".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dslstudy.errors import InputError
from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import hide, log_sum_exp

ACTIVATIONS = ("relu", "tanh", "atan")


def psl_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: Hyperparameter,
    activation: str = "relu",
    mask: Tensor | None = None,
) -> Tensor:
    """Pairwise softmax loss ``l_i = log Σ_j σ(d_j/2)^(1/τ)`` with margins ``d_j = s_uj - s_ui``.

    The activation σ is ``relu: max(0, x + 1)``, ``tanh: tanh(x) + 1`` or ``atan: max(0, atan(x) + 1)``, each squeezed
    between the step function and exp on [-1, 1]. The half is the paper's scale: it scores with half the cosine, so that
    cosine scores give ``x = d/2`` in [-1, 1]. ``σ = exp`` would be ``softmax_loss`` at temperature 2τ, which is why PSL
    is tuned around half the temperature of SL.

    σ is floored at the dtype's machine epsilon (its derivative there is zero): a negative that ``relu`` or ``atan``
    clips has practically no weight, and an example with nothing but clipped negatives has a finite loss and a zero
    gradient.

    Args:
        positive: (..., B) scores s_ui of the positives, cosines if the scale is to match the paper's.
        negatives: (..., B, N) scores s_uj of the negatives.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        activation: "relu", "tanh" or "atan".
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature that is not positive, an unknown
            activation.

    Source: Yang et al., "PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for Recommendation"
    (NeurIPS 2024), the PSL objective and its three activations. Chapter: "From BPR to the softmax loss", section "The
    other losses of the tables".
    """
    if activation not in ACTIVATIONS:
        raise InputError(f"unknown activation {activation!r} of PSL: choose one of {', '.join(ACTIVATIONS)}")
    scores = _checks.check_scores(positive, negatives, mask)
    tau = _checks.per_negative(_checks.temperature(temperature, scores.positive))
    # Halve before subtracting: the difference of two finite scores can overflow.
    halves = hide(scores.negatives, scores.mask, 0.0) * 0.5 - scores.positive.unsqueeze(-1) * 0.5
    logits = _log_activation(halves, activation) / tau
    live = None if scores.mask is None else scores.mask.any(-1)
    return log_sum_exp(hide(logits, scores.mask, -torch.inf), live)


def _log_activation(x: Tensor, activation: str) -> Tensor:
    """``log max(σ(x), eps)``."""
    epsilon = torch.finfo(x.dtype).eps
    if activation == "tanh":
        # tanh(x) + 1 = 2 sigmoid(2x), whose logarithm is exact where tanh(x) rounds to -1.
        return (functional.logsigmoid(2.0 * x.clamp(min=-1e30)) + math.log(2.0)).clamp(min=math.log(epsilon))
    return ((x if activation == "relu" else x.atan()) + 1.0).clamp(min=epsilon).log()


class PSL(RankingLoss):
    """``psl_loss`` as a module.

    >>> import torch
    >>> criterion = PSL(temperature=0.5, activation="relu")
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).item(), 4)
    -0.2076
    """

    def __init__(self, temperature: Hyperparameter = 0.1, activation: str = "relu", *, reduction: str = "mean") -> None:
        super().__init__(reduction, temperature=temperature, activation=activation)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return psl_loss(positive, negatives, mask=mask, **self.hyperparameters)
