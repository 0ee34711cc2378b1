"""The Dual-scale Softmax Loss (DSL): a softmax loss whose sharpness is inferred from the sampled competition.

A *reconstruction* from the paper's abstract, made without its full text or any code of its authors; the readings R1 to
R5 are ours. Derived in the chapters "The kappa branch", "The competition-aware branch" and "DSL: two scales, one
adversary".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.errors import InputError
from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter, Scores
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import (
    Below,
    count_real,
    from_top,
    hide,
    log_sum_exp,
    log_sum_exp_margins,
    saturate,
    standardise,
    top_columns,
    weights_of,
)

READINGS = {
    "R1": "the default: kappa weighs the exponentials, intensity is the slate's mean margin, both in stop-gradient",
    "R2": "kappa on the logit: log Σ_j exp(kappa_j d_j/τ_i)",
    "R3": "intensity is the slate's log-mean-exp τ log mean_C exp(d_j/τ)",
    "R3-entropy": "intensity is the entropy of the slate's softmax of d_j/τ",
    "R4": "R1 with gradients through the intensity and τ_i",
    "R5": "positive and negatives at different scales: -s_ui/τ + log Σ_j kappa_j exp(s_uj/τ_i)",
}

SlateSize = int | Sequence[int] | Tensor


class DslTerms(NamedTuple):
    """What DSL inferred from the sampled competition of each example.

    Attributes:
        kappa: (..., B, N) weights of the negatives, mean one over the real ones, zero for masked ones.
        slate: (..., B, N) bool, True = a member of the slate C_i.
        intensity: (..., B) competition intensity I_i of the slate; zero for an example without real negatives.
        tau: (..., B) per-example temperature τ_i; its mean over examples with real negatives is τ.
    """

    kappa: Tensor
    slate: Tensor
    intensity: Tensor
    tau: Tensor


class _Parts(NamedTuple):
    scores: Scores
    temperature: Hyperparameter
    seen: Below
    log_kappa: Tensor  # (..., B, N), anything finite where masked
    slate: Tensor  # (..., B, m) columns of the slate's members
    member: Tensor  # (..., B, m) bool: False pads a slate that is smaller than the largest one
    intensity: Tensor
    tau: Tensor


def dsl_loss(
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
    reading: str = "R1",
) -> Tensor:
    """Dual-scale Softmax Loss ``l_i = log Σ_j kappa_j exp(d_j/τ_i)`` with margins ``d_j = s_uj - s_ui``.

    In reading R1, over the real negatives j of an example i, everything but ``l_i`` itself in stop-gradient:

        h_j = z-score of d_j;  c_j = z-score of cos(v_i, v_j);  kappa_j = N softmax_j(α h_j + β c_j)
        C_i = the m negatives with the largest d_j + τ log kappa_j;  I_i = mean of d_j over C_i
        z_i = z-score of I_i over the batch, clipped to [-3, 3];  τ_i = τ exp(γ z_i) / mean_batch exp(γ z)

    Z-scores use the population standard deviation; a constant has z-score zero. ``α = β = γ = 0`` is ``softmax_loss``,
    to the last bit. An example without real negatives has loss zero and is left out of the batch statistics.

    Args:
        positive: (..., B) scores s_ui of the positives.
        negatives: (..., B, N) scores s_uj of the negatives.
        item_similarity: (..., B, N) or broadcastable, similarity of each negative to the example's positive (cosine).
        temperature: τ > 0. Like α, β and γ, a number or a tensor that broadcasts over the leading axes ``...``, and a
            constant: these four cannot be learned by gradient, since τ_i and kappa are in stop-gradient.
        alpha: weight α of the hardness; its sign is free: positive favours hard negatives.
        beta: weight β of the item-item similarity; positive favours negatives that resemble the positive.
        gamma: strength γ of the per-example temperature; positive softens the examples with strong competition.
        slate_size: m >= 1, an int, or one per run (a sequence, or an int tensor that broadcasts over ``...``; a tensor
            on the CPU spares the wait for a GPU). A slate with fewer real negatives takes those there are.
        mask: (..., B, N) bool, True = a real negative; None = all real.
        reading: which reconstruction, a key of ``READINGS``. R2 puts kappa on the logit, R3 and R3-entropy change the
            intensity, R4 lets gradients flow through τ_i, R5 keeps the positive at τ.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Finite, with finite gradients, for any finite
        scores; in reading R4 for scores up to the square root of the dtype's largest number.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, a temperature or slate size that is not positive, an
            unknown reading.

    Source: our reading of the abstract of arXiv 2602.07206 (2026). Chapter: "DSL: two scales, one adversary".
    """
    parts = _infer(positive, negatives, item_similarity, temperature, alpha, beta, gamma, slate_size, mask, reading)
    if reading == "R2":
        return _kappa_on_the_logit(parts)
    return log_sum_exp_margins(
        parts.scores,
        parts.tau,
        positive_temperature=parts.temperature if reading == "R5" else None,
        log_weight=parts.log_kappa,
        seen=parts.seen,
    )


def dsl_terms(
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
    reading: str = "R1",
) -> DslTerms:
    """What ``dsl_loss`` with the same arguments uses: kappa, slate, intensity and τ_i, for analysis and plots.

    Returns:
        ``DslTerms``, without gradients.

    Raises:
        InputError: as ``dsl_loss``.

    Source and chapters: as ``dsl_loss``; "The kappa branch" plots kappa, "The competition-aware branch" the rest.
    """
    with torch.no_grad():
        parts = _infer(positive, negatives, item_similarity, temperature, alpha, beta, gamma, slate_size, mask, reading)
        slate = torch.zeros_like(parts.log_kappa, dtype=torch.bool).scatter(-1, parts.slate, parts.member)
        return DslTerms(hide(parts.log_kappa.exp(), parts.scores.mask, 0.0), slate, parts.intensity, parts.tau)


def _infer(
    positive: Tensor,
    negatives: Tensor,
    item_similarity: Tensor,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    gamma: Hyperparameter,
    slate_size: SlateSize,
    mask: Tensor | None,
    reading: str,
) -> _Parts:
    """Check everything, then infer weights, slate, intensity and temperature."""
    if reading not in READINGS:
        raise InputError(f"unknown reading {reading!r} of DSL: choose one of {', '.join(READINGS)}")
    scores = _checks.check_scores(positive, negatives, mask)
    similarity = _checks.check_companion("item_similarity", item_similarity, scores)
    tau = _checks.temperature(temperature, scores.positive)
    alpha = _checks.hyperparameter(alpha, scores.positive, "alpha")
    beta = _checks.hyperparameter(beta, scores.positive, "beta")
    gamma = _checks.hyperparameter(gamma, scores.positive, "gamma")

    seen = from_top(scores)
    with torch.no_grad():
        log_kappa = _log_kappa(scores, similarity, alpha, beta, seen.live)
        # d_j + τ log kappa_j, up to a constant of the example; -inf where masked.
        strength = (log_kappa * _checks.per_negative(tau)).add_(seen.below)
        slate, member = _slate(strength, slate_size, scores)
    with torch.set_grad_enabled(torch.is_grad_enabled() and reading == "R4"):
        intensity = _intensity(scores, slate, member, seen.live, tau, reading)
        tau_i = _per_example_temperature(intensity, seen.live, tau, gamma)
    return _Parts(scores, tau, seen, log_kappa, slate, member, intensity, tau_i)


def _log_kappa(
    scores: Scores, similarity: Tensor, alpha: Hyperparameter, beta: Hyperparameter, live: Tensor | None
) -> Tensor:
    """``log kappa_j``, finite where masked, and exactly zero for real negatives where alpha = beta = 0."""
    weights = weights_of(scores.mask, scores.negatives)
    # The z-scores of the margins are those of the scores: they differ by a constant of the example.
    hardness, factor = standardise(scores.negatives, scores.mask, weights)
    exponent = hardness.mul_(factor * _checks.per_negative(alpha))
    likeness, factor = standardise(similarity, scores.mask, weights)
    exponent = exponent.addcmul_(likeness, factor * _checks.per_negative(beta))
    # The mean of z-scores is zero, so the masked entries, zero too, are never above the largest real one.
    exponent = exponent.sub_(exponent.amax(-1, keepdim=True))
    power = torch.exp(exponent, out=likeness)
    if weights is not None:
        power = power.mul_(weights)
    # N softmax = exp / mean exp: the mean of N ones is exactly one, so that zero weights give exactly log 1 = 0.
    mean = power.sum(-1, keepdim=True) / count_real(power, weights)
    return exponent.sub_(hide(mean, None if live is None else live.unsqueeze(-1), 1.0).log())


def _slate(strength: Tensor, slate_size: SlateSize, scores: Scores) -> tuple[Tensor, Tensor]:
    """Columns (..., B, m) of the strongest negatives, and which of them are members of the slate."""
    largest, sizes = _slate_sizes(slate_size, scores)
    if sizes is None:
        slate = top_columns(strength, largest)
        return slate, torch.ones_like(slate, dtype=torch.bool) if scores.mask is None else scores.mask.gather(-1, slate)
    # Runs with slates of different sizes share the largest, ranked; each takes the first ones.
    slate = strength.topk(largest, dim=-1).indices
    member = (torch.arange(largest, device=slate.device) < sizes).expand(slate.shape)
    return slate, member if scores.mask is None else member & scores.mask.gather(-1, slate)


def _slate_sizes(slate_size: SlateSize, scores: Scores) -> tuple[int, Tensor | None]:
    """The largest slate size, capped at N, and the sizes (..., 1, 1) if there are several."""
    if isinstance(slate_size, Sequence) and not isinstance(slate_size, str):
        slate_size = torch.tensor(slate_size)
    if isinstance(slate_size, bool) or not isinstance(slate_size, int | Tensor):
        raise InputError(f"slate_size must be an integer, or one per run, not {type(slate_size).__name__}")
    sizes = None
    if isinstance(slate_size, int):
        smallest = largest = slate_size
    else:
        if slate_size.is_floating_point() or slate_size.is_complex() or slate_size.dtype == torch.bool:
            raise InputError(f"slate_size must be an integer tensor, not {slate_size.dtype}")
        _checks.check_broadcasts("slate_size", slate_size, scores.positive)
        smallest, largest = (int(size) for size in torch.aminmax(slate_size))
        sizes = slate_size.to(scores.positive.device)[..., None, None]
    if smallest < 1:
        raise InputError(f"slate_size must be at least 1, got {smallest}")
    return min(largest, scores.negatives.shape[-1]), sizes


def _intensity(
    scores: Scores, slate: Tensor, member: Tensor, live: Tensor | None, tau: Hyperparameter, reading: str
) -> Tensor:
    """Competition intensity I_i (..., B) of the slate; zero without real negatives."""
    rivals = hide(scores.negatives.gather(-1, slate), member, 0.0)
    weights = member.to(rivals.dtype)
    count = count_real(rivals, weights)
    if reading == "R3":
        log_sum = log_sum_exp_margins(Scores(scores.positive, rivals, member), tau)
        return hide(saturate(tau * (log_sum - count.squeeze(-1).log())), live, 0.0)
    if reading == "R3-entropy":
        below = from_top(Scores(scores.positive, rivals, member)).below
        logits = saturate(below / _checks.per_negative(tau))
        probability = logits.exp() * weights
        total = probability.sum(-1).clamp(min=1.0)  # at least one by the top member, zero without any
        return total.log() - (probability * logits).sum(-1) / total
    # Divide before summing: the mean of finite scores is finite, their sum need not be.
    return hide(saturate((rivals / count).sum(-1) - scores.positive), live, 0.0)


def _per_example_temperature(
    intensity: Tensor, live: Tensor | None, tau: Hyperparameter, gamma: Hyperparameter
) -> Tensor:
    """``τ_i = τ exp(γ z_i) / mean exp(γ z)`` over the batch's live examples; τ for the others."""
    weights = weights_of(live, intensity)
    centred, factor = standardise(intensity, live, weights)
    # The limit is out of reach of sane γ (|z| <= 3); it keeps an absurd γ from dividing by zero or infinity.
    relative = (gamma * (centred * factor).clamp(-3.0, 3.0)).clamp(-30.0, 30.0).exp()
    mean = (relative if weights is None else relative * weights).sum(-1, keepdim=True) / count_real(relative, weights)
    return tau * hide(relative / mean.clamp(min=1e-30), live, 1.0)


def _kappa_on_the_logit(parts: _Parts) -> Tensor:
    """Reading R2, ``log Σ_j exp(kappa_j d_j/τ_i)``."""
    scores, kappa, inverse = parts.scores, parts.log_kappa.exp(), 1.0 / parts.tau
    below, top, live = parts.seen
    # kappa_j d_j = (top - s_i) + kappa_j (s_j - top) + (kappa_j - 1)(top - s_i): the first term leaves the sum, and
    # with kappa = 1 the rest is softmax_loss. kappa is at most N, so the products stay below the dtype's maximum.
    share = 0.25 / scores.negatives.shape[-1]
    head = saturate((top - scores.positive) * inverse, share)
    logits = kappa * saturate(below * inverse.unsqueeze(-1), share) + (kappa - 1.0) * head.unsqueeze(-1)
    return hide(head, live, 0.0) + log_sum_exp(hide(logits, scores.mask, -torch.inf), live)


class DSL(RankingLoss):
    """``dsl_loss`` as a module.

    >>> import torch
    >>> criterion = DSL(temperature=0.5, alpha=-0.3, beta=0.2, gamma=0.2, slate_size=1)
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
        reading: str = "R1",
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            reduction,
            temperature=temperature,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            slate_size=slate_size,
            reading=reading,
        )

    def losses(
        self, positive: Tensor, negatives: Tensor, *, item_similarity: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """One loss per example (..., B)."""
        return dsl_loss(positive, negatives, item_similarity=item_similarity, mask=mask, **self.hyperparameters)

    def terms(
        self, positive: Tensor, negatives: Tensor, *, item_similarity: Tensor, mask: Tensor | None = None
    ) -> DslTerms:
        """What ``dsl_terms`` says with this module's hyperparameters."""
        return dsl_terms(positive, negatives, item_similarity=item_similarity, mask=mask, **self.hyperparameters)
