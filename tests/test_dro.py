"""KL-DRO against a convex solver that is told only the primal problem, against autograd, and at the edges."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import xlogy

from dslstudy import dro
from dslstudy.errors import InputError


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def solve_primal(payoff, nominal, *, temperature=None, radius=None):
    """Maximise over the probability simplex with cvxpy: the value and the maximiser."""
    q = cp.Variable(len(payoff))
    divergence = cp.sum(cp.kl_div(q, nominal))  # sums to KL because both sum to one
    constraints = [cp.sum(q) == 1]
    if radius is None:
        objective = payoff @ q - temperature * divergence
    else:
        objective = payoff @ q
        constraints.append(divergence <= radius)
    problem = cp.Problem(cp.Maximize(objective), constraints)
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == cp.OPTIMAL
    # An interior-point solver may stop a hair outside the simplex; its point inside decides.
    inside = np.clip(q.value, 0, None) / np.clip(q.value, 0, None).sum()
    price = 0.0 if temperature is None else temperature * np.sum(xlogy(inside, inside / nominal))
    return payoff @ inside - price, inside


def random_instance(seed, size=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size), rng.dirichlet(np.ones(size))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0])
def test_penalised_value_and_worst_case_are_the_solvers(seed, temperature):
    payoff, nominal = random_instance(seed)
    value, maximiser = solve_primal(payoff, nominal, temperature=temperature)
    given_ = {"temperature": temperature, "weights": tensor(7.0 * nominal)}  # weights need no normalisation
    assert dro.penalised_value(tensor(payoff), **given_).item() == pytest.approx(value, abs=1e-7)
    np.testing.assert_allclose(dro.worst_case(tensor(payoff), **given_), maximiser, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_constrained_value_and_worst_case_are_the_solvers(seed, share):
    payoff, nominal = random_instance(seed)
    d, weights = tensor(payoff), tensor(nominal)
    radius = share * dro.maximum_radius(d, weights=weights)
    value, maximiser = solve_primal(payoff, nominal, radius=radius.item())
    temperature = dro.temperature_of_radius(d, radius=radius, weights=weights)
    assert dro.constrained_value(d, radius=radius, weights=weights).item() == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(dro.worst_case(d, temperature=temperature, weights=weights), maximiser, atol=1e-3)


def test_radius_beyond_the_maximum_leaves_the_constraint_slack():
    payoff, nominal = random_instance(5, size=6)
    d, weights = tensor(payoff), tensor(nominal)
    radius = dro.maximum_radius(d, weights=weights) + 0.5
    assert radius.item() == pytest.approx(0.5 - math.log(nominal[payoff.argmax()]))
    assert dro.temperature_of_radius(d, radius=radius, weights=weights) == 0
    assert dro.constrained_value(d, radius=radius, weights=weights).item() == pytest.approx(payoff.max())
    value, _ = solve_primal(payoff, nominal, radius=radius.item())
    assert value == pytest.approx(payoff.max(), abs=1e-6)


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=8),
    st.floats(1e-3, 1e3),
    st.integers(0, 2**32 - 1),
)
def test_no_distribution_beats_the_value(payoff, temperature, seed):
    """The game's value bounds every strategy, and the worst case attains it."""
    d = tensor(payoff)
    rivals = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(len(payoff)), size=32))
    uniform = torch.full_like(d, 1 / len(payoff))
    kl = torch.special.xlogy(rivals, rivals / uniform).sum(-1)
    value = dro.penalised_value(d, temperature=temperature)
    tolerance = 1e-9 * max(1.0, temperature)
    assert bool((rivals @ d - temperature * kl <= value + tolerance).all())
    worst = dro.worst_case(d, temperature=temperature)
    radius = dro.radius_of_temperature(d, temperature=temperature)
    assert worst.sum().item() == pytest.approx(1.0)
    assert (worst @ d - temperature * radius).item() == pytest.approx(value.item(), abs=tolerance)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(0.0, 2.5))
def test_inverse_of_the_radius(payoff, radius):
    d = tensor(payoff)
    maximum = dro.maximum_radius(d).item()
    temperature = dro.temperature_of_radius(d, radius=radius)
    back = dro.radius_of_temperature(d, temperature=temperature).item()
    assert back == pytest.approx(min(radius, maximum), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 0.2, 1.0, 1e3, 1e6, 1e9])
def test_round_trip_over_eighteen_orders_of_magnitude(temperature):
    d = torch.randn(20, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * temperature**0.5
    radius = dro.radius_of_temperature(d, temperature=temperature)
    again = dro.temperature_of_radius(d, radius=radius)
    inner = radius < 0.999 * math.log(100)  # at the maximum itself the radius no longer knows the temperature
    torch.testing.assert_close(again[inner], torch.full_like(again, temperature)[inner], rtol=1e-9, atol=0)


def test_radius_keeps_its_digits_at_high_temperature():
    d = tensor([0.3, -0.1, 0.4, -0.6])
    for temperature in (1e3, 1e6, 1e9):
        expected = d.var(unbiased=False) / (2 * temperature**2)
        radius = dro.radius_of_temperature(d, temperature=temperature)
        torch.testing.assert_close(radius, expected, rtol=10 / temperature, atol=0)


def test_gradients_are_the_derivatives_the_theory_names():
    d = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    temperature = torch.linspace(0.2, 2.0, 5, dtype=torch.float64).requires_grad_()
    weights = torch.rand(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < torch.tensor([[7], [6], [5], [4], [1]])
    options = {"weights": weights, "mask": mask}
    value = dro.penalised_value(d, temperature=temperature, **options)
    by_payoff, by_temperature = torch.autograd.grad(value.sum(), (d, temperature))
    torch.testing.assert_close(by_payoff, dro.worst_case(d, temperature=temperature, **options))
    torch.testing.assert_close(by_temperature, -dro.radius_of_temperature(d, temperature=temperature, **options))
    radius = dro.radius_of_temperature(d, temperature=temperature, **options)
    (slope,) = torch.autograd.grad(radius.sum(), temperature)
    torch.testing.assert_close(slope, dro.radius_derivative(d, temperature=temperature, **options))


def test_envelope_gradients_of_the_constrained_value():
    d = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    radius = tensor([0.05, 0.4, 1.0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: dro.constrained_value(a, radius=b), (d, radius))
    temperature = dro.temperature_of_radius(d, radius=radius)
    by_payoff, by_radius = torch.autograd.grad(dro.constrained_value(d, radius=radius).sum(), (d, radius))
    torch.testing.assert_close(by_radius, temperature)
    torch.testing.assert_close(by_payoff, dro.worst_case(d, temperature=temperature))


def test_gradcheck_of_every_differentiable_function():
    d = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    temperature = tensor([0.3, 1.1]).requires_grad_()
    for function in (dro.penalised_value, dro.worst_case, dro.radius_of_temperature, dro.variance_expansion):
        assert torch.autograd.gradcheck(lambda a, b, f=function: f(a, temperature=b), (d, temperature))


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=9), st.floats(1e-2, 1e3))
def test_expansions_stay_within_their_bounds(payoff, temperature):
    d = tensor(payoff)
    gap = dro.penalised_value(d, temperature=temperature) - dro.variance_expansion(d, temperature=temperature)
    assert abs(gap) <= dro.variance_expansion_error(d, temperature=temperature) + 1e-12
    variance = d.var(unbiased=False)
    if variance > 1e-6:
        radius = 1 / temperature
        gap = dro.constrained_value(d, radius=radius) - dro.small_radius_expansion(d, radius=radius)
        bound = 5 / 3 * math.sqrt(3) / 18 * (d.max() - d.min()) ** 3 * radius / variance
        assert abs(gap) <= bound + 1e-9


def test_constant_payoff():
    d = torch.full((2, 4), 0.7, dtype=torch.float64)
    for temperature in (0.0, 1e-3, 1.0, math.inf):
        torch.testing.assert_close(dro.penalised_value(d, temperature=temperature), d[:, 0])
        torch.testing.assert_close(dro.worst_case(d, temperature=temperature), torch.full_like(d, 0.25))
        assert bool((dro.radius_of_temperature(d, temperature=temperature) == 0).all())
        assert bool((dro.radius_derivative(d, temperature=temperature) == 0).all())
    assert bool((dro.maximum_radius(d) == 0).all())
    assert dro.temperature_of_radius(d, radius=tensor([0.0, 0.3])).tolist() == [math.inf, 0.0]
    torch.testing.assert_close(dro.constrained_value(d, radius=tensor([0.0, 0.3])), d[:, 0])


def test_limits_of_temperature_and_radius():
    d, weights = tensor([1.0, 3.0, 3.0, -2.0]), tensor([4.0, 1.0, 3.0, 2.0])
    torch.testing.assert_close(dro.worst_case(d, temperature=0.0, weights=weights), tensor([0.0, 0.25, 0.75, 0.0]))
    torch.testing.assert_close(dro.worst_case(d, temperature=math.inf, weights=weights), weights / 10)
    assert dro.penalised_value(d, temperature=0.0, weights=weights).item() == pytest.approx(3.0)
    assert dro.penalised_value(d, temperature=math.inf, weights=weights).item() == pytest.approx(1.2)
    assert dro.maximum_radius(d, weights=weights).item() == pytest.approx(math.log(10 / 4))
    assert dro.radius_of_temperature(d, temperature=0.0, weights=weights).item() == pytest.approx(math.log(10 / 4))
    assert dro.radius_of_temperature(d, temperature=math.inf, weights=weights) == 0
    assert dro.temperature_of_radius(d, radius=0.0, weights=weights) == math.inf
    assert dro.constrained_value(d, radius=0.0, weights=weights).item() == pytest.approx(1.2)


def test_tiny_temperature_is_stable_in_both_precisions():
    for dtype in (torch.float32, torch.float64):
        d = torch.tensor([[-2.0, 1.9, 2.0], [0.0, 0.0, -1.0]], dtype=dtype, requires_grad=True)
        value = dro.penalised_value(d, temperature=1e-3)
        torch.testing.assert_close(
            value, torch.tensor([2.0 - 1e-3 * math.log(3), 1e-3 * math.log(2 / 3)], dtype=dtype), rtol=1e-5, atol=1e-7
        )
        radius = dro.radius_of_temperature(d, temperature=1e-3)
        torch.testing.assert_close(radius, torch.tensor([math.log(3), math.log(1.5)], dtype=dtype))
        for result in (value.sum(), radius.sum()):
            (gradient,) = torch.autograd.grad(result, d, retain_graph=True)
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("temperature", [1e-12, 1e-16, 1e-30, 1e-44])
def test_radius_derivative_where_the_cube_of_the_temperature_underflows(temperature):
    d = torch.tensor([[-2.0, 1.9, 2.0], [0.0, 0.0, -1.0]])
    assert bool((dro.radius_derivative(d, temperature=temperature) == 0).all())
    if temperature >= 1e-16:  # payoffs of the temperature's own size: the derivative scales, and is no zero
        scaled = temperature * dro.radius_derivative(temperature * d, temperature=temperature)
        torch.testing.assert_close(scaled, dro.radius_derivative(d, temperature=1.0))


def test_half_types_and_integers_are_promoted():
    assert dro.penalised_value(torch.tensor([1.0, 2.0], dtype=torch.bfloat16), temperature=0.1).dtype == torch.float32
    assert dro.penalised_value(torch.tensor([1, 2]), temperature=0.1).dtype == torch.float64


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.01, 10.0))
def test_a_mask_is_the_same_as_leaving_out(seed, real, temperature):
    rng = np.random.default_rng(seed)
    d, weights = tensor(rng.normal(size=6)), tensor(rng.random(6) + 0.1)
    mask = torch.from_numpy(rng.permutation(6) < real)
    masked = d.masked_fill(~mask, math.nan)  # whatever stands there is never looked at
    both = {"temperature": temperature}
    for function in (dro.penalised_value, dro.radius_of_temperature, dro.radius_derivative, dro.variance_expansion):
        torch.testing.assert_close(
            function(masked, mask=mask, weights=weights, **both), function(d[mask], weights=weights[mask], **both)
        )
    spread = dro.worst_case(masked, mask=mask, weights=weights, **both)
    torch.testing.assert_close(spread[mask], dro.worst_case(d[mask], weights=weights[mask], **both))
    assert bool((spread[~mask] == 0).all())
    assert dro.maximum_radius(masked, mask=mask).item() == pytest.approx(math.log(real))


def test_leading_axes_are_a_batch_and_temperatures_a_grid():
    d = torch.randn(4, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    temperature = torch.rand(4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) + 0.1
    stacked = dro.radius_of_temperature(d, temperature=temperature)
    inverse = dro.temperature_of_radius(d, radius=stacked)
    for r in range(4):
        for b in range(3):
            one = dro.radius_of_temperature(d[r, b], temperature=temperature[r, 0].item())
            assert stacked[r, b].item() == pytest.approx(one.item(), rel=1e-12)
            assert inverse[r, b].item() == pytest.approx(temperature[r, 0].item(), rel=1e-8)
    assert dro.worst_case(d[0], temperature=torch.tensor([[0.1], [1.0]])).shape == (2, 3, 9)


@pytest.mark.parametrize("seed", range(3))
def test_robust_view_agrees_with_sums_written_out(seed):
    rng = np.random.default_rng(seed)
    n, tau = 7, 0.3
    d, kappa = rng.normal(size=n) * 0.4, rng.dirichlet(np.ones(n)) * n
    view = dro.robust_view(tensor(d), temperature=tau, kappa=tensor(kappa))
    z = sum(kappa[j] * math.exp(d[j] / tau) for j in range(n))
    q = [kappa[j] * math.exp(d[j] / tau) / z for j in range(n)]
    expected = {
        "payoff": sum(q[j] * (d[j] + tau * math.log(kappa[j])) for j in range(n)),
        "deviation": sum(q[j] * math.log(q[j] * n) for j in range(n)),
        "margin": sum(q[j] * d[j] for j in range(n)),
        "nominal_deviation": sum(q[j] * math.log(q[j] * n / kappa[j]) for j in range(n)),
        "value": tau * math.log(z / n),
        "loss": math.log(z),
    }
    for name, number in expected.items():
        assert getattr(view, name).item() == pytest.approx(number, rel=1e-10), name
    np.testing.assert_allclose(view.worst_case, q)
    np.testing.assert_allclose(view.nominal, kappa / n)
    assert (view.payoff - tau * view.deviation).item() == pytest.approx(view.value.item())
    assert (view.margin - tau * view.nominal_deviation).item() == pytest.approx(view.value.item())


def test_robust_view_of_masked_softmax_loss():
    d = tensor([[0.1, -0.4, 9.0], [0.2, 0.3, -0.1]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    view = dro.robust_view(d, temperature=tensor([0.1, 0.2]), mask=mask)
    expected = [
        math.log(math.exp(1.0) + math.exp(-4.0)),
        math.log(math.exp(1.0) + math.exp(1.5) + math.exp(-0.5)),
    ]
    torch.testing.assert_close(view.loss, tensor(expected))
    torch.testing.assert_close(view.payoff, view.margin)
    torch.testing.assert_close(view.deviation, view.nominal_deviation)


GOOD = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: dro.penalised_value(torch.tensor(1.0), temperature=1.0), "last axis"),
        (lambda: dro.penalised_value(torch.zeros(2, 0), temperature=1.0), "last axis"),
        (lambda: dro.penalised_value(GOOD, temperature=-0.1), "temperature"),
        (lambda: dro.worst_case(GOOD, temperature=math.nan), "temperature"),
        (lambda: dro.variance_expansion(GOOD, temperature=0.0), "positive and finite"),
        (lambda: dro.robust_view(GOOD, temperature=math.inf), "positive and finite"),
        (lambda: dro.constrained_value(GOOD, radius=-1.0), "radius"),
        (lambda: dro.temperature_of_radius(GOOD, radius=torch.zeros(5)), "do not fit"),
        (lambda: dro.penalised_value(GOOD, temperature=1.0, mask=torch.ones(4, dtype=torch.bool)), "do not fit"),
        (lambda: dro.penalised_value(GOOD, temperature=1.0, mask=torch.ones(3)), "boolean"),
        (lambda: dro.penalised_value(GOOD, temperature=1.0, weights=torch.tensor([1.0, -1.0, 1.0])), "negative"),
        (lambda: dro.penalised_value(GOOD, temperature=1.0, weights=torch.zeros(3)), "no real negative"),
        (lambda: dro.maximum_radius(GOOD, mask=torch.zeros(3, dtype=torch.bool)), "no real negative"),
        (lambda: dro.penalised_value(torch.tensor([0.0, math.inf]), temperature=1.0), "finite"),
        (lambda: dro.robust_view(GOOD, temperature=1.0, kappa=torch.full((3,), 2.0)), "mean one"),
    ],
)
def test_bad_input_is_told(call, complaint):
    with pytest.raises(InputError, match=complaint):
        call()
