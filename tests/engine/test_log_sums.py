"""Losses through their log sums are the losses, with the same gradients, whichever way the sums are made."""

import pytest
import torch

from dslstudy.data.interactions import Interactions
from dslstudy.engine import log_sums
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.sampler import Columns, Positives

P, B, N, ITEMS, D = 2, 7, 11, 9, 4
NUMBERS = {
    "softmax": {"temperature": (0.2, 0.7)},
    "bsl": {"positive_temperature": (0.3, 0.9), "temperature": (0.2, 0.5)},
    "positive_weight": {"weight": (0.8, 1.3), "temperature": (0.2, 0.5)},
    "slatk": {"temperature": (0.2, 0.7), "weight_temperature": (1.0, 2.0)},
}


@pytest.fixture
def batch():
    """Vectors, items, negatives and the users' training items; user 0 has them all, so no negative of it is real."""
    generator = torch.Generator().manual_seed(3)
    users = torch.randint(1, 5, (P * B,), generator=generator)
    users[[2, 9]] = 0
    pairs = [(0, item) for item in range(ITEMS)] + [(user, item) for user in range(1, 5) for item in (user, user + 4)]
    interactions = Interactions.with_ids(*zip(*pairs, strict=True), num_users=5, num_items=ITEMS)
    known = Positives(interactions).cells(users)
    vectors = torch.randn(P, B, D, generator=generator, dtype=torch.float64)
    items = torch.randn(P, ITEMS, D, generator=generator, dtype=torch.float64)
    positive = torch.randn(P, B, generator=generator, dtype=torch.float64)
    negatives = torch.randint(ITEMS, (P, B, N), generator=generator)
    real = torch.tensor(
        [
            [[(int(users[p * B + b]), int(j)) not in pairs for j in row] for b, row in enumerate(negatives[p])]
            for p in range(P)
        ]
    )
    return vectors, items, positive, negatives, known, real, users, set(pairs)


def by_the_loss(loss, vectors, items, positive, negatives, real, extra):
    """Losses and gradients of their mean, by autograd through one score per pair."""
    inputs = [tensor.clone().requires_grad_() for tensor in (positive, vectors, items)]
    drawn = torch.stack([inputs[2][p][negatives[p]] for p in range(P)])
    scores = (inputs[1].unsqueeze(2) * drawn).sum(-1)
    numbers = {name: torch.tensor(values, dtype=torch.float64) for name, values in NUMBERS[loss].items()}
    losses = OBJECTIVES[loss].function(inputs[0], scores, mask=real, **numbers, **extra)
    return losses.detach(), *torch.autograd.grad(losses.sum() / B, inputs)


@pytest.mark.parametrize("loss", NUMBERS)
@pytest.mark.parametrize("way", ["counted", "picked", "picked, shifted", "shared", "shared, shifted"])
def test_losses_and_gradients(batch, loss, way):
    vectors, items, positive, negatives, known, real, users, pairs = batch
    if "shared" in way:
        negatives = negatives[:, :1].expand(P, B, N)
        real = torch.tensor(
            [
                [[(int(users[p * B + b]), int(j)) not in pairs for j in negatives[p, b]] for b in range(B)]
                for p in range(P)
            ]
        )
    extra = {"quantile": torch.linspace(-1, 1, P * B, dtype=torch.float64).view(P, B)} if loss == "slatk" else {}
    expected = by_the_loss(loss, vectors, items, positive, negatives, real, extra)
    if "shared" in way:
        source = torch.stack([items[p][negatives[p, 0]] for p in range(P)])
        places = known.places_among(Columns.of(negatives[:, 0], ITEMS))
        exponentiate = log_sums.shared(source.mT.contiguous(), places, shifted="shifted" in way)
        blocks = [slice(0, B)]
    else:
        source, blocks = items, [slice(0, 3), slice(3, 6), slice(6, B)]
        columns = source.mT.contiguous()
        if way == "counted":
            exponentiate = log_sums.counted(columns, log_sums.counts_of(negatives, known, ITEMS).double())
        else:
            exponentiate = log_sums.picked(columns, negatives, known, shifted="shifted" in way)
    numbers = {name: torch.tensor(v, dtype=torch.float64).view(P, 1) for name, v in NUMBERS[loss].items()}
    finish = log_sums.finishing(
        OBJECTIVES[loss].of_log_sum,
        positive,
        B,
        lambda block: numbers | {name: value[:, block] for name, value in extra.items()},
    )
    inverse = 1 / numbers["temperature"].view(P)
    losses, of_positive, of_vectors, of_source = log_sums.through_log_sums(
        vectors, source, inverse, exponentiate, finish, blocks
    )
    if "shared" in way:  # back to the items: a row for each negative
        of_source = torch.zeros_like(items).index_put_(
            (torch.arange(P)[:, None], negatives[:, 0]), of_source, accumulate=True
        )
    for ours, theirs in zip((losses, of_positive, of_vectors, of_source), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert losses[0, 2] == 0
    assert (of_vectors[0, 2] == 0).all()


def test_scores_of_any_size_once_the_largest_is_taken_off(batch):
    vectors, items, positive, negatives, known, real, *_ = batch
    vectors, positive = vectors * 1e4, positive * 1e4  # exp(1e4) is out of every range
    expected = by_the_loss("softmax", vectors, items, positive, negatives, real, {})
    inverse = 1 / torch.tensor(NUMBERS["softmax"]["temperature"], dtype=torch.float64)
    assert not log_sums.bounded("inner-product", inverse)
    finish = log_sums.finishing(
        OBJECTIVES["softmax"].of_log_sum, positive, B, lambda block: {"temperature": 1 / inverse.view(P, 1)}
    )
    exponentiate = log_sums.picked(items.mT, negatives, known, shifted=True)
    ours = log_sums.through_log_sums(vectors, items, inverse, exponentiate, finish, [slice(0, B)])
    for one, other in zip(ours, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(batch, bad):
    vectors, items, positive, negatives, known, *_ = batch
    vectors[1, 3, 0] = bad
    numbers = {"temperature": torch.ones(P, 1)}
    finish = log_sums.finishing(OBJECTIVES["softmax"].of_log_sum, positive, B, lambda block: numbers)
    for exponentiate in (
        log_sums.picked(items.mT, negatives, known, shifted=True),
        log_sums.picked(items.mT, negatives, known, shifted=False),
        log_sums.counted(items.mT, log_sums.counts_of(negatives, known, ITEMS).double()),
    ):
        losses, *_ = log_sums.through_log_sums(vectors, items, torch.ones(P), exponentiate, finish, [slice(0, B)])
        assert not losses[1, 3].isfinite()
        assert losses[0].isfinite().all()


def test_cosines_are_bounded_unless_the_temperature_is_tiny():
    assert log_sums.bounded("cosine", torch.tensor([5.0, 40.0]))
    assert not log_sums.bounded("cosine", torch.tensor([5.0, 41.0]))
    # what is called bounded neither overflows nor vanishes in float32
    largest, smallest = torch.tensor([40.0, -40.0]).exp()
    assert torch.isfinite(largest * 2**24)
    assert smallest > torch.finfo(torch.float32).tiny
