"""Two arms of a click study, run by run: how much the normalized entropy differs, overall and per cohort.

Two uncertainties are told apart. Over *runs*: pairs of equal seeds (and equal worlds) share initial parameters,
batches and test rows, so their differences are averaged with a t interval. Over *users*: with the runs at hand, what
would other users have shown? That is a bootstrap clustered by user (book: Does it help?).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dslstudy.errors import InputError
from dslstudy.metrics.normalized_entropy import ne_diff, paired_ne_bootstrap, row_deviation, rows_needed, value_buckets
from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.study.click_rows import COHORTS, RowPredictions, rows_of
from dslstudy.study.store import Record

#: resamples of the users; enough for the ends of a 95 % interval to two digits
SAMPLES = 2000


@dataclass(frozen=True)
class ClickComparison:
    """How an arm differs from its baseline. Keys are ``overall``, ``head`` and ``tail``; negative is better.

    Attributes:
        per_run: ``NE_diff`` in percent of each pair of runs, (runs,).
        over_runs: mean of these with its t interval; empty with a single pair.
        over_users: ``NE_diff`` of the mean loss over runs, with an interval clustered by user.
        rows: test rows, those of all worlds together.
        extra_time: training time of the arm over the baseline's, less one.
    """

    per_run: Mapping[str, NDArray[np.float64]]
    over_runs: Mapping[str, Interval]
    over_users: Mapping[str, Interval]
    rows: Mapping[str, int]
    extra_time: float

    def rows_to_see(self, scope: str = "overall", *, power: float = 0.8) -> int:
        """Test rows at which the users' interval would leave zero with this probability, if the estimate were true.

        Args:
            scope: ``overall``, ``head`` or ``tail``.
            power: that probability.

        Raises:
            InputError: the estimate is exactly zero.
        """
        interval = self.over_users[scope]
        return rows_needed(interval.estimate, row_deviation(interval, self.rows[scope]), power)


@dataclass(frozen=True)
class BucketDifference:
    """``NE_diff`` of the rows whose statistic lies between two values.

    Attributes:
        low: smallest value.
        high: largest value.
        rows: how many rows.
        difference: in percent, with an interval clustered by user.
    """

    low: float
    high: float
    rows: int
    difference: Interval


def compare_clicks(
    arm: Sequence[Record],
    baseline: Sequence[Record],
    *,
    cohorts: Sequence[Record] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> ClickComparison:
    """Compare two arms of paired runs.

    Args:
        arm: records of the one.
        baseline: records of the other, in the same order of seeds and worlds.
        cohorts: records whose head and tail the differences are taken on; the arm's own by default. An arm with a
            random pair is measured on the real one.
        samples: resamples of the users.
        seed: of the bootstrap.

    Raises:
        InputError: no records, records of different seeds or data, or worlds with different numbers of runs.
    """
    pairs = _paired(arm, baseline)
    sides = [rows_of(record).side for record in (cohorts or arm)]
    if len(sides) != len(pairs):
        raise InputError(f"cohorts are given by {len(sides)} records for {len(pairs)} pairs; give one for each")
    known = all(side is not None for side in sides)
    masks: dict[str, list[NDArray]] = {"overall": [np.ones(len(one.labels), bool) for one, _ in pairs]}
    if known:
        masks |= {name: [side == number for side in sides] for name, number in COHORTS.items()}
    per_run = {
        scope: np.array([_ne_diff(one, other, mask) for (one, other), mask in zip(pairs, chosen, strict=True)])
        for scope, chosen in masks.items()
    }
    overall = _over_users(arm, pairs, None, samples, seed)
    over_users = {"overall": overall[0]}
    if known:
        places = [np.where(side == 0, -1, (side < 0).astype(int)) for side in sides]
        groups = _over_users(arm, pairs, places, samples, seed)
        over_users |= {name: groups[place] for place, name in enumerate(COHORTS) if place in groups}
    worlds = {record.data["fingerprint"]: place for place, record in enumerate(arm)}
    return ClickComparison(
        per_run=per_run,
        over_runs={scope: mean_interval(values) for scope, values in per_run.items()} if len(pairs) > 1 else {},
        over_users=over_users,
        rows={scope: int(sum(chosen[place].sum() for place in worlds.values())) for scope, chosen in masks.items()},
        extra_time=_seconds(arm) / _seconds(baseline) - 1,
    )


def compare_by_bucket(
    arm: Sequence[Record],
    baseline: Sequence[Record],
    values: NDArray,
    *,
    buckets: int = 20,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[BucketDifference]:
    """``NE_diff`` by buckets of a statistic of the test rows, such as the activity of the row's user.

    Args:
        arm: records of the one.
        baseline: records of the other, in the same order of seeds, all of one split.
        values: (n,) the statistic of each test row; NaN for none.
        buckets: how many; 20 make five-percentile buckets. Equal values share one.
        samples: resamples of the users.
        seed: of the bootstrap.

    Raises:
        InputError: records of different seeds or data, or values of another length.
    """
    pairs = _paired(arm, baseline)
    if len({record.data["fingerprint"] for record in arm}) > 1:
        raise InputError("these records are of several worlds, whose rows have no statistic in common")
    values = np.asarray(values, float)
    rows = len(pairs[0][0].labels)
    if values.shape != (rows,):
        raise InputError(f"the statistic has shape {values.shape}; give one value for each of {rows} rows")
    bucket = value_buckets(values, buckets)
    found = _over_users(arm, pairs, [bucket] * len(pairs), samples, seed)
    differences = []
    for number, interval in found.items():
        of_bucket = values[bucket == number]
        differences.append(BucketDifference(float(of_bucket.min()), float(of_bucket.max()), len(of_bucket), interval))
    return differences


def paired_metric(arm: Sequence[Record], baseline: Sequence[Record], metric: str) -> Interval:
    """Difference in a test metric, arm less baseline, with its t interval over pairs of runs.

    Args:
        arm: records of the one.
        baseline: records of the other, in the same order of seeds and worlds.
        metric: e.g. ``auc`` or ``ece``.

    Raises:
        InputError: fewer than two pairs, records of different seeds or data, or a metric they do not have.
    """
    return _paired_difference(arm, baseline, lambda record: record.test.get(metric), metric)


def paired_measure(arm: Sequence[Record], baseline: Sequence[Record], measure: str) -> Interval:
    """The same for what is measured on the trained model, e.g. ``attention 1 effective_rank``."""
    return _paired_difference(arm, baseline, lambda record: record.model.get(measure), measure)


def _paired_difference(
    arm: Sequence[Record], baseline: Sequence[Record], read: Callable[[Record], float | None], name: str
) -> Interval:
    _check_paired(arm, baseline)
    values = [[read(record) for record in records] for records in (arm, baseline)]
    if any(value is None for one in values for value in one):
        there = ", ".join([*arm[0].test, *arm[0].model])
        raise InputError(f"not all of these records have {name!r}; the first has {there}")
    return mean_interval(np.subtract(*values))


def _paired(arm: Sequence[Record], baseline: Sequence[Record]) -> list[tuple[RowPredictions, RowPredictions]]:
    _check_paired(arm, baseline)
    return [(rows_of(one), rows_of(other)) for one, other in zip(arm, baseline, strict=True)]


def _check_paired(arm: Sequence[Record], baseline: Sequence[Record]) -> None:
    if not arm or len(arm) != len(baseline):
        raise InputError(f"a paired comparison needs as many runs on both sides, not {len(arm)} and {len(baseline)}")
    for one, other in zip(arm, baseline, strict=True):
        if one.config.seed != other.config.seed or one.data["fingerprint"] != other.data["fingerprint"]:
            raise InputError(f"{one.config.title} and {other.config.title} are no pair: seed and data must be the same")


def _ne_diff(one: RowPredictions, other: RowPredictions, mask: NDArray) -> float:
    if not mask.any():
        return float("nan")
    return ne_diff(one.labels[mask], one.probabilities[mask], other.probabilities[mask])


def _over_users(
    arm: Sequence[Record],
    pairs: Sequence[tuple[RowPredictions, RowPredictions]],
    groups: Sequence[NDArray] | None,
    samples: int,
    seed: int,
) -> dict[int, Interval]:
    """Bootstrap over users by group; the rows of several worlds stand one after another, their users apart."""
    worlds: dict[str, list[int]] = {}
    for place, record in enumerate(arm):
        worlds.setdefault(record.data["fingerprint"], []).append(place)
    if len({len(places) for places in worlds.values()}) > 1:
        raise InputError("every world needs the same number of runs; leave some out or add some")
    offset, users = 0, []
    for places in worlds.values():
        of_world = pairs[places[0]][0].users
        users.append(of_world + offset)
        offset += int(of_world.max()) + 1

    def joined(column: Callable[[int], NDArray]) -> NDArray:
        """(runs, rows of all worlds)."""
        return np.concatenate([np.stack([column(place) for place in places]) for places in worlds.values()], axis=1)

    all_groups = None if groups is None else joined(lambda place: groups[place])[0]
    found = paired_ne_bootstrap(
        joined(lambda place: pairs[place][0].labels)[0],
        joined(lambda place: pairs[place][0].probabilities),
        joined(lambda place: pairs[place][1].probabilities),
        np.concatenate(users),
        all_groups,
        samples=samples,
        seed=seed,
    )
    return found if isinstance(found, dict) else {0: found}


def _seconds(records: Sequence[Record]) -> float:
    return sum(record.cost["seconds"] for record in records)
