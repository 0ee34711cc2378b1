"""MMoE against explicit loops, and as C2AL where it has one expert."""

import math

import pytest
import torch
from method_worlds import make_batch, make_encoder, make_model, size, steps

from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.c2al.methods.mmoe import MMoE
from dslstudy.errors import InputError


def by_hand(model, features, row):
    """Logits of the three tasks for one row, in scalars."""
    encoder = model.primary.encoder
    embeddings = encoder.embed([feature[row : row + 1] for feature in features])
    for layer in encoder.layers:
        embeddings = layer(embeddings)
    x = embeddings.flatten().tolist()

    def linear(layer):
        return [
            sum(w * v for w, v in zip(weights, x, strict=True)) + bias
            for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]

    experts = [[max(0.0, value) for value in linear(layer)] for layer in model.primary.experts.layers]
    heads = [(encoder.head.weight[0], encoder.head.bias[0])]
    heads += list(zip(model.heads.weight, model.heads.bias, strict=True))
    logits = []
    for gate, (weight, bias) in zip((model.primary.gate, *model.gates), heads, strict=True):
        scores = [math.exp(score) for score in linear(gate)]
        shares = [score / sum(scores) for score in scores]
        h = [sum(s * expert[unit] for s, expert in zip(shares, experts, strict=True)) for unit in range(len(weight))]
        logits.append(sum(w * v for w, v in zip(weight.tolist(), h, strict=True)) + bias.item())
    return logits


def test_agrees_with_explicit_loops():
    batch = make_batch(10)
    _, model = steps(MMoE(experts=3), batch)
    logits, others = model(batch.features)
    for row in range(10):
        assert [logits[row].item(), *others[row].tolist()] == pytest.approx(by_hand(model, batch.features, row))


def test_one_expert_is_c2al():
    batch = make_batch()
    one = steps(C2AL(lambda_head=0.4, lambda_tail=0.2), batch)
    other = steps(MMoE(lambda_head=0.4, lambda_tail=0.2, experts=1), batch)
    assert other[0] == pytest.approx(one[0], abs=1e-12)
    for name, value in one[1].encoder.named_parameters():
        torch.testing.assert_close(value, dict(other[1].primary.encoder.named_parameters())[name])


def test_the_shared_part_starts_like_the_plain_model():
    model, encoder = make_model(MMoE(), make_batch()), make_encoder()
    started = dict(model.primary.encoder.named_parameters())
    for name, value in encoder.named_parameters():
        assert torch.equal(value.double(), started[name])
    assert torch.equal(model.heads.weight, make_model(C2AL(), make_batch()).heads.weight)


def test_the_exported_model_is_the_primary_task_and_larger():
    batch, method = make_batch(), MMoE(experts=3)
    _, model = steps(method, batch)
    exported = method.export(model)
    assert torch.equal(exported(batch.features), model(batch.features)[0])
    plain, width = make_encoder(), make_encoder().top.in_features
    experts_and_gate = 2 * (width * 8 + 8) + (width * 3 + 3)
    assert size(exported) == size(plain) + experts_and_gate
    assert size(model) == size(exported) + 2 * (width * 3 + 3) + 2 * (8 + 1)


def test_every_parameter_learns():
    batch = make_batch()
    model = make_model(MMoE(), batch)
    MMoE().backward(model, batch)
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_no_experts_are_refused():
    with pytest.raises(InputError, match="experts must be at least 1"):
        MMoE(experts=0)
    with pytest.raises(InputError, match="lambda_head"):
        MMoE(lambda_head=-1.0)
