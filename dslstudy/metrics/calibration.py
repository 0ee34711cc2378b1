"""Calibration: does an event predicted with probability p happen with frequency p? (book: Does it help?)"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dslstudy.errors import InputError
from dslstudy.metrics._checks import one_run
from dslstudy.metrics.normalized_entropy import value_buckets


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Predicted against observed frequency; bins without rows are left out.

    Attributes:
        predicted: float64 (bins,) mean prediction of each bin, ascending.
        observed: float64 (bins,) share of positives.
        rows: int64 (bins,) number of rows.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    rows: NDArray[np.int64]


def reliability_curve(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 20, *, spacing: str = "mass"
) -> ReliabilityCurve:
    """Group rows by their prediction and compare its mean with the share of positives.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).
        bins: how many.
        spacing: "mass" for (nearly) equally many rows per bin, right for rare events; "width" for equally wide bins of
            [0, 1], as in most papers.

    Raises:
        InputError: shapes that do not fit, values outside their range, or another spacing.
    """
    labels, p = one_run(labels, probabilities)
    if bins < 1 or spacing not in ("mass", "width"):
        raise InputError(f"bins is at least 1 and spacing mass or width, not {bins} and {spacing!r}")
    bucket = value_buckets(p, bins) if spacing == "mass" else np.minimum((p * bins).astype(np.int64), bins - 1)
    rows = np.bincount(bucket, minlength=bins)
    there = rows > 0
    predicted, observed = (np.bincount(bucket, weights=column, minlength=bins) for column in (p, labels))
    return ReliabilityCurve(predicted[there] / rows[there], observed[there] / rows[there], rows[there])


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 20, *, spacing: str = "mass"
) -> float:
    """Mean absolute gap between predicted and observed frequency, weighted by rows (Naeini et al., 2015).

    Noise alone makes it positive: with r rows in a bin of base rate q, a perfect predictor shows about
    ``0.8 * sqrt(q (1 - q) / r)``. Compare models on the same rows and bins.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).
        bins: as :func:`reliability_curve`.
        spacing: as :func:`reliability_curve`.

    Raises:
        InputError: as :func:`reliability_curve`.
    """
    curve = reliability_curve(labels, probabilities, bins, spacing=spacing)
    return float(np.abs(curve.predicted - curve.observed) @ curve.rows / curve.rows.sum())
