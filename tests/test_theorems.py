"""Every statement that the theory chapters prove, under the label it has there.

The checks use what the proofs do not: a convex solver on the primal problem, autograd, symbolic algebra, and searches
for counterexamples that report how near they came.
"""

import math

import cvxpy as cp
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, xlogy

from dslstudy import dro
from dslstudy.losses import dsl_loss, dsl_terms, softmax_loss

SEEDS = st.integers(0, 2**32 - 1)


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def kl(q, p):
    return float(np.sum(xlogy(q, q / p)))


def primal(payoff, nominal, *, temperature=None, radius=None):
    """The primal problem, as written: maximise over distributions. Returns value and maximiser."""
    q = cp.Variable(len(payoff))
    divergence = cp.sum(cp.kl_div(q, nominal))
    objective = payoff @ q - (temperature * divergence if radius is None else 0)
    constraints = [cp.sum(q) == 1, *([] if radius is None else [divergence <= radius])]
    cp.Problem(cp.Maximize(objective), constraints).solve(solver=cp.CLARABEL)
    best = np.clip(q.value, 0, None)
    best /= best.sum()
    return payoff @ best - (temperature * kl(best, nominal) if radius is None else 0), best


def instance(seed, negatives=10, examples=1):
    """Cosine-like scores of one positive and its negatives per example, and item-item similarities."""
    rng = np.random.default_rng(seed)
    positive = rng.uniform(-0.2, 1.0, size=examples)
    scores = np.clip(rng.normal(0.0, 0.3, size=(examples, negatives)), -1, 1)
    similarity = rng.uniform(-1, 1, size=(examples, negatives))
    return tensor(positive), tensor(scores), tensor(similarity)


def mean_one(rng, size, spread=1.0):
    kappa = np.exp(spread * rng.normal(size=size))
    return kappa / kappa.mean(-1, keepdims=True)


# --- Softmax loss is a robust loss --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_thm_sl_kl_dro(seed):
    positive, negatives, _ = instance(seed)
    tau, n = 0.2, negatives.shape[-1]
    loss = softmax_loss(positive, negatives, temperature=tau).item()
    value, _ = primal((negatives - positive[:, None])[0].numpy(), np.full(n, 1 / n), temperature=tau)
    assert tau * (loss - math.log(n)) == pytest.approx(value, abs=1e-7)


@given(SEEDS, st.floats(0.02, 5.0))
def test_thm_sl_kl_dro_gibbs_identity(seed, tau):
    """E_Q d - tau KL(Q || P) = V - tau KL(Q || Q*), for every Q: the whole proof in one line."""
    rng = np.random.default_rng(seed)
    d, p, q = rng.normal(size=6), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    value = tau * logsumexp(d / tau, b=p)
    worst = p * np.exp((d - value) / tau)
    assert q @ d - tau * kl(q, p) == pytest.approx(value - tau * kl(q, worst), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_thm_worst_case(seed):
    positive, negatives, _ = instance(seed)
    tau = 0.15
    positive.requires_grad_()
    negatives.requires_grad_()
    by_positive, by_negatives = torch.autograd.grad(
        softmax_loss(positive, negatives, temperature=tau).sum(), (positive, negatives)
    )
    d = (negatives - positive[:, None]).detach()
    worst = dro.worst_case(d, temperature=tau)
    torch.testing.assert_close(by_negatives, worst / tau)
    torch.testing.assert_close(by_positive, tensor([-1 / tau]))
    _, maximiser = primal(d[0].numpy(), np.full(10, 0.1), temperature=tau)
    np.testing.assert_allclose(worst[0], maximiser, atol=1e-4)


def test_thm_radius_derivative_by_symbols():
    tau = sympy.Symbol("tau", positive=True)
    d = sympy.symbols("d1:4", real=True)
    p = sympy.symbols("p1:4", positive=True)
    z = sum(p_j * sympy.exp(d_j / tau) for p_j, d_j in zip(p, d, strict=True))
    q = [p_j * sympy.exp(d_j / tau) / z for p_j, d_j in zip(p, d, strict=True)]
    mean = sum(q_j * d_j for q_j, d_j in zip(q, d, strict=True))
    variance = sum(q_j * d_j**2 for q_j, d_j in zip(q, d, strict=True)) - mean**2
    radius = mean / tau - sympy.log(z)
    assert sympy.simplify(sympy.diff(radius, tau) + variance / tau**3) == 0
    assert sympy.simplify(sympy.diff(tau * sympy.log(z), tau) + radius) == 0


@given(SEEDS, st.floats(0.05, 3.0), st.floats(1.05, 3.0))
def test_thm_radius_falls_and_has_its_limits(seed, tau, factor):
    rng = np.random.default_rng(seed)
    d, weights = tensor(rng.normal(size=8)), tensor(rng.dirichlet(np.ones(8)))
    options = {"weights": weights}
    low, high = (dro.radius_of_temperature(d, temperature=t, **options) for t in (tau, factor * tau))
    assert high < low < dro.maximum_radius(d, **options) + 1e-12
    gap = d.sort().values[-1] - d.sort().values[-2]
    nearly_zero = gap.item() / 60
    assert dro.radius_of_temperature(d, temperature=nearly_zero, **options).item() == pytest.approx(
        -math.log(weights[d.argmax()]), abs=1e-9
    )
    assert dro.radius_of_temperature(d, temperature=1e9, **options) < 1e-15


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", [0.1, 0.4])
def test_thm_constrained(seed, tau):
    rng = np.random.default_rng(seed)
    d, p = 0.3 * rng.normal(size=10), rng.dirichlet(np.full(10, 3.0))
    options = {"weights": tensor(p)}
    radius = dro.radius_of_temperature(tensor(d), temperature=tau, **options).item()
    penalised = dro.penalised_value(tensor(d), temperature=tau, **options).item()
    value, maximiser = primal(d, p, radius=radius)
    assert penalised + tau * radius == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(dro.worst_case(tensor(d), temperature=tau, **options), maximiser, atol=1e-3)
    temperatures = np.geomspace(tau / 3, 3 * tau, 601)  # contains tau itself, in the middle
    dual = [t * radius + t * logsumexp(d / t, b=p) for t in temperatures]
    assert np.argmin(dual) == 300
    assert min(dual) == pytest.approx(value, abs=1e-6)


def test_lem_third_moment_and_its_worst_distribution():
    """|third central moment| <= sqrt(3)/18 range^3, met by two points with weight (3 - sqrt 3)/6 on the upper one."""
    rng = np.random.default_rng(0)
    support = rng.random((20000, 5))
    p = rng.dirichlet(np.full(5, 0.3), size=20000)
    centred = support - (p * support).sum(-1, keepdims=True)
    ratio = np.abs((p * centred**3).sum(-1)) / np.ptp(support, axis=-1) ** 3
    assert ratio.max() <= dro.THIRD_MOMENT
    assert ratio.max() > 0.95 * dro.THIRD_MOMENT
    m = (3 - math.sqrt(3)) / 6
    assert m * (1 - m) * (1 - 2 * m) == pytest.approx(dro.THIRD_MOMENT)


def test_thm_expansion_constant_is_the_best():
    """On the worst two-point distribution the error over its bound goes to one as the temperature grows."""
    m = (3 - math.sqrt(3)) / 6
    d, weights = tensor([0.0, 1.0]), tensor([1 - m, m])
    temperature = tensor([1.0, 10.0, 100.0])
    options = {"temperature": temperature, "weights": weights}
    gap = dro.penalised_value(d, **options) - dro.variance_expansion(d, **options)
    share = gap.abs() / dro.variance_expansion_error(d, **options)
    assert bool((share[1:] > share[:-1]).all())
    assert bool((share <= 1).all())
    assert share[-1] > 0.99


@given(SEEDS, st.floats(-3.0, 3.0), st.floats(-6.0, 3.0))
def test_thm_expansion(seed, log_temperature, log_radius):
    rng = np.random.default_rng(seed)
    d, weights = tensor(rng.random(6)), tensor(rng.dirichlet(np.full(6, 0.5)) + 1e-6)
    tau, rho = math.exp(log_temperature), math.exp(log_radius)
    gap = dro.penalised_value(d, temperature=tau, weights=weights) - dro.variance_expansion(
        d, temperature=tau, weights=weights
    )
    assert abs(gap) <= dro.variance_expansion_error(d, temperature=tau, weights=weights) + 1e-12
    p = weights / weights.sum()
    variance = (p * (d - p @ d) ** 2).sum()
    gap = dro.constrained_value(d, radius=rho, weights=weights) - dro.small_radius_expansion(
        d, radius=rho, weights=weights
    )
    assert abs(gap) <= 5 / 3 * dro.THIRD_MOMENT * (d.max() - d.min()) ** 3 * rho / variance + 1e-9


# --- DSL: two scales, one adversary -------------------------------------------------------------------------------

SETTINGS = {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 3}


@pytest.mark.parametrize("seed", range(3))
def test_thm_dsl_kl_dro(seed):
    """Both readings of the adversary, solved as primal problems, give the loss of the library."""
    positive, negatives, similarity = instance(seed, examples=4)
    loss = dsl_loss(positive, negatives, item_similarity=similarity, **SETTINGS)
    terms = dsl_terms(positive, negatives, item_similarity=similarity, **SETTINGS)
    n = negatives.shape[-1]
    for i in range(4):
        d, kappa, tau = (negatives[i] - positive[i]).numpy(), terms.kappa[i].numpy(), terms.tau[i].item()
        expected = tau * (loss[i].item() - math.log(n))
        by_payoff, first = primal(d + tau * np.log(kappa), np.full(n, 1 / n), temperature=tau)
        by_nominal, second = primal(d, kappa / n, temperature=tau)
        assert by_payoff == pytest.approx(expected, abs=1e-7)
        assert by_nominal == pytest.approx(expected, abs=1e-7)
        worst = dro.robust_view(tensor(d), temperature=tau, kappa=tensor(kappa)).worst_case
        np.testing.assert_allclose(first, worst, atol=1e-4)
        np.testing.assert_allclose(second, worst, atol=1e-4)


def test_thm_dsl_kl_dro_gradient_is_the_worst_case():
    positive, negatives, similarity = instance(7, examples=5)
    negatives.requires_grad_()
    positive.requires_grad_()
    loss = dsl_loss(positive, negatives, item_similarity=similarity, **SETTINGS)
    by_positive, by_negatives = torch.autograd.grad(loss.sum(), (positive, negatives))
    terms = dsl_terms(positive, negatives, item_similarity=similarity, **SETTINGS)
    d = (negatives - positive[:, None]).detach()
    view = dro.robust_view(d, temperature=terms.tau, kappa=terms.kappa)
    torch.testing.assert_close(view.loss, loss.detach())
    torch.testing.assert_close(by_negatives, view.worst_case / terms.tau[:, None])
    torch.testing.assert_close(by_positive, -1 / terms.tau)


@given(SEEDS, st.floats(0.05, 2.0))
def test_thm_dsl_radius(seed, tau):
    rng = np.random.default_rng(seed)
    d, kappa = tensor(rng.normal(size=7)), tensor(mean_one(rng, 7))
    temperature = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
    view = dro.robust_view(d, temperature=temperature, kappa=kappa)
    (slope,) = torch.autograd.grad(view.nominal_deviation, temperature)
    variance = (view.worst_case * (d - view.margin) ** 2).sum()
    assert slope.item() == pytest.approx(-variance.item() / tau**3, rel=1e-6, abs=1e-12)


def test_thm_dsl_radius_limit_of_the_statement():
    """Measured from uniform sampling instead of P_kappa, the deviation need not fall as the temperature rises."""
    d, kappa = tensor([0.3, 0.0]), tensor([0.4, 1.6])
    hot, cold = (dro.robust_view(d, temperature=t, kappa=kappa) for t in (5.0, 0.3))
    assert hot.nominal_deviation < cold.nominal_deviation
    assert hot.deviation > cold.deviation


@given(SEEDS, st.floats(-0.4, 0.6), st.floats(0.1, 0.5))
def test_thm_effective_temperature(seed, alpha, tau):
    """Without similarity, kappa is a temperature in disguise: 1/tau_eff = 1/tau + alpha/sigma."""
    positive, negatives, similarity = instance(seed)
    settings = {**SETTINGS, "temperature": tau, "alpha": alpha, "beta": 0.0, "gamma": 0.0}
    negatives.requires_grad_()
    loss = dsl_loss(positive, negatives, item_similarity=similarity, **settings)
    (gradient,) = torch.autograd.grad(loss.sum(), negatives)
    d = (negatives - positive[:, None]).detach()
    inverse = 1 / tau + alpha / d.std(unbiased=False).item()
    if inverse > 0.05:
        torch.testing.assert_close(gradient, dro.worst_case(d, temperature=1 / inverse) / tau)


def log_dcg(ranks):
    return math.log(sum(1 / math.log2(1 + rank) for rank in ranks))


@given(SEEDS, st.integers(1, 12), st.floats(0.05, 3.0), st.floats(0.0, 2.0))
def test_thm_bound_dcg_one_positive(seed, negatives, tau, spread):
    rng = np.random.default_rng(seed)
    d, kappa = rng.normal(0.0, 0.5, size=negatives).round(1), mean_one(rng, negatives, spread)  # rounding makes ties
    rank = 1 + np.sum(d >= 0)
    competition = np.sum(kappa * np.exp(d / tau)) / kappa.min()
    assert -log_dcg([rank]) <= math.log(math.log2(2 + competition)) + 1e-12  # the sharper form
    assert math.log(math.log2(2 + competition)) <= math.log1p(competition) + 1e-12
    loss = dro.robust_view(tensor(d), temperature=tau, kappa=tensor(kappa)).loss.item()
    assert math.log1p(competition) == pytest.approx(np.logaddexp(0, loss - math.log(kappa.min())))


@given(SEEDS, st.integers(1, 5), st.integers(1, 15), st.floats(0.05, 2.0))
def test_thm_bound_dcg_several_positives(seed, positives, negatives, tau):
    """One user, all items ranked: the mean of the instances' bounds bounds -log DCG, whatever ties do."""
    rng = np.random.default_rng(seed)
    relevant, others = rng.normal(size=positives).round(1), rng.normal(size=negatives).round(1)
    everything = np.concatenate([relevant, others])
    # Any order that sorts the scores; ties fall as the generator likes, so positives may come last.
    order = np.lexsort((rng.random(len(everything)), -everything))
    ranks = 1 + np.flatnonzero(order < positives)
    bounds = []
    for score in relevant:
        kappa = mean_one(rng, negatives)
        bounds.append(math.log1p(np.sum(kappa * np.exp((others - score) / tau)) / kappa.min()))
    assert -log_dcg(ranks) <= np.mean(bounds) + 1e-12


def test_thm_bound_dcg_is_met_in_the_limit_and_only_there():
    rng = np.random.default_rng(0)
    smallest = math.inf
    for _ in range(3000):
        d, kappa = rng.normal(0, 1, size=4), mean_one(rng, 4)
        tau = math.exp(rng.uniform(-4, 1))
        bound = np.logaddexp(0, logsumexp(d / tau, b=kappa) - math.log(kappa.min()))
        smallest = min(smallest, bound + log_dcg([1 + np.sum(d >= 0)]))
    assert smallest >= 0
    assert smallest < 1e-6  # all negatives far below the positive, in units of tau
    # With r - 1 tied violators of the least weight and the rest far below, only log(r / log2(1 + r)) is lost.
    for violators in range(4):
        d = np.where(np.arange(4) < violators, 0.0, -50.0)
        kappa = np.where(np.arange(4) < violators, 0.5, 0.5 + (violators / 2) / max(4 - violators, 1))
        bound = np.logaddexp(0, logsumexp(d / 0.2, b=kappa) - math.log(kappa.min()))
        rank = 1 + violators
        assert bound + log_dcg([rank]) == pytest.approx(math.log(rank / math.log2(1 + rank)), abs=1e-12)


def test_thm_bound_dcg_limits_of_the_statement():
    # Reading R5: the positive at tau, the negatives at tau_i > tau; a violator may weigh less than one.
    competition = math.exp(0.6 / 0.4 - 0.5 / 0.2)
    assert -log_dcg([2]) > math.log1p(competition)
    # Without the division by kappa_min a violator of small weight goes unseen.
    assert -log_dcg([2]) > math.log1p(0.2 * math.exp(0.0))


@given(SEEDS, st.floats(0.05, 1.0), st.floats(0.3, 3.0), st.floats(0.0, 2.0))
def test_thm_dsl_sl_gap(seed, tau, ratio, spread):
    rng = np.random.default_rng(seed)
    d, kappa = rng.uniform(-2, 2, size=9), mean_one(rng, 9, spread)
    sl = dro.robust_view(tensor(d), temperature=tau)
    dsl = dro.robust_view(tensor(d), temperature=ratio * tau, kappa=tensor(kappa))
    weight = np.abs(np.log(kappa)).max()
    assert abs(dsl.loss - sl.loss) <= weight + np.abs(d).max() / tau * abs(1 / ratio - 1) + 1e-9
    assert abs(dsl.value - sl.value) <= tau * (ratio * weight + abs(ratio - 1) * math.log(9)) + 1e-9


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_thm_dsl_sl_gap_is_sharp(ratio):
    """One negative with all the mass: both bounds are met to any precision."""
    tau, n = 0.01, 50
    d = np.full(n, -2.0)
    d[0] = 2.0
    heavy = 30.0 if ratio < 1 else 1e-3  # the largest |log kappa| must sit on that negative
    kappa = np.full(n, (n - heavy) / (n - 1))
    kappa[0] = heavy
    sl = dro.robust_view(tensor(d), temperature=tau)
    dsl = dro.robust_view(tensor(d), temperature=ratio * tau, kappa=tensor(kappa))
    weight = np.abs(np.log(kappa)).max()
    assert abs(dsl.loss - sl.loss).item() == pytest.approx(weight + 2.0 / tau * abs(1 / ratio - 1))
    assert abs(dsl.value - sl.value).item() == pytest.approx(tau * (ratio * weight + abs(ratio - 1) * math.log(n)))
