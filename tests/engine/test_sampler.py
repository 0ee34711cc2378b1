"""Batches, negatives and masks, checked against loops over the interactions."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dslstudy.data.interactions import Interactions
from dslstudy.engine.sampler import Cells, Columns, Positives, draw_negatives, epoch_order


def interactions(pairs: set[tuple[int, int]], users: int = 7, items: int = 9) -> Interactions:
    array = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Interactions.with_ids(array[:, 0], array[:, 1], num_users=users, num_items=items)


def table(cells: Cells) -> torch.Tensor:
    known = torch.zeros(len(cells.users), 9, dtype=torch.bool)
    known[cells.row, cells.item] = True
    return known


PAIRS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=40)


@given(PAIRS, st.lists(st.integers(0, 6), min_size=1, max_size=12), st.data())
def test_known_items_of_users(pairs, users, data):
    cells = Positives(interactions(pairs)).cells(torch.tensor(users))
    expected = [[(user, item) in pairs for item in range(9)] for user in users]
    assert table(cells).tolist() == expected
    first = data.draw(st.integers(0, len(users) - 1))
    stop = data.draw(st.integers(first + 1, len(users)))
    assert table(cells.select(slice(first, stop))).tolist() == expected[first:stop]
    half = len(users) // 2
    if half and len(users) % 2 == 0:  # two runs, some examples of each
        last = data.draw(st.integers(1, half))
        part = cells.select(slice(0, last), runs=2)
        assert table(part).tolist() == expected[:last] + expected[half : half + last]
        assert table(part.select(slice(0, len(part.users)))).tolist() == table(part).tolist()
    again = Positives(interactions(pairs)).cells(torch.tensor(users), total=sum(map(sum, expected)))
    assert torch.equal(again.item, cells.item)


@given(PAIRS, st.integers(1, 3), st.integers(1, 4), st.data())
def test_known_cells_become_minus_infinity(pairs, runs, examples, data):
    users = data.draw(st.lists(st.integers(0, 6), min_size=runs * examples, max_size=runs * examples))
    cells = Positives(interactions(pairs)).cells(torch.tensor(users))
    first = data.draw(st.integers(0, examples - 1))
    stop = data.draw(st.integers(first + 1, examples))
    scores = torch.zeros(runs, stop - first, 9)
    cells.fill(scores, slice(first, stop))
    items = torch.arange(9).expand(runs, examples, 9)
    found = cells.contains(items)
    for run in range(runs):
        for row in range(examples):
            known = [(users[run * examples + row], item) in pairs for item in range(9)]
            assert found[run, row].tolist() == known
            if first <= row < stop:
                assert scores[run, row - first].tolist() == [-torch.inf if k else 0.0 for k in known]


@given(PAIRS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.data())
def test_where_known_items_lie_among_shared_negatives(pairs, runs, examples, count, data):
    users = data.draw(st.lists(st.integers(0, 6), min_size=runs * examples, max_size=runs * examples))
    drawn = data.draw(st.lists(st.integers(0, 8), min_size=runs * count, max_size=runs * count))
    negatives = torch.tensor(drawn).view(runs, count)
    cells = Positives(interactions(pairs)).cells(torch.tensor(users))
    places = cells.places_among(Columns.of(negatives, 9))
    expected = [
        (run * examples + row) * count + column
        for run in range(runs)
        for row in range(examples)
        for column in range(count)
        if (users[run * examples + row], int(negatives[run, column])) in pairs
    ]
    assert sorted(places.tolist()) == expected


@given(st.integers(1, 50), st.integers(0, 5), st.integers(1, 9))
def test_an_epoch_is_every_interaction_once(n, seed, epoch):
    order = epoch_order(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, epoch_order(n, seed, epoch))


def test_every_run_and_every_epoch_has_an_order_of_its_own():
    orders = [epoch_order(60, seed, epoch) for seed in (0, 1) for epoch in (1, 2)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


@given(st.integers(1, 2**31), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(0, 2**63 - 1))
def test_negatives_are_items(num_items, shape, seed):
    drawn = draw_negatives(num_items, shape, seed, (3, 1, 4))
    assert list(drawn.shape) == shape
    assert drawn.min() >= 0
    assert drawn.max() < num_items
    assert torch.equal(drawn, draw_negatives(num_items, shape, seed, (3, 1, 4)))


def test_negatives_are_uniform_and_independent():
    """Chi-squared tests of single draws and of pairs: neighbours, and the two halves that share a random number."""
    drawn = draw_negatives(10, (100, 1000), 3, (1, 0)).flatten()
    half = len(drawn) // 2
    pairs = {
        "one": (drawn, 10),
        "neighbours": (drawn[:-1:2] * 10 + drawn[1::2], 100),
        "halves": (drawn[:half] * 10 + drawn[half:], 100),
        "places": (drawn * 10 + draw_negatives(10, (100, 1000), 3, (1, 1)).flatten(), 100),
        "seeds": (drawn * 10 + draw_negatives(10, (100, 1000), 4, (1, 0)).flatten(), 100),
    }
    for name, (cells, kinds) in pairs.items():
        counts = torch.bincount(cells, minlength=kinds)
        assert chisquare(counts.numpy()).pvalue > 1e-4, name
