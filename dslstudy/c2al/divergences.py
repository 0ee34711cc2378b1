"""How far apart two cohorts' predictions are: five divergences between samples of predicted probabilities.

Three of them compare histograms (``kl``, ``js``, ``cosine``) and two compare distribution functions (``wasserstein``,
``energy``). Histograms are common to all cohorts that are compared: their edges are quantiles of the pooled
predictions, so that every bin is used even where clicks are rare, and so that these three do not change when the
predictions are transformed by any increasing function. Book: "Finding cohorts".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dslstudy.errors import InputError

Array = NDArray[np.float64]

#: bins of a histogram
BINS = 20
#: what is added to every bin of a histogram before its logarithm is taken (Jeffreys' prior): no empty bin is infinite
SMOOTHING = 0.5


def kl_divergence(p: ArrayLike, q: ArrayLike, *, bins: int = BINS, smoothing: float = SMOOTHING) -> float:
    """Kullback-Leibler divergence ``Σ_b P_b log(P_b / Q_b)`` of two histograms, in nats; not symmetric.

    Args:
        p: (n,) predictions in the first cohort.
        q: (m,) predictions in the second.
        bins: of the common histogram, at quantiles of both samples together.
        smoothing: added to every bin's count, > 0.

    Raises:
        InputError: an empty sample, values that are not finite, fewer than two bins, no smoothing.
    """
    return _of_pair("kl", p, q, bins=bins, smoothing=smoothing)


def js_divergence(p: ArrayLike, q: ArrayLike, *, bins: int = BINS, smoothing: float = SMOOTHING) -> float:
    """Jensen-Shannon divergence: mean KL of both histograms to their average, in nats, from 0 to log 2.

    Arguments and errors as for ``kl_divergence``. Source: Lin, "Divergence measures based on the Shannon entropy"
    (IEEE Trans. Information Theory, 1991).
    """
    return _of_pair("js", p, q, bins=bins, smoothing=smoothing)


def cosine_distance(p: ArrayLike, q: ArrayLike, *, bins: int = BINS) -> float:
    """``1 - cos(P, Q)`` of two histograms, from 0 to 1; arguments and errors as for ``kl_divergence``."""
    return _of_pair("cosine", p, q, bins=bins)


def wasserstein_distance(p: ArrayLike, q: ArrayLike) -> float:
    """1-Wasserstein distance ``∫ |F - G|`` of two distribution functions, in units of probability.

    Arguments and errors as for ``kl_divergence``.
    """
    return _of_pair("wasserstein", p, q)


def energy_distance(p: ArrayLike, q: ArrayLike) -> float:
    """Energy distance ``sqrt(2 ∫ (F - G)²)``, which is ``sqrt(2 E|P - Q| - E|P - P'| - E|Q - Q'|)``.

    Sorting makes it O(n log n). Arguments and errors as for ``kl_divergence``. Source: Székely and Rizzo, "Energy
    statistics" (J. Statistical Planning and Inference, 2013).
    """
    return _of_pair("energy", p, q)


@dataclass(frozen=True)
class Support:
    """The values that predictions take, and the bins of the common histogram.

    Attributes:
        values: (g,) increasing.
        place: (n,) place of each prediction among the values.
        first: (b,) where each bin begins among the values; strictly increasing, from 0.
    """

    values: Array
    place: NDArray[np.intp]
    first: NDArray[np.intp]


def common_support(predictions: ArrayLike, *, bins: int = BINS, size: int | None = None) -> Support:
    """One support for all cohorts together.

    Args:
        predictions: (n,) of all rows that are compared.
        bins: of the histogram, at quantiles of the predictions; equal values share a bin, so there may be fewer.
        size: at most so many values: neighbours are replaced by their mean, in cells of equally many rows. ``None``
            keeps every value.

    Raises:
        InputError: no predictions, values that are not finite, fewer than two bins.
    """
    predictions = _sample(predictions, "predictions")
    if bins < 2:
        raise InputError(f"a histogram needs at least 2 bins, not {bins}")
    values, place = np.unique(predictions, return_inverse=True)
    counts = np.bincount(place)
    if size is not None and len(values) > size:
        cells = _cells(counts, size)
        of_value = np.repeat(np.arange(len(cells)), np.diff(np.append(cells, len(values))))
        weight = np.bincount(of_value, counts)
        values, place = np.bincount(of_value, counts * values) / weight, of_value[place]
        counts = weight
    return Support(values, place, _cells(counts, bins))


def _cells(counts: NDArray, number: int) -> NDArray[np.intp]:
    """Where each of ``number`` cells of about equal mass begins; a cell holds whole values, so some may be lost."""
    # by the middle of a value's rows, so that a value of many rows is alone on whichever end it stands
    cell = (2 * np.cumsum(counts) - counts) * number // (2 * counts.sum())
    return np.flatnonzero(np.diff(cell, prepend=-1)).astype(np.intp)


def divergence_matrix(
    name: str, masses: ArrayLike, support: Support, *, smoothing: float = SMOOTHING
) -> NDArray[np.float64]:
    """Divergence of every cohort from every other.

    Args:
        name: ``kl``, ``js``, ``wasserstein``, ``cosine`` or ``energy``.
        masses: (..., K, g) rows, or sums of weights, of each of the K cohorts at each value of the support; leading
            axes are resamples.
        support: the common support.
        smoothing: added to every bin of a histogram (``kl`` and ``js``).

    Returns:
        (..., K, K); row and column of a cohort without mass are ``nan``. ``kl`` is read from row to column; the others
        are symmetric.

    Raises:
        InputError: an unknown name, wrong shapes, no smoothing.
    """
    if name not in DIVERGENCES:
        raise InputError(f"no divergence {name!r}; choose one of {', '.join(DIVERGENCES)}")
    if smoothing <= 0:
        raise InputError(f"smoothing must be positive, not {smoothing}: empty bins would be infinitely far apart")
    masses = np.asarray(masses, dtype=float)
    if masses.ndim < 2 or masses.shape[-1] != len(support.values):
        raise InputError(f"masses {masses.shape} do not fit a support of {len(support.values)} values")
    total = masses.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name in ("wasserstein", "energy"):
            described = np.cumsum(masses, axis=-1)[..., :-1] / total
            context = np.diff(support.values)
        else:
            described = np.add.reduceat(masses, support.first, axis=-1)
            if name != "cosine":
                described = described + smoothing
            described = described / described.sum(-1, keepdims=True)
            context = np.ones(described.shape[-1])
        described = np.where(total > 0, described, np.nan)
        between = DIVERGENCES[name]
        rows = [between(described[..., [k], :], described, context) for k in range(described.shape[-2])]
    return np.stack(rows, axis=-2)


def _kl(p: Array, q: Array, _: Array) -> Array:
    return np.maximum((p * (np.log(p) - np.log(q))).sum(-1), 0)


def _js(p: Array, q: Array, ones: Array) -> Array:
    middle = (p + q) / 2
    return (_kl(p, middle, ones) + _kl(q, middle, ones)) / 2


def _cosine(p: Array, q: Array, _: Array) -> Array:
    cosine = (p * q).sum(-1) / np.sqrt((p * p).sum(-1) * (q * q).sum(-1))
    return np.maximum(1 - cosine, 0)


def _wasserstein(p: Array, q: Array, width: Array) -> Array:
    return np.abs(p - q) @ width


def _energy(p: Array, q: Array, width: Array) -> Array:
    return np.sqrt(2 * ((p - q) ** 2 @ width))


#: name -> divergence of cohorts described by a histogram, or by a distribution function with the widths between values
DIVERGENCES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "kl": _kl,
    "js": _js,
    "wasserstein": _wasserstein,
    "cosine": _cosine,
    "energy": _energy,
}

#: largest value of a divergence, where it has one
LARGEST = {"js": math.log(2), "cosine": 1.0}


def _of_pair(name: str, p: ArrayLike, q: ArrayLike, *, bins: int = BINS, smoothing: float = SMOOTHING) -> float:
    p, q = _sample(p, "p"), _sample(q, "q")
    support = common_support(np.concatenate([p, q]), bins=bins)
    size = len(support.values)
    masses = [np.bincount(place, minlength=size) for place in np.split(support.place, [len(p)])]
    return float(divergence_matrix(name, masses, support, smoothing=smoothing)[0, 1])


def _sample(values: ArrayLike, name: str) -> Array:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise InputError(f"{name} has shape {values.shape}; give one row of predictions, at least one")
    if not np.isfinite(values).all():
        raise InputError(f"{name}[{int(np.isfinite(values).argmin())}] is not a finite number")
    return values
