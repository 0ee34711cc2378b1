"""PLE against a forward pass written out, and as C2AL where it has one shared expert."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_worlds import make_batch, make_encoder, make_model, size, steps

from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.c2al.methods.ple import PLE, SHARED, TASKS
from dslstudy.errors import InputError


def by_hand(model, features, levels, shared, specific):
    """Logits of the three tasks, gate by gate and expert by expert."""
    encoder = model.encoder
    embeddings = encoder.embed(features)
    for layer in encoder.layers:
        embeddings = layer(embeddings)
    x = embeddings.flatten(1)
    inputs = dict.fromkeys((*TASKS, SHARED), x)
    for number, level in enumerate(model.levels):
        outputs = {}
        for name in (*TASKS, SHARED):
            if name == SHARED and number == levels - 1:
                assert SHARED not in level.gates
                continue
            candidates = [(SHARED, i) for i in range(shared)]
            for task in TASKS if name == SHARED else (name,):
                candidates += [(task, i) for i in range(specific)]
            shares = torch.softmax(inputs[name] @ level.gates[name].weight.T + level.gates[name].bias, dim=1)
            assert shares.shape[1] == len(candidates)
            total = 0
            for place, (whose, i) in enumerate(candidates):
                layer = level.experts[whose].layers[i]
                expert = (inputs[whose] @ layer.weight.T + layer.bias).clamp(min=0)
                total = total + shares[:, place : place + 1] * expert
            outputs[name] = total
        inputs = outputs
    heads = [
        (encoder.head.weight[0], encoder.head.bias[0]),
        *zip(model.heads.weight, model.heads.bias, strict=True),
    ]
    return [inputs[task] @ weight + bias for task, (weight, bias) in zip(TASKS, heads, strict=True)]


SHAPES = pytest.mark.parametrize(
    ("levels", "shared", "specific"), [(1, 1, 0), (1, 2, 1), (2, 2, 1), (2, 1, 2), (3, 1, 1), (2, 2, 0)]
)


@SHAPES
def test_agrees_with_a_forward_pass_written_out(levels, shared, specific):
    batch = make_batch()
    _, model = steps(PLE(levels=levels, shared=shared, specific=specific), batch, number=2)
    logits, others = model(batch.features)
    expected = by_hand(model, batch.features, levels, shared, specific)
    torch.testing.assert_close(torch.column_stack([logits, others]), torch.column_stack(expected))


@SHAPES
def test_the_exported_model_is_the_primary_task_without_what_it_does_not_need(levels, shared, specific):
    batch, method = make_batch(), PLE(levels=levels, shared=shared, specific=specific)
    _, model = steps(method, batch, number=2)
    exported = method.export(model)
    assert torch.equal(exported(batch.features), model(batch.features)[0])
    exported(batch.features).sum().backward()
    assert all(parameter.grad is not None for parameter in exported.parameters())
    assert size(exported) >= size(make_encoder())
    kept = {id(parameter) for parameter in exported.parameters()}
    # what is left out cannot be reached from the primary logits: it is the heads', or of the auxiliary tasks only
    model.zero_grad(set_to_none=True)
    model(batch.features)[0].sum().backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == (id(parameter) in kept)


def test_one_shared_expert_is_c2al():
    batch = make_batch()
    one = steps(C2AL(lambda_head=0.4, lambda_tail=0.2), batch)
    other = steps(PLE(lambda_head=0.4, lambda_tail=0.2, levels=1, shared=1, specific=0), batch)
    assert other[0] == pytest.approx(one[0], abs=1e-12)
    for name, value in one[1].encoder.named_parameters():
        torch.testing.assert_close(value, dict(other[1].encoder.named_parameters())[name])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_sizes_are_those_of_the_paper(levels, shared, specific):
    model = make_model(PLE(levels=levels, shared=shared, specific=specific), make_batch())
    width, hidden, expected = make_encoder().top.in_features, 8, size(make_encoder()) + 2 * (8 + 1)
    expected -= width * hidden + hidden  # the last hidden layer is the first shared expert
    for level in range(levels):
        inputs = width if level == 0 else hidden
        expected += (shared + 3 * specific) * (inputs * hidden + hidden)
        expected += 3 * (inputs + 1) * (shared + specific)
        expected += (inputs + 1) * (shared + 3 * specific) * (level < levels - 1)
    assert size(model) == expected


def test_the_shared_part_starts_like_the_plain_model():
    started = dict(make_model(PLE(), make_batch()).encoder.named_parameters())
    for name, value in make_encoder().named_parameters():
        assert torch.equal(value.double(), started[name])


@pytest.mark.parametrize("name", ["levels", "shared", "specific"])
def test_a_shape_without_experts_is_refused(name):
    with pytest.raises(InputError, match=f"{name} must be at least"):
        PLE(**{name: -1})
