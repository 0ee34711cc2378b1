"""PCGrad against algorithm 1 in loops over single numbers."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_worlds import make_batch, make_encoder, make_model, size, steps
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.c2al.methods.pcgrad import PCGrad, project_conflicts
from dslstudy.c2al.methods.plain import Plain


def by_hand(gradients, orders):
    """Algorithm 1 on lists of numbers."""
    total = [0.0] * len(gradients[0])
    for i, order in enumerate(orders):
        mine = list(gradients[i])
        for j in order:
            inner = sum(a * b for a, b in zip(mine, gradients[j], strict=True))
            if inner < 0:
                length = sum(b * b for b in gradients[j])
                mine = [a - inner / length * b for a, b in zip(mine, gradients[j], strict=True)]
        total = [a + b for a, b in zip(total, mine, strict=True)]
    return total


VECTOR = st.lists(st.integers(-5, 5).map(float), min_size=4, max_size=4)


@given(st.lists(VECTOR, min_size=1, max_size=4), st.data())
def test_agrees_with_explicit_loops(gradients, data):
    tasks = range(len(gradients))
    orders = [data.draw(st.permutations([other for other in tasks if other != task])) for task in tasks]
    found = project_conflicts(torch.tensor(gradients, dtype=torch.float64), orders)
    assert found.tolist() == pytest.approx(by_hand(gradients, orders), abs=1e-9)


@given(VECTOR, VECTOR)
def test_two_tasks_no_longer_conflict(one, other):
    """With two tasks the sum points against neither (theorem 1 rests on it)."""
    both = torch.tensor([one, other], dtype=torch.float64)
    result = project_conflicts(both, [[1], [0]])
    # where they are exactly opposite nothing is left, otherwise both products are at least zero
    assert (both @ result >= -1e-9).all()
    if both[0] @ both[1] >= 0:
        assert torch.equal(result, both.sum(0))


def test_the_step_is_that_of_algorithm_one():
    batch, method = make_batch(), PCGrad(lambda_head=3.0, lambda_tail=2.0)
    model, reference = (make_model(method, batch) for _ in range(2))
    value = method.backward(model, batch)
    reference.encoder.requires_grad_(True)
    h = reference.encoder.encode(batch.features)
    others = reference.heads(h)
    losses = [
        binary_cross_entropy_with_logits(reference.encoder.head(h).squeeze(-1), batch.labels),
        3 * binary_cross_entropy_with_logits(others[:, 0], batch.labels * batch.head),
        2 * binary_cross_entropy_with_logits(others[:, 1], batch.labels * batch.tail),
    ]
    assert value == pytest.approx(sum(losses).item())
    names = [name for name, _ in reference.encoder.named_parameters() if not name.startswith("head.")]
    parameters = dict(reference.encoder.named_parameters())
    shared = [parameters[name] for name in names]
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)]).tolist()
        for loss in losses
    ]
    got = torch.cat([dict(model.encoder.named_parameters())[name].grad.flatten() for name in names])
    orders = [itertools.permutations([other for other in range(3) if other != task]) for task in range(3)]
    candidates = [by_hand(gradients, order) for order in itertools.product(*orders)]
    assert any(got.tolist() == pytest.approx(candidate, abs=1e-10) for candidate in candidates)
    # something did conflict, so the order matters
    assert not torch.allclose(got, torch.tensor(gradients, dtype=torch.float64).sum(0))
    own = torch.autograd.grad(sum(losses), [reference.encoder.head.weight, reference.heads.weight])
    torch.testing.assert_close(model.encoder.head.weight.grad, own[0])
    torch.testing.assert_close(model.heads.weight.grad, own[1])


def test_the_order_is_drawn_anew_and_from_its_own_seed():
    batch, method = make_batch(), PCGrad()
    streams = [make_model(method, batch, seed=seed).order for seed in (0, 0, 1)]
    draws = [[method._orders(3, stream) for _ in range(60)] for stream in streams]
    assert draws[0] == draws[1] != draws[2]
    for task in range(3):
        seen = [tuple(orders[task]) for orders in draws[0]]
        expected = {tuple(order) for order in itertools.permutations(set(range(3)) - {task})}
        assert set(seen) == expected
        assert min(seen.count(order) for order in expected) > 15


def test_without_weights_it_is_the_plain_run():
    batch = make_batch()
    plain, trained = steps(Plain(), batch), steps(PCGrad(lambda_head=0.0, lambda_tail=0.0), batch)
    assert trained[0] == plain[0]
    for name, value in plain[1].named_parameters():
        assert torch.equal(value, dict(trained[1].encoder.named_parameters())[name])


def test_it_reports_the_objective_of_c2al_and_exports_the_plain_model():
    batch, method = make_batch(), PCGrad(lambda_head=0.4, lambda_tail=0.2)
    model = make_model(method, batch)
    assert method.backward(model, batch) == pytest.approx(method.loss(model, batch).item())
    assert method.loss(model, batch) == C2AL(lambda_head=0.4, lambda_tail=0.2).loss(model, batch)
    assert size(method.export(model)) == size(make_encoder())
    assert type(method.export(model)) is type(make_encoder())
