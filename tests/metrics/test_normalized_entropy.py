import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.errors import InputError
from dslstudy.metrics.normalized_entropy import (
    EPSILON,
    auc,
    log_loss,
    ne_by_bucket,
    ne_by_group,
    ne_diff,
    normalized_entropy,
    paired_ne_bootstrap,
    row_deviation,
    row_losses,
    rows_needed,
    value_buckets,
)
from dslstudy.metrics.significance import Interval

LABELS = st.lists(st.integers(0, 1), min_size=2, max_size=30).filter(lambda y: 0 < sum(y) < len(y))


@st.composite
def predictions(draw, runs=1):
    labels = draw(LABELS)
    rows = st.lists(st.floats(0, 1), min_size=len(labels), max_size=len(labels))
    return (labels, *(draw(rows) for _ in range(runs)))


def loop_loss(labels, p):
    total = 0.0
    for y, q in zip(labels, p, strict=True):
        q = min(max(q, EPSILON), 1 - EPSILON)
        total -= math.log(q) if y else math.log(1 - q)
    return total / len(labels)


def loop_entropy(labels):
    rate = sum(labels) / len(labels)
    return -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)


def clicks(rows, users, seed, *, spread=0.0):
    """Labels and two models' predictions, the second one noisier; users have rows, and errors of their own."""
    rng = np.random.default_rng(seed)
    user = rng.integers(users, size=rows)
    p = rng.beta(1, 4, rows)
    own = spread * rng.standard_normal(users)[user]
    labels = (rng.random(rows) < p).astype(int)
    return labels, p, np.clip(p + own + 0.03 * rng.standard_normal(rows), 0.001, 0.999), user


@given(predictions(runs=2))
def test_entropies_are_what_loops_say(case):
    labels, p, q = case
    assert log_loss(labels, p) == pytest.approx(loop_loss(labels, p), rel=1e-9)
    assert normalized_entropy(labels, p) == pytest.approx(loop_loss(labels, p) / loop_entropy(labels), rel=1e-9)
    expected = 100 * (normalized_entropy(labels, p) / normalized_entropy(labels, q) - 1)
    assert ne_diff(labels, p, q) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(LABELS)
def test_the_base_rate_scores_one_and_nothing_constant_scores_less(labels):
    rate = sum(labels) / len(labels)
    assert normalized_entropy(labels, [rate] * len(labels)) == pytest.approx(1)
    assert normalized_entropy(labels, [0.3] * len(labels)) >= 1 - 1e-12
    assert normalized_entropy(labels, labels) == pytest.approx(0, abs=1e-5)


def test_float32_certainty_that_is_wrong_costs_much_but_not_everything():
    assert log_loss([0], np.float32([1])) == pytest.approx(-math.log(EPSILON), rel=1e-6)


@given(LABELS.flatmap(lambda y: st.tuples(st.just(y), st.lists(st.integers(0, 5), min_size=len(y), max_size=len(y)))))
def test_auc_counts_pairs(case):
    labels, scores = case
    pairs = [
        1.0 if s > t else 0.5 if s == t else 0.0
        for (y, s), (z, t) in itertools.product(zip(labels, scores, strict=True), repeat=2)
        if y == 1 and z == 0
    ]
    assert auc(labels, scores) == pytest.approx(sum(pairs) / len(pairs))
    statistic = stats.mannwhitneyu(
        [s for y, s in zip(labels, scores, strict=True) if y], [s for y, s in zip(labels, scores, strict=True) if not y]
    ).statistic
    assert auc(labels, scores) == pytest.approx(statistic / len(pairs))


@given(predictions(), st.data())
def test_groups_are_measured_against_their_own_base_rate(case, data):
    labels, p = case
    groups = data.draw(st.lists(st.integers(-1, 3), min_size=len(labels), max_size=len(labels)))
    found = {one.group: one for one in ne_by_group(labels, p, groups)}
    assert set(found) == set(groups) - {-1}
    for group, one in found.items():
        rows = [row for row, g in enumerate(groups) if g == group]
        mine, predicted = [labels[r] for r in rows], [p[r] for r in rows]
        assert one.rows == len(rows)
        assert one.base_rate == pytest.approx(sum(mine) / len(mine))
        if 0 < sum(mine) < len(mine):
            assert one.value == pytest.approx(loop_loss(mine, predicted) / loop_entropy(mine), rel=1e-9)
        else:
            assert math.isnan(one.value)


@given(st.lists(st.one_of(st.integers(0, 6), st.just(math.nan)), min_size=1, max_size=40), st.integers(1, 6))
def test_buckets_are_ordered_ties_together_and_no_fuller_than_ties_force(values, buckets):
    bucket = value_buckets(values, buckets)
    numbers = sorted({value for value in values if not math.isnan(value)})
    place = {}
    for value, b in zip(values, bucket, strict=True):
        if math.isnan(value):
            assert b == -1
        else:
            assert place.setdefault(value, b) == b
            assert 0 <= b < buckets
    assert [place[value] for value in numbers] == sorted(place.values())


def test_twenty_buckets_of_distinct_values_hold_five_percent_each():
    rng = np.random.default_rng(0)
    labels, p, _, _ = clicks(2000, 5, 1)
    values = rng.permutation(2000) / 7
    found = ne_by_bucket(labels, p, values)
    assert [one.rows for one in found] == [100] * 20
    order = np.argsort(values)
    for number, one in enumerate(found):
        rows = order[100 * number : 100 * number + 100]
        assert (one.low, one.high) == (values[rows[0]], values[rows[-1]])
        assert one.value == pytest.approx(normalized_entropy(labels[rows], p[rows]))
    assert ne_by_bucket(labels, p, np.full(2000, math.nan)) == []


def test_interval_equals_the_distribution_over_all_resamples_of_users():
    labels = np.array([1, 0, 0, 1, 0, 1, 0])
    a = np.array([0.6, 0.3, 0.2, 0.4, 0.5, 0.7, 0.1])
    b = np.array([0.5, 0.3, 0.4, 0.5, 0.2, 0.6, 0.3])
    users = np.array([7, 7, 3, 3, 3, 9, 5])
    groups = np.array([0, 1, 1, 0, -1, 1, 1])
    losses = [row_losses(labels, p) for p in (a, b)]
    by_user = [np.flatnonzero(users == user) for user in (3, 5, 7, 9)]

    def everything(chosen):
        values = []
        for drawn in itertools.product(by_user, repeat=4):
            rows = [row for part in drawn for row in part if chosen[row]]
            if rows:
                values.append(100 * (sum(losses[0][rows]) / sum(losses[1][rows]) - 1))
        return np.array(values)

    whole = paired_ne_bootstrap(labels, a, b, users, samples=200_000, confidence=0.8)
    parts = paired_ne_bootstrap(labels, a, b, users, groups, samples=200_000, confidence=0.8)
    assert set(parts) == {0, 1}
    for found, chosen in ((whole, groups >= -1), (parts[0], groups == 0), (parts[1], groups == 1)):
        values = everything(chosen)
        assert found.estimate == pytest.approx(ne_diff(labels[chosen], a[chosen], b[chosen]))
        # shares, not values: quantiles of few distinct values jump
        assert (values <= found.low + 1e-9).mean() >= 0.1 - 0.01
        assert (values < found.low - 1e-9).mean() <= 0.1 + 0.01
        assert (values <= found.high + 1e-9).mean() >= 0.9 - 0.01
        assert (values < found.high - 1e-9).mean() <= 0.9 + 0.01
        exact = 2 * min((values <= 1e-9).mean(), (values >= -1e-9).mean())
        assert found.p_value == pytest.approx(min(1, exact), abs=0.01)


def test_interval_agrees_with_scipy_where_each_row_is_a_user():
    labels, a, b, _ = clicks(500, 500, 3)
    users = np.arange(500)
    ours = paired_ne_bootstrap(labels, a, b, users, samples=20_000)
    theirs = stats.bootstrap(
        (row_losses(labels, a), row_losses(labels, b)),
        lambda x, y, axis: 100 * (x.mean(axis) / y.mean(axis) - 1),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        batch=2000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.04 * width
    assert abs(ours.high - theirs.high) < 0.04 * width


def test_rows_of_one_user_are_not_independent():
    labels, a, b, users = clicks(6000, 40, 4, spread=0.1)
    clustered = paired_ne_bootstrap(labels, a, b, users, samples=2000)
    by_row = paired_ne_bootstrap(labels, a, b, np.arange(6000), samples=2000)
    assert clustered.high - clustered.low > 1.5 * (by_row.high - by_row.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered, repeats = 0, 200
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        users = np.repeat(np.arange(150), 4)
        better = np.repeat(rng.random(150) < 0.5, 4)  # the two models are equally good, each for half of the users
        labels = (rng.random(600) < 0.3).astype(int)
        a, b = np.where(better, 0.3, 0.4), np.where(better, 0.4, 0.3)
        found = paired_ne_bootstrap(labels, a, b, users, samples=500, confidence=0.9, seed=seed)
        covered += found.low <= 0 <= found.high
    assert 0.83 < covered / repeats < 0.96  # about three standard errors around 0.9


def test_pooling_users_into_clusters_keeps_the_width():
    labels, a, b, users = clicks(30_000, 3000, 5, spread=0.05)
    every = paired_ne_bootstrap(labels, a, b, users, samples=2000)
    pooled = [paired_ne_bootstrap(labels, a, b, users, samples=2000, seed=s, max_clusters=300) for s in range(5)]
    assert [one.estimate for one in pooled] == pytest.approx([every.estimate] * 5)
    widths = [one.high - one.low for one in pooled]
    assert np.mean(widths) == pytest.approx(every.high - every.low, rel=0.1)


def test_several_runs_are_averaged_row_by_row():
    labels, a, b, users = clicks(400, 30, 6)
    runs = np.stack([a, np.clip(a + 0.05, 0, 1), b])
    found = paired_ne_bootstrap(labels, runs, np.stack([b, b, b]), users, samples=300)
    mean = np.mean([log_loss(labels, run) for run in runs])
    assert found.estimate == pytest.approx(100 * (mean / log_loss(labels, b) - 1))
    same = paired_ne_bootstrap(labels, a, b, users, samples=300)
    assert paired_ne_bootstrap(labels, np.stack([a, a]), b, users, samples=300) == same


def test_the_same_seed_gives_the_same_interval_however_it_is_chunked(monkeypatch):
    labels, a, b, users = clicks(400, 30, 7)
    whole = paired_ne_bootstrap(labels, a, b, users, samples=400, seed=3)
    assert paired_ne_bootstrap(labels, a, b, users, samples=400, seed=4) != whole
    monkeypatch.setattr("dslstudy.metrics.normalized_entropy._CHUNK", 30 * 7)
    again = paired_ne_bootstrap(labels, a, b, users, samples=400, seed=3)
    assert (again.low, again.high, again.p_value) == pytest.approx((whole.low, whole.high, whole.p_value))


def test_a_large_log_takes_no_time():
    labels, a, b, _ = clicks(200_000, 10, 8)
    users = np.random.default_rng(0).integers(100_000, size=200_000)
    begun = time.perf_counter()
    paired_ne_bootstrap(labels, a, b, users, np.arange(200_000) % 20)
    assert time.perf_counter() - begun < 20  # one second on an idle core


def test_rows_needed_gives_the_power_it_promises():
    effect, sd = -0.3, 4.0
    rows = rows_needed(effect, sd, 0.8)
    rng = np.random.default_rng(0)
    means = effect + sd / math.sqrt(rows) * rng.standard_normal(20_000)
    seen = (np.abs(means) * math.sqrt(rows) / sd > stats.norm.ppf(0.975)).mean()
    assert seen == pytest.approx(0.8, abs=0.015)
    assert rows_needed(effect / 2, sd) == pytest.approx(4 * rows, rel=0.001)
    assert rows_needed(effect, sd, significance=0.01) > rows
    assert rows_needed(1.0, 0.0) == 1


def test_the_deviation_of_a_row_is_read_off_the_interval():
    labels, a, b, _ = clicks(4000, 4000, 9)
    interval = paired_ne_bootstrap(labels, a, b, np.arange(4000), samples=4000)
    first, second = row_losses(labels, a), row_losses(labels, b)
    # delta method: the ratio of means varies as (x - ratio * y) / mean(y)
    by_hand = 100 * np.std(first - first.mean() / second.mean() * second) / second.mean()
    assert row_deviation(interval, 4000) == pytest.approx(by_hand, rel=0.06)


def test_bad_input_is_refused_with_a_reason():
    good = ([0, 1, 0], [0.2, 0.5, 0.1])
    for labels in ([0, 2, 1], [[0, 1]], []):
        with pytest.raises(InputError, match="zeros and ones"):
            log_loss(labels, [0.5] * len(labels))
    with pytest.raises(InputError, match="not logits"):
        log_loss([0, 1], [-1.2, 3.0])
    with pytest.raises(InputError, match="not logits"):
        log_loss([0, 1], [0.5, math.nan])
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        log_loss([0, 1, 0], [0.1, 0.2])
    with pytest.raises(InputError, match="one run at a time"):
        log_loss([0, 1], [[0.1, 0.2], [0.1, 0.2]])
    with pytest.raises(InputError, match="both labels"):
        normalized_entropy([1, 1], [0.2, 0.3])
    with pytest.raises(InputError, match="both labels"):
        auc([0, 0], [1, 2])
    with pytest.raises(InputError, match="one finite score"):
        auc([0, 1], [1, math.inf])
    with pytest.raises(InputError, match="integers from 0"):
        ne_by_group(*good, [0, -2, 1])
    with pytest.raises(InputError, match="integers from 0"):
        ne_by_group(*good, [0.0, 1.0, 1.0])
    with pytest.raises(InputError, match="buckets"):
        value_buckets([1, 2], 0)
    with pytest.raises(InputError, match="one user for each of 3"):
        paired_ne_bootstrap(*good, good[1], [1, 2])
    with pytest.raises(InputError, match="at least two users"):
        paired_ne_bootstrap(*good, good[1], [1, 1, 1])
    with pytest.raises(InputError, match="samples"):
        paired_ne_bootstrap(*good, good[1], [1, 2, 3], samples=0)
    with pytest.raises(InputError, match="effect other than zero"):
        rows_needed(0, 1)
    with pytest.raises(InputError, match="power"):
        rows_needed(1, 1, 1.0)
    with pytest.raises(InputError, match="at least one row"):
        row_deviation(Interval(0, -1, 1), 0)
