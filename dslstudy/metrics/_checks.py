"""Checks shared by the metrics of click models."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dslstudy.errors import InputError


def label_row(labels: ArrayLike) -> NDArray:
    """Return labels as int64 (n,), or say what is wrong with them."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or not ((labels == 0) | (labels == 1)).all():
        raise InputError(f"labels must be one row of zeros and ones, not shape {labels.shape}")
    return labels.astype(np.int64)


def any_runs(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray, NDArray[np.float64]]:
    """Return labels (n,) and float64 probabilities (n,) or (runs, n)."""
    labels, p = label_row(labels), np.asarray(probabilities, float)
    if p.ndim not in (1, 2) or p.shape[-1] != len(labels) or p.size == 0:
        raise InputError(f"probabilities have shape {p.shape}; give one for each of {len(labels)} labels")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("probabilities must lie between 0 and 1; pass sigmoid(logits), not logits")
    return labels, p


def one_run(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray, NDArray[np.float64]]:
    """Return labels and probabilities, both (n,)."""
    labels, p = any_runs(labels, probabilities)
    if p.ndim != 1:
        raise InputError(f"probabilities have shape {p.shape}; this measures one run at a time")
    return labels, p


def group_row(groups: ArrayLike, rows: int) -> NDArray[np.int64]:
    """Return group numbers as int64 (rows,), -1 for none."""
    groups = np.asarray(groups)
    if groups.shape != (rows,) or groups.dtype.kind not in "iu" or (len(groups) and groups.min() < -1):
        raise InputError(f"groups must be {rows} integers from 0, or -1 for none")
    return groups.astype(np.int64)
