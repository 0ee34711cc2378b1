"""Batches, negatives and masks, checked against loops over the interactions."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data.interactions import Interactions
from dslstudy.engine.sampler import Positives, draw_negatives, epoch_batches
from dslstudy.engine.scores import real_negatives


def streams(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def interactions(pairs: set[tuple[int, int]], users: int = 7, items: int = 9) -> Interactions:
    array = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Interactions.with_ids(array[:, 0], array[:, 1], num_users=users, num_items=items)


PAIRS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=40)


@given(PAIRS, st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_known_items_of_users(pairs, users):
    known = Positives(interactions(pairs)).of_users(torch.tensor(users))
    expected = [[(user, item) in pairs for item in range(9)] for user in users]
    assert known.tolist() == expected


@given(PAIRS, st.integers(1, 50), st.integers(0, 5))
def test_an_epoch_is_every_interaction_once_per_run(pairs, batch_size, seed):
    positives = Positives(interactions(pairs))
    batches = list(epoch_batches(positives, streams(seed, seed + 1), batch_size))
    users, items = (torch.cat(part, dim=1) for part in zip(*batches, strict=True))
    assert all(u.shape[1] == batch_size for u, _ in batches[:-1])
    for run in range(2):
        seen = list(zip(users[run].tolist(), items[run].tolist(), strict=True))
        assert sorted(seen) == sorted(pairs)


def test_runs_have_orders_of_their_own():
    positives = Positives(interactions({(u, i) for u in range(7) for i in range(9)}))
    ((users, items),) = epoch_batches(positives, streams(0, 1, 0), 1000)
    assert torch.equal(users[0], users[2])
    assert torch.equal(items[0], items[2])
    assert not torch.equal(users[0] * 9 + items[0], users[1] * 9 + items[1])


def test_negatives_are_uniform_and_belong_to_their_run():
    drawn = draw_negatives(10, (100, 50), streams(3, 4), "cpu")
    alone = draw_negatives(10, (100, 50), streams(4), "cpu")
    assert torch.equal(drawn[1], alone[0])
    counts = torch.bincount(drawn[0].flatten(), minlength=10)
    assert counts.sum() == 5000
    # five standard deviations of a binomial count
    assert (counts - 500).abs().max() < 5 * (5000 * 0.1 * 0.9) ** 0.5


@given(PAIRS, st.booleans(), st.integers(0, 99))
def test_accidental_positives_are_masked(pairs, shared, seed):
    users = torch.tensor([0, 3, 3, 6])
    (negatives,) = draw_negatives(9, (20,) if shared else (4, 20), streams(seed), "cpu")
    mask = real_negatives(Positives(interactions(pairs)).of_users(users), negatives)
    for row, user in enumerate(users.tolist()):
        sampled = negatives if shared else negatives[row]
        assert mask[row].tolist() == [(user, item) not in pairs for item in sampled.tolist()]
