"""Exposure metrics against loops over users, items and pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_matrix

from dslstudy.errors import InputError
from dslstudy.metrics.exposure import (
    Recommendations,
    average_popularity,
    coverage,
    found_by_group,
    gains_by_group,
    gini,
    recommend,
    scores_of_tables,
)
from dslstudy.metrics.topk import RankingEvaluator


@st.composite
def worlds(draw):
    """Few distinct scores, so ties are everywhere; labels 1 relevant, 2 excluded; items in groups; a cut-off."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    labels = draw(hnp.arrays(np.int8, (users, items), elements=st.integers(0, 2)))
    labels[draw(st.integers(0, users - 1)), draw(st.integers(0, items - 1))] = 1
    scores = draw(hnp.arrays(np.float32, (users, items), elements=st.sampled_from([-1.5, 0, 0.25, 2])))
    groups = draw(hnp.arrays(np.int64, items, elements=st.integers(0, 3)))
    return scores, csr_matrix(labels == 1), csr_matrix(labels == 2), groups, draw(st.integers(1, 11))


def lists_of(world):
    scores, relevant, exclude, _, cutoff = world
    return recommend(lambda users: scores[users], relevant, exclude, cutoff=cutoff)


@given(worlds())
def test_lists_against_sorted_python_lists(world):
    scores, relevant, exclude, _, cutoff = world
    lists = lists_of(world)
    assert list(lists.users) == [user for user in range(len(scores)) if relevant[user].nnz]
    for user, row in zip(lists.users, lists.items, strict=True):
        candidates = [item for item in range(scores.shape[1]) if not exclude[user, item]]
        ranking = sorted(candidates, key=lambda item: (-scores[user][item], item))[:cutoff]
        assert list(row) == ranking + [-1] * (cutoff - len(ranking))


@given(worlds())
def test_parts_of_ndcg_against_a_loop_over_places(world):
    _, relevant, _, groups, cutoff = world
    lists = lists_of(world)
    parts = gains_by_group(lists, relevant, groups, num_groups=4)
    found, there = found_by_group(lists, relevant, groups, num_groups=4)
    for n, user in enumerate(lists.users):
        wanted = set(relevant[user].indices)
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(cutoff, len(wanted)) + 1))
        by_group, hits = dict.fromkeys(range(4), 0.0), dict.fromkeys(range(4), 0)
        for place, item in enumerate(lists.items[n], start=1):
            if item in wanted:
                by_group[groups[item]] += 1 / math.log2(place + 1) / ideal
                hits[groups[item]] += 1
        assert parts[n] == pytest.approx(list(by_group.values()))
        assert list(found[n]) == list(hits.values())
        assert list(there[n]) == [sum(groups[item] == group for item in wanted) for group in range(4)]


@given(worlds())
def test_the_parts_of_a_user_add_up_to_the_ndcg_of_the_tables(world):
    scores, relevant, exclude, groups, cutoff = world
    evaluator = RankingEvaluator(relevant, exclude, cutoffs=(cutoff,))
    metrics = evaluator.evaluate_scores(lambda users: scores[users])
    lists = lists_of(world)
    assert np.array_equal(lists.users, metrics.users)
    whole = gains_by_group(lists, relevant, groups).sum(axis=1)
    np.testing.assert_allclose(whole, metrics.values[f"ndcg@{cutoff}"], rtol=1e-12, atol=1e-15)
    found, there = found_by_group(lists, relevant, groups)
    np.testing.assert_allclose(found.sum(axis=1) / there.sum(axis=1), metrics.values[f"recall@{cutoff}"])


@given(worlds(), st.data())
def test_coverage_and_popularity_against_loops(world, data):
    lists = lists_of(world)
    counts = data.draw(hnp.arrays(np.int64, lists.num_items, elements=st.integers(0, 50)))
    seen = {item for row in lists.items for item in row if item >= 0}
    assert coverage(lists) == pytest.approx(len(seen) / lists.num_items)
    assert [int(each) for each in lists.counts] == [
        sum(item in row for row in lists.items.tolist()) for item in range(lists.num_items)
    ]
    by_hand = [np.mean([counts[item] for item in row if item >= 0]) for row in lists.items]
    assert average_popularity(lists, counts) == pytest.approx(by_hand)


@given(hnp.arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 30)).filter(np.any))
def test_gini_against_all_pairs(counts):
    pairs = [abs(a - b) for a in counts for b in counts]
    assert gini(counts) == pytest.approx(np.mean(pairs) / 2 / np.mean(counts))


def test_gini_of_the_extremes():
    assert gini([3, 3, 3]) == pytest.approx(0)
    assert gini([0, 0, 0, 5]) == pytest.approx(3 / 4)


def test_scores_of_tables_are_inner_products():
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, 3)).astype(np.float32) for n in (4, 5))
    found = scores_of_tables(users, items)(np.array([2, 0])).numpy()
    expected = [[sum(u * v for u, v in zip(users[user], item, strict=True)) for item in items] for user in (2, 0)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


ONE = csr_matrix(np.array([[1, 0, 0]]))
NONE = csr_matrix((1, 3))
LISTS = Recommendations(np.array([0]), np.array([[0, 1]]), 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recommend(lambda users: np.zeros((1, 3)), ONE, csr_matrix((1, 2))), "must be users x items"),
        (lambda: recommend(lambda users: np.zeros((1, 3)), ONE, NONE, cutoff=0), "cutoff must be at least 1"),
        (lambda: recommend(lambda users: np.zeros((1, 3)), NONE, NONE), "no user has a relevant item"),
        (lambda: recommend(lambda users: np.zeros((1, 2)), ONE, NONE), "score_block returned shape"),
        (lambda: recommend(lambda users: np.full((1, 3), np.nan), ONE, NONE), "scores must be finite"),
        (lambda: gains_by_group(LISTS, NONE, [0, 0, 0]), "user 0 has no relevant item"),
        (lambda: gains_by_group(LISTS, ONE, [0, 0]), "groups must be 3 integers"),
        (lambda: gains_by_group(LISTS, ONE, [0, 0, -1]), "groups must be 3 integers"),
        (lambda: gains_by_group(LISTS, ONE, [0, 0, 2], num_groups=2), "group 2 is not one of 2"),
        (lambda: gini([0, 0]), "at least one of them above"),
        (lambda: gini([1, -1]), "numbers from 0"),
        (lambda: average_popularity(LISTS, [1, 2]), "give one for each of 3 items"),
        (lambda: average_popularity(Recommendations(np.array([0]), np.array([[-1]]), 1), [1]), "list is empty"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
