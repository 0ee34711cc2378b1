"""KL-distributionally robust optimisation (KL-DRO) over the negatives of one training instance.

The softmax loss of an instance is, up to a constant and its temperature, the value of a small game: an adversary moves
probability among the instance's negatives towards those with a large payoff, and pays for leaving the nominal
distribution by Kullback-Leibler divergence. This module computes every object of that game, for a whole batch at once:

=====================  ======================================================  =====================================
penalised problem      ``max_Q E_Q[d] - tau KL(Q || P)``                       :func:`penalised_value`
constrained problem    ``max_Q E_Q[d]  subject to  KL(Q || P) <= rho``         :func:`constrained_value`
its solution           ``Q*_j`` proportional to ``P_j exp(d_j / tau)``         :func:`worst_case`
its radius             ``rho(tau) = KL(Q* || P)``                              :func:`radius_of_temperature`
the inverse            ``tau(rho)``                                            :func:`temperature_of_radius`
how the radius moves   ``rho'(tau) = -Var_{Q*}(d) / tau^3``                    :func:`radius_derivative`
small radius           ``mean + variance / (2 tau)`` and its error             :func:`variance_expansion`
an SL or DSL instance  robust payoff, KL deviation                             :func:`robust_view`
=====================  ======================================================  =====================================

Conventions, the same in every function:

* ``payoff`` has shape ``(..., N)``; the last axis holds the negatives, the leading axes are a batch. For SL and DSL the
  payoff of negative ``j`` is its margin ``d_j = s_uj - s_ui``, in the unit of the scores.
* ``temperature`` and ``radius`` (in nats) are numbers or tensors that broadcast against ``payoff.shape[:-1]``; a
  temperature of shape ``(T, 1)`` with a payoff of shape ``(B, N)`` therefore gives a grid ``(T, B)``.
* ``weights`` (non-negative, broadcastable to ``payoff``) is the nominal distribution up to a factor; without it
  the nominal distribution is uniform. ``mask`` is True at real negatives; the others have no probability.
* The limits are included: at temperature 0 the worst case is the nominal distribution conditioned on the largest
  payoff, at an infinite temperature it is the nominal distribution itself.
* Everything is computed in the payoff's floating type (half types in float32, integers in float64), stably for
  temperatures far below 1e-3 and, relative to the result, for radii far below 1e-12.
* Bad input raises :class:`dslstudy.errors.InputError`.

Sources: Hu and Hong (2013) for KL-DRO; Wu et al. (2024) for the softmax loss as KL-DRO. Derived and proven in the
book's chapters *Softmax loss is a robust loss* and *DSL: two scales, one adversary*.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.errors import InputError

# The third central moment of a variable with range r is at most r^3 * sqrt(3) / 18 (book, chapter "Softmax loss is a
# robust loss", lem-third-moment).
THIRD_MOMENT = math.sqrt(3.0) / 18.0
_MEAN_ONE_TOLERANCE = 1e-3  # weights that came through float32 or bfloat16 still count as mean one


class _Game(NamedTuple):
    """One batch of instances, checked and broadcast: what every public function starts from."""

    payoff: Tensor  # (..., N), the nominal mean at entries outside the support
    nominal: Tensor  # (..., N), sums to one
    log_nominal: Tensor  # (..., N), -inf outside the support
    support: Tensor  # (..., N) bool
    mean: Tensor  # (..., 1), nominal mean of the payoff
    top: Tensor  # (..., 1), its largest value


def penalised_value(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Value of the penalised problem, ``max_Q E_Q[d] - tau KL(Q || P) = tau log E_P exp(d / tau)``.

    Differentiable: the gradient with respect to the payoff is :func:`worst_case`, with respect to the temperature minus
    :func:`radius_of_temperature`. Book, chapter *Softmax loss is a robust loss*, ``thm-sl-kl-dro`` (Hu and Hong 2013,
    theorem 1).

    Args:
        payoff: ``(..., N)``.
        temperature: price of one nat of divergence, in the payoff's unit; 0 gives the maximum, infinity the mean.
        weights: nominal distribution up to a factor, ``(..., N)``; uniform if absent.
        mask: True at real negatives, ``(..., N)``.

    Returns:
        ``(...)``, in the payoff's unit.

    Raises:
        InputError: for non-finite payoffs, negative temperatures, bad weights, rows without support, shapes that do
            not fit.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature")
    finite, safe = _finite(tau)
    return torch.where(finite, _tilt(game, safe)[2], (_distribution(game, tau).detach() * game.payoff).sum(-1))


def worst_case(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Worst-case distribution ``Q*_j = P_j exp(d_j / tau) / sum_k P_k exp(d_k / tau)``, the maximiser of both problems.

    Book, chapter *Softmax loss is a robust loss*, ``thm-worst-case``.

    Args:
        payoff: ``(..., N)``.
        temperature: see :func:`penalised_value`.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(..., N)``, each row sums to one.

    Raises:
        InputError: as :func:`penalised_value`.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature")
    return _distribution(game, tau)


def radius_of_temperature(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Radius ``rho(tau) = KL(Q*_tau || P)`` in nats: how far the adversary goes at a temperature.

    Falls monotonically from :func:`maximum_radius` at temperature 0 to 0 at an infinite one. Differentiable in the
    temperature (:func:`radius_derivative`) and the payoff. Book, chapter *Softmax loss is a robust loss*,
    ``thm-radius``.

    Args:
        payoff: ``(..., N)``.
        temperature: see :func:`penalised_value`.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, non-negative.

    Raises:
        InputError: as :func:`penalised_value`.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature")
    return _radius(game, tau)


def radius_derivative(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Derivative of the radius, ``d rho / d tau = -Var_{Q*}(d) / tau^3``; never positive, 0 in both limits.

    Book, chapter *Softmax loss is a robust loss*, ``thm-radius``.

    Args:
        payoff: ``(..., N)``.
        temperature: see :func:`penalised_value`.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in nats per unit of the payoff.

    Raises:
        InputError: as :func:`penalised_value`.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature")
    finite, safe = _finite(tau)
    # One division at a time: the cube of a tiny temperature underflows, and 0/0 is not 0.
    return torch.where(finite, -_variance(game, _distribution(game, tau)) / safe / safe / safe, 0.0)


def maximum_radius(payoff: Tensor, *, weights: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Largest radius that buys anything, ``log(1 / P(argmax d))``: beyond it the adversary already has the maximum.

    Zero for a constant payoff. Ties at the maximum share: with ``k`` of ``N`` uniform negatives at the maximum it is
    ``log(N / k)``. Book, chapter *Softmax loss is a robust loss*, ``thm-radius``.

    Args:
        payoff: ``(..., N)``.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in nats.

    Raises:
        InputError: as :func:`penalised_value`.
    """
    game, _ = _game(payoff, weights, mask)
    return _maximum_radius(game)


def temperature_of_radius(
    payoff: Tensor, *, radius: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """The temperature at which the penalised adversary goes exactly ``radius`` nats far: the inverse of the radius.

    It is the Lagrange multiplier of the constrained problem (book, chapter *Softmax loss is a robust loss*,
    ``thm-constrained``). A radius of 0 has temperature infinity; a radius at or beyond :func:`maximum_radius` (any
    positive radius, for a constant payoff) has temperature 0, because the constraint does not bind. Every other radius
    has exactly one temperature, found by Newton's method on the logarithms inside a shrinking bracket. The result
    carries no gradient.

    Args:
        payoff: ``(..., N)``.
        radius: in nats, at least 0, broadcasting against ``payoff.shape[:-1]``.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in the payoff's unit, from 0 to infinity.

    Raises:
        InputError: for a negative radius, and as :func:`penalised_value`.
    """
    with torch.no_grad():
        game, rho = _game(payoff, weights, mask, radius, "radius")
        return _temperature(game, rho)


def constrained_value(
    payoff: Tensor, *, radius: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Value of the constrained problem, ``max_Q E_Q[d]`` subject to ``KL(Q || P) <= radius``.

    Computed from its dual, ``min_tau tau * radius + tau log E_P exp(d / tau)``. Differentiable by the envelope theorem:
    the gradient with respect to the payoff is the worst-case distribution, with respect to the radius the temperature.
    Book, chapter *Softmax loss is a robust loss*, ``thm-constrained`` (Hu and Hong 2013).

    Args:
        payoff: ``(..., N)``.
        radius: in nats, at least 0; 0 gives the nominal mean, :func:`maximum_radius` and beyond the maximum.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in the payoff's unit.

    Raises:
        InputError: as :func:`temperature_of_radius`.
    """
    game, rho = _game(payoff, weights, mask, radius, "radius")
    with torch.no_grad():
        tau = _temperature(game, rho)
    finite, safe = _finite(tau)
    limit = (_distribution(game, tau).detach() * game.payoff).sum(-1)
    return torch.where(finite, safe * rho + _tilt(game, safe)[2], limit)


def variance_expansion(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Second-order expansion of :func:`penalised_value` at high temperature: ``E_P[d] + Var_P(d) / (2 tau)``.

    Book, chapter *Softmax loss is a robust loss*, ``thm-expansion``; :func:`variance_expansion_error` bounds what it
    leaves out.

    Args:
        payoff: ``(..., N)``.
        temperature: must be positive.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in the payoff's unit.

    Raises:
        InputError: for a temperature of 0, and as :func:`penalised_value`.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature", positive=True)
    return game.mean.squeeze(-1) + _variance(game, game.nominal) / (2 * tau)


def variance_expansion_error(
    payoff: Tensor, *, temperature: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Proven bound of ``|penalised_value - variance_expansion|``: ``sqrt(3)/108 * range(d)^3 / tau^2``.

    The constant cannot be lowered. Book, chapter *Softmax loss is a robust loss*, ``thm-expansion``.

    Args:
        payoff: ``(..., N)``.
        temperature: must be positive.
        weights: see :func:`penalised_value` (only their support matters).
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in the payoff's unit.

    Raises:
        InputError: for a temperature of 0, and as :func:`penalised_value`.
    """
    game, tau = _game(payoff, weights, mask, temperature, "temperature", positive=True)
    return THIRD_MOMENT / 6 * _range(game) ** 3 / tau**2


def small_radius_expansion(
    payoff: Tensor, *, radius: Tensor | float, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """First-order expansion of :func:`constrained_value` at small radius: ``E_P[d] + sqrt(2 radius Var_P(d))``.

    Its error is at most ``5/3 * sqrt(3)/18 * range(d)^3 * radius / Var_P(d)`` (book, chapter *Softmax loss is a robust
    loss*, ``thm-expansion``; the form is that of Namkoong and Duchi 2017).

    Args:
        payoff: ``(..., N)``.
        radius: in nats, at least 0.
        weights: see :func:`penalised_value`.
        mask: see :func:`penalised_value`.

    Returns:
        ``(...)``, in the payoff's unit.

    Raises:
        InputError: as :func:`temperature_of_radius`.
    """
    game, rho = _game(payoff, weights, mask, radius, "radius")
    return game.mean.squeeze(-1) + (2 * rho * _variance(game, game.nominal)).sqrt()


@dataclass(frozen=True, kw_only=True)
class RobustView:
    """What the adversary of one SL or DSL instance does; made by :func:`robust_view`.

    All shapes are ``(...)`` unless given.

    The same optimum is read in two ways (book, chapter *DSL: two scales, one adversary*, ``thm-dsl-kl-dro``)::

        value = payoff - tau_i * deviation            payoff of j is d_j + tau_i log kappa_j, nominal uniform
              = margin - tau_i * nominal_deviation    payoff of j is d_j, nominal P_kappa = kappa / N

    Attributes:
        nominal: ``(..., N)``, the distribution ``P_kappa = kappa / N`` (uniform for SL).
        worst_case: ``(..., N)``, the adversary's choice ``Q*``, proportional to ``kappa_j exp(d_j / tau_i)``.
        payoff: robust payoff ``E_{Q*}[d + tau_i log kappa]``.
        deviation: KL deviation from uniform sampling, ``KL(Q* || P)``, in nats.
        margin: ``E_{Q*}[d]``, the mean margin of the negatives that the adversary plays.
        nominal_deviation: ``KL(Q* || P_kappa)``, in nats.
        value: the robust value ``tau_i log E_{P_kappa} exp(d / tau_i)``.
        loss: the training loss ``log sum_j kappa_j exp(d_j / tau_i) = log N + value / tau_i``.
    """

    nominal: Tensor
    worst_case: Tensor
    payoff: Tensor
    deviation: Tensor
    margin: Tensor
    nominal_deviation: Tensor
    value: Tensor
    loss: Tensor


def robust_view(
    margins: Tensor, *, temperature: Tensor | float, kappa: Tensor | None = None, mask: Tensor | None = None
) -> RobustView:
    """Robust payoff and KL deviation of instances under SL (without ``kappa``) or DSL.

    Book, chapter *DSL: two scales, one adversary*, ``thm-dsl-kl-dro``; the equations of DSL are the book's
    reconstruction R1.

    Args:
        margins: ``d_j = s_uj - s_ui``, ``(..., N)``.
        temperature: ``tau`` for SL, the per-instance ``tau_i`` for DSL; positive, broadcasts against the leading axes.
        kappa: weights of the negatives, mean one over the real ones, ``(..., N)``; without them the instance is SL's.
        mask: True at real negatives, ``(..., N)``.

    Returns:
        A :class:`RobustView`.

    Raises:
        InputError: for a kappa whose mean over the real negatives is not one, and as :func:`penalised_value`.
    """
    game, tau = _game(margins, kappa, mask, temperature, "temperature", positive=True)
    real = torch.ones_like(game.support) if mask is None else torch.as_tensor(mask).expand(game.support.shape)
    count = real.sum(-1).to(game.payoff.dtype)
    if kappa is not None:
        mean = torch.where(real, torch.as_tensor(kappa).to(game.payoff), 0.0).sum(-1) / count
        if not bool(((mean - 1).abs() <= _MEAN_ONE_TOLERANCE).all()):
            raise InputError("kappa must have mean one over the real negatives of each instance; divide it by its mean")
    worst = _distribution(game, tau)
    margin = (worst * game.payoff).sum(-1)
    nominal_deviation = _radius(game, tau)
    # log kappa_j = log(N P_kappa,j); entries outside the support have no worst-case mass and count nothing.
    log_kappa = torch.where(game.support, game.log_nominal + count.log().unsqueeze(-1), 0.0)
    tilt = (worst * log_kappa).sum(-1)
    value = _tilt(game, tau)[2]
    return RobustView(
        nominal=game.nominal,
        worst_case=worst,
        payoff=margin + tau * tilt,
        deviation=nominal_deviation + tilt,
        margin=margin,
        nominal_deviation=nominal_deviation,
        value=value,
        loss=count.log() + value / tau,
    )


def _game(
    payoff: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    control: Tensor | float = 1.0,
    name: str = "temperature",
    *,
    positive: bool = False,
) -> tuple[_Game, Tensor]:
    """Check the input and broadcast it to common leading axes; the control comes back as ``(...)``."""
    payoff = torch.as_tensor(payoff)
    if payoff.dim() == 0 or payoff.shape[-1] == 0:
        raise InputError(f"the payoff needs a last axis of at least one negative, not shape {tuple(payoff.shape)}")
    if not payoff.is_floating_point():
        payoff = payoff.double()
    elif payoff.dtype in (torch.float16, torch.bfloat16):
        payoff = payoff.float()
    control = torch.as_tensor(control, dtype=payoff.dtype, device=payoff.device)
    allowed = (control > 0) & control.isfinite() if positive else control >= 0  # NaN is neither
    if not bool(allowed.all()):
        raise InputError(f"the {name} must be {'positive and finite' if positive else 'zero or positive'}")
    try:
        leading = torch.broadcast_shapes(payoff.shape[:-1], control.shape)
        shape = (*leading, payoff.shape[-1])
        payoff, control = payoff.expand(shape), control.expand(leading)
        support = torch.ones_like(payoff, dtype=torch.bool)
        if mask is not None:
            mask = torch.as_tensor(mask, device=payoff.device)
            if mask.dtype != torch.bool:
                raise InputError(f"the mask must be boolean (True at real negatives), not {mask.dtype}")
            support = mask.expand(shape)
        weights = payoff.new_ones(shape) if weights is None else torch.as_tensor(weights).to(payoff).expand(shape)
    except RuntimeError as error:
        raise InputError(f"payoff, {name}, weights and mask do not fit together: {error}") from None
    weights = torch.where(support, weights, 0.0)
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise InputError("nominal weights must be finite and not negative")
    support = weights > 0
    if not bool(support.any(-1).all()):
        raise InputError("an instance has no real negative with positive weight; leave such instances out")
    if not bool((payoff.isfinite() | ~support).all()):
        raise InputError("the payoff must be finite wherever a negative is real")
    nominal = weights / weights.sum(-1, keepdim=True)
    mean = (nominal * torch.where(support, payoff, 0.0)).sum(-1, keepdim=True)
    # The mean is a harmless filler outside the support: it is no extreme, and the weight there is zero.
    payoff = torch.where(support, payoff, mean.detach())
    log_nominal = torch.where(support, nominal, 1.0).log().masked_fill(~support, -math.inf)
    top = payoff.masked_fill(~support, -math.inf).amax(-1, keepdim=True)
    return _Game(payoff, nominal, log_nominal, support, mean, top), control


def _finite(tau: Tensor) -> tuple[Tensor, Tensor]:
    """Where the temperature is neither 0 nor infinite, and the temperature with 1 put elsewhere (safe to divide by)."""
    finite = (tau > 0) & tau.isfinite()
    return finite, torch.where(finite, tau, 1.0)


def _tilt(game: _Game, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(d - c) / tau`` (..., N), ``log E_P exp`` of them (...), and the penalised value (...).

    At high temperature the centre ``c`` is the nominal mean, so that what is left, of order 1/tau^2, keeps its digits;
    at low temperature it is the maximum, so that the negatives that matter do.
    """
    deviation = (game.payoff - game.mean).detach().abs().amax(-1)
    hot = deviation < 0.5 * tau
    centre = torch.where(hot.unsqueeze(-1), game.mean, game.top).detach()
    logits = (game.payoff - centre) / tau.unsqueeze(-1)
    small = torch.log1p((game.nominal * torch.expm1(logits.clamp(-1, 1))).sum(-1))
    large = torch.logsumexp(game.log_nominal + logits, -1)
    log_partition = torch.where(hot, small, large)
    return logits, log_partition, centre.squeeze(-1) + tau * log_partition


def _at_maximum(game: _Game) -> Tensor:
    """True at the negatives whose payoff is the largest of the instance, ``(..., N)``."""
    return game.support & (game.payoff == game.top)


def _distribution(game: _Game, tau: Tensor) -> Tensor:
    finite, safe = _finite(tau)
    tilted = torch.softmax(game.log_nominal + _tilt(game, safe)[0], -1)
    greedy = game.nominal * _at_maximum(game)
    greedy = greedy / greedy.sum(-1, keepdim=True)
    limit = torch.where((tau == 0).unsqueeze(-1), greedy, game.nominal)
    return torch.where(finite.unsqueeze(-1), tilted, limit)


def _variance(game: _Game, distribution: Tensor) -> Tensor:
    mean = (distribution * game.payoff).sum(-1, keepdim=True)
    return (distribution * (game.payoff - mean) ** 2).sum(-1)


def _range(game: _Game) -> Tensor:
    return game.top.squeeze(-1) - game.payoff.masked_fill(~game.support, math.inf).amin(-1)


def _maximum_radius(game: _Game) -> Tensor:
    return -(game.nominal * _at_maximum(game)).sum(-1).clamp(max=1.0).log()


def _radius(game: _Game, tau: Tensor) -> Tensor:
    """KL(Q* || P) as a sum of non-negative terms ``P_j f(log(Q_j / P_j))`` with ``f(y) = y e^y - e^y + 1``."""
    # No term is negative and each is accurate, so a radius of 1e-20 has as many correct digits as one of 1.
    finite, safe = _finite(tau)
    logits, log_partition, _ = _tilt(game, safe)
    log_ratio = logits - log_partition.unsqueeze(-1)
    tilted = torch.softmax(game.log_nominal + logits, -1)
    near = log_ratio.detach().abs() < 0.3
    y = torch.where(near, log_ratio, 0.0)
    series = torch.zeros_like(y)
    for k in range(16, 1, -1):  # f(y) = sum_{k >= 2} y^k (k - 1) / k!, by Horner's rule
        series = series * y + (k - 1) / math.factorial(k)
    # Outside the support the weights are zero but the logarithm may be anything finite.
    far = tilted * (torch.where(game.support, log_ratio, 0.0) - 1) + game.nominal
    radius = torch.where(near, game.nominal * y * y * series, far).sum(-1).clamp(min=0.0)
    return torch.where(finite, radius, torch.where(tau == 0, _maximum_radius(game), 0.0))


def _temperature(game: _Game, radius: Tensor) -> Tensor:
    """Invert the radius: safeguarded Newton on ``log rho`` as a function of ``t = log(1 / tau)``."""
    maximum, spread = _maximum_radius(game), _range(game)
    epsilon = torch.finfo(radius.dtype).eps
    slack = radius >= maximum * (1 - 8 * epsilon)  # within rounding of the maximum the inverse has no meaning
    solve = ~slack & (radius > 0)
    target = torch.where(solve, radius, 1.0).log()

    def excess(t: Tensor) -> tuple[Tensor, Tensor]:
        tau = torch.exp(-t)
        rho = _radius(game, tau).clamp(min=torch.finfo(radius.dtype).tiny)
        slope = _variance(game, _distribution(game, tau)) / (tau**2 * rho)  # d log rho / d t
        return rho.log() - target, slope

    # rho(tau) <= (range / tau)^2 / 8, because no variance exceeds range^2 / 4: a lower end of the bracket, for nothing.
    low = 0.5 * (math.log(8) + target) - torch.where(spread > 0, spread, 1.0).log()
    low = torch.where(solve, low, 0.0)
    high, step = low.clone(), 1.0
    for _ in range(64):  # walk up, ever faster, until the radius is passed
        open_ended = solve & (excess(high)[0] < 0)
        if not bool(open_ended.any()):
            break
        low = torch.where(open_ended, high, low)
        high = torch.where(open_ended, high + step, high)
        step *= 1.5
    t, settled = 0.5 * (low + high), ~solve
    for _ in range(200):
        value, slope = excess(t)
        low, high = torch.where(value < 0, t, low), torch.where(value < 0, high, t)
        newton = t - value / slope.clamp(min=epsilon)
        precision = 4 * epsilon * t.abs().clamp(min=1.0)
        arrived = (newton - t).abs() <= precision
        moved = torch.where((newton > low) & (newton < high) | arrived, newton, 0.5 * (low + high))
        t = torch.where(settled, t, moved)
        settled = settled | arrived | (high - low <= precision)
        if bool(settled.all()):
            break
    tau = torch.exp(-t)
    return torch.where(solve, tau, torch.where(radius > 0, 0.0, math.inf).to(tau.dtype))
