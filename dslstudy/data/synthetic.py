"""Interactions with a known structure: long-tailed popularity, planted groups of users and items.

What the tests and the `smoke` profile run on, and what a chapter can compare an estimate with: the truth is returned.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.interactions import Interactions
from dslstudy.data.splits import generator
from dslstudy.errors import InputError


@dataclass(frozen=True)
class SyntheticRanking:
    """Generated interactions and the truth behind them.

    Attributes:
        interactions: with timestamps (a user's items in random order over one year).
        user_groups: planted group of each user, shape (num_users,).
        item_groups: planted group of each item, shape (num_items,).
        popularity: popularity weight of each item, mean one, shape (num_items,).
        affinity: what a shared group multiplies an item's weight by.
    """

    interactions: Interactions
    user_groups: NDArray[np.int64]
    item_groups: NDArray[np.int64]
    popularity: NDArray[np.float64]
    affinity: float

    def weights(self, users: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return each item's weight for these users, shape (len(users), num_items); the ideal ranking sorts by it."""
        shared = self.user_groups[users][:, None] == self.item_groups[None, :]
        return self.popularity * np.where(shared, self.affinity, 1.0)


def synthetic_ranking(
    *,
    num_users: int = 200,
    num_items: int = 150,
    num_groups: int = 4,
    interactions_per_user: int = 20,
    affinity: float = 8.0,
    tail_exponent: float = 0.8,
    seed: int = 0,
) -> SyntheticRanking:
    """Generate interactions: a user draws items without replacement, in proportion to popularity x affinity.

    The popularity of the item of rank r (from 1) is ``r ** -tail_exponent``, scaled to mean one; an item of the user's
    own group weighs ``affinity`` times as much. Every user has exactly ``interactions_per_user`` items.

    Args:
        num_users: users, in groups of (nearly) equal size.
        num_items: items, groups and popularity drawn independently.
        num_groups: planted groups.
        interactions_per_user: items drawn by each user.
        affinity: 1 means no groups.
        tail_exponent: 0 means no long tail.
        seed: the same seed gives the same bits.

    Raises:
        InputError: a size below one, more items drawn than there are, or a non-positive affinity.
    """
    if min(num_users, num_items, num_groups, interactions_per_user) < 1 or affinity <= 0:
        raise InputError("synthetic-ranking needs at least one user, item, group and interaction, and affinity > 0")
    if interactions_per_user > num_items:
        raise InputError(f"each user cannot draw {interactions_per_user} different items out of {num_items}")
    rng = generator(seed, "synthetic-ranking")
    popularity = rng.permutation(np.arange(1, num_items + 1) ** -float(tail_exponent))
    popularity *= num_items / popularity.sum()
    user_groups = rng.permutation(np.arange(num_users) % num_groups)
    item_groups = rng.permutation(np.arange(num_items) % num_groups)
    truth = SyntheticRanking(Interactions.with_ids([], []), user_groups, item_groups, popularity, float(affinity))
    drawn = []
    for start in range(0, num_users, 1024):  # blocks of users bound the memory
        weights = truth.weights(np.arange(start, min(start + 1024, num_users)))
        # Gumbel top-k: the k largest log-weights plus Gumbel noise are k draws without replacement, in order.
        scores = np.log(weights) + rng.gumbel(size=weights.shape)
        drawn.append(np.argsort(-scores, axis=1, kind="stable")[:, :interactions_per_user])
    items = np.concatenate(drawn).reshape(-1)
    users = np.repeat(np.arange(num_users), interactions_per_user)
    year = 365 * 24 * 3600
    times = np.sort(rng.integers(0, year, size=(num_users, interactions_per_user)), axis=1).reshape(-1)
    interactions = Interactions.with_ids(
        users, items, num_users=num_users, num_items=num_items, timestamps=times + 1_700_000_000
    )
    return SyntheticRanking(interactions, user_groups, item_groups, popularity, float(affinity))
