import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.metrics.calibration import expected_calibration_error, reliability_curve

ROWS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(ROWS, st.integers(1, 7))
def test_bins_of_equal_width_are_what_loops_say(rows, bins):
    members = [[] for _ in range(bins)]
    for y, p in rows:
        members[min(int(p * bins), bins - 1)].append((y, p))
    members = [one for one in members if one]
    labels, p = zip(*rows, strict=True)
    curve = reliability_curve(labels, p, bins, spacing="width")
    assert curve.rows.tolist() == list(map(len, members))
    assert curve.predicted == pytest.approx([sum(p for _, p in one) / len(one) for one in members])
    assert curve.observed == pytest.approx([sum(y for y, _ in one) / len(one) for one in members])
    gaps = [abs(sum(y - p for y, p in one)) for one in members]
    assert expected_calibration_error(labels, p, bins, spacing="width") == pytest.approx(
        sum(gaps) / len(rows), abs=1e-9
    )


def test_bins_of_equal_mass_hold_equally_many_rows():
    rng = np.random.default_rng(0)
    p = rng.beta(1, 30, 1000)  # rare events: bins of equal width would hold nearly all rows in the first
    labels = rng.random(1000) < p
    curve = reliability_curve(labels.astype(int), p, 10)
    assert curve.rows.tolist() == [100] * 10
    order = np.argsort(p)
    assert curve.predicted == pytest.approx(p[order].reshape(10, 100).mean(axis=1))
    assert curve.observed == pytest.approx(labels[order].reshape(10, 100).mean(axis=1))


def test_the_error_of_a_perfect_predictor_is_the_noise_that_is_stated():
    rng = np.random.default_rng(1)
    rows, rate = 1000, 0.2
    errors = []
    for _ in range(200):
        labels = (rng.random(rows * 10) < rate).astype(int)
        p = rate + 1e-9 * np.arange(rows * 10)  # ten bins, all alike
        errors.append(expected_calibration_error(labels, p, 10))
    assert np.mean(errors) == pytest.approx(0.8 * math.sqrt(rate * (1 - rate) / rows), rel=0.03)


def test_overconfidence_shows():
    rng = np.random.default_rng(2)
    p = rng.random(20_000)
    labels = (rng.random(20_000) < 0.5 + (p - 0.5) / 2).astype(int)
    assert expected_calibration_error(labels, p) == pytest.approx(0.125, abs=0.01)  # mean of |p - 0.5| / 2
    curve = reliability_curve(labels, p)
    assert (curve.observed[curve.predicted < 0.4] > curve.predicted[curve.predicted < 0.4]).all()


def test_mistakes_are_explained():
    with pytest.raises(InputError, match="spacing mass or width"):
        reliability_curve([0, 1], [0.1, 0.2], spacing="other")
    with pytest.raises(InputError, match="bins"):
        reliability_curve([0, 1], [0.1, 0.2], 0)
    with pytest.raises(InputError, match="not logits"):
        reliability_curve([0, 1], [0.1, 2])
