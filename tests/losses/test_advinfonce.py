import math

import pytest
import torch
from loss_oracles import advinfonce, by_example, random_scores
from torch.nn import functional

from dslstudy.losses import advinfonce_loss, hardness_divergence, hardness_from_logits


@pytest.mark.parametrize(("temperature", "weight"), [(0.2, 1.0), (1e-3, 64.0), (1.0, 0.1)])
def test_weighs_the_negatives_by_their_hardness(temperature, weight):
    positive, negatives, hardness, mask = random_scores(6, 5)
    losses = advinfonce_loss(
        positive, negatives, hardness=hardness, temperature=temperature, negative_weight=weight, mask=mask
    )
    expected = by_example(
        lambda s, row, delta: advinfonce(s, row, delta, temperature, weight), positive, negatives, mask, hardness
    )
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)


def test_without_an_adversary_it_is_infonce():
    positive, negatives, _, _ = random_scores(6, 5)
    losses = advinfonce_loss(positive, negatives, hardness=torch.zeros(6, 5), temperature=0.2)
    logits = torch.cat([positive.unsqueeze(-1), negatives], -1) / 0.2
    torch.testing.assert_close(losses, functional.cross_entropy(logits, torch.zeros(6).long(), reduction="none"))


def test_hardness_is_the_log_of_the_count_times_the_probability():
    _, logits, _, mask = random_scores(6, 5)
    hardness = hardness_from_logits(logits, mask=mask)
    for i in range(1, 6):
        row = logits[i][mask[i]]
        expected = torch.log(len(row) * row.exp() / row.exp().sum())
        torch.testing.assert_close(hardness[i][mask[i]], expected)
        torch.testing.assert_close(hardness[i][mask[i]].exp().mean().item(), 1.0)
        # KL(uniform || p), by its definition
        p = row.softmax(0)
        divergence = sum(math.log(1 / len(row) / q) / len(row) for q in p.tolist())
        assert hardness_divergence(hardness, mask=mask)[i].item() == pytest.approx(divergence)
    assert (hardness[~mask] == 0).all()
    assert hardness_divergence(hardness, mask=mask)[0] == 0
    assert (hardness_divergence(torch.zeros(6, 5)) == 0).all()


def test_the_adversary_climbs():
    positive, negatives, logits, mask = random_scores(6, 5)
    logits.requires_grad_()
    before = None
    for _ in range(5):
        hardness = hardness_from_logits(logits, mask=mask)
        loss = advinfonce_loss(positive, negatives, hardness=hardness, temperature=0.2, mask=mask).sum()
        assert before is None or loss.item() > before
        before = loss.item()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient[~mask] == 0).all()
        logits = (logits + 0.1 * gradient).detach().requires_grad_()


def test_gradients_of_scores_and_adversary():
    positive, negatives, logits, mask = random_scores(4, 5)
    inputs = [tensor.requires_grad_() for tensor in (positive, negatives, logits)]
    assert torch.autograd.gradcheck(
        lambda p, n, x: advinfonce_loss(
            p, n, hardness=hardness_from_logits(x, mask=mask), temperature=0.3, negative_weight=3.0, mask=mask
        ),
        inputs,
    )
