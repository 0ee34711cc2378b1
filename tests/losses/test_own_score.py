import math

import pytest
import torch
from loss_oracles import dsl, log_sum_exp, random_scores, real

from dslstudy.losses import dsl_loss, own_score_loss

SETTINGS = [
    {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2},
    {"temperature": 1.0, "alpha": 0.7, "beta": -1.1, "gamma": -2.0},
    {"temperature": 0.05, "alpha": 0.0, "beta": 0.5, "gamma": 1.0},
]


def temperatures(scores, tau, gamma):
    """From the scores of the positives that have negatives, by explicit loops."""
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    factors = [math.exp(gamma * min(3.0, max(-3.0, (mean - score) / deviation))) for score in scores]
    return [tau * factor * len(factors) / sum(factors) for factor in factors]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_explicit_loops(settings, seed):
    positive, negatives, similarity, mask = random_scores(8, 12, seed=seed)
    mask[2] = False  # an example without real negatives has no say in the batch
    losses = own_score_loss(positive, negatives, item_similarity=similarity, mask=mask, **settings)
    rows = [[real(tensor[i], mask[i]) for i in range(len(mask))] for tensor in (negatives, similarity)]
    kappas, *_ = dsl(positive.tolist(), *rows, reading="R1", slate_size=1, **settings)
    present = [place for place, row in enumerate(rows[0]) if row]
    own = temperatures([positive[i].item() for i in present], settings["temperature"], settings["gamma"])
    expected = torch.zeros(len(positive), dtype=torch.float64)
    for place, tau in zip(present, own, strict=True):
        margins = [score - positive[place].item() for score in rows[0][place]]
        expected[place] = log_sum_exp([math.log(k) + d / tau for k, d in zip(kappas[place], margins, strict=True)])
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-10)


def test_the_competitors_have_no_say_in_the_temperatures():
    """With weights of one and an equal slate for all, raising one example's competitors moves its own loss alone."""
    positive, negatives, similarity, _ = random_scores(6, 9)
    settings = {"temperature": 0.3, "alpha": 0.0, "beta": 0.0, "gamma": 0.5, "item_similarity": similarity}
    stronger = negatives.clone()
    stronger[0] += 1.0
    own = [own_score_loss(positive, scores, **settings) for scores in (negatives, stronger)]
    full = [dsl_loss(positive, scores, slate_size=3, **settings) for scores in (negatives, stronger)]
    assert torch.equal(own[0][1:], own[1][1:])
    assert (full[0][1:] - full[1][1:]).abs().max() > 1e-3


def test_the_gradient_stops_at_kappa_and_tau():
    positive, negatives, similarity, mask = random_scores(6, 9)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    settings = {"temperature": 0.3, "alpha": 0.0, "beta": 0.4, "gamma": 0.0, "mask": mask}
    assert torch.autograd.gradcheck(lambda p, n: own_score_loss(p, n, item_similarity=similarity, **settings), inputs)
    similarity.requires_grad_()
    own_score_loss(*inputs, item_similarity=similarity, **(settings | {"gamma": 0.7})).sum().backward()
    assert similarity.grad is None
