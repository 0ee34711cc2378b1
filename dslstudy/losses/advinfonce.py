"""AdvInfoNCE: InfoNCE against an adversary that decides how hard each negative is.

Set out in the chapter "From BPR to the softmax loss", section "The other losses of the tables".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import count_real, hide, log_sum_exp_margins, weights_of


def advinfonce_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    hardness: Tensor,
    temperature: Hyperparameter,
    negative_weight: Hyperparameter = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """AdvInfoNCE, ``l_i = log(1 + K Σ_j exp(δ_j + d_j/τ))`` with margins ``d_j = s_uj - s_ui``.

    The hardness ``δ_j = log(N p_j)`` comes from the adversary's distribution p over the negatives (see
    ``hardness_from_logits``), which *maximises* the loss while the model minimises it: step the adversary's parameters
    on ``-loss``, for a few epochs only, which bounds how far p strays from uniform (``hardness_divergence``). With
    δ = 0 and K = 1 this is InfoNCE: unlike in ``softmax_loss``, the positive is in the denominator (the 1).

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        hardness: (..., B, N) or broadcastable, δ_j; gradients flow to it.
        temperature: τ > 0, a number or a tensor that broadcasts over the leading axes ``...``.
        negative_weight: K > 0, likewise; the published code balances positive and negatives with 64.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example, positive; float32 for half-precision scores. Zero for an example without real
        negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores or hardness, a temperature or weight that is not positive.

    Source: Zhang et al., "Empowering Collaborative Filtering with Principled Adversarial Contrastive Loss" (NeurIPS
    2023), the AdvInfoNCE objective; K is from the code released with it. Chapter: "From BPR to the softmax loss",
    section "The other losses of the tables".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    delta = _checks.check_companion("hardness", hardness, scores)
    tau = _checks.temperature(temperature, scores.positive)
    weight = _checks.hyperparameter(negative_weight, scores.positive, "negative_weight", above=0.0)
    against = log_sum_exp_margins(scores, tau, log_weight=hide(delta, scores.mask, 0.0))
    against = against + torch.as_tensor(weight, dtype=against.dtype, device=against.device).log()
    live = None if scores.mask is None else scores.mask.any(-1)
    return hide(torch.logaddexp(against, torch.zeros_like(against)), live, 0.0)


def hardness_from_logits(logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The hardness ``δ_j = log(N p_j)``, ``p = softmax(logits)`` over the real negatives, of an adversary's logits.

    Args:
        logits: (..., B, N) the adversary's finite scores of the negatives (the paper: an own matrix factorisation).
        mask: (..., B, N) bool, True = a real negative; None = all real. N counts the real ones.

    Returns:
        (..., B, N), zero where masked; ``exp(δ)`` has mean one over the real negatives.

    Raises:
        InputError: a wrong mask.

    Source: Zhang et al. (NeurIPS 2023), definition of the hardness. Chapter: "From BPR to the softmax loss", section
    "The other losses of the tables".
    """
    if mask is not None:
        mask = _checks.expand_to(mask, logits, "mask")
    # Half a dtype's lowest value stands in for -inf, which would make 0·∞ in the gradient of an empty example.
    lowest = 0.5 * torch.finfo(logits.dtype).min
    count = count_real(logits, weights_of(mask, logits))
    log_count = torch.as_tensor(count, dtype=logits.dtype, device=logits.device).log()
    return hide(hide(logits, mask, lowest).log_softmax(-1) + log_count, mask, 0.0)


def hardness_divergence(hardness: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """``KL(uniform || p) = -mean_j δ_j`` over the real negatives: how far the adversary has strayed, at least zero.

    Args:
        hardness: (..., B, N) as from ``hardness_from_logits``.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B) in nats; zero for an example without real negatives. Add ``-η`` times it to what the adversary
        maximises to regularise instead of stopping early.

    Raises:
        InputError: a wrong mask.

    Source: Zhang et al. (NeurIPS 2023), the constraint on the hardness in the DRO view; its direction is our reading.
    Chapter: "From BPR to the softmax loss", section "The other losses of the tables".
    """
    if mask is not None:
        mask = _checks.expand_to(mask, hardness, "mask")
    count = count_real(hardness, weights_of(mask, hardness))
    return -(hide(hardness, mask, 0.0) / count).sum(-1)


class AdvInfoNCE(RankingLoss):
    """``advinfonce_loss`` as a module; the adversary's hardness is an input of the call.

    The default ``negative_weight`` of 1 is InfoNCE's; the study trains with 64, the published code's value
    (``dslstudy.engine.objectives``).

    >>> import torch
    >>> criterion, hardness = AdvInfoNCE(temperature=0.5), hardness_from_logits(torch.tensor([[0.3, -0.3]]))
    >>> round(criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]]), hardness=hardness).item(), 4)
    0.4517
    """

    def __init__(
        self, temperature: Hyperparameter = 0.2, negative_weight: Hyperparameter = 1.0, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, temperature=temperature, negative_weight=negative_weight)

    def losses(self, positive: Tensor, negatives: Tensor, *, hardness: Tensor, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return advinfonce_loss(positive, negatives, hardness=hardness, mask=mask, **self.hyperparameters)
