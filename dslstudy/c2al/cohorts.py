"""Cohorts: how the pair is found, how it is named by hand, and a random pair of the same size to compare it with.

Discovery looks at training rows only: a baseline that was fitted to one half of them predicts the other, and the two
bins of a semantic axis whose predictions are farthest apart become head and tail. Book: "Finding cohorts".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from dslstudy.c2al.divergences import BINS, LARGEST, SMOOTHING, Array, Support, common_support, divergence_matrix
from dslstudy.c2al.method import Cohorts
from dslstudy.data.click_logs import PARTS, Axis, ClickLog, ClickSplit
from dslstudy.errors import InputError

#: numbers in flight while units are resampled
_CHUNK = 4_000_000
#: two cohorts whose row counts differ by less than this share count as equally large
_EQUAL_SIZES = 0.1


@dataclass(frozen=True)
class CohortPair:
    """Head and tail as bins of an axis.

    Attributes:
        axis: name of the axis.
        head: bins of the head cohort.
        tail: bins of the tail cohort.
    """

    axis: str
    head: tuple[int, ...]
    tail: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.head or not self.tail or set(self.head) & set(self.tail):
            raise InputError(
                f"head {self.head} and tail {self.tail} of {self.axis} need at least one bin each and may share none"
            )

    def masks(self, split: ClickSplit, part: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows of a part are in the head and which in the tail, (n,) each.

        Raises:
            InputError: the split has no such axis, or the axis no such bin.
        """
        axis = split.axis(self.axis)
        if max(self.head + self.tail) >= len(axis.labels) or min(self.head + self.tail) < 0:
            raise InputError(f"axis {axis.name} has bins 0 to {len(axis.labels) - 1}, not {self.head + self.tail}")
        bins = axis.bins(part)
        return np.isin(bins, self.head), np.isin(bins, self.tail)

    def cohorts(self, split: ClickSplit) -> dict[str, Cohorts]:
        """Where the rows of each part stand, as the trainer takes it; the axis gives the other cohorts."""
        return _cohorts(self, split)


@dataclass(frozen=True, eq=False)
class RandomPair:
    """Head and tail as sets of units that were drawn at random.

    Attributes:
        axis: name of the axis whose pair it stands for.
        unit: ``user``, ``item`` or ``row``.
        head: ids of the head's units, increasing; for rows: of the training rows.
        tail: ids of the tail's units.
        seed: of the draw.
    """

    axis: str
    unit: str
    head: NDArray[np.integer]
    tail: NDArray[np.integer]
    seed: int

    def masks(self, split: ClickSplit, part: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows of a part are in the head and which in the tail, (n,) each.

        A drawn user (item) keeps her cohort in every part. Rows occur in one part only, so rows of other parts are
        drawn there, with the same shares.
        """
        log = split.part(part)
        if self.unit != "row":
            ids = unit_ids(log, self.unit)
            return np.isin(ids, self.head), np.isin(ids, self.tail)
        head, tail = np.zeros(len(log), bool), np.zeros(len(log), bool)
        if part == "train":
            head[self.head], tail[self.tail] = True, True
            return head, tail
        order = np.random.default_rng([self.seed, PARTS.index(part)]).permutation(len(log))
        sizes = [round(len(rows) * len(log) / len(split.train)) for rows in (self.head, self.tail)]
        head[order[: sizes[0]]], tail[order[sizes[0] : sum(sizes)]] = True, True
        return head, tail

    def cohorts(self, split: ClickSplit) -> dict[str, Cohorts]:
        """Where the rows of each part stand, as the trainer takes it; the axis gives the other cohorts."""
        return _cohorts(self, split)


def _cohorts(pair: CohortPair | RandomPair, split: ClickSplit) -> dict[str, Cohorts]:
    axis = split.axis(pair.axis)
    result = {}
    for part in PARTS:
        head, tail = pair.masks(split, part)
        cohort = torch.from_numpy(axis.bins(part).astype(np.int64))
        result[part] = Cohorts(torch.from_numpy(head), torch.from_numpy(tail), cohort, len(axis.labels))
    return result


def unit_ids(log: ClickLog, unit: str) -> NDArray[np.integer]:
    """(n,) user, item or place of each row.

    Raises:
        InputError: an item axis on a log without items, or an unknown unit.
    """
    if unit == "row":
        return np.arange(len(log))
    if unit not in ("user", "item"):
        raise InputError(f"a unit is user, item or row, not {unit!r}")
    ids = log.users if unit == "user" else log.items
    if ids is None:
        raise InputError("this log names no items; take an axis of users or rows")
    return ids


def named_pair(axis: Axis, head: str, tail: str) -> CohortPair:
    """A pair by the labels of its two bins.

    Raises:
        InputError: no such label.
    """
    for label in (head, tail):
        if label not in axis.labels:
            raise InputError(f"axis {axis.name} has no bin {label!r}; it has {', '.join(axis.labels)}")
    return CohortPair(axis.name, (axis.labels.index(head),), (axis.labels.index(tail),))


def extreme_pair(axis: Axis, bins: int = 1) -> CohortPair:
    """The last bins of an ordered axis against its first, such as the top and bottom 5 % of users by value.

    Args:
        axis: its bins are in order.
        bins: how many on either side.

    Raises:
        InputError: more than half of the bins on a side.
    """
    number = len(axis.labels)
    if not 1 <= bins <= number // 2:
        raise InputError(f"axis {axis.name} has {number} bins; take 1 to {number // 2} on a side, not {bins}")
    return CohortPair(axis.name, tuple(range(number - bins, number)), tuple(range(bins)))


def random_pair(split: ClickSplit, pair: CohortPair, *, seed: int) -> RandomPair:
    """A pair of random cohorts with as many training rows, drawn unit by unit.

    The units are those of the axis: random users stand for a cohort of users, random items for one of items. Units are
    taken in random order, a unit that would make the cohort too large is left out, and no unit is in both.

    Args:
        split: the click log.
        pair: the pair whose place it takes.
        seed: of the draw.

    Raises:
        InputError: as for ``CohortPair.masks`` and ``unit_ids``.
    """
    axis = split.axis(pair.axis)
    rng = np.random.default_rng(seed)
    ids, of_row = np.unique(unit_ids(split.train, axis.unit), return_inverse=True)
    rows, order = np.bincount(of_row), rng.permutation(len(ids))
    drawn = []
    for mask in pair.masks(split, "train"):
        chosen = _fill(rows[order], int(mask.sum()))
        drawn.append(np.sort(ids[order[chosen]]))
        order = order[~chosen]
    return RandomPair(pair.axis, axis.unit, drawn[0], drawn[1], seed)


def _fill(sizes: NDArray[np.integer], room: int) -> NDArray[np.bool_]:
    """Which of the units, taken in their order, fit into so many rows."""
    chosen = np.zeros(len(sizes), bool)
    for place, size in enumerate(sizes.tolist()):
        if size <= room:
            chosen[place] = True
            room -= size
            if not room:
                break
    return chosen


def out_of_sample_predictions(
    train: ClickLog, fit: Callable[[ClickLog, ClickLog], NDArray[np.floating]], *, seed: int
) -> NDArray[np.float64]:
    """Predictions for every training row by a model that has not seen it, nor any validation or test row.

    Args:
        train: the training rows; cut into two random halves.
        fit: trains on the first log and returns probabilities (n,) of a click for the second.
        seed: of the cut.

    Returns:
        (n,) probabilities, in the order of ``train``.

    Raises:
        InputError: fewer than two rows, or predictions of another length.
    """
    if len(train) < 2:
        raise InputError(f"{len(train)} training rows cannot be cut into two halves")
    order = np.random.default_rng(seed).permutation(len(train))
    halves = [np.sort(half) for half in np.array_split(order, 2)]
    predictions = np.empty(len(train))
    for fitted, held_out in (halves, halves[::-1]):
        predicted = np.asarray(fit(train.select(fitted), train.select(held_out)), dtype=float)
        if predicted.shape != (len(held_out),):
            raise InputError(f"fit returned predictions of shape {predicted.shape} for {len(held_out)} rows")
        predictions[held_out] = predicted
    return predictions


@dataclass(frozen=True, eq=False)
class Discovery:
    """What was found along an axis, and why this pair.

    Attributes:
        axis: name of the axis.
        unit: of the axis: ``user``, ``item`` or ``row``.
        divergence: what was measured between bins.
        labels: of the K bins.
        rows: (K,) training rows of each bin.
        units: (K,) users or items of each bin.
        mean_prediction: (K,) mean predicted probability; ``nan`` for an empty bin.
        admissible: (K,) bool, enough rows and units to be chosen.
        matrix: (K, K) divergences; ``kl`` from row to column.
        low: (K, K) lower ends of the intervals.
        high: (K, K) upper ends.
        confidence: level of all intervals.
        pair: the farthest admissible pair.
        value: its divergence; for ``kl`` the mean of both directions.
        interval: of the value.
        runner_up: bins of the second farthest pair; ``None`` where there is only one pair.
        lead: interval of the value's lead over the runner-up's; ``None`` without a runner-up.
        frequency: share of the resamples in which the pair is the farthest.
        p_value: share of worlds without cohorts with an admissible pair at least as far apart.
    """

    axis: str
    unit: str
    divergence: str
    labels: tuple[str, ...]
    rows: NDArray[np.integer]
    units: NDArray[np.integer]
    mean_prediction: Array
    admissible: NDArray[np.bool_]
    matrix: Array
    low: Array
    high: Array
    confidence: float
    pair: CohortPair
    value: float
    interval: tuple[float, float]
    runner_up: tuple[int, int] | None
    lead: tuple[float, float] | None
    frequency: float
    p_value: float

    @property
    def separated(self) -> bool:
        """The pair leads the runner-up by more than chance, or there is no other pair."""
        return self.lead is None or self.lead[0] > 0

    def why(self) -> str:
        """The reasons in a few sentences."""
        (head,), (tail,) = self.pair.head, self.pair.tail
        level = f"{self.confidence:.0%}"
        who = "items" if self.unit == "item" else "users"
        text = (
            f"{self.axis}: head {self.labels[head]} ({self.rows[head]:,} rows, {self.units[head]:,} {who}), "
            f"tail {self.labels[tail]} ({self.rows[tail]:,} rows, {self.units[tail]:,} {who}). "
            f"Their {self.divergence} divergence of {self.value:.4g} ({level} interval {self.interval[0]:.4g} to "
            f"{self.interval[1]:.4g}) is the largest of {_count_pairs(self.admissible)} admissible pairs in "
            f"{self.frequency:.0%} of the resamples; random cohorts are so far apart with p = {self.p_value:.2g}."
        )
        if self.runner_up is not None and self.lead is not None:
            one, other = (self.labels[place] for place in self.runner_up)
            verdict = "" if self.separated else "not "
            text += (
                f" It is {verdict}separated from the runner-up, {one} and {other}: "
                f"it leads by {self.lead[0]:.4g} to {self.lead[1]:.4g}."
            )
        return text


def discover(
    axis: Axis,
    predictions: ArrayLike,
    units: ArrayLike,
    *,
    divergence: str = "js",
    min_rows: int = 500,
    min_units: int = 20,
    bins: int = BINS,
    smoothing: float = SMOOTHING,
    support_size: int = 500,
    resamples: int = 200,
    permutations: int = 99,
    confidence: float = 0.95,
    seed: int = 0,
) -> Discovery:
    """The pair of bins whose predictions are farthest apart.

    Intervals come from a Bayesian bootstrap (Rubin, 1981): every unit gets an exponential weight with all its rows, so
    that rows of one user move together and no bin ever is empty. A divergence of samples is biased upwards, and that of
    a resample twice as much, hence the basic interval ``[2 D - q_high, 2 D - q_low]``, cut at the divergence's bounds;
    where all distance is noise it may lie below D. The p-value compares the largest divergence with that of worlds in
    which every unit has the predictions of a random other one.

    Of the pair, head is the bin with more rows; if both are within a tenth of each other, the later one on the axis.

    Args:
        axis: its bins of the training rows are used, nothing else.
        predictions: (n,) out-of-sample predictions for the training rows.
        units: (n,) ids of the users or items over which the resampling goes; those of the axis, or users if it is an
            axis of rows.
        divergence: ``kl``, ``js``, ``wasserstein``, ``cosine`` or ``energy``.
        min_rows: rows that a cohort must have.
        min_units: units that a cohort must have.
        bins: of histograms.
        smoothing: of histograms.
        support_size: predictions are merged into so many values.
        resamples: of the units.
        permutations: worlds for the p-value.
        confidence: level of the intervals.
        seed: of resamples and worlds.

    Raises:
        InputError: lengths that differ, fewer than two bins that are large enough, or as for ``divergence_matrix``.
    """
    cohort = np.asarray(axis.train, dtype=np.intp)
    predictions, units = np.asarray(predictions, dtype=float), np.asarray(units)
    if not len(cohort) == len(predictions) == len(units):
        raise InputError(
            f"axis {axis.name} has {len(cohort)} training rows, but there are {len(predictions)} predictions and "
            f"{len(units)} units"
        )
    if resamples < 2 or permutations < 1 or not 0 < confidence < 1:
        raise InputError("discovery needs at least 2 resamples, 1 permutation and a confidence between 0 and 1")
    inside = cohort >= 0
    cohort, predictions = cohort[inside], predictions[inside]
    names, unit = np.unique(units[inside], return_inverse=True)
    K = len(axis.labels)
    rows = np.bincount(cohort, minlength=K)
    unit_sizes = np.bincount(np.unique(unit * K + cohort) % K, minlength=K)
    admissible = (rows >= min_rows) & (unit_sizes >= min_units)
    if admissible.sum() < 2:
        sizes = ", ".join(f"{label} {n}/{u}" for label, n, u in zip(axis.labels, rows, unit_sizes, strict=True))
        raise InputError(
            f"axis {axis.name} has fewer than two bins with {min_rows} rows and {min_units} units "
            f"(rows/units: {sizes}); lower min_rows or min_units"
        )
    support = common_support(predictions, bins=bins, size=support_size)
    measure = _Measure(divergence, support, smoothing, admissible)
    rng = np.random.default_rng(seed)

    matrix = measure.matrix(_masses(cohort, support.place, support, K))
    resampled = measure.resampled(cohort, unit, len(names), resamples, rng)
    bounds = (0.0, LARGEST.get(divergence, np.inf))
    low, high = _basic_interval(matrix, resampled, confidence, bounds)
    values, of_resamples = measure.pairs(matrix), measure.pairs(resampled)
    order = np.argsort(-values, kind="stable")
    best, value = order[0], float(values[order[0]])
    interval = tuple(float(end) for end in _basic_interval(values[best], of_resamples[:, best], confidence, bounds))
    runner_up = lead = None
    if len(order) > 1:
        second = order[1]
        runner_up = tuple(int(end[second]) for end in measure.ends)
        gap = values[best] - values[second]
        gaps = of_resamples[:, best] - of_resamples[:, second]
        lead = tuple(float(end) for end in _basic_interval(gap, gaps, confidence))
    by_chance = [
        measure.pairs(measure.matrix(_masses(cohort, support.place[rows], support, K))).max()
        for rows in _without_cohorts(unit, len(names), permutations, rng)
    ]
    one, other = (int(end[best]) for end in measure.ends)
    head, tail = _head_and_tail(one, other, rows)
    with np.errstate(invalid="ignore"):
        mean_prediction = np.bincount(cohort, predictions, minlength=K) / rows
    return Discovery(
        axis=axis.name,
        unit=axis.unit,
        divergence=divergence,
        labels=tuple(axis.labels),
        rows=rows,
        units=unit_sizes,
        mean_prediction=mean_prediction,
        admissible=admissible,
        matrix=matrix,
        low=low,
        high=high,
        confidence=confidence,
        pair=CohortPair(axis.name, (head,), (tail,)),
        value=value,
        interval=interval,
        runner_up=runner_up,
        lead=lead,
        frequency=float((of_resamples.argmax(1) == best).mean()),
        p_value=float((1 + (np.array(by_chance) >= value).sum()) / (1 + permutations)),
    )


class _Measure:
    """One divergence on one support, and which pairs may be chosen."""

    def __init__(self, name: str, support: Support, smoothing: float, admissible: NDArray[np.bool_]) -> None:
        self.name, self.support, self.smoothing, self.cohorts = name, support, smoothing, len(admissible)
        places = np.flatnonzero(admissible)
        self.ends = tuple(places[side] for side in np.triu_indices(len(places), 1))

    def matrix(self, masses: NDArray[np.number]) -> Array:
        return divergence_matrix(self.name, masses, self.support, smoothing=self.smoothing)

    def pairs(self, matrix: Array) -> Array:
        """Divergence of each admissible pair (..., pairs); the mean of both directions where they differ."""
        one, other = self.ends
        return (matrix[..., one, other] + matrix[..., other, one]) / 2

    def resampled(
        self, cohort: NDArray[np.integer], unit: NDArray[np.integer], units: int, times: int, rng: np.random.Generator
    ) -> Array:
        """Matrices (times, K, K) with random weights of the units."""
        K, g = self.cohorts, len(self.support.values)
        counts = csr_matrix((np.ones(len(cohort)), (cohort * g + self.support.place, unit)), shape=(K * g, units))
        counts.sum_duplicates()
        size = max(1, _CHUNK // max(units, K * g))
        matrices = []
        for start in range(0, times, size):
            weights = rng.exponential(size=(min(size, times - start), units))
            matrices.append(self.matrix((counts @ weights.T).T.reshape(-1, K, g)))
        return np.concatenate(matrices)


def _masses(cohort: NDArray[np.integer], place: NDArray[np.integer], support: Support, K: int) -> NDArray[np.integer]:
    g = len(support.values)
    return np.bincount(cohort * g + place, minlength=K * g).reshape(K, g)


def _basic_interval(
    estimate: ArrayLike, resampled: Array, confidence: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[Array, Array]:
    """Basic bootstrap interval, cut at the bounds of what is estimated; resamples along the first axis."""
    side = (1 - confidence) / 2
    ends = 2 * np.asarray(estimate) - np.quantile(resampled, [1 - side, side], axis=0)
    low, high = np.clip(ends, *bounds)
    return low, high


def _without_cohorts(
    unit: NDArray[np.integer], units: int, times: int, rng: np.random.Generator
) -> Iterator[NDArray[np.integer]]:
    """Rows (n,) whose predictions the rows could have if bins said nothing.

    Every unit keeps its number of rows and its bins, and takes the predictions of a donor, the unit of a random row: as
    many as it needs, each once before any is taken twice. So cohorts keep their sizes and rows of a unit stay alike. To
    shuffle units over bins would not do: on an axis of activity that changes the cohorts' numbers of rows. Where donors
    are much smaller than those they give to, repeated rows make these worlds noisier than the data, and p-values err
    upwards.
    """
    # rows of a unit stand side by side, in random order
    rows = np.argsort(unit[order := rng.permutation(len(unit))], kind="stable")
    rows = order[rows]
    size = np.bincount(unit, minlength=units)
    start = np.cumsum(size) - size
    place = np.empty(len(unit), dtype=np.intp)
    place[rows] = np.arange(len(unit)) - np.repeat(start, size)
    for _ in range(times):
        donor = unit[rng.integers(len(unit), size=units)]
        offset = rng.integers(size[donor])
        yield rows[start[donor][unit] + (offset[unit] + place) % size[donor][unit]]


def _count_pairs(admissible: NDArray[np.bool_]) -> int:
    number = int(admissible.sum())
    return number * (number - 1) // 2


def _head_and_tail(one: int, other: int, rows: NDArray[np.integer]) -> tuple[int, int]:
    """Orientation of a pair whose first bin stands earlier on the axis."""
    larger = max(rows[one], rows[other])
    if abs(int(rows[one]) - int(rows[other])) <= _EQUAL_SIZES * larger:
        return other, one
    return (one, other) if rows[one] > rows[other] else (other, one)
