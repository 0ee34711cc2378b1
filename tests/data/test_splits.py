from collections import Counter
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data.interactions import Interactions
from dslstudy.data.splits import (
    Split,
    content_hash,
    generator,
    iid_split,
    popularity_shift_split,
    temporal_split,
    validation_cut,
)
from dslstudy.errors import InputError

pair = st.tuples(st.integers(0, 7), st.integers(0, 6))
logs = st.lists(st.tuples(pair, st.integers(0, 12)), min_size=1, max_size=50, unique_by=lambda row: row[0])
seeds = st.integers(0, 2**32)
fractions = st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=20)


def build(log):
    users, items = zip(*(row[0] for row in log), strict=True)
    return Interactions.with_ids(users, items, num_users=8, num_items=7, timestamps=[row[1] for row in log])


def pairs(interactions):
    return set(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))


def check_sound(whole, train, test):
    """No leakage, one id space, everything in test known; whatever is in neither part is unknown in train."""
    assert not pairs(train) & pairs(test)
    assert pairs(train) | pairs(test) <= pairs(whole)
    assert (train.num_users, train.num_items) == (test.num_users, test.num_items) == (8, 7)
    users, items = set(train.users.tolist()), set(train.items.tolist())
    assert all(user in users and item in items for user, item in pairs(test))
    for user, item in pairs(whole) - pairs(train) - pairs(test):
        assert user not in users or item not in items


def up(share, n):
    """How many of n are drawn: the share rounded up, exactly."""
    return ceil(share * n)


@given(logs, seeds, fractions)
def test_iid_split(log, seed, fraction):
    whole = build(log)
    train, test = iid_split(whole, test_fraction=float(fraction), seed=seed)
    check_sound(whole, train, test)
    for user in range(8):
        n = sum(u == user for u, _ in pairs(whole))
        assert train.user_counts()[user] == n - min(up(fraction, n), max(n - 1, 0))
    again = iid_split(whole, test_fraction=float(fraction), seed=seed)
    assert again == (train, test)


@given(logs, seeds, fractions)
def test_popularity_shift_split(log, seed, fraction):
    whole = build(log)
    train, test = popularity_shift_split(whole, test_fraction=float(fraction), seed=seed)
    check_sound(whole, train, test)
    assert len(train) == len(whole) - min(up(fraction, len(whole)), sum(whole.item_counts().clip(1) - 1))
    assert set(train.items.tolist()) == set(whole.items.tolist()), "every item keeps at least one"
    assert popularity_shift_split(whole, test_fraction=float(fraction), seed=seed) == (train, test)


@given(logs, fractions)
def test_temporal_split(log, fraction):
    whole = build(log)
    times = sorted(whole.timestamps.tolist())
    cutoff = times[len(log) - up(fraction, len(log))]
    if times[0] == cutoff:
        with pytest.raises(InputError, match="leaves nothing for train"):
            temporal_split(whole, test_fraction=float(fraction))
        return
    train, test = temporal_split(whole, test_fraction=float(fraction))
    check_sound(whole, train, test)
    assert pairs(train) == {key for key, time in log if time < cutoff}
    assert all(time >= cutoff for time in test.timestamps)


@given(logs, seeds, st.one_of(st.just(Fraction(0)), fractions))
def test_validation_cut(log, seed, fraction):
    whole = build(log)
    train, validation = validation_cut(whole, fraction=float(fraction), seed=seed)
    check_sound(whole, train, validation)
    assert pairs(train) | pairs(validation) == pairs(whole), "nothing is dropped"
    wanted = [min(floor(fraction * n + Fraction(1, 2)), max(n - 1, 0)) for n in whole.user_counts().tolist()]
    missing = np.array(wanted) - validation.user_counts()
    assert (missing >= 0).all()
    assert missing.sum() <= (train.item_counts() == 1).sum(), "given back only to keep an item known"
    assert validation_cut(whole, fraction=float(fraction), seed=seed) == (train, validation)


def test_the_rounding_rule_of_the_validation_cut():
    """Each user has n items that many others have too: 10 % of n, to the nearest, halves up."""
    counts = [1, 2, 4, 5, 9, 14, 15, 24, 25, 34]
    users = [user for user, n in enumerate(counts) for _ in range(n)] + [
        user for user in range(10, 13) for _ in range(40)
    ]
    items = [item for n in counts for item in range(n)] + 3 * list(range(40))
    _, validation = validation_cut(Interactions.with_ids(users, items), seed=5)
    assert validation.user_counts()[:10].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]


def test_a_product_that_is_rounded_up_draws_no_more():
    """In floating point 0.07 * 100 is a little more than 7."""
    whole = Interactions.with_ids(np.zeros(100, int), np.arange(100))
    assert len(iid_split(whole, test_fraction=0.07, seed=0)[0]) == 93
    whole = Interactions.with_ids(np.arange(100), np.zeros(100, int))
    assert len(popularity_shift_split(whole, test_fraction=0.07, seed=0)[0]) == 93


def test_an_item_that_would_vanish_gets_one_interaction_back():
    """Three users share only the item of interest with nobody else's items; a cut of 90 % takes nearly everything."""
    whole = Interactions.with_ids([0, 0, 1, 1, 2, 2], [0, 1, 0, 2, 0, 3])
    for seed in range(20):
        train, validation = validation_cut(whole, fraction=0.5, seed=seed)
        assert train.item_counts().all()
        assert set(validation.items.tolist()) <= {0}
        assert len(validation) <= 2


def long_tailed(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return Interactions.from_arrays(rng.integers(0, 200, n), (rng.pareto(1.0, n) * 8).astype(int).clip(max=150))


@pytest.mark.parametrize("splitter", [iid_split, popularity_shift_split, validation_cut])
def test_another_seed_is_another_split(splitter):
    whole = long_tailed()
    found = {content_hash(splitter(whole, seed=seed)[1].keys()) for seed in range(10)}
    assert len(found) == 10


def test_the_streams_of_one_seed_are_apart():
    assert len({generator(3, purpose).integers(2**60) for purpose in ("iid", "validation", "popularity-shift")}) == 3


@pytest.mark.parametrize("splitter", [iid_split, validation_cut])
def test_every_item_of_a_user_is_equally_likely(splitter):
    whole = Interactions.with_ids(np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300))
    held = sum(splitter(whole, seed=seed)[1].item_counts() for seed in range(20))
    expected = held.sum() / 10
    assert (abs(held - expected) < 5 * np.sqrt(expected)).all()


def one_after_the_other(whole, rng, fraction=0.2):
    """The published protocol, literally: an item uniformly among those that can give, then one of its users."""
    left = {item: whole.users[whole.items == item].tolist() for item in range(whole.num_items)}
    drawn = []
    while len(drawn) < up(Fraction(fraction).limit_denominator(100), len(whole)):
        giving = [item for item, users in left.items() if len(users) > 1]
        item = giving[rng.integers(len(giving))]
        drawn.append((left[item].pop(rng.integers(len(left[item]))), item))
    return drawn


def test_popularity_shift_has_the_distribution_of_the_sequential_protocol():
    sizes = [1, 2, 2, 3, 4, 6, 9, 12, 20, 41]
    users = np.concatenate([np.arange(size) for size in sizes] + [np.arange(41)])
    items = np.concatenate([np.full(size, item) for item, size in enumerate(sizes)] + [np.full(41, 10)])
    whole = Interactions.with_ids(users, items)
    repeats, rng = 600, np.random.default_rng(7)
    loop, ours = [], []
    for seed in range(repeats):
        loop.append(np.bincount([item for _, item in one_after_the_other(whole, rng)], minlength=11))
        train, _ = popularity_shift_split(whole, seed=seed)
        ours.append(whole.item_counts() - train.item_counts())
    loop, ours = np.array(loop), np.array(ours)
    error = np.sqrt((loop.var(0) + ours.var(0)) / repeats)
    assert (abs(loop.mean(0) - ours.mean(0)) <= 4 * error).all()
    # Not only the means: the whole distribution of what the items of size 2 to 41 give (chi-square, two samples).
    for item in range(1, 11):
        both = np.array([np.bincount(counts[:, item], minlength=30) for counts in (loop, ours)])
        both = both[:, both.sum(0) >= 20]
        chi_square = ((both[0] - both[1]) ** 2 / both.sum(0)).sum()
        freedom = both.shape[1] - 1
        assert chi_square < freedom + 4.5 * np.sqrt(2 * freedom) + 4


def test_popularity_shift_takes_the_users_of_an_item_alike():
    whole = Interactions.with_ids(np.tile(np.arange(12), 12), np.repeat(np.arange(12), 12))
    drawn = Counter()
    for seed in range(400):
        drawn.update(pairs(popularity_shift_split(whole, seed=seed)[1]))
    counts = np.array([drawn[u, i] for u in range(12) for i in range(12)])
    assert counts.sum() == 400 * 29
    assert (abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


def test_popularity_shift_flattens_the_head():
    whole = long_tailed()
    _, test = popularity_shift_split(whole, seed=0)
    _, iid = iid_split(whole, seed=0)
    head = np.argsort(-whole.item_counts())[: whole.num_items // 5]
    assert np.isin(test.items, head).mean() < 0.5 * np.isin(iid.items, head).mean()


def test_the_bits_of_a_seed_are_pinned():
    """If this fails, every committed record was made on other splits: do not just change the numbers."""
    users, items = np.divmod(np.arange(0, 4000, 3) * 7 % 4001, 80)
    whole = Interactions.with_ids(users, items, num_users=51, num_items=80)
    parts = [split(whole, seed=2026)[1] for split in (iid_split, popularity_shift_split, validation_cut)]
    assert [content_hash(part.users, part.items)[:12] for part in parts] == PINNED


PINNED = ["20c48e9a61ce", "3781c04a6cfb", "48aabc03d6b2"]


def test_a_large_log_splits():
    whole = long_tailed(300_000)
    for train, test in (iid_split(whole, seed=0), popularity_shift_split(whole, seed=0), validation_cut(whole, seed=0)):
        assert len(np.intersect1d(train.keys(), test.keys())) == 0
        assert (train.item_counts()[test.items] > 0).all()
        assert (train.user_counts()[test.users] > 0).all()


def test_empty_interactions_split_into_nothing():
    empty = Interactions.with_ids([], [], num_users=3, num_items=2, timestamps=[])
    for parts in (
        iid_split(empty, seed=0),
        popularity_shift_split(empty, seed=0),
        temporal_split(empty),
        validation_cut(empty, seed=0),
    ):
        assert [len(part) for part in parts] == [0, 0]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), "0.2"])
def test_fractions_must_be_fractions(fraction):
    whole = build([((0, 0), 1), ((1, 1), 2)])
    for split in (
        lambda: iid_split(whole, test_fraction=fraction, seed=0),
        lambda: popularity_shift_split(whole, test_fraction=fraction, seed=0),
        lambda: temporal_split(whole, test_fraction=fraction),
    ):
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            split()
    if fraction != 0:
        with pytest.raises(InputError, match="validation fraction must lie between 0 and 1"):
            validation_cut(whole, fraction=fraction, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, True, None, "0"])
def test_seeds_must_be_seeds(seed):
    with pytest.raises(InputError, match="a seed is an integer from 0"):
        iid_split(build([((0, 0), 1)]), seed=seed)


def test_temporal_needs_timestamps():
    with pytest.raises(InputError, match="needs timestamps"):
        temporal_split(Interactions.with_ids([0, 1], [0, 1]))


def test_a_split_has_one_id_space_and_a_fingerprint():
    whole = build([((user, item), 0) for user in range(8) for item in range(7)])
    train, test = iid_split(whole, seed=0)
    train, validation = validation_cut(train, seed=0)
    split = Split("iid", train, validation, test, 0)
    assert (split.num_users, split.num_items) == (8, 7)
    assert len(split.fingerprint) == 16
    assert Split("other name", train, validation, test, 9).fingerprint == split.fingerprint
    assert Split("iid", train, test, validation, 0).fingerprint != split.fingerprint
    with pytest.raises(InputError, match="one id space"):
        Split("iid", train, validation.compact(), Interactions.with_ids([0], [0]), 0)


def test_content_hash_tells_contents_apart_and_not_machines():
    numbers = np.array([1, 2, 300])
    assert content_hash(numbers) == content_hash(numbers.astype(np.int32)) == content_hash(numbers.astype(">i8"))
    different = [(numbers,), (numbers[:2], numbers[2:]), (np.array(["1", "2", "300"]),), (numbers[::-1],)]
    assert len({content_hash(*arrays) for arrays in different}) == 4
