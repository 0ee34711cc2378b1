"""From raw columns to features and axes: vocabularies, bins and counts, all taken from training rows only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.click_logs import PARTS, Axis, ClickLog, ClickSplit, Feature
from dslstudy.data.click_spec import AxisSpec, ClickSpec, FeatureSpec
from dslstudy.data.splits import generator
from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Shares of train, validation and test.
SHARES = (0.7, 0.1, 0.2)


@dataclass(frozen=True, eq=False)
class ClickTable:
    """A click log as read: one row per impression, nothing encoded yet.

    Attributes:
        columns: name -> values, shape (n,): floats (NaN for missing) or text ("" for missing).
        labels: 0 or 1, shape (n,).
        users: contiguous user ids, shape (n,).
        items: contiguous item ids, shape (n,), or None.
        timestamps: seconds, shape (n,), or None.
    """

    columns: Mapping[str, NDArray]
    labels: NDArray[np.uint8]
    users: NDArray[np.int32]
    items: NDArray[np.int32] | None
    timestamps: NDArray[np.int64] | None


def split_table(
    table: ClickTable,
    spec: ClickSpec,
    *,
    seed: int,
    dataset: str,
    data_sha256: Mapping[str, str],
    split: str = "default",
    quantiles: int | None = None,
    min_count: int | None = None,
) -> ClickSplit:
    """Cut a table into train, validation and test, then encode features and cut axes with what train holds.

    A temporal split puts the latest 20 % of the rows into test and the 10 % before them into validation; rows of the
    same second stay together, in the later part. A per-user split does so within each user's own rows, so that hardly
    anyone in test is unknown (rows of the same second keep the order of the log). A random split draws rows.

    Args:
        table: the log.
        spec: which columns become features and axes.
        seed: of a random split.
        dataset: name or path, for the result.
        data_sha256: file name -> sha256, for the result.
        split: "temporal", "per-user", "random" or "default" (temporal where there are timestamps).
        quantiles: replaces the number of bins of every axis that is cut at quantiles.
        min_count: replaces every feature's own.

    Raises:
        InputError: a split this table does not offer, a part left empty, columns that cannot be encoded.
    """
    kind = ("random" if table.timestamps is None else "temporal") if split == "default" else split
    if kind not in ("temporal", "per-user", "random"):
        raise InputError(f"a click log has no split {split!r}; choose temporal, per-user, random or default")
    if kind != "random" and table.timestamps is None:
        raise InputError(f"{dataset} has no timestamps, so no {kind} split; choose split 'random'")
    if kind == "random":
        places = _random(len(table.labels), seed)
    else:
        places = _temporal(table.timestamps) if kind == "temporal" else _per_user(table.users, table.timestamps)
    if min(map(len, places)) == 0:
        raise InputError(f"the {kind} split of {dataset} leaves a part empty: it needs more rows, at different times")
    train = np.zeros(len(table.labels), bool)
    train[places[0]] = True

    features = [replace(one, min_count=min_count or one.min_count) for one in spec.features]
    log = ClickLog(
        table.labels,
        tuple(encode(table.columns[one.column], train, one) for one in features),
        table.users,
        table.items,
        table.timestamps,
        table.columns,
    )
    axes: dict[str, Axis] = {}
    for one in spec.axes:
        if one.crossed:
            axes[one.name] = replace(Axis.crossed(*(axes[name] for name in one.crossed)), name=one.name)
            continue
        if quantiles is not None and one.quantiles:
            one = replace(one, quantiles=quantiles)
        bins, labels = cut_axis(log, train, one)
        axes[one.name] = Axis(one.name, one.unit, labels, *(bins[place] for place in places))
    parts = (log.select(place) for place in places)
    return ClickSplit(kind, *parts, axes, seed, dataset, MappingProxyType(dict(data_sha256)))


# Features


def encode(values: NDArray, train: NDArray[np.bool_], spec: FeatureSpec) -> Feature:
    """Turn one column into ids 0 ... size - 1; 0 is what is missing, rare in train or unknown there.

    Args:
        values: the column, shape (n,).
        train: mask of the training rows, shape (n,): nothing else is looked at to make the ids.
        spec: how.

    Raises:
        InputError: bins asked of a column that holds no numbers.
    """
    if spec.edges or spec.quantiles:
        numbers = as_numbers(values, spec.column)
        edges = np.asarray(spec.edges) if spec.edges else quantile_edges(numbers[train], spec.quantiles)
        bins = np.where(np.isnan(numbers), 0, 1 + np.searchsorted(edges, numbers, side="right"))
        return Feature(spec.name, len(edges) + 2, bins)
    codes, distinct = factorize(values)
    frequency = np.bincount(codes[train], minlength=len(distinct))
    if not spec.separator:
        missing = np.array([_is_missing(value) for value in distinct], bool)
        ids, size = _ids(np.where(missing, 0, frequency), spec.min_count)
        return Feature(spec.name, size, ids[codes])
    texts = ["" if _is_missing(value) else str(value) for value in distinct]
    members = [[word for word in text.split(spec.separator) if word] for text in texts]
    lengths = np.array([len(words) for words in members])
    words, _ = factorize(np.array([word for row in members for word in row], dtype=object))
    frequency = np.bincount(words, weights=np.repeat(frequency, lengths)).astype(np.int64)
    ids, size = _ids(frequency, spec.min_count)
    table = np.full((len(distinct), max(1, lengths.max(initial=0))), -1, np.int32)
    table[np.arange(table.shape[1]) < lengths[:, None]] = ids[words]
    table[lengths == 0, 0] = 0
    return Feature(spec.name, size, table[codes])


def _ids(frequency: NDArray[np.int64], min_count: int) -> tuple[NDArray[np.int32], int]:
    """Number what is frequent enough from 1, most frequent first (ties in the order of the values); the rest is 0."""
    kept = np.flatnonzero(frequency >= max(1, min_count))
    kept = kept[np.argsort(-frequency[kept], kind="stable")]
    ids = np.zeros(len(frequency), np.int32)
    ids[kept] = np.arange(1, len(kept) + 1)
    return ids, len(kept) + 1


# Axes


def cut_axis(log: ClickLog, train: NDArray[np.bool_], spec: AxisSpec) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Put every row into a bin of an axis.

    A count is a unit's number of training rows (none: 0, which falls into the lowest bin). Quantiles are taken over the
    units seen in train, each counted once, or over training rows where ``spec.weight`` says "rows". An axis without
    edges and quantiles has one bin per value seen in train, in their order.

    Returns:
        (bin of each row, -1 for none; labels of the bins in order).

    Raises:
        InputError: no item column where one is needed, a column that holds no numbers, a unit in several bins.
    """
    units = {"user": log.users, "item": log.items, "row": np.arange(len(log))}[spec.unit]
    if units is None:
        raise InputError(f"axis {spec.name!r} is cut over items, and this log names no item column")
    bins, labels = _cut(log, train, spec, units)
    first = np.empty(int(units.max(initial=-1)) + 1, np.int64)
    first[units] = bins
    if (first[units] != bins).any():
        raise InputError(
            f"axis {spec.name!r} is cut over {spec.unit}s, but some {spec.unit} lies in several bins; say unit = 'row'"
        )
    return bins, labels


def _cut(
    log: ClickLog, train: NDArray[np.bool_], spec: AxisSpec, units: NDArray
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if spec.count:
        counted = log.users if spec.count == "user" else log.items
        if counted is None:
            raise InputError(f"axis {spec.name!r} counts rows of an item, and this log names no item column")
        values: NDArray = np.bincount(counted[train], minlength=int(counted.max()) + 1)[counted].astype(float)
    else:
        values = log.columns[spec.column]
    if not (spec.edges or spec.quantiles):
        codes, distinct = factorize(values)
        missing = np.array([_is_missing(value) for value in distinct], bool)
        seen = np.flatnonzero((np.bincount(codes[train], minlength=len(distinct)) > 0) & ~missing)
        place = np.full(len(distinct), -1, np.int64)
        place[seen] = np.arange(len(seen))
        return place[codes], tuple(_short(distinct[one]) for one in seen)
    numbers = as_numbers(values, spec.column or spec.name)
    if spec.edges:
        edges = np.asarray(spec.edges, float)
    else:
        seen = np.flatnonzero(train)
        if spec.weight != "rows":
            seen = seen[np.unique(units[seen], return_index=True)[1]]
        edges = quantile_edges(numbers[seen], spec.quantiles)
    bins = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="right"))
    known = numbers[train & ~np.isnan(numbers)]
    return bins, _interval_labels(edges, whole=bool((known == np.round(known)).all()))


def quantile_edges(values: NDArray, quantiles: int) -> NDArray[np.float64]:
    """Inner edges of bins with equally many values: bin b holds ``edges[b-1] <= value < edges[b]``.

    Every edge is one of the values; ties make fewer bins, never empty ones.
    """
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return np.empty(0)
    places = np.ceil(np.arange(1, quantiles) * len(values) / quantiles - 1e-9).astype(np.int64)
    edges = np.unique(values[np.minimum(places, len(values) - 1)])
    return edges[edges > values[0]].astype(float)


def _interval_labels(edges: NDArray[np.float64], *, whole: bool) -> tuple[str, ...]:
    if not len(edges):
        return ("all",)
    between = [
        (_short(low) if whole and high == low + 1 else f"{_short(low)} to {_short(high - 1)}")
        if whole
        else f"{_short(low)} to below {_short(high)}"
        for low, high in pairwise(edges)
    ]
    return (f"below {_short(edges[0])}", *between, f"{_short(edges[-1])} or more")


def _short(value: Any) -> str:
    return (
        f"{value:g}" if isinstance(value, float | np.floating) and abs(value) < 1e6 else f"{value}".removesuffix(".0")
    )


# Columns


def factorize(values: NDArray) -> tuple[NDArray[np.int64], NDArray]:
    """Return (code of each value, distinct values in ascending order)."""
    import pandas as pd

    codes, distinct = pd.factorize(values, sort=True, use_na_sentinel=False)
    return codes, np.asarray(distinct)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value  # only NaN differs from itself


def as_numbers(values: "NDArray | pd.Series", name: str) -> NDArray[np.float64]:
    """Return a column as floats, NaN where it is missing.

    Raises:
        InputError: a value is no number.
    """
    import pandas as pd

    series = pd.Series(values)
    missing = series.isna() | (series.astype("str").str.strip() == "") if series.dtype.kind not in "iuf" else None
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, copy=True)
    wrong = np.isnan(numbers) & ~missing.to_numpy() if missing is not None else np.zeros(len(numbers), bool)
    if wrong.any() or np.isinf(numbers).any():
        row = int(np.argmax(wrong | np.isinf(numbers)))
        raise InputError(f"column {name!r} must hold numbers: {series.iloc[row]!r} in row {row} is none")
    return numbers


# Parts


def _temporal(times: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    ordered = np.sort(times)
    cuts = ordered[np.minimum(np.round(np.cumsum(SHARES)[:2] * len(times)).astype(np.int64), len(times) - 1)]
    part = np.searchsorted(cuts, times, side="right")
    return tuple(np.flatnonzero(part == number) for number in range(len(PARTS)))


def _per_user(users: NDArray[np.int32], times: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    order = np.lexsort((times, users))
    counts = np.bincount(users)
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    own = np.repeat(counts, counts)
    first, second = (np.floor(share * own + 0.5 + 1e-9) for share in np.cumsum(SHARES)[:2])
    part = np.empty(len(users), np.int64)
    part[order] = (place >= first).astype(int) + (place >= second)
    return tuple(np.flatnonzero(part == number) for number in range(len(PARTS)))


def _random(rows: int, seed: int) -> tuple[NDArray[np.int64], ...]:
    order = generator(seed, "clicks").permutation(rows)
    cuts = [round(share * rows) for share in np.cumsum(SHARES)[:2]]
    return tuple(np.sort(part) for part in np.split(order, cuts))
