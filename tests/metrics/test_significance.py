import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import dslstudy.metrics
from dslstudy.errors import InputError
from dslstudy.metrics.significance import (
    Interval,
    holm,
    mean_interval,
    paired_bootstrap,
    prediction_interval,
    sign_flip_p_value,
)


def per_user(users, shift, seed):
    """Values like NDCG: many zeros, the rest in (0, 1], paired."""
    rng = np.random.default_rng(seed)
    base = np.where(rng.random(users) < 0.5, 0, rng.random(users))
    return np.clip(base + shift + 0.1 * rng.standard_normal(users), 0, 2), base


@pytest.mark.parametrize("relative", [False, True])
def test_interval_equals_the_distribution_over_all_possible_resamples(relative):
    a, b = np.array([0.3, 0.9, 0.5, 0.2]), np.array([0.4, 0.5, 0.3, 0.1])
    everything = []
    for drawn in itertools.product(range(4), repeat=4):
        mean_a, mean_b = sum(a[i] for i in drawn) / 4, sum(b[i] for i in drawn) / 4
        everything.append(mean_a / mean_b - 1 if relative else mean_a - mean_b)
    everything = np.array(everything)
    result = paired_bootstrap(a, b, relative=relative, samples=200_000, confidence=0.8)
    low, high = np.quantile(everything, [0.1, 0.9])
    # a resampled mean is one of a few values, so the quantiles agree exactly unless one sits on a jump
    assert result.low == pytest.approx(low, abs=0.02)
    assert result.high == pytest.approx(high, abs=0.02)
    assert result.estimate == pytest.approx(a.mean() / b.mean() - 1 if relative else (a - b).mean())
    exact = 2 * min((everything <= 1e-12).mean(), (everything >= -1e-12).mean())
    assert result.p_value == pytest.approx(exact, abs=0.01)


def test_interval_agrees_with_scipy():
    a, b = per_user(400, 0.02, seed=1)
    ours = paired_bootstrap(a, b, samples=20_000)
    theirs = stats.bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=20_000, batch=2000, rng=np.random.default_rng(3)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_relative_interval_agrees_with_scipy():
    a, b = per_user(400, 0.02, seed=2)
    ours = paired_bootstrap(a, b, relative=True, samples=20_000)
    theirs = stats.bootstrap(
        (a, b),
        lambda a, b, axis: a.mean(axis) / b.mean(axis) - 1,
        paired=True,
        method="percentile",
        n_resamples=20_000,
        batch=2000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    repeats, covered, rejected = 400, 0, 0
    for seed in range(repeats):
        b = rng.exponential(size=200)
        a = b + rng.exponential(size=200) - 1  # true difference zero
        interval = paired_bootstrap(a, b, samples=600, confidence=0.9, seed=seed)
        covered += interval.low <= 0 <= interval.high
        rejected += interval.p_value < 0.1
    # four standard errors of a binomial share around 0.9 and 0.1
    assert 0.84 < covered / repeats < 0.96
    assert 0.04 < rejected / repeats < 0.16


def test_same_seed_same_interval_however_it_is_chunked(monkeypatch):
    a, b = per_user(101, 0.01, seed=4)
    whole = paired_bootstrap(a, b, samples=500, seed=9)
    assert paired_bootstrap(a, b, samples=500, seed=9) == whole
    assert paired_bootstrap(a, b, samples=500, seed=10) != whole
    monkeypatch.setattr("dslstudy.metrics.significance._CHUNK", 101 * 7)
    assert paired_bootstrap(a, b, samples=500, seed=9) == whole


def test_no_difference_at_all_has_p_value_one():
    a = np.linspace(0, 1, 30)
    assert paired_bootstrap(a, a, samples=100) == Interval(0.0, 0.0, 0.0, 1.0)


def test_a_certain_difference_has_the_smallest_possible_p_value():
    a = np.linspace(0, 1, 30)
    result = paired_bootstrap(a + 1, a, samples=999)
    assert result.p_value == pytest.approx(2 / 1000)
    assert result.low == pytest.approx(1)


def test_swapping_the_two_turns_the_interval_around():
    a, b = per_user(80, 0.03, seed=5)
    there, back = paired_bootstrap(a, b, samples=999), paired_bootstrap(b, a, samples=999)
    np.testing.assert_allclose((there.estimate, there.low, there.high), (-back.estimate, -back.high, -back.low))
    assert there.p_value == back.p_value


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_is_students(values, confidence):
    result = mean_interval(values, confidence)
    values = np.array(values)
    scale = stats.sem(values)
    if scale < 1e-9:
        assert result.low == pytest.approx(result.high, abs=1e-6)
        return
    low, high = stats.t.interval(confidence, len(values) - 1, loc=values.mean(), scale=scale)
    np.testing.assert_allclose((result.low, result.high), (low, high), rtol=1e-9, atol=1e-12)
    assert result.p_value is None


def test_one_more_seed_lies_in_the_prediction_interval_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.125, 0.002, (4000, 6))
    intervals = [prediction_interval(of_seeds[:5], 0.8) for of_seeds in draws]
    held = np.mean([each.low <= more <= each.high for each, more in zip(intervals, draws[:, 5], strict=True)])
    assert held == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / len(draws)))
    assert intervals[0].estimate == pytest.approx(draws[0, :5].mean())


def holm_by_definition(p, level):
    """Step down through the ordered p-values and stop at the first that is too large."""
    rejected = set()
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] > level / (len(p) - step):
            break
        rejected.add(index)
    return rejected


@given(
    st.lists(st.integers(0, 1000).map(lambda k: k / 1000), max_size=9),
    st.integers(1, 99).map(lambda k: (k + 0.123) / 100),
)
def test_holm_rejects_what_stepping_down_rejects(p, level):
    adjusted = holm(p)
    assert {index for index, value in enumerate(adjusted) if value <= level} == holm_by_definition(p, level)
    assert ((adjusted >= p) & (adjusted <= 1)).all()


def test_holm_keeps_names():
    assert holm({"x": 0.01, "y": 0.04, "z": 0.03}) == pytest.approx({"x": 0.03, "y": 0.06, "z": 0.06})


def test_bad_input_is_refused_with_a_reason():
    good = [0.1, 0.2, 0.3]
    with pytest.raises(InputError, match="a has 3 users and b has 2"):
        paired_bootstrap(good, good[:2])
    with pytest.raises(InputError, match=r"b\[1\] is not a finite"):
        paired_bootstrap(good, [0.1, float("nan"), 0.2])
    with pytest.raises(InputError, match="at least 2"):
        paired_bootstrap([0.1], [0.2])
    with pytest.raises(InputError, match="baseline above zero"):
        paired_bootstrap(good, [0, 0, 0], relative=True)
    with pytest.raises(InputError, match="samples"):
        paired_bootstrap(good, good, samples=0)
    for confidence in (0, 1, 95):
        with pytest.raises(InputError, match="confidence"):
            paired_bootstrap(good, good, confidence=confidence)
        with pytest.raises(InputError, match="confidence"):
            mean_interval(good, confidence)
    with pytest.raises(InputError, match="at least 2"):
        mean_interval([0.5])
    for p in ([0.5, 1.5], [float("nan")], [[0.1]]):
        with pytest.raises(InputError, match="p-values"):
            holm(p)


@given(st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 3.0]), min_size=1, max_size=9))
def test_sign_flips_are_counted_one_by_one(differences):
    patterns = [np.dot(signs, np.abs(differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    as_far = np.mean([abs(total) >= abs(sum(differences)) - 1e-12 for total in patterns])
    assert sign_flip_p_value(differences) == pytest.approx(as_far)


def test_sign_flips_of_nothing_and_of_too_much():
    assert sign_flip_p_value([]) == sign_flip_p_value([0.0, 0.0]) == 1.0
    with pytest.raises(InputError, match="too many sign patterns"):
        sign_flip_p_value(np.ones(21))


@given(st.floats(1e-3, 1e3))
def test_a_scaled_interval_is_that_of_the_scaled_values(factor):
    values = [0.2, 0.5, 0.9, 0.4]
    scaled, expected = mean_interval(values).scaled(factor), mean_interval([factor * value for value in values])
    assert (scaled.estimate, scaled.low, scaled.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    difference = paired_bootstrap(values, [0.1, 0.5, 1.0, 0.2])
    assert (difference.scaled(factor).p_value, difference.scaled(factor).confidence) == (difference.p_value, 0.95)


def test_the_reach_leads_to_the_ends():
    interval = Interval(2.0, 1.5, 4.0)
    assert interval.reach == [[0.5], [2.0]]
    with pytest.raises(InputError, match="above zero"):
        interval.scaled(0)


def test_statistics_do_not_import_torch():
    code = "import sys; from dslstudy.metrics import paired_bootstrap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_of_the_package_is_there():
    for name in dslstudy.metrics.__all__:
        assert getattr(dslstudy.metrics, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        _ = dslstudy.metrics.missing
