"""The lists that trained models recommend, taken apart by whom they serve (book: Who gains).

A record keeps what every user got, not which items. So the models of a few tuned runs are asked once more: their tables
are kept on disk beside the records, and a baseline is fitted again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dslstudy.data import Split
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
from dslstudy.metrics.significance import Interval, holm, paired_bootstrap, sign_flip_p_value
from dslstudy.models import model_class
from dslstudy.study.cells import State
from dslstudy.study.config import RunConfig
from dslstudy.study.store import Record
from dslstudy.study.study import Study, split_of

#: deciles of the most popular items; what is not in them is the tail
HEAD = 2
#: so few users that differ are compared by an exact test
FEW = 16
#: a record's NDCG is kept in single precision
_NEAR = 1e-6


@dataclass(frozen=True)
class Served:
    """What one line of a table recommends, one list per seed and user.

    Attributes:
        label: the line.
        split: what was recommended on.
        lists: one for each seed.
        records: their records.
    """

    label: str
    split: Split
    lists: Sequence[Recommendations]
    records: Sequence[Record]

    @property
    def users(self) -> NDArray[np.int64]:
        """(n,) the users, the same for every seed."""
        return self.lists[0].users

    def parts(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Each user's NDCG by group of items, mean over seeds, (n, groups); a row adds up to her NDCG.

        Args:
            groups: (I,) group of each item, from 0.
        """
        relevant = self.split.test.csr()
        return np.mean([gains_by_group(lists, relevant, groups) for lists in self.lists], axis=0)

    def found(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of the test interactions on each group's items that are in the lists, mean over seeds, (groups,).

        NaN for a group without test interactions.
        """
        relevant = self.split.test.csr()
        each = [found_by_group(lists, relevant, groups) for lists in self.lists]
        hits, wanted = (np.sum([pair[which].sum(axis=0) for pair in each], axis=0) for which in (0, 1))
        return np.divide(hits, wanted, out=np.full(len(hits), np.nan), where=wanted > 0)

    def exposure(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of all recommended places that items of each group have, mean over seeds, (groups,)."""
        counts = self._mean(lambda lists: np.bincount(groups, lists.counts, minlength=int(groups.max()) + 1))
        return counts / counts.sum()

    @property
    def coverage(self) -> float:
        """Share of the catalogue in at least one list, mean over seeds."""
        return float(self._mean(coverage))

    @property
    def gini(self) -> float:
        """Gini coefficient of how often items are recommended, mean over seeds."""
        return float(self._mean(lambda lists: gini(lists.counts)))

    @property
    def popularity(self) -> NDArray[np.float64]:
        """(n,) each user's average recommendation popularity, mean over seeds."""
        return self._mean(lambda lists: average_popularity(lists, self.split.train.item_counts()))

    def _mean(self, measure: Callable[[Recommendations], Any]) -> NDArray[np.float64]:
        return np.mean([measure(lists) for lists in self.lists], axis=0)


def lists_of(study: Study, config: RunConfig, *, cutoff: int = 20) -> Recommendations:
    """The lists of a run's model at the selected epoch, trained if need be.

    Args:
        study: trains the run and keeps its tables; or fits the baseline.
        config: of the run.
        cutoff: K.

    Raises:
        InputError: the profile does not train on this data set.
    """
    split = split_of(config)
    if config.is_baseline:
        score_block = model_class(config.backbone)(**config.backbone_parameters).fit(split.train).score_block
    else:
        model = study.train(config)
        score_block = scores_of_tables(model.user_table, model.item_table)
    return recommend(score_block, split.test.csr(), split.train.csr() + split.validation.csr(), cutoff=cutoff)


def served(study: Study, state: State, *, seeds: int | None = None) -> Served:
    """The lists of a finished cell, checked against its records user by user.

    Args:
        study: whose runs they are.
        state: of a cell that is done.
        seeds: how many of its seeds; all by default.

    Raises:
        InputError: the cell is not done, or a model does not rank as its record says.
    """
    if not state.seeds or None in state.seeds:
        raise InputError(f"{state.cell.name} is {state.word}; make it with dslstudy study first")
    records = list(state.found)[:seeds]
    lists = [lists_of(study, record.config) for record in records]
    split = split_of(records[0].config)
    relevant = split.test.csr()
    for found, record in zip(lists, records, strict=True):
        ndcg = gains_by_group(found, relevant, np.zeros(split.num_items, np.int64))[:, 0]
        if not np.allclose(ndcg, record.per_user("ndcg@20"), rtol=0, atol=_NEAR):
            raise InputError(f"the model of run {record.key} does not rank as its record says: train it again")
    return Served(state.cell.label, split, lists, records)


def differences_by_column(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, seed: int = 0
) -> tuple[list[Interval], NDArray[np.float64]]:
    """Paired bootstrap over users of every column, and p-values after Holm over the columns.

    Where few users differ a bootstrap cannot be trusted (if none is better, no resample can favour the one): there the
    p-value is that of the exact sign-flip test.

    Args:
        ours: (n, groups) values of each user.
        theirs: the same of what is compared with.
        seed: of the bootstrap.
    """
    pairs = list(zip(ours.T, theirs.T, strict=True))
    found = [paired_bootstrap(a, b, seed=seed) for a, b in pairs]
    return found, np.asarray(holm([_p_value(each, a - b) for each, (a, b) in zip(found, pairs, strict=True)]))


def differences_by_users(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], groups: NDArray[np.int64], *, seed: int = 0
) -> tuple[list[Interval], NDArray[np.float64]]:
    """Paired bootstrap over the users of every group, and p-values after Holm over the groups, likewise.

    Args:
        ours: (n,) value of each user.
        theirs: the same of what is compared with.
        groups: (n,) group of each user, from 0; each needs at least two.
        seed: of the bootstrap.
    """
    members = [groups == group for group in range(int(groups.max()) + 1)]
    found = [paired_bootstrap(ours[of_group], theirs[of_group], seed=seed) for of_group in members]
    p_values = [_p_value(each, (ours - theirs)[of_group]) for each, of_group in zip(found, members, strict=True)]
    return found, np.asarray(holm(p_values))


def _p_value(interval: Interval, differences: NDArray[np.float64]) -> float:
    """The bootstrap's, or the exact one where few users differ."""
    moved = differences[differences != 0]
    return float(interval.p_value) if len(moved) >= FEW else sign_flip_p_value(moved)
