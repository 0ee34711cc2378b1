"""Divergences against scipy, against sums over pairs and over rows, and what must leave them unchanged."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cosine, jensenshannon

from dslstudy.c2al import divergences
from dslstudy.c2al.divergences import (
    DIVERGENCES,
    common_support,
    cosine_distance,
    divergence_matrix,
    energy_distance,
    js_divergence,
    kl_divergence,
    wasserstein_distance,
)
from dslstudy.errors import InputError

BETWEEN = {
    "kl": kl_divergence,
    "js": js_divergence,
    "wasserstein": wasserstein_distance,
    "cosine": cosine_distance,
    "energy": energy_distance,
}
every_divergence = pytest.mark.parametrize("name", BETWEEN)
# a coarse grid makes ties; the ends are included
PREDICTIONS = st.lists(st.integers(0, 32).map(lambda step: step / 32), min_size=1, max_size=40).map(np.array)


def histograms(p, q, bins):
    """Counts of both in bins at quantiles of the pool, by walking through the sorted pool."""
    pool = sorted([*p, *q])
    bin_of = {}
    for value in set(pool):
        ranks = [rank + 0.5 for rank, other in enumerate(pool) if other == value]  # equal values share a bin
        bin_of[value] = math.floor(bins * sum(ranks) / len(ranks) / len(pool))
    used = sorted(set(bin_of.values()))
    counts = np.zeros((2, len(used)))
    for row, sample in enumerate((p, q)):
        for value in sample:
            counts[row, used.index(bin_of[value])] += 1
    return counts


def oracle(name, p, q):
    if name == "wasserstein":
        return stats.wasserstein_distance(p, q)
    if name == "energy":
        mean_gap = {
            (a, b): np.mean([abs(x - y) for x in first for y in second])
            for a, first in (("p", p), ("q", q))
            for b, second in (("p", p), ("q", q))
        }
        return math.sqrt(max(0, 2 * mean_gap["p", "q"] - mean_gap["p", "p"] - mean_gap["q", "q"]))
    counts = histograms(p, q, divergences.BINS)
    if name == "cosine":
        return cosine(*counts)
    smooth = counts + divergences.SMOOTHING
    smooth /= smooth.sum(1, keepdims=True)
    return jensenshannon(*smooth) ** 2 if name == "js" else stats.entropy(*smooth)


@every_divergence
@given(p=PREDICTIONS, q=PREDICTIONS)
def test_agrees_with_its_oracle(name, p, q):
    # the root in the energy distance and in scipy's jensenshannon magnifies what rounding leaves near zero
    assert BETWEEN[name](p, q) == pytest.approx(oracle(name, p, q), rel=1e-9, abs=1e-7)


def test_energy_agrees_with_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.beta(2, 5, 500), rng.beta(2, 4, 300)
    assert energy_distance(p, q) == pytest.approx(stats.energy_distance(p, q))


@every_divergence
@given(p=PREDICTIONS, q=PREDICTIONS)
def test_not_negative_zero_for_equals_and_symmetric_unless_kl(name, p, q):
    between = BETWEEN[name]
    assert between(p, q) >= 0
    assert between(p, p[::-1]) == pytest.approx(0, abs=1e-12)
    if name != "kl":
        assert between(p, q) == pytest.approx(between(q, p), abs=1e-12)


@every_divergence
@given(p=PREDICTIONS, q=PREDICTIONS, times=st.integers(2, 4))
def test_repeating_both_samples_changes_only_the_smoothing(name, p, q, times):
    options = {"smoothing": divergences.SMOOTHING * times} if name in ("kl", "js") else {}
    assert BETWEEN[name](np.repeat(p, times), np.repeat(q, times), **options) == pytest.approx(
        BETWEEN[name](p, q), abs=1e-9
    )


@pytest.mark.parametrize("name", ["kl", "js", "cosine"])
@given(p=PREDICTIONS, q=PREDICTIONS)
def test_histograms_do_not_see_increasing_transformations(name, p, q):
    assert BETWEEN[name](np.exp(3 * p), np.exp(3 * q)) == pytest.approx(BETWEEN[name](p, q), abs=1e-12)


@given(p=PREDICTIONS, q=PREDICTIONS, shift=st.floats(-1, 1), scale=st.floats(0.1, 3))
def test_distances_move_with_the_scale(p, q, shift, scale):
    moved = wasserstein_distance(scale * p + shift, scale * q + shift)
    assert moved == pytest.approx(scale * wasserstein_distance(p, q), abs=1e-9)
    moved = energy_distance(scale * p + shift, scale * q + shift)
    assert moved == pytest.approx(math.sqrt(scale) * energy_distance(p, q), abs=1e-6)


def test_extremes():
    low, high = np.full(1000, 0.1), np.full(1000, 0.9)
    assert wasserstein_distance(low, high) == pytest.approx(0.8)
    assert cosine_distance(low, high) == 1
    assert js_divergence(low, high, smoothing=1e-9) == pytest.approx(math.log(2))


@every_divergence
def test_matrix_holds_every_pair_and_every_resample(name):
    rng = np.random.default_rng(1)
    predictions, cohort = rng.random(300).round(2), rng.integers(0, 4, 300)
    support = common_support(predictions)
    resamples = rng.exponential(size=(3, 300))
    masses = np.zeros((3, 4, len(support.values)))
    for r in range(3):
        np.add.at(masses[r], (cohort, support.place), resamples[r])
    together = divergence_matrix(name, masses, support)
    assert together.shape == (3, 4, 4)
    for r in range(3):
        assert divergence_matrix(name, masses[r], support) == pytest.approx(together[r])
        for i in range(4):
            for j in range(4):
                two = divergence_matrix(name, masses[r][[i, j]], support)[0, 1]
                assert two == pytest.approx(together[r, i, j], abs=1e-12)
    if name == "wasserstein":
        weighted = stats.wasserstein_distance(
            predictions[cohort == 0], predictions[cohort == 1], resamples[0][cohort == 0], resamples[0][cohort == 1]
        )
        assert together[0, 0, 1] == pytest.approx(weighted)


@every_divergence
def test_an_empty_cohort_has_no_distance(name):
    support = common_support([0.1, 0.2, 0.3])
    matrix = divergence_matrix(name, [[1, 1, 0], [0, 0, 0], [0, 0, 1]], support)
    assert np.isnan(matrix[1]).all()
    assert np.isnan(matrix[:, 1]).all()
    assert np.isfinite(matrix[[0, 0, 2], [0, 2, 0]]).all()


@given(st.integers(2, 60), st.integers(2, 30))
def test_a_smaller_support_keeps_every_row_and_the_mean(size, bins):
    predictions = np.random.default_rng(size).random(200)
    support = common_support(predictions, bins=bins, size=size)
    counts = np.bincount(support.place, minlength=len(support.values))
    assert len(support.values) == size
    assert (counts > 0).all()
    assert counts @ support.values == pytest.approx(predictions.sum())
    assert (np.diff(support.values) > 0).all()
    assert (np.diff(support.first) > 0).all()
    assert support.first[0] == 0
    # the order of the rows is the order of their values
    assert (np.diff(support.place[predictions.argsort()]) >= 0).all()


def test_a_smaller_support_hardly_moves_the_distances():
    rng = np.random.default_rng(2)
    predictions, cohort = np.concatenate([rng.beta(2, 5, 9000), rng.beta(2, 4, 3000)]), np.repeat([0, 1], [9000, 3000])
    small, full = (common_support(predictions, size=size) for size in (1000, None))
    for name in DIVERGENCES:
        values = []
        for support in (small, full):
            masses = [np.bincount(support.place[cohort == k], minlength=len(support.values)) for k in (0, 1)]
            values.append(divergence_matrix(name, masses, support)[0, 1])
        assert values[0] == pytest.approx(values[1], rel=0.01)


@pytest.mark.parametrize("counts", [[1000, 1, 1], [1, 1000, 1], [1, 1, 1000]])
def test_a_log_that_is_mostly_one_value_still_has_bins(counts):
    support = common_support(np.repeat([0.1, 0.2, 0.3], counts))
    assert len(support.first) >= 2
    assert kl_divergence(np.full(100, 0.1), np.repeat([0.1, 0.5], [99, 1])) > 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: kl_divergence([], [0.1]), "p has shape"),
        (lambda: kl_divergence([0.1], [[0.1]]), "q has shape"),
        (lambda: energy_distance([0.1, float("nan")], [0.1]), r"p\[1\] is not a finite number"),
        (lambda: kl_divergence([0.1], [0.1], bins=1), "at least 2 bins"),
        (lambda: js_divergence([0.1], [0.1], smoothing=0), "smoothing must be positive"),
        (lambda: divergence_matrix("hellinger", [[1]], common_support([0.1])), "choose one of kl, js"),
        (lambda: divergence_matrix("kl", [[1, 2]], common_support([0.1])), "do not fit"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
