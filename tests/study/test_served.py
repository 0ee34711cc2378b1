"""Lists of trained models: they rank as their records say, and what is said of groups agrees with loops."""

import numpy as np
import pytest

from dslstudy.errors import InputError
from dslstudy.study.cells import cells_of, complete, state_of
from dslstudy.study.protocol import protocol_of
from dslstudy.study.served import differences_by_column, differences_by_users, lists_of, served
from dslstudy.study.study import split_of

SMOKE = protocol_of("smoke")


@pytest.fixture(scope="module")
def made(study):
    """A study with a finished loss and a finished baseline on the shifted split."""
    wanted = cells_of(SMOKE, "popularity-shift", backbones=["mf"], losses=["softmax"])
    return study, complete(study, [*cells_of(SMOKE, "popularity-shift", backbones=["ease"]), *wanted])


def test_the_parts_of_a_cell_add_up_to_its_table_value(made):
    study, states = made
    for state in states:
        found = served(study, state)
        groups = np.arange(found.split.num_items) % 10
        parts = found.parts(groups)
        assert parts.shape == (len(found.users), 10)
        table = np.mean([record.test["ndcg@20"] for record in state.seeds])
        assert parts.sum(axis=1).mean() == pytest.approx(table, abs=1e-9)
        per_user = np.mean([record.per_user("ndcg@20") for record in state.seeds], axis=0)
        np.testing.assert_allclose(parts.sum(axis=1), per_user, atol=1e-6)


def test_what_groups_get_against_loops_over_lists(made):
    study, (_, state) = made
    found = served(study, state)
    split, groups = found.split, np.arange(found.split.num_items) % 3
    train, test = split.train.item_counts(), split.test.csr()
    places, hits, wanted = np.zeros(3), np.zeros(3), np.zeros(3)
    covered, popularity = [], []
    for lists in found.lists:
        covered.append(len(set(lists.items.ravel())) / split.num_items)
        popularity.append([np.mean(train[row]) for row in lists.items])
        for user, row in zip(lists.users, lists.items, strict=True):
            relevant = set(test[user].indices)
            for item in row:
                places[groups[item]] += 1
                hits[groups[item]] += item in relevant
            for item in relevant:
                wanted[groups[item]] += 1
    assert found.exposure(groups) == pytest.approx(places / places.sum())
    assert found.found(groups) == pytest.approx(hits / wanted)
    assert found.coverage == pytest.approx(np.mean(covered))
    assert found.popularity == pytest.approx(np.mean(popularity, axis=0))
    assert 0 < found.gini < 1


def test_nothing_known_is_recommended(made):
    study, (_, state) = made
    lists = lists_of(study, state.seeds[0].config)
    split = split_of(state.seeds[0].config)
    known = (split.train.csr() + split.validation.csr()).toarray()
    assert not known[lists.users[:, None], lists.items].any()


def test_a_cell_that_is_not_done_and_a_model_that_is_another(made, monkeypatch):
    study, (_, state) = made
    (other,) = cells_of(SMOKE, "popularity-shift", backbones=["mf"], losses=["bpr"])
    with pytest.raises(InputError, match="popularity-shift mf bpr is not yet run"):
        served(study, state_of(study, other))
    another = lists_of(study, state.seeds[1].config)
    monkeypatch.setattr("dslstudy.study.served.lists_of", lambda *_: another)
    with pytest.raises(InputError, match="does not rank as its record says"):
        served(study, state)


def test_differences_by_group_against_means():
    rng = np.random.default_rng(0)
    ours, theirs, groups = rng.random((60, 3)), rng.random((60, 3)), np.arange(60) % 4
    ours[:, 1] += 0.5
    found, adjusted = differences_by_column(ours, theirs)
    assert [each.estimate for each in found] == pytest.approx((ours - theirs).mean(axis=0))
    assert list(adjusted < 0.05) == [False, True, False]
    found, adjusted = differences_by_users(ours[:, 1], theirs[:, 1], groups)
    assert [each.estimate for each in found] == pytest.approx(
        [np.mean([ours[n, 1] - theirs[n, 1] for n in range(60) if n % 4 == group]) for group in range(4)]
    )
    assert (adjusted >= [each.p_value for each in found]).all()


def test_where_few_differ_no_resample_is_trusted():
    ours, theirs = np.zeros((500, 1)), np.zeros((500, 1))
    theirs[:5] = np.linspace(0.1, 0.2, 5)[:, None]
    (interval,), (p_value,) = differences_by_column(ours, theirs)
    assert interval.p_value < 0.05
    assert p_value == 2 / 2**5  # all signs alike, one way or the other
    (_, p_value) = differences_by_users(ours[:, 0], theirs[:, 0], np.zeros(500, int))
    assert p_value.tolist() == [2 / 2**5]
    assert differences_by_column(ours, ours)[1].tolist() == [1.0]
