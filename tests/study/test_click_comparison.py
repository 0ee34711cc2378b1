"""Paired comparisons against sums written out by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from dslstudy.errors import InputError
from dslstudy.study import ClickRunConfig, Record, RunStore
from dslstudy.study.click_comparison import compare_by_bucket, compare_clicks, paired_measure, paired_metric
from dslstudy.study.click_rows import keep_rows, kept_arrays, rows_of

ROWS, USERS = 400, 40


@pytest.fixture
def make_record(tmp_path):
    """A stored record with given predictions; rows and labels are those of its ``world``."""
    store = RunStore(tmp_path)

    def make(probabilities, *, method="plain", seed=0, world=0, seconds=1.0, **measured) -> Record:
        labels, users, side = rows_of_world(world)
        config = ClickRunConfig(
            dataset="synthetic-clicks",
            dataset_parameters={"world_seed": world},
            axis="cohort",
            pair="labels",
            head="head",
            tail="tail",
            method=method,
            seed=seed,
        )
        fingerprint = f"world{world}"
        record = Record(
            config=config,
            data={"fingerprint": fingerprint},
            code={"fingerprint": "any"},
            environment={},
            cost={"seconds": seconds},
            selection={"best_epoch": 1, "epochs": 1},
            history=[],
            validation={"ne": 0.9},
            test={"ne": 0.9, "auc": 0.7 + 0.01 * seed},
            model=measured,
            finished="2026-01-01T00:00:00+00:00",
        )
        keep_rows(store.path(config).parent, fingerprint, labels, users)
        return store.put(record, kept_arrays(probabilities, side if config.axis else None))

    return make


def rows_of_world(world):
    rng = np.random.default_rng(world)
    return rng.integers(0, 2, ROWS), rng.integers(0, USERS, ROWS), rng.integers(-1, 2, ROWS).astype(np.int8)


def noisy(world, seed, gain=0.0):
    """Predictions that lean towards the label, a little more with a gain."""
    labels, _, _ = rows_of_world(world)
    rng = np.random.default_rng([world, seed])
    logits = rng.normal(size=ROWS) + (0.5 + gain) * (2 * labels - 1)
    return 1 / (1 + np.exp(-logits))


def loss(labels, p):
    return -np.mean(np.where(labels == 1, np.log(p), np.log(1 - p)))


def test_differences_are_those_of_the_losses(make_record):
    arm = [make_record(noisy(0, seed, 0.3), method="c2al", seed=seed, seconds=3) for seed in range(4)]
    base = [make_record(noisy(0, seed), seed=seed, seconds=2) for seed in range(4)]
    found = compare_clicks(arm, base, samples=200)
    labels, _, side = rows_of_world(0)
    masks = {"overall": np.ones(ROWS, bool), "head": side == 1, "tail": side == -1}
    for scope, mask in masks.items():
        losses = [
            [loss(labels[mask], rows_of(record).probabilities[mask]) for record in records] for records in (arm, base)
        ]
        by_hand = 100 * (np.divide(*losses) - 1)
        assert found.per_run[scope] == pytest.approx(by_hand)
        half = stats.sem(by_hand) * stats.t.ppf(0.975, 3)
        assert (found.over_runs[scope].low, found.over_runs[scope].high) == pytest.approx(
            (by_hand.mean() - half, by_hand.mean() + half)
        )
        pooled = 100 * (np.mean(losses[0]) / np.mean(losses[1]) - 1)
        assert found.over_users[scope].estimate == pytest.approx(pooled)
        assert found.over_users[scope].high < 0  # a clear gain
        assert found.rows[scope] == mask.sum()
    assert found.extra_time == pytest.approx(0.5)
    assert found.rows_to_see() < ROWS


def test_no_difference_is_exactly_zero_and_cannot_be_planned_for(make_record):
    arm, base = ([make_record(noisy(0, 1), method=method, seed=1)] for method in ("c2al", "plain"))
    found = compare_clicks(arm, base, samples=50)
    assert found.per_run["tail"] == [0]
    assert found.over_runs == {}
    assert (found.over_users["head"].low, found.over_users["head"].high) == (0, 0)
    with pytest.raises(InputError, match="effect other than zero"):
        found.rows_to_see()


def test_worlds_stand_side_by_side(make_record):
    places = [(world, seed) for world in range(3) for seed in range(2)]
    arm = [make_record(noisy(world, seed, 0.2), method="c2al", seed=seed, world=world) for world, seed in places]
    base = [make_record(noisy(world, seed), seed=seed, world=world) for world, seed in places]
    found = compare_clicks(arm, base, samples=100)
    assert len(found.per_run["overall"]) == 6
    assert found.rows["overall"] == 3 * ROWS
    sums = [sum(loss(rows_of_world(world)[0], noisy(world, seed, gain)) for world, seed in places) for gain in (0.2, 0)]
    assert found.over_users["overall"].estimate == pytest.approx(100 * (sums[0] / sums[1] - 1), abs=5e-3)
    with pytest.raises(InputError, match="same number of runs"):
        compare_clicks(arm[:-1], base[:-1])
    with pytest.raises(InputError, match="several worlds"):
        compare_by_bucket(arm, base, np.arange(ROWS))


def test_cohorts_may_be_those_of_another_arm(make_record):
    base = [make_record(noisy(0, seed), seed=seed) for seed in range(2)]
    other = [make_record(noisy(0, seed, 0.1), seed=seed, method="plain") for seed in range(2)]
    real = [make_record(noisy(0, seed), method="c2al", seed=seed) for seed in range(2)]
    assert set(compare_clicks(other, base, samples=50).per_run) == {"overall"}
    assert set(compare_clicks(other, base, cohorts=real, samples=50).per_run) == {"overall", "head", "tail"}
    with pytest.raises(InputError, match="given by 1 records for 2 pairs"):
        compare_clicks(other, base, cohorts=real[:1])


def test_buckets_hold_their_rows(make_record):
    labels, _, _ = rows_of_world(0)
    values = np.random.default_rng(5).normal(size=ROWS)
    values[:40] = np.nan
    arm, base = [make_record(noisy(0, 0, 0.3), method="c2al")], [make_record(noisy(0, 0))]
    found = compare_by_bucket(arm, base, values, buckets=4, samples=100)
    assert [each.rows for each in found] == [90] * 4
    assert all(one.high < other.low for one, other in pairwise(found))
    first = (values >= found[0].low) & (values <= found[0].high)
    by_hand = 100 * (loss(labels[first], noisy(0, 0, 0.3)[first]) / loss(labels[first], noisy(0, 0)[first]) - 1)
    assert found[0].difference.estimate == pytest.approx(by_hand, abs=5e-3)
    with pytest.raises(InputError, match="one value for each of 400 rows"):
        compare_by_bucket(arm, base, values[:-1])


def test_metrics_and_measures_are_paired(make_record):
    arm = [make_record(noisy(0, s), method="c2al", seed=s, rank=2.0 + s) for s in range(3)]
    base = [make_record(noisy(0, s), seed=s, rank=1.0) for s in range(3)]
    assert paired_metric(arm, base, "auc").estimate == pytest.approx(0)
    interval = paired_measure(arm, base, "rank")
    assert interval.estimate == pytest.approx(2)
    assert interval.high - 2 == pytest.approx(stats.sem([1, 2, 3]) * stats.t.ppf(0.975, 2))
    with pytest.raises(InputError, match="not all of these records have 'gini'"):
        paired_metric(arm, base, "gini")


def test_what_is_no_pair_is_refused(make_record):
    one, other = make_record(noisy(0, 0), method="c2al"), make_record(noisy(0, 1), seed=1)
    with pytest.raises(InputError, match="are no pair"):
        compare_clicks([one], [other])
    with pytest.raises(InputError, match="as many runs on both sides, not 0 and 0"):
        compare_clicks([], [])
    with pytest.raises(InputError, match="are no pair"):
        compare_clicks([one], [replace(one, data={"fingerprint": "other"})])
