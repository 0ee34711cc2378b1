import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError
from dslstudy.models import ease, item_knn
from dslstudy.models.ease import EASE
from dslstudy.models.item_knn import ItemKNN
from dslstudy.models.popularity import Popularity


def of_matrix(matrix):
    users, items = np.nonzero(matrix)
    return Interactions.with_ids(users, items, num_users=matrix.shape[0], num_items=matrix.shape[1])


@st.composite
def matrices(draw):
    """Small users x items matrices of zeros and ones with at least one interaction."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    matrix = draw(hnp.arrays(np.int8, shape, elements=st.integers(0, 1)))
    matrix[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 1
    return matrix.astype(float)


def some_matrix(users=60, items=25, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((users, items)) < np.linspace(0.6, 0.05, items)).astype(float)


@given(matrices())
def test_popularity_counts(matrix):
    users = np.arange(len(matrix))[::-1]
    scores = Popularity().fit(of_matrix(matrix)).score_block(users)
    for row in scores:
        assert row.tolist() == [sum(column) for column in matrix.T]
    assert scores.shape == matrix.shape


def knn_by_definition(matrix, k, shrinkage):
    users, items = matrix.shape
    similarity = [[0.0] * items for _ in range(items)]
    for j in range(items):
        for i in range(items):
            together = sum(matrix[u, i] * matrix[u, j] for u in range(users))
            if i != j and together:
                similarity[j][i] = together / (math.sqrt(matrix[:, i].sum() * matrix[:, j].sum()) + shrinkage)
    scores = np.zeros(matrix.shape)
    for j in range(items):
        neighbors = sorted(range(items), key=lambda i: (-similarity[j][i], i))[:k]
        for u in range(users):
            scores[u, j] = sum(similarity[j][i] for i in neighbors if matrix[u, i])
    return scores


@given(matrices(), st.integers(1, 9), st.sampled_from([0, 1.5, 10]))
def test_item_knn_equals_its_definition(matrix, k, shrinkage):
    scores = ItemKNN(num_neighbors=k, shrinkage=shrinkage).fit(of_matrix(matrix)).score_block(np.arange(len(matrix)))
    np.testing.assert_allclose(scores, knn_by_definition(matrix, k, shrinkage), rtol=1e-6)


def test_item_knn_in_blocks_equals_one_block(monkeypatch):
    data, users = of_matrix(some_matrix()), np.array([5, 59, 0])
    whole = ItemKNN(num_neighbors=4).fit(data).score_block(users)
    monkeypatch.setattr(item_knn, "_BLOCK", 25 * 7)
    np.testing.assert_array_equal(ItemKNN(num_neighbors=4).fit(data).score_block(users), whole)


def test_ease_minimises_its_objective_item_by_item():
    matrix, regularization = some_matrix(), 3.0
    users, items = matrix.shape
    weights = np.zeros((items, items))
    for j in range(items):
        # without column j there is no constraint left: an ordinary ridge regression of item j on the others
        others = [i for i in range(items) if i != j]
        x = np.vstack([matrix[:, others], math.sqrt(regularization) * np.eye(items - 1)])
        y = np.concatenate([matrix[:, j], np.zeros(items - 1)])
        weights[others, j] = np.linalg.lstsq(x, y, rcond=None)[0]
    chosen = np.array([3, 0, users - 1])
    scores = EASE(regularization=regularization).fit(of_matrix(matrix)).score_block(chosen)
    np.testing.assert_allclose(scores, matrix[chosen] @ weights, atol=1e-5)


@given(matrices())
def test_ease_is_finite_on_any_interactions(matrix):
    scores = EASE(regularization=0.5).fit(of_matrix(matrix)).score_block(np.arange(len(matrix)))
    assert scores.shape == matrix.shape
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("model", [Popularity, ItemKNN, EASE])
def test_scores_come_as_float32_for_users_in_any_order(model):
    fitted = model().fit(of_matrix(some_matrix()))
    everyone = fitted.score_block(np.arange(60))
    assert everyone.dtype == np.float32
    users = np.array([7, 7, 2])
    np.testing.assert_array_equal(fitted.score_block(users), everyone[users])
    assert fitted.score_block(users[:0]).shape == (0, 25)


@pytest.mark.parametrize("model", [Popularity, ItemKNN, EASE])
def test_nothing_to_learn_from_is_refused(model):
    with pytest.raises(InputError, match="at least one training interaction"):
        model().fit(of_matrix(np.zeros((3, 4))))


def test_bad_hyperparameters_are_refused():
    for bad in (0, -1, 2.5):
        with pytest.raises(InputError, match="num_neighbors"):
            ItemKNN(num_neighbors=bad)
    for bad in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="shrinkage"):
            ItemKNN(shrinkage=bad)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="regularization"):
            EASE(regularization=bad)


def test_ease_refuses_more_items_than_fit(monkeypatch):
    monkeypatch.setattr(ease, "MAX_ITEMS", 24)
    with pytest.raises(InputError, match="25 items"):
        EASE().fit(of_matrix(some_matrix()))
