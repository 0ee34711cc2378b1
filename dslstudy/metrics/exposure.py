"""Who is served by a ranking, and what it shows: NDCG by groups of items, coverage, concentration (book: Who gains).

Everything here is computed from lists of recommendations. They are made with the rules of
:mod:`dslstudy.metrics.topk`, so the NDCG that is taken apart here is the one of the tables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from dslstudy.errors import InputError
from dslstudy.metrics.topk import _top_items

#: users (b,) -> their scores of all items (b, I)
ScoreBlock = Callable[[NDArray[np.int64]], Tensor | NDArray]
_BLOCK = 512


@dataclass(frozen=True)
class Recommendations:
    """The first K items for each of some users.

    Attributes:
        users: (n,) user ids.
        items: (n, K) item ids, best first; -1 where a user has fewer candidates than K.
        num_items: size of the catalogue.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    num_items: int

    @property
    def counts(self) -> NDArray[np.int64]:
        """(I,) in how many lists each item is."""
        return np.bincount(self.items[self.items >= 0], minlength=self.num_items)


def scores_of_tables(user_table: NDArray[np.float32], item_table: NDArray[np.float32]) -> ScoreBlock:
    """Inner products of two embedding tables, block by block.

    Args:
        user_table: (U, d).
        item_table: (I, d).
    """
    items = torch.from_numpy(item_table).mT
    return lambda users: torch.from_numpy(user_table[users]) @ items


def recommend(
    score_block: ScoreBlock, relevant: csr_matrix, exclude: csr_matrix, *, cutoff: int = 20
) -> Recommendations:
    """Lists for all users that have a relevant item; equal scores put the lower item id first.

    Args:
        score_block: of the recommender.
        relevant: (U, I) sparse, the interactions that are to be found.
        exclude: (U, I) sparse, what may not be recommended.
        cutoff: K.

    Raises:
        InputError: shapes that do not fit, a cut-off below 1, no user with a relevant item, or scores that are not
            finite.
    """
    if relevant.shape != exclude.shape:
        raise InputError(
            f"relevant is {relevant.shape} but exclude is {exclude.shape}; both must be users x items of one split"
        )
    if cutoff < 1:
        raise InputError(f"cutoff must be at least 1, not {cutoff}")
    num_items = relevant.shape[1]
    users = np.flatnonzero(np.diff(csr_matrix(relevant).indptr)).astype(np.int64)
    if not len(users):
        raise InputError("no user has a relevant item, so nobody is recommended anything; check the split")
    depth, exclude = min(cutoff, num_items), csr_matrix(exclude)
    lists = np.full((len(users), cutoff), -1, dtype=np.int64)
    for start in range(0, len(users), _BLOCK):
        block = users[start : start + _BLOCK]
        scores = torch.as_tensor(score_block(block)).clone()
        if scores.shape != (len(block), num_items):
            raise InputError(f"score_block returned shape {tuple(scores.shape)}; expected {(len(block), num_items)}")
        if not torch.isfinite(scores).all():
            raise InputError("scores must be finite; fit the recommender on finite values")
        known = exclude[block]
        rows = np.repeat(np.arange(len(block)), np.diff(known.indptr))
        scores[torch.from_numpy(rows), torch.from_numpy(known.indices.astype(np.int64))] = -torch.inf
        top = _top_items(scores, depth)
        nothing = scores.gather(1, top) == -torch.inf
        lists[start : start + _BLOCK, :depth] = torch.where(nothing, -1, top).numpy()
    return Recommendations(users, lists, num_items)


def gains_by_group(
    lists: Recommendations, relevant: csr_matrix, groups: ArrayLike, *, num_groups: int | None = None
) -> NDArray[np.float64]:
    r"""NDCG@K of each user, taken apart by the group of the item that was hit.

    A hit at place r is worth ``1 / log2(r + 1)``. The gains of hits on items of one group, divided by the ideal DCG of
    *all* the user's relevant items, are the group's part; since every item is in one group, the parts of a user add up
    to her NDCG@K, and the means over users to that of the table.

    Args:
        lists: of the users.
        relevant: (U, I) sparse, the interactions that are to be found.
        groups: (I,) group of each item, from 0.
        num_groups: how many groups; up to the largest that occurs by default.

    Returns:
        (n, groups), the rows in the order of ``lists.users``.

    Raises:
        InputError: groups that are not one for each item, or a user without relevant items.
    """
    groups, count = _groups(groups, lists.num_items, num_groups)
    hit = _hits(lists, relevant)
    number = _number_relevant(lists, relevant)
    cutoff = lists.items.shape[1]
    discounts = 1 / np.log2(np.arange(2, cutoff + 2))
    ideal = np.cumsum(discounts)[np.minimum(number, cutoff) - 1]
    parts = np.zeros((len(lists.users), count))
    row, place = np.nonzero(hit)
    np.add.at(parts, (row, groups[lists.items[row, place]]), discounts[place])
    return parts / ideal[:, None]


def found_by_group(
    lists: Recommendations, relevant: csr_matrix, groups: ArrayLike, *, num_groups: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of the relevant interactions on items of each group are in the lists, and how many there are.

    Args:
        lists: of the users.
        relevant: (U, I) sparse, the interactions that are to be found.
        groups: (I,) group of each item, from 0.
        num_groups: how many groups; up to the largest that occurs by default.

    Returns:
        Found and all, each (n, groups): by user, so that users can be resampled.

    Raises:
        InputError: as :func:`gains_by_group`.
    """
    groups, count = _groups(groups, lists.num_items, num_groups)
    found = np.zeros((len(lists.users), count), dtype=np.int64)
    row, place = np.nonzero(_hits(lists, relevant))
    np.add.at(found, (row, groups[lists.items[row, place]]), 1)
    wanted = csr_matrix(relevant)[lists.users]
    there = np.zeros_like(found)
    np.add.at(there, (np.repeat(np.arange(len(lists.users)), np.diff(wanted.indptr)), groups[wanted.indices]), 1)
    return found, there


def coverage(lists: Recommendations) -> float:
    """Share of the catalogue that is in at least one list."""
    return float(np.count_nonzero(lists.counts) / lists.num_items)


def gini(counts: ArrayLike) -> float:
    """Gini coefficient of how often items are recommended: 0 if all are equally often, (I - 1) / I if one takes all.

    Half the mean absolute difference of two items drawn with replacement, over the mean.

    Args:
        counts: (I,) from 0.

    Raises:
        InputError: not one row of numbers from 0 of which one is above.
    """
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 1 or not (counts >= 0).all() or not counts.sum() > 0:
        raise InputError("counts must be one row of numbers from 0, at least one of them above")
    ordered, total = np.sort(counts), len(counts)
    # item number k of the sorted row is the larger of a pair k times and the smaller one I - 1 - k times
    return float(((2 * np.arange(total) - total + 1) * ordered).sum() / (total * ordered.sum()))


def average_popularity(lists: Recommendations, train_counts: ArrayLike) -> NDArray[np.float64]:
    """Average recommendation popularity (Yin et al., 2012): mean training interactions of the items in each list.

    Args:
        lists: of the users.
        train_counts: (I,) training interactions of each item.

    Returns:
        (n,) one value for each user.

    Raises:
        InputError: counts that are not one for each item, or an empty list.
    """
    counts = np.asarray(train_counts, dtype=float)
    if counts.shape != (lists.num_items,):
        raise InputError(f"train_counts has shape {counts.shape}; give one for each of {lists.num_items} items")
    there = lists.items >= 0
    if not there.any(axis=1).all():
        raise InputError("a user's list is empty: everything is excluded for her; leave her out")
    return np.where(there, counts[lists.items], 0.0).sum(axis=1) / there.sum(axis=1)


def _hits(lists: Recommendations, relevant: csr_matrix) -> NDArray[np.bool_]:
    """(n, K) whether the item at each place is relevant to the user."""
    wanted = csr_matrix(relevant)[lists.users]
    wanted.sum_duplicates()
    rows = np.repeat(np.arange(len(lists.users), dtype=np.int64), np.diff(wanted.indptr))
    keys = lists.items + np.arange(len(lists.users))[:, None] * lists.num_items
    return np.isin(keys, rows * lists.num_items + wanted.indices) & (lists.items >= 0)


def _number_relevant(lists: Recommendations, relevant: csr_matrix) -> NDArray[np.int64]:
    number = np.diff(csr_matrix(relevant)[lists.users].indptr)
    if not number.all():
        raise InputError(f"user {lists.users[int(number.argmin())]} has no relevant item; leave such users out")
    return number


def _groups(groups: ArrayLike, num_items: int, num_groups: int | None) -> tuple[NDArray[np.int64], int]:
    groups = np.asarray(groups)
    if groups.shape != (num_items,) or groups.dtype.kind not in "iu" or groups.min() < 0:
        raise InputError(f"groups must be {num_items} integers from 0, one for each item")
    count = int(groups.max()) + 1 if num_groups is None else num_groups
    if groups.max() >= count:
        raise InputError(f"group {int(groups.max())} is not one of {count} groups from 0")
    return groups.astype(np.int64), count
