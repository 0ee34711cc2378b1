"""LLPAUC: the lower-left partial area under the ROC curve, as a min-max problem that is a sum over examples.

Set out in the chapter "From BPR to the softmax loss", section "The other losses of the tables".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslstudy.losses import _checks
from dslstudy.losses._checks import Hyperparameter
from dslstudy.losses._module import RankingLoss
from dslstudy.losses._numerics import count_real, hide, weights_of


class LLPAUCState(nn.Module):
    """The auxiliary variables of ``llpauc_loss``: the model minimises together with some, against the others.

    After ``loss.backward()``, ``state.turn_gradients()`` lets one optimiser that descends serve both sides; after its
    step, ``state.project()`` puts the variables back where the reformulation holds.

    Args:
        shape: the leading axes ``...`` of the scores, one set of variables per run.

    Attributes:
        a, b: the mean scores that the top positives and the top negatives should have; minimised, in [0, 1].
        negative_threshold: the score loss above which a negative is among the top; minimised, in [0, 5].
        positive_threshold: the same for positives; maximised, in [-1, 4].
        gamma: multiplier of the gap between the mean scores; maximised, in [max(-a, b - 1), 1].
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        # The published starting values.
        self.a = nn.Parameter(torch.ones(shape))
        self.b = nn.Parameter(torch.zeros(shape))
        self.gamma = nn.Parameter(torch.zeros(shape))
        self.positive_threshold = nn.Parameter(torch.full(shape, 0.5))
        self.negative_threshold = nn.Parameter(torch.full(shape, 0.5))

    def maximised(self) -> list[nn.Parameter]:
        """The variables that ascend; the others descend, like the model."""
        return [self.gamma, self.positive_threshold]

    @torch.no_grad()
    def turn_gradients(self) -> None:
        """Change the sign of the ascending variables' gradients: an optimiser's descent on them is then an ascent."""
        for parameter in self.maximised():
            if parameter.grad is not None:
                parameter.grad.neg_()

    @torch.no_grad()
    def project(self) -> None:
        """Clip all variables to their ranges, gamma too, for whose range the published code has multipliers."""
        self.a.clamp_(0.0, 1.0)
        self.b.clamp_(0.0, 1.0)
        self.positive_threshold.clamp_(-1.0, 4.0)
        self.negative_threshold.clamp_(0.0, 5.0)
        self.gamma.copy_(torch.maximum(self.gamma, torch.maximum(-self.a, self.b - 1.0)).clamp(max=1.0))


def llpauc_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    state: LLPAUCState,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    smoothing: Hyperparameter = 5.0,
    mask: Tensor | None = None,
) -> Tensor:
    """LLPAUC's sampled objective: the AUC of the top positives (TPR <= α) against the top negatives (FPR <= β).

    With ``f = sigmoid(s)``, the smooth hinge ``r(x) = log(1 + exp(κ x))/κ`` and the state's a, b, γ, s⁺, s⁻:

        p_i = 2(1 + γ) f_ui - (f_ui - a)²,   n_j = 2(1 + γ) f_uj + (f_uj - b)²
        l_i = -s⁺ - r(p_i - s⁺)/α + mean_j [s⁻ + r(n_j - s⁻)/β] - γ²

    Its mean is minimised over the model, a, b, s⁻ and maximised over γ, s⁺. Why: with exact hinges, the best s⁻ turns
    ``s + E[n - s]₊/β`` into the mean of the β largest n, the best s⁺ does the same for p, and then the best a, b, γ
    make ``1 + loss`` the expected squared loss ``(1 - f_ui + f_uj)²`` of a top positive against a top negative.

    Args:
        positive: (..., B) scores s_ui of the positives, any real numbers.
        negatives: (..., B, N) scores s_uj of the negatives.
        state: the auxiliary variables, of a shape that broadcasts over the leading axes ``...``.
        alpha: α in (0, 1], the share of positives that count, a number or a tensor over the leading axes.
        beta: β in (0, 1], the share of negatives that count, likewise.
        smoothing: κ > 0, likewise; the larger, the closer to the hinge. The published value is 5.
        mask: (..., B, N) bool, True = a real negative; None = all real.

    Returns:
        (..., B), one loss per example; float32 for half-precision scores. Zero for an example without real negatives.

    Raises:
        InputError: wrong shapes or dtypes, non-finite scores, hyperparameters out of range.

    Source: Shi et al., "Lower-Left Partial AUC: An Effective and Efficient Optimization Metric for Recommendation"
    (WWW 2024), the point-wise min-max form, scaled as in the code released with it (its extra ``w γ²`` is zero there).
    Chapter: "From BPR to the softmax loss", section "The other losses of the tables".
    """
    scores = _checks.check_scores(positive, negatives, mask)
    alpha = _checks.hyperparameter(alpha, scores.positive, "alpha", above=0.0, at_most=1.0)
    beta = _checks.per_negative(_checks.hyperparameter(beta, scores.positive, "beta", above=0.0, at_most=1.0))
    kappa = _checks.hyperparameter(smoothing, scores.positive, "smoothing", above=0.0)
    a, b, gamma, above, over = (
        _checks.hyperparameter(getattr(state, name), scores.positive, f"state.{name}")
        for name in ("a", "b", "gamma", "positive_threshold", "negative_threshold")
    )
    likely = scores.positive.sigmoid()
    gain = 2.0 * (1.0 + gamma) * likely - (likely - a).square()
    pull = -above - _smooth_hinge(gain - above, kappa) / alpha

    b, gamma_j, over = (_checks.per_negative(value) for value in (b, gamma, over))
    unlikely = hide(scores.negatives, scores.mask, 0.0).sigmoid()
    cost = 2.0 * (1.0 + gamma_j) * unlikely + (unlikely - b).square()
    push = over + _smooth_hinge(cost - over, _checks.per_negative(kappa)) / beta
    count = count_real(push, weights_of(scores.mask, push))
    losses = pull + hide(push, scores.mask, 0.0).sum(-1) / (count if scores.mask is None else count.squeeze(-1))
    live = None if scores.mask is None else scores.mask.any(-1)
    return hide(losses - gamma.square(), live, 0.0)


def _smooth_hinge(x: Tensor, kappa: Hyperparameter) -> Tensor:
    # Beyond the threshold x and log(1 + exp(x)) are the same number.
    return functional.softplus(kappa * x, threshold=40.0) / kappa


class LLPAUC(RankingLoss):
    """``llpauc_loss`` as a module that owns its ``state``: give ``criterion.parameters()`` to the optimiser too.

    >>> import torch
    >>> criterion = LLPAUC(alpha=0.7, beta=0.1)
    >>> criterion(torch.tensor([1.0]), torch.tensor([[0.5, 0.0]])).backward(); criterion.state.turn_gradients()
    >>> torch.optim.Adam(criterion.parameters()).step(); criterion.state.project()
    """

    def __init__(
        self,
        alpha: Hyperparameter = 0.7,
        beta: Hyperparameter = 0.1,
        smoothing: Hyperparameter = 5.0,
        *,
        shape: tuple[int, ...] = (),
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, alpha=alpha, beta=beta, smoothing=smoothing)
        self.state = LLPAUCState(shape)

    def losses(self, positive: Tensor, negatives: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """One loss per example (..., B)."""
        return llpauc_loss(positive, negatives, state=self.state, mask=mask, **self.hyperparameters)
