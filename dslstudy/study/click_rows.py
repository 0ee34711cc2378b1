"""What a click run keeps of its test rows: enough to compare it with another run, without the data at hand.

Beside a record lie its logits and who is in which cohort; labels and users are the same for all runs of a split, so
they lie once beside them all, in ``rows-<fingerprint of the split>.npz``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from dslstudy.errors import InputError
from dslstudy.metrics.calibration import expected_calibration_error
from dslstudy.metrics.normalized_entropy import EPSILON, auc, log_loss, normalized_entropy
from dslstudy.study.store import Record, read_arrays, write_arrays

#: cohorts of a row: what stands in ``side``
HEAD, TAIL = 1, -1
COHORTS = {"head": HEAD, "tail": TAIL}
#: logits are kept as whole multiples of about this share of their standard deviation: finer digits, most of a file,
#: would move a normalized entropy by less than two hundred-thousandths
LOGIT_STEP = 2.0**-10


@dataclass(frozen=True)
class RowPredictions:
    """The test rows of a click run.

    Attributes:
        labels: (n,) uint8.
        users: (n,) int32, any numbers that tell users apart.
        probabilities: (n,) float64, predicted P(label = 1).
        side: (n,) int8, 1 in the head, -1 in the tail, 0 in neither; ``None`` for a method that knows no cohorts.
    """

    labels: np.ndarray
    users: np.ndarray
    probabilities: np.ndarray
    side: np.ndarray | None


def click_metrics(labels: np.ndarray, probabilities: np.ndarray, side: np.ndarray | None = None) -> dict[str, float]:
    """Normalized entropy, AUC, log loss and calibration error, overall and of the two cohorts.

    Args:
        labels: (n,) zeros and ones.
        probabilities: (n,) predicted P(label = 1).
        side: (n,) 1 in the head, -1 in the tail; or ``None``.

    Returns:
        ``ne``, ``auc``, ``log_loss``, ``ece``, and for a cohort ``ne@head`` and so on. What a cohort with one label
        only does not have is left out.
    """
    metrics = _metrics(labels, probabilities)
    for name, number in COHORTS.items() if side is not None else ():
        rows = side == number
        of_cohort = _metrics(labels[rows], probabilities[rows])
        metrics |= {f"{metric}@{name}": value for metric, value in of_cohort.items()}
    return metrics


def _metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    if len(labels) == 0:
        return {}
    values = {}
    if labels.min() != labels.max():
        values = {"ne": normalized_entropy(labels, probabilities), "auc": auc(labels, probabilities)}
    return values | {
        "log_loss": log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
    }


def kept_arrays(probabilities: np.ndarray, side: np.ndarray | None) -> dict[str, np.ndarray]:
    """What is written beside a record: logits as multiples of a step around a centre, and the rows' cohorts.

    Args:
        probabilities: (n,) predicted P(label = 1).
        side: (n,) 1 in the head, -1 in the tail; or ``None``.
    """
    p = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    logits = logit(p)
    centre = np.float64(np.float32(logits.mean()))
    step = LOGIT_STEP * 2.0 ** np.floor(np.log2(max(logits.std(), 2.0**-20)))
    steps = np.round((logits - centre) / step)
    kind = np.int16 if np.abs(steps).max() <= np.iinfo(np.int16).max else np.int32
    arrays = {"logit_steps": steps.astype(kind), "logit_scale": np.array([centre, step])}
    return arrays if side is None else arrays | {"side": side.astype(np.int8)}


def kept_probabilities(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) float64, the predictions that :func:`kept_arrays` wrote. A record's metrics are those of these."""
    centre, step = arrays["logit_scale"].astype(np.float64)
    return expit(centre + step * arrays["logit_steps"])


def keep_rows(folder: Path, fingerprint: str, labels: np.ndarray, users: np.ndarray) -> None:
    """Write the labels and users of a split beside its records, unless they lie there."""
    path = _rows_path(folder, fingerprint)
    if not path.exists():
        _, numbers = np.unique(users, return_inverse=True)
        write_arrays(path, {"labels": np.asarray(labels, np.uint8), "users": numbers.astype(np.int32)})


def rows_of(record: Record) -> RowPredictions:
    """The test rows of a click run, from its record.

    Raises:
        InputError: a record of another task, or files that are missing or damaged.
    """
    if record.task != "clicks":
        raise InputError(f"run {record.key} is a {record.task} run; rows are kept of click runs")
    kept = {name: record.array(name) for name in ("logit_steps", "logit_scale")}
    path = _rows_path(record.path.parent, record.data["fingerprint"])
    labels, users = _labels_and_users(path, path.stat().st_mtime_ns if path.exists() else 0)
    if len(labels) != len(kept["logit_steps"]):
        rows = len(kept["logit_steps"])
        raise InputError(f"{path} has {len(labels)} rows, run {record.key} has {rows}; delete it and run again")
    side = record.array("side") if record.config.axis else None
    return RowPredictions(labels, users, kept_probabilities(kept), side)


@lru_cache(maxsize=8)
def _labels_and_users(path: Path, _stamp: int) -> tuple[np.ndarray, np.ndarray]:
    labels, users = read_arrays(path, ["labels", "users"], mend="train one of its runs again with --force")
    return labels, users


def _rows_path(folder: Path, fingerprint: str) -> Path:
    return folder / f"rows-{fingerprint}.npz"
