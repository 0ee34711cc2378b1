import math

import pytest
import torch
from loss_oracles import dsl, log_sum_exp, random_scores, real

from dslstudy.losses import blind_slate_loss, dsl_loss

SETTINGS = [
    {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 3},
    {"temperature": 1.0, "alpha": 0.7, "beta": -1.1, "gamma": -2.0, "slate_size": 1},
    {"temperature": 0.05, "alpha": 0.0, "beta": 0.5, "gamma": 1.0, "slate_size": 100},
]


def by_hand(positive, negatives, similarity, mask, settings):
    """Kappa of the full loss, temperatures of the loss without kappa, both from the oracle's loops."""
    rows = [[real(tensor[i], mask[i]) for i in range(len(mask))] for tensor in (negatives, similarity)]
    kappas, *_ = dsl(positive.tolist(), *rows, reading="R1", **settings)
    *_, taus, _ = dsl(positive.tolist(), *rows, reading="R1", **(settings | {"alpha": 0.0, "beta": 0.0}))
    losses = []
    for score, row, kappa, tau in zip(positive.tolist(), rows[0], kappas, taus, strict=True):
        losses.append(
            log_sum_exp([math.log(k) + (s - score) / tau for s, k in zip(row, kappa, strict=True)]) if row else 0.0
        )
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_explicit_loops(settings, seed):
    positive, negatives, similarity, mask = random_scores(8, 12, seed=seed)
    losses = blind_slate_loss(positive, negatives, item_similarity=similarity, mask=mask, **settings)
    expected = by_hand(positive, negatives, similarity, mask, settings)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_kappa_it_is_dsl_to_the_bit(dtype):
    positive, negatives, similarity, mask = random_scores(3, 7, 33, dtype=dtype)
    settings = {
        "temperature": torch.tensor([0.05, 0.2, 1.0]),
        "alpha": 0.0,
        "beta": 0.0,
        "gamma": torch.tensor([0.2, -0.4, 1.0]),
        "slate_size": torch.tensor([1, 5, 99]),
    }
    inputs = {"item_similarity": similarity, "mask": mask, **settings}
    assert torch.equal(blind_slate_loss(positive, negatives, **inputs), dsl_loss(positive, negatives, **inputs))


@pytest.mark.parametrize("change", [{"gamma": 0.0}, {"slate_size": 1000}])
def test_where_the_slate_does_not_matter_it_is_dsl(change):
    inputs = random_scores(8, 12)
    settings = SETTINGS[0] | change
    losses = [
        loss(*inputs[:2], item_similarity=inputs[2], mask=inputs[3], **settings)
        for loss in (blind_slate_loss, dsl_loss)
    ]
    torch.testing.assert_close(*losses)


def test_where_the_slate_matters_it_is_another_loss():
    positive, negatives, similarity, _ = random_scores(40, 60)
    settings = SETTINGS[0] | {"item_similarity": similarity, "beta": 1.5, "slate_size": 5}
    blind, seeing = (loss(positive, negatives, **settings) for loss in (blind_slate_loss, dsl_loss))
    assert (blind - seeing).abs().max() > 1e-3


def test_the_gradient_stops_at_kappa_and_tau():
    positive, negatives, similarity, mask = random_scores(6, 9)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    settings = {"temperature": 0.3, "alpha": 0.0, "beta": 0.4, "gamma": 0.0, "slate_size": 3, "mask": mask}
    assert torch.autograd.gradcheck(lambda p, n: blind_slate_loss(p, n, item_similarity=similarity, **settings), inputs)
    similarity.requires_grad_()
    blind_slate_loss(*inputs, item_similarity=similarity, **settings).sum().backward()
    assert similarity.grad is None


def test_absurd_weights_stay_finite():
    positive, negatives, similarity, mask = random_scores(6, 40, dtype=torch.float32)
    for name in ("alpha", "beta", "gamma"):
        inputs = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
        losses = blind_slate_loss(*inputs, item_similarity=similarity, mask=mask, **(SETTINGS[0] | {name: 1e4}))
        losses.sum().backward()
        assert all(tensor.isfinite().all() for tensor in (losses, *(t.grad for t in inputs)))
