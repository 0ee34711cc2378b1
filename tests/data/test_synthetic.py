import numpy as np
import pytest

from dslstudy.data.synthetic import synthetic_ranking
from dslstudy.errors import InputError


def test_sizes_and_determinism():
    make = lambda seed: synthetic_ranking(num_users=60, num_items=40, interactions_per_user=7, seed=seed)  # noqa: E731
    made = make(3)
    assert (made.interactions.num_users, made.interactions.num_items) == (60, 40)
    assert (made.interactions.user_counts() == 7).all()
    assert made.interactions == make(3).interactions
    assert made.interactions != make(4).interactions


def test_blocks_of_users_do_not_show():
    """More users than one block holds."""
    made = synthetic_ranking(num_users=2500, num_items=30, interactions_per_user=5)
    assert (made.interactions.user_counts() == 5).all()


def test_the_tail_is_long():
    counts = np.sort(synthetic_ranking().interactions.item_counts())[::-1]
    assert counts[:30].sum() > 0.4 * counts.sum()


def test_the_first_draws_follow_the_weights():
    """One draw per user is a draw in proportion to popularity x affinity."""
    made = synthetic_ranking(num_users=20_000, num_items=12, num_groups=3, interactions_per_user=1, affinity=3.0)
    for group in range(3):
        users = np.flatnonzero(made.user_groups == group)
        weights = np.array(
            [p * (3.0 if g == group else 1.0) for p, g in zip(made.popularity, made.item_groups, strict=True)]
        )
        assert np.allclose(made.weights(users[:1])[0], weights)
        expected = len(users) * weights / weights.sum()
        found = np.bincount(made.interactions.items[np.isin(made.interactions.users, users)], minlength=12)
        assert ((found - expected) ** 2 / expected).sum() < 11 + 4.5 * np.sqrt(22)


def test_no_affinity_means_no_groups():
    made = synthetic_ranking(affinity=1.0)
    assert np.allclose(made.weights(np.arange(3)), made.popularity)


def test_a_users_times_ascend():
    made = synthetic_ranking().interactions
    assert (np.diff(made.timestamps)[np.diff(made.users) == 0] >= 0).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_users": 0}, "at least one user"),
        ({"affinity": 0}, "affinity > 0"),
        ({"num_items": 5, "interactions_per_user": 6}, "cannot draw 6 different items out of 5"),
        ({"seed": -1}, "a seed is an integer from 0"),
    ],
)
def test_mistakes_are_explained(sizes, message):
    with pytest.raises(InputError, match=message):
        synthetic_ranking(**sizes)
