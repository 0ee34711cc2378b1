"""The statements of the chapters on DSL's branches and on the direction of its gradient, one test for each theorem.

The oracles are the formulas of the chapters in plain numpy; the library is asked only for what a statement is about.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dslstudy.losses import dsl_loss, dsl_terms, softmax_loss
from dslstudy.metrics.alignment import smoothed_ndcg

TAU = 0.2
DELTA = (math.sqrt(10) - 3) / 2
margins_and_similarities = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        *(arrays(np.float64, n, elements=st.floats(-1, 1, width=32), unique=True) for _ in range(2)),
    )
)
coefficients = st.floats(-1.5, 1.5)


def z_scores(values):
    return (values - values.mean()) / values.std()


def weights(d, c, alpha, beta):
    """Kappa of one instance, from the library."""
    tensors = {"item_similarity": torch.from_numpy(c)[None]}
    settings = {"temperature": TAU, "alpha": alpha, "beta": beta, "gamma": 0.0, "slate_size": 1}
    return dsl_terms(torch.zeros(1, dtype=torch.float64), torch.from_numpy(d)[None], **tensors, **settings).kappa[0]


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def log_sum_exp(x):
    return x.max() + np.log(np.exp(x - x.max()).sum())


@given(margins_and_similarities, coefficients, coefficients, st.floats(-50, 50))
def test_mean_one_pins_the_loss(instance, alpha, beta, drift):
    """thm-kappa-mean-one."""
    d, c = instance
    n = len(d)
    w = alpha * z_scores(d) + beta * z_scores(c)
    kappa = weights(d, c, alpha, beta).numpy()
    spread = w.max() - w.min()
    assert kappa == pytest.approx(np.exp(w + drift) / np.exp(w + drift).mean())
    assert kappa.mean() == pytest.approx(1.0)
    # drift: the value moves by the constant, the gradient (the softmax) does not
    loss, drifted = log_sum_exp(w + d / TAU), log_sum_exp(w + drift + d / TAU)
    assert drifted == pytest.approx(loss + drift, abs=1e-9)
    # anchor
    change = log_sum_exp(np.log(kappa) + d / TAU) - log_sum_exp(d / TAU)
    assert change == pytest.approx(np.log(softmax(d / TAU) @ kappa), abs=1e-9)
    assert np.log(kappa).min() - 1e-9 <= change <= np.log(kappa).max() + 1e-9
    # bounds
    slack = 1 + 1e-9
    assert spread <= (abs(alpha) + abs(beta)) * math.sqrt(2 * n) * slack
    assert kappa.max() <= n / (1 + (n - 1) * math.exp(-spread)) * slack
    assert kappa.min() >= n / (1 + (n - 1) * math.exp(spread)) / slack
    assert n / (1 + (n - 1) * math.exp(-spread)) <= min(n, math.exp(spread)) * slack
    assert math.exp(-spread) <= n / (1 + (n - 1) * math.exp(spread)) * slack
    # entropy
    divergence = (kappa * np.log(kappa)).mean()
    assert -1e-12 <= divergence <= min(math.log(n), spread**2 / 8) + 1e-9


@pytest.mark.parametrize("alpha", [-0.8, 0.8])
def test_the_inner_bounds_of_kappa_are_attained(alpha):
    """thm-kappa-mean-one (3): one negative at one end of the range, all the others at the other end."""
    d = np.array([1.0] + [0.0] * 9)
    w = alpha * z_scores(d)
    kappa = weights(d, d, alpha, 0.0).numpy()
    signed = w[0] - w[1]
    assert kappa[0] == pytest.approx(10 / (1 + 9 * math.exp(-signed)))


def test_constant_evidence_is_the_softmax_loss():
    """thm-kappa-mean-one (2)."""
    d = torch.full((1, 7), 0.3, dtype=torch.float64)
    same = {"item_similarity": torch.ones(1, 7, dtype=torch.float64), "temperature": TAU, "slate_size": 2}
    loss = dsl_loss(torch.zeros(1, dtype=torch.float64), d, alpha=0.7, beta=-0.4, gamma=0.0, **same)
    assert loss.item() == softmax_loss(torch.zeros(1, dtype=torch.float64), d, temperature=TAU).item()


@given(margins_and_similarities, coefficients, coefficients)
def test_first_order_in_the_log_weights(instance, alpha, beta):
    """thm-kappa-first-order."""
    d, c = instance
    h, c_z = z_scores(d), z_scores(c)
    w = alpha * h + beta * c_z
    kappa = weights(d, c, alpha, beta).numpy()
    q_star, q_kappa = softmax(d / TAU), softmax(w + d / TAU)
    change = log_sum_exp(np.log(kappa) + d / TAU) - log_sum_exp(d / TAU)
    divergence = (q_star * np.log(q_star / q_kappa)).sum()
    assert change == pytest.approx(q_star @ np.log(kappa) + divergence, abs=1e-8)
    assert q_star @ h >= -1e-12
    rest = change - alpha * (q_star @ h) - beta * (q_star @ c_z)
    assert abs(rest) <= (w.max() - w.min()) ** 2 / 8 + 1e-8
    assert q_kappa == pytest.approx(q_star * kappa / (q_star @ kappa), abs=1e-12)


def test_derivatives_along_the_log_weights():
    """thm-kappa-first-order (2), by automatic differentiation."""
    rng = np.random.default_rng(0)
    w, d = (torch.from_numpy(rng.normal(size=12)) for _ in range(2))

    def along(t):
        return (t * w + d / TAU).logsumexp(0) - (t * w).logsumexp(0)

    t = torch.tensor(0.6, dtype=torch.float64)
    q, p = torch.softmax(t * w + d / TAU, 0), torch.softmax(t * w, 0)
    assert torch.func.grad(along)(t).item() == pytest.approx((q @ w - p @ w).item())
    variances = (q @ w**2 - (q @ w) ** 2) - (p @ w**2 - (p @ w) ** 2)
    assert torch.func.grad(torch.func.grad(along))(t).item() == pytest.approx(variances.item())


@given(st.integers(0, 10_000), coefficients, coefficients)
def test_the_gradient_only_moves_among_the_negatives(seed, alpha, beta):
    """thm-kappa-first-order (4): Q_kappa / tau on the negatives, -1 / tau on the positive."""
    rng = np.random.default_rng(seed)
    d, c = rng.uniform(-1, 1, size=(2, 9))
    positive = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    negatives = torch.from_numpy(d)[None].requires_grad_()
    settings = {"temperature": TAU, "alpha": alpha, "beta": beta, "gamma": 0.0, "slate_size": 3}
    loss = dsl_loss(positive, negatives, item_similarity=torch.from_numpy(c)[None], **settings)
    pull, push = torch.autograd.grad(loss.sum(), (positive, negatives))
    w = alpha * z_scores(d) + beta * z_scores(c)
    assert pull.item() == pytest.approx(-1 / TAU)
    assert push[0].numpy() == pytest.approx(softmax(w + d / TAU) / TAU)


def relative_temperatures(intensity, gamma):
    """tau_i / tau of one batch: with a single negative the intensity is its margin."""
    intensity = torch.from_numpy(intensity)
    settings = {"temperature": 1.0, "alpha": 0.0, "beta": 0.0, "gamma": gamma, "slate_size": 1}
    ones = torch.ones_like(intensity)[:, None]
    return dsl_terms(torch.zeros_like(intensity), intensity[:, None], item_similarity=ones, **settings).tau.numpy()


@st.composite
def batches(draw):
    """Intensities of a batch, with tails from light to heavy, sometimes a lone spike."""
    size = draw(st.integers(2, 200))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    degrees = draw(st.sampled_from([1, 2, 5, 100]))
    values = rng.standard_t(degrees, size=size)
    if draw(st.booleans()):
        values[1:] = values[1:] * 1e-3
    return values


@given(batches(), st.floats(-1.5, 1.5), st.floats(0.1, 10), st.floats(-5, 5))
def test_the_mean_temperature_is_tau(intensity, gamma, scale, shift):
    """thm-tau-mean."""
    tau = relative_temperatures(intensity, gamma)
    assert tau.mean() == pytest.approx(1.0)
    assert (tau > 0).all()
    ordered = np.sign(gamma) * tau[np.argsort(intensity)]
    assert (np.diff(ordered) >= -1e-12).all()
    inside = np.abs(z_scores(intensity)) < 3
    if abs(gamma) > 0.01 and inside.all() and np.diff(np.sort(intensity)).min() > 1e-6 * np.ptp(intensity):
        assert (np.diff(ordered) > 0).all()
    assert relative_temperatures(scale * intensity + shift, gamma) == pytest.approx(tau, rel=1e-6)
    assert (1 / tau).mean() >= 1 - 1e-12


def limits(gamma, b):
    g = abs(gamma)
    mean = (math.exp(g * b) + b**2 * math.exp(-g / b)) / (1 + b**2)
    return math.exp(-g * b) / mean, math.exp(g * b)


@given(batches(), st.floats(-1.5, 1.5))
def test_the_range_of_the_temperatures(intensity, gamma):
    """thm-tau-range."""
    tau = relative_temperatures(intensity, gamma)
    slack = 1 + 1e-9
    assert tau.max() / tau.min() <= math.exp(6 * abs(gamma)) * slack
    clipped = np.abs(z_scores(intensity)).max() > 3
    low, high = limits(gamma, 3 + DELTA if clipped else 3.0)
    assert low / slack <= tau.min()
    assert tau.max() <= high * slack
    if len(intensity) <= 10:
        assert not clipped


def test_the_upper_bound_of_the_temperature_is_nearly_reached():
    """thm-tau-range: one instance that stands out in a large batch."""
    intensity = np.zeros(4000)
    intensity[0] = 1.0
    high = limits(0.5, 3 + DELTA)[1]
    assert relative_temperatures(intensity, 0.5)[0] > 0.9 * high


def test_clipping_moves_the_mean_by_no_more_than_delta():
    """thm-tau-range, the step on the mean after clipping; the two-point distribution of the proof reaches it."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        z = z_scores(rng.standard_t(rng.choice([1, 2, 3]), size=rng.integers(11, 300)))
        assert abs(np.clip(z, -3, 3).mean()) <= DELTA
    # mass p at 3 + sqrt(10), the touching point of (x + c)^2 / 4c with the positive part, and the rest below
    root = math.sqrt(10)
    p = 1 / (1 + (3 + root) ** 2)
    excess = p * root
    assert excess == pytest.approx(DELTA)


def test_the_smoothed_gradient_is_the_conditional_mean_of_the_textbook_estimator():
    """thm-smoothed-gradient (2, 3): same mean, less noise; against NDCG by sorting."""
    rng = np.random.default_rng(0)
    scores, relevant, sigma, cutoff, n = rng.normal(0, 0.3, size=6), np.array([1, 0, 0, 1, 0, 0]), 0.2, 2, 200_000
    noise = rng.normal(size=(n, 6))
    order = np.argsort(-(scores + sigma * noise), axis=1)[:, :cutoff]
    gains = 1 / np.log2(2 + np.arange(cutoff))
    textbook = ((relevant[order] * gains).sum(1) / gains.sum())[:, None] * noise / sigma
    rows = 4000
    ours = smoothed_ndcg(
        torch.from_numpy(scores).repeat(rows, 1),
        torch.from_numpy(relevant > 0).repeat(rows, 1),
        noise=sigma,
        cutoff=cutoff,
        draws=4,
        generator=torch.Generator().manual_seed(0),
    ).gradient.numpy()
    error = textbook.std(0) / math.sqrt(n)
    assert (np.abs(ours.mean(0) - textbook.mean(0)) < 5 * error + 0.01).all()
    assert (ours.std(0) * 2 < textbook.std(0)).all()  # of one draw: four were averaged
    # (4): adds up to zero in the mean, signs and bound of each
    assert abs(ours.mean(0).sum()) < 0.03
    assert (ours[:, relevant > 0] >= 0).all()
    assert (ours[:, relevant == 0] <= 0).all()
    assert np.abs(ours).max() <= 1 / (sigma * gains.sum() * math.sqrt(2 * math.pi))


def test_in_score_space_no_loss_points_away_from_training_ndcg():
    """The remark after thm-smoothed-gradient: the signs agree entry by entry."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 12, generator=generator, dtype=torch.float64) * 0.3
    relevant = torch.zeros(4, 12, dtype=torch.bool)
    relevant[:, [0, 5, 7]] = True
    metric = smoothed_ndcg(scores, relevant, noise=0.1, generator=generator, cutoff=5).gradient
    leaf = scores.clone().requires_grad_()
    positive = leaf[relevant]  # (12,), the positives of user 0 first
    rows = leaf.repeat_interleave(3, dim=0)
    settings = {"temperature": TAU, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 4}
    similarity = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    loss = dsl_loss(positive, rows, item_similarity=similarity, mask=~relevant.repeat_interleave(3, dim=0), **settings)
    (gradient,) = torch.autograd.grad(-loss.sum(), leaf)
    assert (gradient[relevant] > 0).all()
    assert (gradient[~relevant] < 0).all()
    assert ((gradient * metric).sum(1) >= 0).all()
