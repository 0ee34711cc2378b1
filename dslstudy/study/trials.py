"""What the trials of a search say together: how fast it got where, and what luck had to do with it.

The order of trials is partly chance. Of a set of trials the best of m drawn without replacement has a distribution that
can be written down, so no resampling is needed (book: Protocol and search).
"""

from collections.abc import Sequence
from itertools import accumulate
from math import comb, inf, isfinite

from dslstudy.metrics.significance import Interval
from dslstudy.study.search import Trial


def best_so_far(values: Sequence[float]) -> list[float]:
    """The best of the first 1, 2, ... values, shape (n,)."""
    return [max(values[: count + 1]) for count in range(len(values))]


def best_of_some(values: Sequence[float], count: int, *, confidence: float = 0.9) -> Interval:
    """The best of ``count`` of the values, each set of so many as likely as any other: mean and quantiles, exactly.

    Args:
        values: (n,) one for each trial; minus infinity where it diverged.
        count: how many are drawn without replacement, from 1 to n.
        confidence: share of the sets between ``low`` and ``high``.
    """
    ordered = sorted(values)
    sets = comb(len(ordered), count)
    # the best is the k-th smallest where the others are among the k - 1 below it
    shares = [comb(place, count - 1) / sets for place in range(len(ordered))]
    tail = (1 - confidence) / 2
    reached = list(accumulate(shares))
    low = next(value for value, upto in zip(ordered, reached, strict=True) if upto >= tail - 1e-12)
    high = next(value for value, upto in zip(ordered, reached, strict=True) if upto >= 1 - tail - 1e-12)
    drawn = [(share, value) for share, value in zip(shares, ordered, strict=True) if share > 0]
    mean = sum(share * value for share, value in drawn) if all(isfinite(value) for _, value in drawn) else -inf
    return Interval(mean, low, high, None, confidence)


def trials_needed(values: Sequence[float], target: float) -> tuple[int | None, float | None]:
    """After how many trials a value above the target is found.

    Args:
        values: (n,) one for each trial, in their order.
        target: to be exceeded.

    Returns:
        In the order of the trials, and on average over all orders, which is ``(n + 1) / (k + 1)`` if k of n values
        exceed the target; both ``None`` if none does.
    """
    above = [value > target for value in values]
    if not any(above):
        return None, None
    return above.index(True) + 1, (len(values) + 1) / (sum(above) + 1)


def turned_alone(trials: Sequence[Trial], name: str) -> list[float | int]:
    """Which values of one setting a search tried with everything else as at its start, ascending.

    Args:
        trials: of one search, in their order.
        name: the setting.

    Returns:
        The values, that of the start not among them.
    """
    start, *later = (trial.parameters for trial in trials)
    alike = [tried for tried in later if {**tried, name: start[name]} == dict(start)]
    return sorted({tried[name] for tried in alike} - {start[name]})


def validations(trials: Sequence[Trial]) -> list[float]:
    """Best validation NDCG@20 of each trial, in their order."""
    return [trial.value for trial in trials]
