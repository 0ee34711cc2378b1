"""Normalized entropy, the click model's yardstick: overall, per cohort, by bucket, and how sure a difference is.

Normalized entropy (He et al., 2014, section 3.1) divides the mean binary cross-entropy by what a predictor would score
that knows nothing but the base rate: 1 is worthless, less is better. **The base rate is always that of the evaluated
rows**: a cohort is measured against its own base rate. Two models on the same rows share that denominator, so their
relative difference ``NE_diff`` is the relative difference of their losses (book: Does it help?).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, xlogy
from scipy.stats import rankdata

from dslstudy.errors import InputError
from dslstudy.metrics._checks import any_runs, group_row, label_row, one_run
from dslstudy.metrics.significance import Interval, percentile_interval

#: Probabilities are kept this far from 0 and 1: a float32 cannot tell 1 from anything nearer.
EPSILON = 1e-7
# Resampled weights in flight.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class GroupEntropy:
    """Normalized entropy of some of the rows.

    Attributes:
        group: number of the group or bucket.
        rows: how many rows it has.
        base_rate: their share of positives.
        value: their normalized entropy; NaN if all their labels are equal.
        low: smallest value of the statistic in a bucket; NaN for a group.
        high: largest one.
    """

    group: int
    rows: int
    base_rate: float
    value: float
    low: float = math.nan
    high: float = math.nan


def row_losses(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """Binary cross-entropy of every row, in nats.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1), or (runs, n) of several runs.

    Returns:
        Float64, of the shape of ``probabilities``.

    Raises:
        InputError: shapes that do not fit, labels other than 0 and 1, probabilities outside [0, 1].
    """
    labels, p = any_runs(labels, probabilities)
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return -np.log(np.where(labels == 1, p, 1 - p))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean binary cross-entropy in nats; arguments as :func:`normalized_entropy`."""
    return float(row_losses(*one_run(labels, probabilities)).mean())


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean binary cross-entropy over the entropy of the base rate of the same rows (He et al., 2014, equation 3).

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).

    Returns:
        1 for the base rate itself, 0 for certainty that is always right.

    Raises:
        InputError: as :func:`row_losses`, or all labels are equal, so that there is nothing to normalise by.
    """
    labels, probabilities = one_run(labels, probabilities)
    entropy = _entropy(labels.mean())
    if entropy == 0:
        raise InputError("normalized entropy needs rows with both labels; these have one only")
    return float(row_losses(labels, probabilities).mean() / entropy)


def ne_diff(labels: ArrayLike, probabilities: ArrayLike, baseline: ArrayLike) -> float:
    """How much the normalized entropy differs from a baseline's, in percent of the baseline's; negative is better.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predictions of the one.
        baseline: (n,) predictions of the other, for the same rows.

    Raises:
        InputError: as :func:`row_losses`.
    """
    return 100 * (log_loss(labels, probabilities) / log_loss(labels, baseline) - 1)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive outranks a negative, a tie counting half (Mann & Whitney).

    Args:
        labels: (n,) zeros and ones.
        scores: (n,) anything that ranks.

    Raises:
        InputError: shapes that do not fit, scores that are not finite, or labels that are all equal.
    """
    labels, scores = label_row(labels), np.asarray(scores, float)
    if scores.shape != labels.shape or not np.isfinite(scores).all():
        raise InputError(f"AUC needs one finite score for each of {len(labels)} labels, not shape {scores.shape}")
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        raise InputError("AUC needs rows with both labels; these have one only")
    above = rankdata(scores)[labels == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def ne_by_group(labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike) -> list[GroupEntropy]:
    """Normalized entropy of each group of rows, each against its own base rate.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).
        groups: (n,) number of each row's group, from 0; -1 for none.

    Returns:
        One entry per group that has rows, in ascending order.

    Raises:
        InputError: as :func:`row_losses`, or groups that are no integers from -1.
    """
    labels, probabilities = one_run(labels, probabilities)
    groups = group_row(groups, len(labels))
    kept = groups >= 0
    rows = np.bincount(groups[kept])
    positives = np.bincount(groups[kept], weights=labels[kept], minlength=len(rows))
    losses = np.bincount(groups[kept], weights=row_losses(labels, probabilities)[kept], minlength=len(rows))
    result = []
    for group in np.flatnonzero(rows):
        rate = positives[group] / rows[group]
        entropy = _entropy(rate)
        value = losses[group] / rows[group] / entropy if entropy else math.nan
        result.append(GroupEntropy(int(group), int(rows[group]), float(rate), float(value)))
    return result


def ne_by_bucket(
    labels: ArrayLike, probabilities: ArrayLike, values: ArrayLike, buckets: int = 20
) -> list[GroupEntropy]:
    """Normalized entropy by buckets of a statistic; the default 20 makes five-percentile buckets.

    Rows with equal values share a bucket, so there can be fewer than asked for, of different sizes. Rows whose value
    is NaN are in none.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).
        values: (n,) the statistic, for example the activity of the row's user in train.
        buckets: how many.

    Raises:
        InputError: as :func:`row_losses`, or values of another shape.
    """
    values = np.asarray(values, float)
    bucket = value_buckets(values, buckets)
    if not (bucket >= 0).any():
        return []
    return [
        GroupEntropy(
            one.group,
            one.rows,
            one.base_rate,
            one.value,
            float(values[bucket == one.group].min()),
            float(values[bucket == one.group].max()),
        )
        for one in ne_by_group(labels, probabilities, bucket)
    ]


def value_buckets(values: ArrayLike, buckets: int = 20) -> NDArray[np.int64]:
    """Put each value into one of (nearly) equally full buckets, ties together; -1 for NaN.

    A value goes where the middle of its ties falls: bucket b of B holds mid-ranks between the shares b / B and
    (b + 1) / B. Empty buckets keep their number.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or buckets < 1:
        raise InputError(f"buckets need one row of values and a number of at least 1, not {values.shape} and {buckets}")
    result = np.full(len(values), -1, np.int64)
    kept = ~np.isnan(values)
    middle = rankdata(values[kept]) - 0.5  # from 0.5 to n - 0.5
    result[kept] = np.minimum((middle * buckets / max(kept.sum(), 1)).astype(np.int64), buckets - 1)
    return result


def paired_ne_bootstrap(
    labels: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    users: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    max_clusters: int = 4096,
) -> Interval | dict[int, Interval]:
    """``NE_diff`` of ``a`` relative to ``b`` in percent, with a percentile bootstrap interval clustered by user.

    A user's rows are alike, so users are resampled, not rows: each drawn with all of her rows and with both models'
    predictions for them. What is resampled is the ratio of two sums, hence only sums per user are needed. Where there
    are more than ``max_clusters`` users they are first pooled at random into that many clusters of (nearly) equally
    many users; the interval keeps its meaning, and with 4,096 clusters its width is known to about 1 %.

    Args:
        labels: (n,) zeros and ones.
        p_a: (n,) predictions of the one, or (runs, n): a row's loss is then the mean over the runs.
        p_b: (n,) or (runs, n) predictions of the baseline for the same rows.
        users: (n,) user of each row; any integers.
        groups: (n,) number of each row's group, -1 for none: an interval for each.
        samples: resamples of the users.
        confidence: level of the interval.
        seed: of the resampling and of the pooling.
        max_clusters: the most clusters that are resampled.

    Returns:
        One interval, or, with groups, group -> interval for every group with rows of at least two clusters.

    Raises:
        InputError: as :func:`row_losses`, fewer than two users, a setting outside its range.
    """
    if samples < 1 or max_clusters < 2:
        raise InputError(f"samples must be at least 1 and max_clusters at least 2, not {samples} and {max_clusters}")
    losses = [row_losses(labels, p) for p in (p_a, p_b)]
    losses = [loss.mean(axis=0) if loss.ndim == 2 else loss for loss in losses]
    n = len(losses[0])
    users = np.asarray(users)
    if users.shape != (n,):
        raise InputError(f"users has shape {users.shape}; give one user for each of {n} rows")
    places = np.zeros(n, np.int64) if groups is None else group_row(groups, n)
    number = int(places.max(initial=-1)) + 1
    clusters, size = _clusters(users, max_clusters, seed)
    if size < 2:
        raise InputError("an interval clustered by user needs at least two users")

    kept = places >= 0
    cells = clusters[kept] * number + places[kept]
    sums = [np.bincount(cells, weights=loss[kept], minlength=size * number) for loss in losses]
    present = np.bincount(cells, minlength=size * number).reshape(size, number) > 0
    table = np.concatenate([one.reshape(size, number) for one in sums], axis=1)  # a's groups, then b's
    totals = table.sum(axis=0)
    resampled = _resampled_sums(table, samples, seed)

    intervals = {}
    for group in np.flatnonzero(present.sum(axis=0) >= 2):
        a, b = resampled[:, group], resampled[:, number + group]
        drawn = b > 0  # a resample may miss a small group altogether
        ratio = 100 * (a[drawn] / b[drawn] - 1)
        estimate = 100 * (totals[group] / totals[number + group] - 1)
        intervals[int(group)] = percentile_interval(estimate, ratio, confidence)
    return intervals if groups is not None else intervals[0]


def rows_needed(effect: float, sd: float, power: float = 0.8, *, significance: float = 0.05) -> int:
    """How many rows a two-sided test needs to see an effect of this size.

    ``n = ((z_(1 - significance / 2) + z_power) * sd / effect)^2`` with normal quantiles z: what it takes for an
    estimate with standard error ``sd / sqrt(n)``.

    Args:
        effect: the true difference, for example ``NE_diff`` of -0.1 (percent).
        sd: standard deviation that one row contributes, in the unit of the effect; :func:`row_deviation` reads it off
            an interval.
        power: probability of seeing the effect.
        significance: level of the test.

    Raises:
        InputError: an effect of zero, a negative deviation, a probability outside (0, 1).
    """
    if effect == 0 or not math.isfinite(effect) or not (sd >= 0 and math.isfinite(sd)):
        raise InputError(f"rows_needed takes an effect other than zero and a deviation from 0, not {effect} and {sd}")
    for name, value in (("power", power), ("significance", significance)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, not {value}")
    quantiles = ndtri(1 - significance / 2) + ndtri(power)
    return max(1, math.ceil((quantiles * sd / effect) ** 2))


def row_deviation(interval: Interval, rows: int) -> float:
    """Standard deviation that one row contributes, read off an interval measured on ``rows`` rows.

    The interval's standard error times ``sqrt(rows)``; if it was clustered by user, so is what it says: the same rows
    per user are assumed for a larger log.

    Raises:
        InputError: fewer than one row.
    """
    if rows < 1:
        raise InputError(f"an interval is measured on at least one row, not {rows}")
    error = (interval.high - interval.low) / (2 * ndtri((1 + interval.confidence) / 2))
    return float(error * math.sqrt(rows))


def _clusters(users: NDArray, most: int, seed: int) -> tuple[NDArray[np.int64], int]:
    """Number the users from 0, pooled at random if there are more than ``most``; (cluster of each row, how many)."""
    distinct, clusters = np.unique(users, return_inverse=True)
    if len(distinct) <= most:
        return clusters.astype(np.int64), len(distinct)
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.permutation(np.arange(len(distinct)) % most)[clusters], most


def _resampled_sums(table: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Sums of the columns of (clusters, columns) over clusters drawn with replacement, (samples, columns)."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    size = len(table)
    sums = np.empty((samples, table.shape[1]))
    step = max(1, _CHUNK // size)
    for start in range(0, samples, step):
        some = min(step, samples - start)
        drawn = rng.integers(size, size=(some, size), dtype=np.int32)
        drawn += np.arange(some, dtype=np.int32)[:, None] * size
        weights = np.bincount(drawn.reshape(-1), minlength=some * size).reshape(some, size)
        sums[start : start + some] = weights.astype(float) @ table
    return sums


def _entropy(rate: float) -> float:
    return float(-xlogy(rate, rate) - xlogy(1 - rate, 1 - rate))
