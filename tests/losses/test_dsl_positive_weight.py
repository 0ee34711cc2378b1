import math

import pytest
import torch
from loss_oracles import dsl, log_sum_exp, random_scores, real

from dslstudy.losses import dsl_loss, dsl_positive_weight_loss, dsl_terms, positive_weight_loss

SETTINGS = [
    {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 3},
    {"temperature": 1.0, "alpha": 0.7, "beta": -1.1, "gamma": -2.0, "slate_size": 1},
    {"temperature": 0.05, "alpha": 0.0, "beta": 0.5, "gamma": 1.0, "slate_size": 100},
]


def by_hand(positive, negatives, similarity, mask, weight, settings):
    """Kappa and temperatures from the oracle's loops, then the weighted positive against the weighted exponentials."""
    rows = [[real(tensor[i], mask[i]) for i in range(len(mask))] for tensor in (negatives, similarity)]
    kappas, *_, taus, _ = dsl(positive.tolist(), *rows, reading="R1", **settings)
    losses = []
    for score, row, kappa, tau in zip(positive.tolist(), rows[0], kappas, taus, strict=True):
        if not row:
            losses.append(0.0)
            continue
        push = log_sum_exp([math.log(k) + s / tau for s, k in zip(row, kappa, strict=True)])
        losses.append(push - weight * score / tau)
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.5, 0.9, 1.0, 2.0])
@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_explicit_loops(settings, weight):
    positive, negatives, similarity, mask = random_scores(8, 12, seed=3)
    losses = dsl_positive_weight_loss(
        positive, negatives, item_similarity=similarity, mask=mask, weight=weight, **settings
    )
    expected = by_hand(positive, negatives, similarity, mask, weight, settings)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("settings", SETTINGS)
def test_with_weight_one_it_is_dsl(settings):
    positive, negatives, similarity, mask = random_scores(8, 12)
    inputs = {"item_similarity": similarity, "mask": mask, **settings}
    torch.testing.assert_close(
        dsl_positive_weight_loss(positive, negatives, weight=1.0, **inputs), dsl_loss(positive, negatives, **inputs)
    )


def test_without_the_two_scales_it_is_the_softmax_loss_with_a_weighted_positive():
    positive, negatives, similarity, mask = random_scores(8, 12, dtype=torch.float32)
    scales = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "slate_size": 5}
    common = {"temperature": 0.2, "weight": 0.8, "mask": mask}
    assert torch.equal(
        dsl_positive_weight_loss(positive, negatives, item_similarity=similarity, **scales, **common),
        positive_weight_loss(positive, negatives, **common),
    )


def test_pull_and_push_are_those_of_the_examples_own_temperature():
    positive, negatives, similarity, _ = random_scores(6, 9)
    positive.requires_grad_(), negatives.requires_grad_()
    dsl_positive_weight_loss(
        positive, negatives, item_similarity=similarity, weight=0.8, **SETTINGS[0]
    ).sum().backward()
    with torch.no_grad():
        tau = dsl_terms(positive, negatives, item_similarity=similarity, **SETTINGS[0]).tau
    torch.testing.assert_close(positive.grad, -0.8 / tau)
    torch.testing.assert_close(negatives.grad.sum(-1), 1 / tau)
