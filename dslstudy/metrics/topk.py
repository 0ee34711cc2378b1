"""Full-ranking evaluation: every item is a candidate, every cut-off in one pass (book: Data and splits).

A block of users is scored against all items, the items a user already knows are set to minus infinity, and only the
top K survive. Whether a top item is relevant is looked up among sorted (user, item) keys, so no users x items matrix of
labels exists and memory stays bounded however many users there are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from dslstudy.errors import InputError

METRICS = ("ndcg", "recall", "precision", "mrr", "hit_rate")

# Bytes of scores in flight. A CPU is fastest while a block stays near its caches, a GPU while it is kept full.
_CPU_BLOCK_BYTES = 16 * 2**20
_GPU_BLOCK_BYTES = 512 * 2**20


@dataclass(frozen=True)
class RankingMetrics:
    """The metrics of one run, user by user.

    Attributes:
        users: (n,) the users that were evaluated, ascending unless the caller chose an order.
        values: name such as ``"ndcg@20"`` -> (n,) float64, in the order of ``users``.
    """

    users: np.ndarray
    values: dict[str, np.ndarray]

    def mean(self) -> dict[str, float]:
        """The average over users of every metric: what papers print."""
        return {name: float(per_user.mean()) for name, per_user in self.values.items()}


class RankingEvaluator:
    """Ranks all items for every test user, for a whole stack of runs at once.

    Definitions (Yang et al., 2024, "PSL", section 5), for a user with relevant items T and a ranking cut at K:
    Recall@K is hits / |T|; Precision@K is hits / K; NDCG@K is DCG / IDCG with gains 1 / log2(rank + 1) and the ideal
    over min(K, |T|) items; MRR@K is 1 / rank of the first hit, or 0; hit rate is 1 if there is a hit. Users without
    relevant items are left out. Equal scores rank the lower item id first, so a ranking never depends on the device
    or on the block size. When K exceeds the number of candidates, the missing places are no hits and Precision@K
    still divides by K.

    Args:
        relevant: (U, I) sparse; what is to be found (test or validation interactions).
        exclude: (U, I) sparse; what may not be recommended (train, and at test time validation too), or ``None``.
        cutoffs: the K's, all computed in one pass.
        users: evaluate only these users; by default all that have a relevant item.
        block_size: users scored at a time; by default as many as a fixed budget of memory allows.
        device: where rankings are computed.

    Raises:
        InputError: shapes differ, nothing is relevant, a cut-off is not a positive integer, users are no ids, or an
            interaction is both relevant and excluded (it could never be found).
    """

    def __init__(
        self,
        relevant: csr_matrix,
        exclude: csr_matrix | None = None,
        *,
        cutoffs: Sequence[int] = (20,),
        users: Sequence[int] | np.ndarray | None = None,
        block_size: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        relevant = _canonical(relevant)
        exclude = csr_matrix(relevant.shape) if exclude is None else _canonical(exclude)
        if relevant.shape != exclude.shape:
            raise InputError(
                f"relevant is {relevant.shape} but exclude is {exclude.shape}; both must be users x items of one split"
            )
        self.num_users, self.num_items = relevant.shape
        self.cutoffs = _checked_cutoffs(cutoffs)
        self.device = torch.device(device)
        self.block_size = block_size
        if block_size is not None and block_size < 1:
            raise InputError(f"block_size must be at least 1, not {block_size}")

        chosen = np.arange(self.num_users) if users is None else _checked_users(users, self.num_users)
        self.users = chosen[np.diff(relevant.indptr)[chosen] > 0]
        if not len(self.users):
            raise InputError("no user has a relevant item, so there is nothing to evaluate; check the split")

        # Key of an interaction: (place of the user in self.users) * I + item. A block of users is a slice of the keys.
        self._relevant_keys, self._relevant_start = _keys(relevant, self.users)
        self._exclude_keys, self._exclude_start = _keys(exclude, self.users)
        both = np.intersect1d(self._relevant_keys, self._exclude_keys, assume_unique=True)
        if len(both):
            place, item = divmod(int(both[0]), self.num_items)
            raise InputError(
                f"{len(both)} interactions are both relevant and excluded (first: user {self.users[place]},"
                f" item {item}); remove them from one side"
            )
        self._relevant_keys = torch.from_numpy(self._relevant_keys).to(self.device)
        self._exclude_keys = torch.from_numpy(self._exclude_keys).to(self.device)
        self._user_index = torch.from_numpy(self.users).to(self.device)

        depth = max(self.cutoffs)
        self._depth = min(depth, self.num_items)
        gains = 1 / np.log2(np.arange(2, depth + 2))
        self._gains = torch.from_numpy(gains).to(self.device)
        counts = np.diff(self._relevant_start)
        self._num_relevant = torch.from_numpy(counts).to(self.device)
        ideal = np.concatenate([[0.0], np.cumsum(gains)])
        self._ideal = torch.from_numpy(np.stack([ideal[np.minimum(counts, k)] for k in self.cutoffs])).to(self.device)

    @torch.no_grad()
    def evaluate(self, user_tables: Tensor, item_tables: Tensor) -> list[RankingMetrics]:
        """Rank by inner products of tables (normalise them first for cosine scores).

        Args:
            user_tables: (R, U, d), one table per run.
            item_tables: (R, I, d).

        Returns:
            R results, in the order of the runs. On CPU a run's result is bitwise the same in any stack.

        Raises:
            InputError: shapes that do not fit, or scores that are not finite (a diverged run).
        """
        user_tables, item_tables = (self._on_device(table) for table in (user_tables, item_tables))
        runs = self._checked_tables(user_tables, item_tables)
        everyone = len(self.users) == self.num_users
        group = 1 if self.device.type == "cpu" else min(runs, max(1, self._block_rows() // len(self.users)))
        blocks = self._blocks(group)
        buffer = user_tables.new_empty(group * blocks[0].stop * self.num_items)
        values = self._empty_values(runs)
        for first in range(0, runs, group):
            members = slice(first, min(first + group, runs))
            items = item_tables[members].mT
            for block in blocks:
                users = user_tables[members, block] if everyone else user_tables[members, self._user_index[block]]
                shape = (*users.shape[:2], self.num_items)
                scores = torch.bmm(users, items, out=buffer[: math.prod(shape)].view(shape))
                values[members, :, block] = self._measure(scores, block)
        return self._results(values)

    @torch.no_grad()
    def evaluate_scores(self, score_block: Callable[[np.ndarray], Tensor | np.ndarray]) -> RankingMetrics:
        """Rank by the scores of any recommender.

        Args:
            score_block: users (b,) -> scores (b, I).

        Raises:
            InputError: scores of the wrong shape, or not finite.
        """
        values = self._empty_values(1)
        for block in self._blocks(1):
            users = self.users[block]
            scores = self._on_device(torch.as_tensor(score_block(users)))
            if scores.shape != (len(users), self.num_items):
                raise InputError(
                    f"score_block returned shape {tuple(scores.shape)}; expected {(len(users), self.num_items)}"
                )
            if not torch.isfinite(scores).all():
                row = int(torch.isfinite(scores).all(dim=1).logical_not().nonzero()[0])
                raise InputError(
                    f"the scores of user {users[row]} are not finite; fit the recommender on finite values"
                )
            values[:, :, block] = self._measure(scores.clone()[None], block)
        return self._results(values)[0]

    def _measure(self, scores: Tensor, block: slice) -> Tensor:
        """Scores (r, b, I), overwritten -> metrics (r, names, b)."""
        runs, rows, _ = scores.shape
        offset = block.start * self.num_items
        excluded = self._exclude_keys[self._exclude_start[block.start] : self._exclude_start[block.stop]] - offset
        scores.view(runs, -1).index_fill_(1, excluded, -torch.inf)
        top = _top_items(scores.view(runs * rows, -1), self._depth).view(runs, rows, -1)

        relevant = self._relevant_keys[self._relevant_start[block.start] : self._relevant_start[block.stop]] - offset
        keys = top + torch.arange(rows, device=self.device)[:, None] * self.num_items
        # top is in rank order, not sorted; the table searched in is
        found = torch.searchsorted(relevant, keys).clamp_(max=len(relevant) - 1)
        hit = (relevant[found] == keys).to(torch.float64)

        hits = hit.cumsum(-1)
        gain = (hit * self._gains[: self._depth]).cumsum(-1)
        misses_first = (hits == 0).sum(-1)
        reciprocal = 1 / (misses_first + 1).to(torch.float64)
        columns = []
        for index, k in enumerate(self.cutoffs):
            last = min(k, self._depth) - 1
            hits_k = hits[..., last]
            columns += [
                gain[..., last] / self._ideal[index, block],
                hits_k / self._num_relevant[block],
                hits_k / k,
                torch.where(misses_first <= last, reciprocal, 0.0),
                (hits_k > 0).to(torch.float64),
            ]
        return torch.stack(columns, dim=1)

    def _results(self, values: Tensor) -> list[RankingMetrics]:
        names = [f"{metric}@{k}" for k in self.cutoffs for metric in METRICS]
        return [RankingMetrics(self.users, dict(zip(names, per_run, strict=True))) for per_run in values.cpu().numpy()]

    def _empty_values(self, runs: int) -> Tensor:
        shape = (runs, len(METRICS) * len(self.cutoffs), len(self.users))
        return torch.empty(shape, dtype=torch.float64, device=self.device)

    def _block_rows(self) -> int:
        """Rows of I scores that the memory budget holds (never fewer than one)."""
        budget = _CPU_BLOCK_BYTES if self.device.type == "cpu" else _GPU_BLOCK_BYTES
        return max(1, budget // (4 * self.num_items))

    def _blocks(self, runs: int) -> list[slice]:
        size = self.block_size or max(1, self._block_rows() // runs)
        return [slice(start, min(start + size, len(self.users))) for start in range(0, len(self.users), size)]

    def _on_device(self, table: Tensor) -> Tensor:
        dtype = torch.float64 if table.dtype == torch.float64 else torch.float32
        return table.detach().to(self.device, dtype)

    def _checked_tables(self, users: Tensor, items: Tensor) -> int:
        """The number of runs, after making sure that no score can be anything but finite."""
        if users.ndim != 3 or items.ndim != 3:
            raise InputError(
                f"tables must be (runs, rows, size); got {tuple(users.shape)} and {tuple(items.shape)}"
                " (add a leading axis for a single run)"
            )
        runs, _, size = users.shape
        if users.shape != (runs, self.num_users, size) or items.shape != (runs, self.num_items, size):
            raise InputError(
                f"user tables {tuple(users.shape)} and item tables {tuple(items.shape)} do not fit"
                f" {self.num_users} users and {self.num_items} items of one stack"
            )
        if users.dtype != items.dtype:
            raise InputError(f"user tables are {users.dtype} and item tables {items.dtype}; both must be of one dtype")
        # |score| <= d * max|u| * max|v|: cheaper than looking at every score, and NaN comes through
        user_size, item_size = users.abs().amax(-1), items.abs().amax(-1)
        bound = user_size.amax(1).double() * item_size.amax(1).double() * size
        good = (bound <= torch.finfo(users.dtype).max).cpu()
        if not good.all():
            run = int(good.logical_not().nonzero()[0])
            raise InputError(f"run {run} has scores that are not finite: {_worst(user_size[run], item_size[run])}")
        return runs


def _worst(user_size: Tensor, item_size: Tensor) -> str:
    for name, sizes in (("user", user_size), ("item", item_size)):
        bad = torch.isfinite(sizes).logical_not()
        if bad.any():
            return f"the embedding of {name} {int(bad.nonzero()[0])} is not; the run diverged, lower its learning rate"
    return f"embeddings of user {int(user_size.argmax())} and item {int(item_size.argmax())} are so large they overflow"


def _top_items(scores: Tensor, depth: int) -> Tensor:
    """The items (n, depth) of the highest scores (n, I), best first; equal scores put the lower id first.

    ``torch.topk`` breaks ties as it pleases. One place more than needed tells which rows have a tie that matters, and
    only those are settled again.
    """
    values, items = _any_top_items(scores, min(depth + 1, scores.shape[1]))
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    tied = equal.any(dim=1).nonzero()[:, 0]
    values, items = values[:, :depth], items[:, :depth]
    if len(tied):
        items[tied] = _settle_ties(scores[tied], values[tied], items[tied])
    return items


def _any_top_items(scores: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Like ``torch.topk`` along the last axis of (n, I), about twice as fast for long rows.

    A row is folded into columns of ``height`` items. The best ``depth`` items are found in the ``depth`` columns with
    the largest maxima: any other item is no better than each of those maxima.
    """
    num_items = scores.shape[1]
    height = 2 ** int(math.log2(num_items / depth) / 2)  # near sqrt(I / depth), which balances the two selections
    if height < 2:
        return torch.topk(scores, depth, dim=1)
    width = num_items // height
    folded = scores[:, : width * height].unflatten(1, (height, width))
    columns = torch.topk(folded.amax(dim=1), depth, dim=1, sorted=False).indices
    rows = torch.arange(0, width * height, width, device=scores.device)
    candidates = (columns[:, None, :] + rows[:, None]).flatten(1)
    left_over = torch.arange(width * height, num_items, device=scores.device).expand(len(scores), -1)
    candidates = torch.cat([candidates, left_over], dim=1)
    values, place = torch.topk(scores.gather(1, candidates), depth, dim=1)
    return values, candidates.gather(1, place)


def _settle_ties(scores: Tensor, values: Tensor, items: Tensor) -> Tensor:
    num_items, depth = scores.shape[1], values.shape[1]
    # At the boundary value some items are in and some are out: take the lowest ids that have it ...
    boundary = values[:, -1:]
    low_first = torch.arange(num_items, 0, -1, dtype=torch.int32, device=scores.device)
    candidates = num_items - torch.topk(torch.where(scores == boundary, low_first, 0), depth, dim=1).values.long()
    above = (values > boundary).sum(dim=1, keepdim=True)
    place = (torch.arange(depth, device=scores.device) - above).clamp_(min=0)
    items = torch.where(values == boundary, candidates.gather(1, place), items)
    # ... then order by score, and by id among equals (two stable sorts, the lesser key first).
    by_id = items.argsort(dim=1)
    by_score = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return items.gather(1, by_id).gather(1, by_score)


def _canonical(matrix: csr_matrix) -> csr_matrix:
    matrix = csr_matrix(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _keys(matrix: csr_matrix, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted int64 keys (nnz,) of the users' interactions, and where each user's keys start (n + 1,)."""
    rows = matrix[users]
    rows.sort_indices()
    places = np.repeat(np.arange(len(users), dtype=np.int64), np.diff(rows.indptr))
    return places * matrix.shape[1] + rows.indices, rows.indptr.astype(np.int64)


def _checked_cutoffs(cutoffs: Sequence[int]) -> tuple[int, ...]:
    cutoffs = tuple(cutoffs)
    if not cutoffs or any(int(k) != k or k < 1 for k in cutoffs) or len(set(cutoffs)) < len(cutoffs):
        raise InputError(f"cutoffs must be different positive integers, not {cutoffs}")
    return tuple(int(k) for k in cutoffs)


def _checked_users(users: Sequence[int] | np.ndarray, num_users: int) -> np.ndarray:
    users = np.asarray(users)
    if users.size and users.dtype.kind not in "iu":
        raise InputError(f"users must be ids, whole numbers, not {users.dtype} values (of a mask take np.flatnonzero)")
    users = users.astype(np.int64)
    if (
        users.ndim != 1
        or len(np.unique(users)) < len(users)
        or (len(users) and not 0 <= users.min() <= users.max() < num_users)
    ):
        raise InputError(f"users must be different ids from 0 to {num_users - 1}")
    return users
