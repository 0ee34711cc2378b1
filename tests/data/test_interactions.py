import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

ids = st.one_of(st.integers(-5, 8), st.integers(-(2**40), 2**40)).filter(bool)
pairs_of_ids = st.lists(st.tuples(ids, ids), max_size=40)
pairs_of_text = st.lists(st.tuples(st.text("abç0", min_size=1, max_size=3), st.text("xy", max_size=2)), max_size=40)
small_pairs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 6)), max_size=45, unique=True)


def columns(pairs):
    return [list(column) for column in zip(*pairs, strict=True)] if pairs else [[], []]


def original_pairs(interactions):
    users, items = interactions.user_ids[interactions.users], interactions.item_ids[interactions.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


@given(st.one_of(pairs_of_ids, pairs_of_text))
def test_from_arrays_keeps_order_ids_and_first_rows(pairs):
    numbers = list(range(len(pairs)))
    made = Interactions.from_arrays(*columns(pairs), ratings=numbers, timestamps=numbers)
    first_rows = {pair: row for row, pair in reversed(list(enumerate(pairs)))}
    expected = sorted(first_rows, key=first_rows.get)
    assert original_pairs(made) == expected
    assert made.timestamps.tolist() == made.ratings.tolist() == [first_rows[pair] for pair in expected]
    assert made.user_ids.tolist() == sorted({user for user, _ in pairs})
    assert made.item_ids.tolist() == sorted({item for _, item in pairs})
    assert (made.users.dtype, made.items.dtype) == (np.int32, np.int32)


@given(small_pairs)
def test_views_agree_with_loops(pairs):
    made = Interactions.with_ids(*columns(pairs), num_users=8, num_items=7)
    assert made.keys().tolist() == sorted(7 * user + item for user, item in pairs)
    dense = np.zeros((8, 7))
    for user, item in pairs:
        dense[user, item] = 1
    assert np.array_equal(made.csr().toarray(), dense)
    assert made.csr().has_sorted_indices
    assert made.user_counts().tolist() == dense.sum(1).tolist()
    assert made.item_counts().tolist() == dense.sum(0).tolist()
    assert made.density == pytest.approx(len(pairs) / 56)
    assert len(made) == len(pairs)


@given(small_pairs, st.integers(0, 4))
def test_k_core_is_the_fixpoint_of_removing_one_at_a_time(pairs, k):
    kept = set(pairs)
    while True:
        poor = [u for u in range(8) if 0 < sum(user == u for user, _ in kept) < k]
        if poor:
            kept = {pair for pair in kept if pair[0] != poor[0]}
            continue
        poor = [i for i in range(7) if 0 < sum(item == i for _, item in kept) < k]
        if not poor:
            break
        kept = {pair for pair in kept if pair[1] != poor[0]}
    core = Interactions.with_ids(*columns(pairs), num_users=8, num_items=7).k_core(k)
    assert original_pairs(core) == [pair for pair in pairs if pair in kept]
    assert core.user_counts().all()
    assert core.item_counts().all()
    assert core.k_core(k) == core


def test_nothing_can_be_written_to():
    users = np.array([0, 1], np.int32)
    made = Interactions.with_ids(users, np.array([1, 0]), ratings=np.array([1.0, 2.0]), timestamps=np.array([5, 6]))
    users[0] = 1
    assert made.users.tolist() == [0, 1]
    derived = [made, made.select([True, False]), made.compact(), made.k_core(1), pickle.loads(pickle.dumps(made))]
    for interactions in derived:
        for column in interactions._arrays():
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 7
        with pytest.raises(ValueError, match="read-only"):
            interactions.keys()[0] = 7
    with pytest.raises(AttributeError):
        made.users = users


def test_pandas_columns_are_copied():
    log = pd.DataFrame({"user": [3, 4], "item": ["a", "b"], "rating": [1.0, 2.0]})
    made = Interactions.from_arrays(log["user"], log["item"], log["rating"])
    log.loc[0, "rating"] = 9.0
    assert made.ratings.tolist() == [1, 2]
    assert made.item_ids.tolist() == ["a", "b"]


def test_select_by_mask_and_by_index():
    made = Interactions.with_ids([0, 1, 2], [2, 1, 0], ratings=[1, 2, 3])
    assert made.select([2, 0]).ratings.tolist() == [3, 1]
    assert made.select(np.array([False, True, False])).users.tolist() == [1]
    assert len(made.select([])) == 0
    assert made.select([2, 0]).num_users == 3


def test_equality_is_by_content():
    make = lambda ratings: Interactions.with_ids([0, 1], [0, 1], ratings=ratings)  # noqa: E731
    assert make([1, 2]) == make([1, 2])
    assert make([1, 2]) != make([1, 3])
    assert make([1, 2]) != make(None)
    assert make(None) != 3
    assert "2 of 2 users and 2 items, with ratings" in repr(make([1, 2]))


def test_compact_renumbers():
    made = Interactions.with_ids([4, 1], [0, 3], user_ids=list("abcde"), num_items=5).compact()
    assert made.user_ids.tolist() == ["b", "e"]
    assert made.item_ids.tolist() == [0, 3]
    assert original_pairs(made) == [("e", 0), ("b", 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interactions.from_arrays([1, 2], [1]), "2 users but 1 items"),
        (lambda: Interactions.from_arrays([1, None], [1, 2]), "user id of row 1 is missing"),
        (lambda: Interactions.from_arrays([1, 2], [1.0, float("nan")]), "item id of row 1 is missing"),
        (lambda: Interactions.from_arrays([1, 2], [1, 2], ratings=[1]), "ratings has shape"),
        (lambda: Interactions.from_arrays([1, 2], [1, 2], ratings=[1, np.inf]), "rating of row 1 is missing or inf"),
        (lambda: Interactions.from_arrays([1], [1], timestamps=["now"]), "timestamps must be numbers"),
        (lambda: Interactions.with_ids([0, 1, 0], [2, 0, 2]), "user 0 and item 2 interact twice .row 2."),
        (lambda: Interactions.with_ids([0, 3], [0, 0], num_users=3), "user ids must lie in 0..2, found 0..3"),
        (lambda: Interactions.with_ids([0, -1], [0, 0]), "user ids must lie in"),
        (lambda: Interactions.with_ids([0], [2**40]), "item ids must lie in"),
        (lambda: Interactions.with_ids(["a"], [0]), "user ids must be integers"),
        (lambda: Interactions.with_ids([0], [0], user_ids=["a"], num_users=2), "1 original user ids for 2 users"),
        (lambda: Interactions.with_ids([[0]], [[0]]), "users must have one axis"),
        (lambda: Interactions.with_ids([0], [0]).select([True, False]), "the mask has shape"),
        (lambda: Interactions.with_ids([0], [0]).select([0.5]), "rows must be a boolean mask or integers"),
        (lambda: Interactions.with_ids([0], [0]).k_core(-1), "k must be 0 or more"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
