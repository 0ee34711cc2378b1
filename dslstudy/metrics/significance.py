"""How sure a difference is: paired bootstrap over users, t intervals over seeds, Holm for families of claims.

Two losses are compared on the same users, so what is resampled is a user with both of her values (book: From BPR to
the softmax loss). Seeds are few and their means nearly normal, hence Student's t there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from dslstudy.errors import InputError

#: how sure a difference must be, after correction for its family, to be called one
LEVEL = 0.05
# Resampled values in flight: few enough to stay in a processor's cache.
_CHUNK = 100_000
_MOST_FLIPPED = 20


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        estimate: the value on the data at hand.
        low: lower end.
        high: upper end.
        p_value: two-sided, for the hypothesis that the true value is zero; ``None`` where none was computed.
        confidence: the level of the interval.
    """

    estimate: float
    low: float
    high: float
    p_value: float | None = None
    confidence: float = 0.95

    @property
    def reach(self) -> list[list[float]]:
        """How far the ends are from the estimate, shape (2, 1), as ``errorbar`` wants it."""
        return [[self.estimate - self.low], [self.high - self.estimate]]

    def scaled(self, factor: float) -> "Interval":
        """The same of a quantity that is ``factor`` times as large, 100 for percent.

        Args:
            factor: above zero, so that the ends stay in order and the p-value what it is.

        Raises:
            InputError: a factor that is not above zero.
        """
        if not factor > 0:
            raise InputError(f"an interval can be scaled by what is above zero, not by {factor}")
        low, middle, high = (factor * value for value in (self.low, self.estimate, self.high))
        return replace(self, estimate=middle, low=low, high=high)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    relative: bool = False,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Difference of two means over the same users, ``mean(a) - mean(b)``, with a percentile bootstrap interval.

    The p-value is the one the interval inverts (Efron & Tibshirani, 1993, chapter 15): twice the smaller share of
    resamples on either side of zero, counting the data themselves as one resample, so it never is zero.

    Args:
        a: (n,) values per user of the one.
        b: (n,) values of the other, in the same order of users.
        relative: report ``mean(a) / mean(b) - 1`` instead.
        samples: resamples of the users.
        confidence: level of the interval.
        seed: of the resampling.

    Raises:
        InputError: lengths differ, fewer than two users, values that are not finite, or a relative difference to zero.
    """
    a, b = _values(a, "a", least=2), _values(b, "b", least=2)
    if len(a) != len(b):
        raise InputError(f"a has {len(a)} users and b has {len(b)}; a paired comparison needs the same users in both")
    _check_confidence(confidence)
    if samples < 1:
        raise InputError(f"samples must be at least 1, not {samples}")

    difference = a - b
    base = b.mean()
    means = _resampled_means(np.stack([difference, b]) if relative else difference[None], samples, seed)
    estimate, resampled = difference.mean(), means[0]
    if relative:
        if base == 0 or (means[1] == 0).any():
            raise InputError("a relative difference needs a baseline above zero; compare absolute values instead")
        estimate, resampled = estimate / base, resampled / means[1]

    return percentile_interval(estimate, resampled, confidence)


def percentile_interval(estimate: float, resampled: np.ndarray, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval, and the p-value of zero that it inverts.

    Args:
        estimate: the value on the data at hand.
        resampled: (samples,) the value on each resample.
        confidence: level of the interval.

    Raises:
        InputError: a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    beyond = min((resampled <= 0).sum(), (resampled >= 0).sum())
    p_value = min(1.0, 2 * (1 + beyond) / (1 + len(resampled)))
    return Interval(float(estimate), float(low), float(high), float(p_value), confidence)


def sign_flip_p_value(differences: ArrayLike) -> float:
    """Exact two-sided p-value of a mean of zero: every sign of every difference, each as likely as the other.

    Args:
        differences: (n,) paired differences, at most 20 of them (2^n sign patterns are gone through).

    Raises:
        InputError: more than 20 values, or values that are not finite.
    """
    values = np.asarray(differences, dtype=float)
    if values.size < 2 or not values.any():
        return 1.0
    values = _values(values, "differences", least=1)
    if len(values) > _MOST_FLIPPED:
        raise InputError(f"{len(values)} differences have too many sign patterns; use the paired bootstrap")
    from scipy.stats import permutation_test

    return float(permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue)


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean over seeds with its Student t interval.

    Args:
        values: (n,) one value per seed.
        confidence: level of the interval.

    Raises:
        InputError: fewer than two values, or values that are not finite.
    """
    values = _values(values, "values", least=2)
    _check_confidence(confidence)
    mean = values.mean()
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(mean), float(mean - half), float(mean + half), None, confidence)


def prediction_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean over seeds with the interval in which one more seed would lie, by Student's t.

    A value that somebody else's single run gave is compared with this, not with the interval of our mean.

    Args:
        values: (n,) one value per seed.
        confidence: level of the interval.

    Raises:
        InputError: fewer than two values, or values that are not finite.
    """
    mean = mean_interval(values, confidence)
    half = (mean.high - mean.estimate) * math.sqrt(1 + np.size(values))
    return replace(mean, low=mean.estimate - half, high=mean.estimate + half)


def holm(p_values: Mapping[str, float] | ArrayLike) -> dict[str, float] | np.ndarray:
    """Holm's (1979) adjusted p-values: compare them with the level you want for the whole family.

    Args:
        p_values: name -> p-value, or an array (m,).

    Returns:
        The same names or order, adjusted.

    Raises:
        InputError: a p-value outside [0, 1].
    """
    if isinstance(p_values, Mapping):
        adjusted = holm(np.fromiter(p_values.values(), float, len(p_values)))
        return dict(zip(p_values, adjusted.tolist(), strict=True))
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values must be numbers from 0 to 1 in one row, not {p}")
    order = p.argsort(kind="stable")
    # the smallest is multiplied by m, the next by m - 1, ...; none may fall below a smaller one's
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _resampled_means(columns: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means (columns, samples) over users drawn with replacement, the same users for every column (c, n)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    users = columns.shape[1]
    means = np.empty((len(columns), samples))
    size = max(1, _CHUNK // users)
    for start in range(0, samples, size):
        drawn = rng.integers(users, size=(min(size, samples - start), users), dtype=np.int32)
        for column, values in enumerate(columns):
            means[column, start : start + size] = values.take(drawn).mean(axis=1)
    return means


def _values(values: ArrayLike, name: str, *, least: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < least:
        raise InputError(f"{name} has shape {values.shape}; give one row of at least {least} values")
    if not np.isfinite(values).all():
        raise InputError(f"{name}[{int(np.isfinite(values).argmin())}] is not a finite number")
    return values


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
