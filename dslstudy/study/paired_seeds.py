"""Two settings seed by seed: what another training would make of a difference (book: IID results)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.study.store import Record


def gains_by_seed(
    found: Sequence[Record], reference: Sequence[Record], *, metric: str = "ndcg@20"
) -> NDArray[np.float64]:
    """Relative difference of a test metric for every seed that both settings have, ascending by seed, shape (seeds,).

    Args:
        found: the seeds of the one setting.
        reference: those of the other.
        metric: a test metric.
    """
    ours, theirs = ({record.config.seed: record.test[metric] for record in of} for of in (found, reference))
    return np.array([ours[seed] / theirs[seed] - 1 for seed in sorted(ours.keys() & theirs.keys())])


def gain_over_seeds(
    found: Sequence[Record], reference: Sequence[Record], *, metric: str = "ndcg@20"
) -> Interval | None:
    """Mean of :func:`gains_by_seed` with its t interval; ``None`` where fewer than two seeds are shared.

    Args:
        found: the seeds of the one setting.
        reference: those of the other.
        metric: a test metric.
    """
    gains = gains_by_seed(found, reference, metric=metric)
    return mean_interval(gains) if len(gains) > 1 else None
