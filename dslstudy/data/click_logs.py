"""Logs of shown items with a yes or no: labels, categorical features, and the axes along which cohorts are cut.

A click log is what a click model learns from: per row a binary label and the ids of its categorical features. Who the
rows belong to (user, item) and raw columns come along, so that cohorts can be cut along an axis and intervals can be
clustered by user. Everything that is counted (vocabularies, bins, popularity) is counted on training rows. The book
introduces the words in the chapter *Why one objective forgets minorities*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dslstudy.data.splits import content_hash
from dslstudy.errors import InputError

if TYPE_CHECKING:
    from dslstudy.data.click_truth import ClickTruth

#: The parts of a split, in order.
PARTS = ("train", "validation", "test")


def _frozen(values: ArrayLike, dtype: Any = None) -> NDArray:
    """Return an array nobody can write to (a view, if the input already has the type)."""
    array = np.asarray(values, dtype).view()
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Feature:
    """One categorical feature of every row.

    Attributes:
        name: of the column.
        size: number of ids; they run from 0, and 0 stands for everything unknown or rare.
        values: int32, shape (n,), or (n, w) for a feature with several values per row, padded with -1.

    Raises:
        InputError: another shape, or ids outside 0 ... size - 1.
    """

    name: str
    size: int
    values: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Freeze and check the ids."""
        object.__setattr__(self, "values", _frozen(self.values, np.int32))
        if self.values.ndim not in (1, 2):
            raise InputError(f"feature {self.name!r} has {self.values.ndim} axes; give one id per row, or rows of ids")
        least = -1 if self.values.ndim == 2 else 0
        if self.values.size and (self.values.min() < least or self.values.max() >= self.size):
            raise InputError(f"feature {self.name!r} has ids outside {least} ... {self.size - 1}")

    def select(self, index: NDArray) -> "Feature":
        """Return the feature of some rows (an index or a mask)."""
        return Feature(self.name, self.size, self.values[index])


@dataclass(frozen=True, eq=False)
class ClickLog:
    """Rows of a click log; immutable.

    Attributes:
        labels: uint8, 0 or 1, shape (n,).
        features: one :class:`Feature` per column, all over the same rows.
        users: int32 contiguous user ids over all parts of a split, shape (n,); intervals are clustered by them.
        items: int32 contiguous item ids, shape (n,), or None.
        timestamps: int64, shape (n,), or None.
        columns: name -> raw values, shape (n,), what axes are cut from.

    Raises:
        InputError: lengths differ, or labels other than 0 and 1.
    """

    labels: NDArray[np.uint8]
    features: tuple[Feature, ...]
    users: NDArray[np.int32]
    items: NDArray[np.int32] | None = None
    timestamps: NDArray[np.int64] | None = None
    columns: Mapping[str, NDArray] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Freeze the arrays and check that they agree."""
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not ((labels == 0) | (labels == 1)).all():
            raise InputError("labels must be one row of zeros and ones")
        object.__setattr__(self, "labels", _frozen(labels, np.uint8))
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "users", _frozen(self.users, np.int32))
        for name, dtype in (("items", np.int32), ("timestamps", np.int64)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        columns = {name: _frozen(values) for name, values in self.columns.items()}
        object.__setattr__(self, "columns", MappingProxyType(columns))
        lengths = {"users": self.users, "items": self.items, "timestamps": self.timestamps, **columns}
        lengths.update({feature.name: feature.values for feature in self.features})
        for name, values in lengths.items():
            if values is not None and len(values) != len(self):
                raise InputError(f"the log has {len(self)} labels but {len(values)} values of {name!r}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    @property
    def base_rate(self) -> float:
        """Share of positive labels; NaN for an empty log."""
        return float(self.labels.mean()) if len(self) else float("nan")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each feature, in order."""
        return tuple(feature.size for feature in self.features)

    def select(self, index: NDArray) -> "ClickLog":
        """Return some rows (an index or a mask) over the same id spaces."""
        index = np.asarray(index)
        return ClickLog(
            self.labels[index],
            tuple(feature.select(index) for feature in self.features),
            self.users[index],
            None if self.items is None else self.items[index],
            None if self.timestamps is None else self.timestamps[index],
            {name: values[index] for name, values in self.columns.items()},
        )


@dataclass(frozen=True, eq=False)
class Axis:
    """A semantic axis: every row lies in one of its ordered bins, or in none. Bins come from training rows only.

    Attributes:
        name: for example "activity".
        unit: what is cut into bins: "user", "item" or "row". A fair random control draws the same unit.
        labels: of the bins, in order, for people.
        train: int16 bin of each training row, -1 for none, shape (n_train,).
        validation: the same of each validation row.
        test: the same of each test row.
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    train: NDArray[np.int16]
    validation: NDArray[np.int16]
    test: NDArray[np.int16]

    def __post_init__(self) -> None:
        """Freeze and check the bins."""
        if self.unit not in ("user", "item", "row"):
            raise InputError(f"the unit of axis {self.name!r} is user, item or row, not {self.unit!r}")
        if len(self.labels) > np.iinfo(np.int16).max:
            raise InputError(f"axis {self.name!r} has {len(self.labels)} bins; use fewer bins or quantiles")
        object.__setattr__(self, "labels", tuple(self.labels))
        for part in PARTS:
            bins = _frozen(getattr(self, part), np.int16)
            object.__setattr__(self, part, bins)
            if bins.size and (bins.min() < -1 or bins.max() >= len(self.labels)):
                raise InputError(f"axis {self.name!r} has bins outside -1 ... {len(self.labels) - 1}")

    def bins(self, part: str) -> NDArray[np.int16]:
        """Return the bin of each row of "train", "validation" or "test"."""
        if part not in PARTS:
            raise InputError(f"a split has no part {part!r}; choose one of {', '.join(PARTS)}")
        return getattr(self, part)

    def counts(self, part: str = "train") -> NDArray[np.int64]:
        """Return the number of rows in each bin, shape (len(labels),)."""
        bins = self.bins(part)
        return np.bincount(bins[bins >= 0], minlength=len(self.labels))

    @staticmethod
    def crossed(a: "Axis", b: "Axis") -> "Axis":
        """Cross two axes: one bin for each pair of bins, those of ``b`` running fastest; none if either is none.

        The unit is theirs if they share one, else "row".
        """

        def both(part: str) -> NDArray:
            first, second = a.bins(part).astype(np.int64), b.bins(part).astype(np.int64)
            if len(first) != len(second):
                raise InputError(f"axes {a.name!r} and {b.name!r} belong to different splits")
            return np.where((first < 0) | (second < 0), -1, first * len(b.labels) + second)

        labels = tuple(f"{first}, {second}" for first in a.labels for second in b.labels)
        unit = a.unit if a.unit == b.unit else "row"
        return Axis(f"{a.name} x {b.name}", unit, labels, *(both(part) for part in PARTS))


@dataclass(frozen=True, eq=False)
class ClickSplit:
    """Train, validation and test of a click log over common id spaces.

    Attributes:
        name: "temporal", "per-user" or "random" ("drawn" for a generated log, whose rows are independent).
        train: what models learn from, and the only rows that anything is counted on.
        validation: what selection looks at.
        test: what is reported, never selected on.
        axes: name -> :class:`Axis`.
        seed: of a random split, or of the rows drawn from a controlled world.
        dataset: the data set's name or path.
        data_sha256: file name -> sha256 of what was read.
        truth: what a generated log was drawn from, else None.
    """

    name: str
    train: ClickLog
    validation: ClickLog
    test: ClickLog
    axes: Mapping[str, Axis]
    seed: int
    dataset: str = ""
    data_sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    truth: "ClickTruth | None" = None

    def __post_init__(self) -> None:
        """Check that the parts share their id spaces and that the axes fit them."""
        object.__setattr__(self, "axes", MappingProxyType(dict(self.axes)))
        names = [feature.name for feature in self.train.features]
        for part in PARTS:
            log = getattr(self, part)
            if log.sizes != self.train.sizes or [feature.name for feature in log.features] != names:
                raise InputError("train, validation and test of a split must share their features")
            for axis in self.axes.values():
                if len(axis.bins(part)) != len(log):
                    raise InputError(f"axis {axis.name!r} has {len(axis.bins(part))} {part} rows instead of {len(log)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each feature, in order: what a model's embedding tables need."""
        return self.train.sizes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.train.features)

    def part(self, name: str) -> ClickLog:
        """Return "train", "validation" or "test"."""
        if name not in PARTS:
            raise InputError(f"a split has no part {name!r}; choose one of {', '.join(PARTS)}")
        return getattr(self, name)

    def axis(self, name: str) -> Axis:
        """Return an axis by name.

        Raises:
            InputError: no such axis; the message names those there are.
        """
        if name not in self.axes:
            raise InputError(f"{self.dataset or 'this split'} has no axis {name!r}; it has {', '.join(self.axes)}")
        return self.axes[name]

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over labels, users and feature ids of each part, in order."""
        return content_hash(
            *(
                column
                for part in (self.train, self.validation, self.test)
                for column in (part.labels, part.users, *(feature.values for feature in part.features))
            )
        )[:16]


def load_click_split(
    name_or_path: str | Path,
    *,
    seed: int = 0,
    offline: bool = False,
    progress: bool = True,
    **parameters: Any,
) -> ClickSplit:
    """Load a click log and split it 70/10/20; nothing is cached, the same arguments give the same bits.

    Args:
        name_or_path: a registered click log ("movielens-100k", "movielens-1m", "tmall", "synthetic-clicks"), or the
            path of a CSV or Parquet log that has a TOML of the same name beside it
            (:func:`dslstudy.data.click_formats.read_own_log`).
        seed: of a random split, or of the rows drawn from a controlled world.
        offline: use the cache and the mirror only.
        progress: show progress bars on standard error.
        parameters: for "synthetic-clicks" the dials of :class:`dslstudy.data.click_world.ClickWorld`; for all others
            ``split`` ("temporal", the default where there are timestamps; "per-user", each user's latest rows into
            test; or "random"), ``quantiles`` (number of bins of every axis that is cut at quantiles) and ``min_count``
            (ids with fewer training rows become id 0).

    Raises:
        InputError: unknown name or parameter, files that cannot be had, a log that cannot be used.
    """
    from dslstudy.data.click_formats import load_log

    return load_log(name_or_path, seed=seed, offline=offline, progress=progress, parameters=parameters)
