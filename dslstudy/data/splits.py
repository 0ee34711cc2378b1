"""Cutting interactions into train, validation and test: seeded, vectorised, without leakage.

Every splitter takes interactions, returns ``(train, test)`` over the same id space, and guarantees that no pair is in
both parts and that each test user and each test item occurs in train. Randomness comes from ``Generator(PCG64)`` with a
seed of its own for each splitter, and ties are broken by stable sorts: one seed gives the same bits on every machine.
The book derives what each split measures in the chapter *Data and splits*.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError


@dataclass(frozen=True)
class Split:
    """Train, validation and test over one id space.

    Attributes:
        name: "published", "iid", "popularity-shift" or "temporal".
        train: what models learn from (validation already taken out).
        validation: what selection looks at; may be empty if no user has items to spare.
        test: what is reported, never selected on.
        seed: the seed of the split and of the validation cut.
        dataset: the data set's name or path.
        validation_fraction: the share of each user's training items asked for as validation.
        data_sha256: file name -> sha256 of the files the data was read from.
    """

    name: str
    train: Interactions
    validation: Interactions
    test: Interactions
    seed: int
    dataset: str = ""
    validation_fraction: float = 0.0
    data_sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Check that the parts share one id space.

        Raises:
            InputError: they do not.
        """
        for part in (self.validation, self.test):
            if (part.num_users, part.num_items) != (self.train.num_users, self.train.num_items):
                raise InputError("train, validation and test of a split must share one id space")

    @property
    def num_users(self) -> int:
        """Size of the common user id space."""
        return self.train.num_users

    @property
    def num_items(self) -> int:
        """Size of the common item id space."""
        return self.train.num_items

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over the original ids and the pairs of each part, in order."""
        return content_hash(
            self.train.user_ids,
            self.train.item_ids,
            *(column for part in (self.train, self.validation, self.test) for column in (part.users, part.items)),
        )[:16]


def content_hash(*arrays: NDArray) -> str:
    """Return the sha256 (hex) over the contents of arrays, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        if np.issubdtype(array.dtype, np.number):
            content = array.astype("<f8" if array.dtype.kind == "f" else "<i8").tobytes()
        else:
            content = "\0".join(map(str, array.tolist())).encode()
        digest.update(f"{array.dtype.kind in 'iuf'}:{len(array)}:{len(content)};".encode())
        digest.update(content)
    return digest.hexdigest()


def iid_split(
    interactions: Interactions, *, test_fraction: float = 0.2, seed: int
) -> tuple[Interactions, Interactions]:
    """Split each user's items at random; the rule of IR-Benchmark's IID files.

    A user with n items gives ``ceil(test_fraction * n)`` of them to test, but always keeps one in train. Test pairs
    whose item then never occurs in train are dropped (they are in neither part).

    Returns:
        (train, test) over the id space of ``interactions``.

    Raises:
        InputError: the fraction is not in (0, 1) or the seed is no non-negative integer.
    """
    _check_fraction(test_fraction, "test_fraction")
    counts = interactions.user_counts()
    wanted = np.minimum(_ceil(test_fraction * counts), np.maximum(counts - 1, 0))
    order, rank = _shuffled_rank(interactions.users, interactions.num_users, generator(seed, "iid"))
    test = np.empty(len(interactions), bool)
    test[order] = rank < np.repeat(wanted, counts)
    return _known_only(interactions, test)


def popularity_shift_split(
    interactions: Interactions, *, test_fraction: float = 0.2, seed: int
) -> tuple[Interactions, Interactions]:
    """Draw a test set that is (nearly) uniform over items from long-tailed interactions.

    The protocol of IR-Benchmark's popularity-shift files: until ``ceil(test_fraction * n)`` interactions are drawn,
    pick an item uniformly among those that can still give (they must keep one), then one of its remaining users
    uniformly.

    This is done without a loop and with exactly that distribution. Give every item its own Poisson process of rate one:
    by the memorylessness of the exponential, whichever item that can still give fires next is uniform among them. So
    the k-th interaction that an item gives up arrives at a sum of k unit exponentials, its users stand in random order,
    the last one never leaves, and the test set is simply the earliest ``ceil(test_fraction * n)`` arrivals.

    Test pairs whose user has nothing left in train are dropped (they are in neither part). If all items together cannot
    give so many, test is everything they can give.

    Returns:
        (train, test) over the id space of ``interactions``.

    Raises:
        InputError: the fraction is not in (0, 1) or the seed is no non-negative integer.
    """
    _check_fraction(test_fraction, "test_fraction")
    rng = generator(seed, "popularity-shift")
    counts = interactions.item_counts()
    drawn = min(int(_ceil(test_fraction * len(interactions))), len(interactions) - np.count_nonzero(counts))
    test = np.zeros(len(interactions), bool)
    if drawn > 0:
        order, rank = _shuffled_rank(interactions.items, interactions.num_items, rng)
        clock = np.cumsum(rng.standard_exponential(len(interactions)))
        before = np.concatenate([[0.0], clock])[np.cumsum(counts) - counts]  # the clock when each item's group begins
        arrival = clock - np.repeat(before, counts)
        arrival[rank == np.repeat(counts, counts) - 1] = np.inf
        latest = np.partition(arrival, drawn - 1)[drawn - 1]
        test[order[np.flatnonzero(arrival <= latest)[:drawn]]] = True
    return _known_only(interactions, test)


def temporal_split(interactions: Interactions, *, test_fraction: float = 0.2) -> tuple[Interactions, Interactions]:
    """Cut at one point in time: the latest interactions are test, no training interaction is as late as any of them.

    The cut-off is the timestamp of the interaction below which ``1 - test_fraction`` of them lie; everything at that
    very second goes to test, so test can be a little larger. Users and items that appear only after the cut-off are
    dropped from test. Nothing is random.

    Returns:
        (train, test) over the id space of ``interactions``.

    Raises:
        InputError: no timestamps, the fraction is not in (0, 1), or all timestamps are equal.
    """
    _check_fraction(test_fraction, "test_fraction")
    if interactions.timestamps is None:
        raise InputError("a temporal split needs timestamps, and these interactions have none; try split 'iid'")
    if len(interactions) == 0:
        return interactions, interactions
    times = interactions.timestamps
    position = len(times) - int(_ceil(test_fraction * len(times)))
    cutoff = np.partition(times, position)[position]
    test = times >= cutoff
    if test.all():
        raise InputError(
            f"a temporal split with test_fraction {test_fraction} leaves nothing for train: too many interactions "
            "carry the earliest timestamp"
        )
    return _known_only(interactions, test)


def validation_cut(train: Interactions, *, fraction: float = 0.1, seed: int) -> tuple[Interactions, Interactions]:
    """Set aside a share of each user's training items for selection.

    A user with n training items gives ``floor(fraction * n + 1/2)`` (rounded to nearest, halves up), but always keeps
    one: with the default 10 %, users with fewer than 5 items give none, 5 to 14 give one, 15 to 24 two. An item that
    would lose its last training interaction gets one of its interactions back, drawn at random, so train and validation
    together are always exactly the input and every validation user and item stays known in train.

    Returns:
        (train, validation) over the id space of the input.

    Raises:
        InputError: the fraction is not in [0, 1) or the seed is no non-negative integer.
    """
    if fraction != 0:
        _check_fraction(fraction, "the validation fraction")
    rng = generator(seed, "validation")
    counts = train.user_counts()
    wanted = np.minimum(np.floor(fraction * counts + 0.5 + 1e-9).astype(np.int64), np.maximum(counts - 1, 0))
    order, rank = _shuffled_rank(train.users, train.num_users, rng)
    held = np.empty(len(train), bool)
    held[order] = rank < np.repeat(wanted, counts)
    left = np.bincount(train.items[~held], minlength=train.num_items)
    orphans = rng.permutation(np.flatnonzero(held & (left == 0)[train.items]))
    held[orphans[np.unique(train.items[orphans], return_index=True)[1]]] = False
    return train.select(~held), train.select(held)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a PCG64 generator for one purpose: the same seed serves several purposes without sharing a stream.

    Raises:
        InputError: the seed is no non-negative integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"a seed is an integer from 0, not {seed!r}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), zlib.crc32(purpose.encode())])))


def _shuffled_rank(
    groups: NDArray[np.int32], num_groups: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order rows by group, at random inside each group.

    Returns:
        (order, rank): row ``order[p]`` stands at place p and is number ``rank[p]`` (from 0) of its group.
    """
    shuffled = rng.permutation(len(groups))
    n = len(groups)
    # A matrix with one entry per row, by columns instead of rows, lists the rows of each group: a stable counting sort.
    one_each = csr_matrix((np.ones(n, bool), groups[shuffled], np.arange(n + 1)), shape=(n, num_groups)).tocsc()
    rank = np.arange(n) - np.repeat(one_each.indptr[:-1], np.diff(one_each.indptr))
    return shuffled[one_each.indices], rank


def _known_only(interactions: Interactions, test: NDArray[np.bool_]) -> tuple[Interactions, Interactions]:
    """Return (train, test), the test pairs of users or items unknown in train dropped."""
    train = interactions.select(~test)
    known = (train.user_counts() > 0)[interactions.users] & (train.item_counts() > 0)[interactions.items]
    return train, interactions.select(test & known)


def _ceil(values: float | NDArray) -> NDArray[np.int64]:
    """Round up, forgiving the rounding error of a product (0.07 * 100 is a little more than 7)."""
    return np.ceil(np.asarray(values) - 1e-9).astype(np.int64)


def _check_fraction(value: float, name: str) -> None:
    if not (isinstance(value, int | float) and 0 < value < 1):
        raise InputError(f"{name} must lie between 0 and 1, not {value!r}")
