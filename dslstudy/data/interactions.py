"""Who touched what: an immutable, typed container of (user, item) pairs.

Ids are contiguous integers from 0, so that they index embedding tables; the original ids are kept beside them. Rows
keep the order they came in (logs are often sorted by time), every pair occurs once, and no array can be written to.
The chapter *Data and splits* of the book introduces the container and the k-core filter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from dslstudy.errors import InputError


def frozen(values: ArrayLike, dtype: type | None = None) -> NDArray:
    """Return ``values`` as a contiguous array nobody can write to (copied if somebody still could)."""
    array = np.ascontiguousarray(values, dtype=dtype)
    return _own(array.copy()) if array.flags.writeable else array


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """An immutable set of user-item interactions over ``num_users`` users and ``num_items`` items.

    Attributes:
        users: contiguous user ids, int32, shape (n,).
        items: contiguous item ids, int32, shape (n,).
        user_ids: original id of each contiguous user id, shape (num_users,).
        item_ids: original id of each contiguous item id, shape (num_items,).
        ratings: float32, shape (n,), or None.
        timestamps: seconds since 1970 as int64, shape (n,), or None.

    The id space may be larger than the ids that occur: train, validation and test of one split share it. Build objects
    with :meth:`from_arrays` (any ids) or :meth:`with_ids` (already contiguous); the bare constructor does not look for
    repeated pairs.

    Raises:
        InputError: lengths differ, or an id lies outside the id space.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    user_ids: NDArray
    item_ids: NDArray
    ratings: NDArray[np.float32] | None = None
    timestamps: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays and check that they fit together."""
        for name, dtype in (("users", np.int32), ("items", np.int32), ("user_ids", None), ("item_ids", None)):
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))
        for name, dtype in (("ratings", np.float32), ("timestamps", np.int64)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen(getattr(self, name), dtype))
        for name in ("items", "ratings", "timestamps"):
            column = getattr(self, name)
            if column is not None and column.shape != self.users.shape:
                raise InputError(
                    f"{name} has shape {column.shape} but users has shape {self.users.shape}: need one each"
                )
        if self.users.ndim != 1:
            raise InputError(f"users must have one axis, not {self.users.ndim}")
        for name, ids, size in (("user", self.users, self.num_users), ("item", self.items, self.num_items)):
            if len(ids) and (ids.min() < 0 or ids.max() >= size):
                raise InputError(f"{name} ids must lie in 0..{size - 1}, found {ids.min()}..{ids.max()}")

    # Making one

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        ratings: ArrayLike | None = None,
        timestamps: ArrayLike | None = None,
    ) -> "Interactions":
        """Build from arbitrary ids (integers or strings), numbered in sorted order; of a repeated pair the first stays.

        Args:
            users: original user ids, shape (n,).
            items: original item ids, shape (n,).
            ratings: numbers, shape (n,).
            timestamps: seconds since 1970, shape (n,).

        Raises:
            InputError: lengths differ, or an id is missing (None or NaN).
        """
        user_codes, user_ids = _factorize(users, "user")
        item_codes, item_ids = _factorize(items, "item")
        if len(user_codes) != len(item_codes):
            raise InputError(
                f"{len(user_codes)} users but {len(item_codes)} items: every interaction needs one of each"
            )
        full = cls(
            user_codes, item_codes, user_ids, item_ids, _finite(ratings, "rating"), _finite(timestamps, "timestamp")
        )
        repeated = full._repeated_rows()
        return full if repeated is None else full.select(~repeated)

    @classmethod
    def with_ids(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        *,
        num_users: int | None = None,
        num_items: int | None = None,
        user_ids: ArrayLike | None = None,
        item_ids: ArrayLike | None = None,
        ratings: ArrayLike | None = None,
        timestamps: ArrayLike | None = None,
    ) -> "Interactions":
        """Build from ids that are contiguous already.

        The size of each id space comes from ``user_ids``, else ``num_users``, else the largest id (items alike).

        Raises:
            InputError: lengths differ, an id is out of range, or a pair occurs twice.
        """
        users, items = _integers(users, "user"), _integers(items, "item")
        user_ids = _id_space(user_ids, num_users, users, "user")
        item_ids = _id_space(item_ids, num_items, items, "item")
        made = cls(users, items, user_ids, item_ids, _finite(ratings, "rating"), _finite(timestamps, "timestamp"))
        if (repeated := made._repeated_rows()) is not None:
            row = int(np.argmax(repeated))
            raise InputError(
                f"user {made.users[row]} and item {made.items[row]} interact twice (row {row}); "
                "drop the repetition or use Interactions.from_arrays, which does"
            )
        return made

    # Looking at it

    @property
    def num_users(self) -> int:
        """Size of the user id space."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Size of the item id space."""
        return len(self.item_ids)

    @property
    def density(self) -> float:
        """Share of the num_users x num_items cells that hold an interaction."""
        cells = self.num_users * self.num_items
        return len(self) / cells if cells else 0.0

    def __len__(self) -> int:
        """Count the interactions."""
        return len(self.users)

    def __repr__(self) -> str:
        """One line: sizes and the columns there are."""
        columns = [name for name in ("ratings", "timestamps") if getattr(self, name) is not None]
        extra = f", with {' and '.join(columns)}" if columns else ""
        return f"Interactions({len(self):,} of {self.num_users:,} users and {self.num_items:,} items{extra})"

    def __eq__(self, other: object) -> bool:
        """Equal when every array is equal, order included."""
        if not isinstance(other, Interactions):
            return NotImplemented
        return all(
            (mine is None and yours is None) or (mine is not None and yours is not None and np.array_equal(mine, yours))
            for mine, yours in zip(self._arrays(), other._arrays(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]  # equality is by content, which is too long to hash

    def __reduce__(self) -> tuple:
        """Pickle the columns only; unpickling builds anew, so that the copy is immutable too."""
        return Interactions, tuple(self._arrays())

    def _arrays(self) -> Iterator[NDArray | None]:
        """Yield every column, in the order of the fields."""
        yield from (self.users, self.items, self.user_ids, self.item_ids, self.ratings, self.timestamps)

    def _row_keys(self) -> NDArray[np.int64]:
        return self.users.astype(np.int64) * max(self.num_items, 1) + self.items

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        return _own(np.sort(self._row_keys()))

    def _repeated_rows(self) -> NDArray[np.bool_] | None:
        """Mark every occurrence of a pair after its first; None in the usual case that there is none."""
        ordered = self.keys()
        if not (ordered[1:] == ordered[:-1]).any():
            return None
        repeated = np.ones(len(self), bool)
        repeated[np.unique(self._row_keys(), return_index=True)[1]] = False
        return repeated

    def keys(self) -> NDArray[np.int64]:
        """Return ``users * num_items + items``, sorted, int64, shape (n,): membership is one binary search (cached)."""
        return self._sorted_keys

    def user_counts(self) -> NDArray[np.int64]:
        """Count the interactions of each user, shape (num_users,)."""
        return np.bincount(self.users, minlength=self.num_users)

    def item_counts(self) -> NDArray[np.int64]:
        """Count the interactions of each item, shape (num_items,)."""
        return np.bincount(self.items, minlength=self.num_items)

    def csr(self) -> csr_matrix:
        """Return the num_users x num_items matrix of ones (float32, column indices sorted)."""
        keys = self.keys()
        indptr = np.concatenate([[0], np.cumsum(self.user_counts())])
        indices = keys % max(self.num_items, 1)
        return csr_matrix((np.ones(len(self), np.float32), indices, indptr), shape=(self.num_users, self.num_items))

    # Cutting it

    def select(self, rows: ArrayLike) -> "Interactions":
        """Keep the rows of a boolean mask or an index array; the id space stays.

        Raises:
            InputError: a mask of another length, or rows that are neither booleans nor integers.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape != self.users.shape:
            raise InputError(f"the mask has shape {rows.shape}, the interactions have shape {self.users.shape}")
        if rows.dtype != bool and not np.issubdtype(rows.dtype, np.integer):
            if rows.size:
                raise InputError(f"rows must be a boolean mask or integers, not {rows.dtype}")
            rows = rows.astype(np.int64)
        return Interactions(
            _own(self.users[rows]),
            _own(self.items[rows]),
            self.user_ids,
            self.item_ids,
            None if self.ratings is None else _own(self.ratings[rows]),
            None if self.timestamps is None else _own(self.timestamps[rows]),
        )

    def compact(self) -> "Interactions":
        """Drop users and items without interactions from the id space; the others keep their order."""
        users, user_ids = _renumber(self.users, self.user_counts(), self.user_ids)
        items, item_ids = _renumber(self.items, self.item_counts(), self.item_ids)
        return Interactions(users, items, user_ids, item_ids, self.ratings, self.timestamps)

    def k_core(self, k: int) -> "Interactions":
        """Keep the largest subset in which every user and every item has at least ``k`` interactions.

        Users and items below ``k`` are removed, which may push others below, until nothing changes: the fixpoint is
        unique, so the order of removal does not matter. Ids become contiguous again, original ids are kept. The result
        may be empty. IR-Benchmark uses k = 10 (the chapter *Data and splits*).

        Raises:
            InputError: ``k`` is negative.
        """
        if k < 0:
            raise InputError(f"k must be 0 or more, not {k}")
        kept = self
        while len(kept):
            good = (kept.user_counts() >= k)[kept.users] & (kept.item_counts() >= k)[kept.items]
            if good.all():
                break
            kept = kept.select(good)
        return kept.compact()


def _own(array: NDArray) -> NDArray:
    """Freeze an array that was just made here, so that no copy is needed."""
    array.flags.writeable = False
    return array


def _finite(values: ArrayLike | None, name: str) -> NDArray | None:
    """Return an optional column, refusing anything that is no number."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.number):
        raise InputError(f"{name}s must be numbers, not {array.dtype}")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"the {name} of row {int(np.argmin(np.isfinite(array)))} is missing or infinite")
    return array


def _integers(values: ArrayLike, name: str) -> NDArray:
    """Return an integer array that fits int32."""
    array = np.asarray(values)
    if array.size == 0:
        return array.reshape(-1).astype(np.int32)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} ids must be integers, not {array.dtype}; Interactions.from_arrays takes any ids")
    if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
        raise InputError(f"{name} ids must lie in 0..{np.iinfo(np.int32).max}, found {array.min()}..{array.max()}")
    return array


def _id_space(ids: ArrayLike | None, size: int | None, used: NDArray, name: str) -> NDArray:
    if ids is None:
        return np.arange(size if size is not None else (int(used.max()) + 1 if len(used) else 0))
    ids = np.asarray(ids)
    if size is not None and len(ids) != size:
        raise InputError(f"{len(ids)} original {name} ids for {size} {name}s")
    return ids


def _renumber(ids: NDArray, counts: NDArray, original: NDArray) -> tuple[NDArray, NDArray]:
    used = counts > 0
    if used.all():
        return ids, original
    return _own((np.cumsum(used) - 1).astype(np.int32)[ids]), _own(original[used])


def _factorize(values: ArrayLike, name: str) -> tuple[NDArray, NDArray]:
    """Number the distinct values in sorted order: (codes int32 (n,), distinct values)."""
    array = np.asarray(values)
    if len(array) == 0:
        return np.empty(0, np.int32), np.empty(0, np.int64)
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if high - low < 4 * len(array) + 1_000_000:  # a table of flags beats hashing and sorting
            occurs = np.zeros(high - low + 1, bool)
            occurs[array - low] = True
            return _own((np.cumsum(occurs) - 1).astype(np.int32)[array - low]), _own(np.flatnonzero(occurs) + low)
    import pandas as pd  # only here: the container itself needs no pandas

    try:
        codes, distinct = pd.factorize(array, sort=True, use_na_sentinel=True)
    except TypeError as error:
        raise InputError(f"{name} ids mix types that cannot be sorted; make them all numbers or all text") from error
    if (codes < 0).any():
        raise InputError(f"the {name} id of row {int(np.argmax(codes < 0))} is missing")
    return _own(codes.astype(np.int32)), np.asarray(distinct)
