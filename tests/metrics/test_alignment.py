"""Smoothed NDCG against an exact computation, directions against autograd, steps against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.metrics.alignment import (
    Direction,
    SmoothedNdcg,
    cosine,
    pull_back,
    smoothed_ndcg,
    step,
    table_cosine,
    tangent,
)

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))


def exact_expected_ndcg(scores, relevant, noise, cutoff):
    """E[NDCG@K] of one user by quadrature over the item's own noise and the exact law of the number of items above.

    Given the noise of an item, the others exceed it independently, so their number is Poisson-binomial.
    """
    gains = [1 / math.log2(rank + 1) for rank in range(1, cutoff + 1)]
    ideal = sum(gains[: min(cutoff, int(relevant.sum()))])
    total = scores.new_zeros(())
    for i in relevant.nonzero()[:, 0].tolist():
        # law of the count; the last entry is never read
        law = [torch.ones(len(NODES), dtype=scores.dtype)] + [torch.zeros(len(NODES), dtype=scores.dtype)] * cutoff
        for j in range(len(scores)):
            if j == i:
                continue
            p = torch.special.ndtr((scores[j] - scores[i]) / noise - NODES)
            law = [law[0] * (1 - p)] + [law[k] * (1 - p) + law[k - 1] * p for k in range(1, cutoff + 1)]
        above = torch.stack(law[:cutoff], dim=1)
        total = total + (WEIGHTS / WEIGHTS.sum()) @ above @ torch.tensor(gains, dtype=scores.dtype)
    return total / ideal


def ndcg(scores, relevant, cutoff):
    """One user's NDCG@K by sorting a list."""
    order = sorted(range(len(scores)), key=lambda i: -float(scores[i]))[:cutoff]
    dcg = sum(1 / math.log2(rank + 2) for rank, item in enumerate(order) if relevant[item])
    return dcg / sum(1 / math.log2(rank + 2) for rank in range(min(cutoff, int(relevant.sum()))))


def estimate_well(scores, relevant, copies=4000, draws=5, **options):
    """Many draws at once: every user is repeated, and the copies are averaged."""
    repeated = {name: value.repeat(copies, 1) for name, value in options.items() if isinstance(value, torch.Tensor)}
    found = smoothed_ndcg(scores.repeat(copies, 1), relevant.repeat(copies, 1), draws=draws, **options | repeated)
    value, gradient, error = (part.unflatten(0, (copies, len(scores))) for part in found)
    return SmoothedNdcg(value.mean(0), gradient.mean(0), error.square().mean(0).sqrt() / math.sqrt(copies))


def instance(seed, users=3, items=9, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(users, items, generator=generator, dtype=dtype) * 0.3
    relevant = torch.rand(users, items, generator=generator) < 0.35
    relevant[:, 0] = True
    return scores, relevant, generator


@pytest.mark.parametrize("cutoff", [1, 3, 8, 9, 20])
def test_value_and_gradient_match_quadrature(cutoff):
    scores, relevant, generator = instance(cutoff)
    noise = 0.25
    estimate = estimate_well(scores, relevant, noise=noise, generator=generator, cutoff=cutoff)
    for user in range(len(scores)):
        leaf = scores[user].clone().requires_grad_()
        exact = exact_expected_ndcg(leaf, relevant[user], noise, cutoff)
        (gradient,) = torch.autograd.grad(exact, leaf)
        exact = exact.detach()
        assert float(estimate.value[user]) == pytest.approx(float(exact), abs=0.01)
        distance = float((estimate.gradient[user] - gradient).norm())
        assert distance < 3 * float(estimate.error[user])
        assert distance < 0.03 * max(1.0, float(gradient.norm()))


def test_the_stated_error_is_the_error():
    scores, relevant, generator = instance(5, users=1)
    leaf = scores[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(exact_expected_ndcg(leaf, relevant[0], 0.2, 4), leaf)
    copies = 2000
    many = smoothed_ndcg(
        scores.repeat(copies, 1), relevant.repeat(copies, 1), noise=0.2, generator=generator, cutoff=4, draws=8
    )
    actual = math.sqrt(float((many.gradient - gradient).square().sum(1).mean()))
    assert float(many.error.square().mean().sqrt()) == pytest.approx(actual, rel=0.1)
    assert many.gradient.mean(0) == pytest.approx(gradient, abs=4 * actual / math.sqrt(copies))


def test_gradient_of_two_items_in_closed_form():
    # NDCG@1 is Phi(difference / (noise sqrt 2)), the gradient its density, with opposite signs
    scores, relevant = torch.tensor([[0.1, 0.3]], dtype=torch.float64), torch.tensor([[True, False]])
    estimate = estimate_well(scores, relevant, noise=0.2, generator=torch.Generator().manual_seed(0), cutoff=1)
    z = -0.2 / (0.2 * math.sqrt(2))
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.2 * math.sqrt(2))
    assert estimate.gradient[0].tolist() == pytest.approx([density, -density], abs=0.01)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 12))
def test_a_relevant_item_is_never_pushed_down(seed, cutoff, items):
    scores, relevant, generator = instance(seed, items=items)
    estimate = smoothed_ndcg(scores, relevant, noise=0.1, generator=generator, cutoff=cutoff, draws=2)
    assert (estimate.gradient[relevant] >= 0).all()
    assert (estimate.gradient[~relevant] <= 0).all()
    assert ((estimate.value >= 0) & (estimate.value <= 1 + 1e-12)).all()


def test_small_noise_gives_ndcg_itself():
    scores, relevant, generator = instance(3)
    value = smoothed_ndcg(scores, relevant, noise=1e-9, generator=generator, cutoff=5).value
    assert value.tolist() == pytest.approx([ndcg(s, r, 5) for s, r in zip(scores, relevant, strict=True)])


def test_items_that_are_no_candidates_do_not_exist():
    scores, relevant, _ = instance(4, users=2, items=10)
    candidates = torch.ones_like(relevant)
    candidates[:, 3:6] = False
    relevant &= candidates
    kept = [0, 1, 2, 6, 7, 8, 9]
    for cutoff in (2, 7, 30):
        options = {"noise": 0.2, "cutoff": cutoff, "generator": torch.Generator().manual_seed(1)}
        with_mask = estimate_well(scores, relevant, candidates=candidates, **options)
        without = estimate_well(scores[:, kept], relevant[:, kept], **options)
        assert (with_mask.gradient[:, 3:6] == 0).all()
        assert with_mask.gradient[:, kept] == pytest.approx(without.gradient, abs=0.05)
        assert torch.isfinite(with_mask.gradient).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, "noise"),
        ({"noise": math.inf}, "noise"),
        ({"cutoff": 0}, "cutoff"),
        ({"draws": 1}, "draws"),
        ({"relevant": torch.zeros(3, 9, dtype=torch.bool)}, "no relevant item"),
        ({"relevant": torch.ones(3, 8, dtype=torch.bool)}, "bool of that shape"),
        ({"candidates": torch.zeros(3, 9, dtype=torch.bool)}, "not a candidate"),
        ({"candidates": torch.ones(3, 9)}, "candidates must be bool"),
        ({"scores": torch.full((3, 9), torch.nan)}, "finite"),
    ],
)
def test_bad_input_is_refused(change, message):
    scores, relevant, generator = instance(0)
    arguments = {"scores": scores, "relevant": relevant, "noise": 0.1, "generator": generator} | change
    with pytest.raises(InputError, match=message):
        smoothed_ndcg(**arguments)


def tables(seed=0, users=5, items=7, size=4):
    generator = torch.Generator().manual_seed(seed)
    raw = (torch.randn(n, size, generator=generator, dtype=torch.float64) for n in (users, items))
    return tuple(torch.nn.functional.normalize(table, dim=1) for table in raw)


def test_pull_back_is_the_gradient_of_cosine_scores():
    users, items = tables()
    weights = torch.randn(len(users), len(items), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaves = [table.clone().requires_grad_() for table in (users, items)]
    normal = [torch.nn.functional.normalize(leaf, dim=1) for leaf in leaves]
    expected = torch.autograd.grad((weights * (normal[0] @ normal[1].T)).sum(), leaves)
    for found, wanted in zip(pull_back(weights, users, items), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-12)


def test_a_tangent_only_turns():
    users, items = tables()
    direction = tangent(torch.randn_like(users), torch.randn_like(items), users, items)
    assert (direction.users * users).sum(1).tolist() == pytest.approx([0.0] * len(users), abs=1e-12)
    again = tangent(*direction, users, items)
    assert again.items == pytest.approx(direction.items, abs=1e-12)


def test_cosines_by_hand():
    a, b = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [1.0, 0.0]])
    assert cosine(a, b).tolist() == pytest.approx([24 / 25, 0.0])
    one = Direction(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    other = Direction(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert table_cosine(one, other) == pytest.approx(1 / math.sqrt(5 * 3))
    assert table_cosine(one, one) == pytest.approx(1.0)


def test_a_step_has_its_length_and_keeps_rows_on_the_sphere():
    users, items = tables()
    direction = tangent(torch.randn_like(users), torch.randn_like(items), users, items)
    moved = step(users, items, direction, 1e-4)
    for table in moved:
        assert table.norm(dim=1).tolist() == pytest.approx([1.0] * len(table))
    distance = math.sqrt(sum(float((b - a).square().sum()) for a, b in zip((users, items), moved, strict=True)))
    assert distance == pytest.approx(1e-4 * math.sqrt(len(users) + len(items)), rel=1e-4)
    scaled = step(users, items, Direction(*(10 * part for part in direction)), 1e-4)
    assert scaled[0] == pytest.approx(moved[0], abs=1e-12)
    nothing = step(users, items, Direction(torch.zeros_like(users), torch.zeros_like(items)), 0.1)
    assert nothing[0] is users


def test_stepping_along_the_smoothed_gradient_raises_ndcg_as_much_as_it_says():
    """The first-order promise, gradient x step, is kept by the expected NDCG computed exactly at both ends."""
    users, items = tables(seed=3)
    relevant = torch.zeros(5, 7, dtype=torch.bool)
    relevant[:, ::3] = True
    noise, size = 0.3, 1e-3
    generator = torch.Generator().manual_seed(0)
    estimate = estimate_well(users @ items.T, relevant, noise=noise, generator=generator, cutoff=3)
    direction = pull_back(estimate.gradient, users, items)
    moved = step(users, items, direction, size)

    def total(a, b):
        return sum(float(exact_expected_ndcg(s, r, noise, 3)) for s, r in zip(a @ b.T, relevant, strict=True))

    length = math.sqrt(float(direction.users.square().sum() + direction.items.square().sum()))
    promised = length * size * math.sqrt(12)
    assert total(*moved) - total(users, items) == pytest.approx(promised, rel=0.02)


def test_pull_back_and_tangent_refuse_shapes_that_do_not_fit():
    users, items = tables()
    with pytest.raises(InputError, match="5 users and 7 items"):
        pull_back(torch.zeros(5, 6, dtype=torch.float64), users, items)
    with pytest.raises(InputError, match="its table"):
        tangent(users, users, users, items)


def test_ndcg_of_all_orders_is_the_limit_of_much_noise():
    # with overwhelming noise every order is equally likely
    scores, relevant = torch.tensor([[0.3, 0.1, 0.2]], dtype=torch.float64), torch.tensor([[True, False, False]])
    average = np.mean([ndcg(order, relevant[0], 2) for order in itertools.permutations([1.0, 2.0, 3.0])])
    estimate = estimate_well(scores, relevant, noise=1e6, generator=torch.Generator().manual_seed(0), cutoff=2)
    assert float(estimate.value[0]) == pytest.approx(average, abs=0.01)
