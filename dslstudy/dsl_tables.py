"""Tables of the chapters that take DSL apart: arms of the ablation, dials of the sensitivity study."""

from collections.abc import Mapping, Sequence

import numpy as np

from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.names import display_name, metric_name
from dslstudy.sortable import Sortable
from dslstudy.study.store import Record
from dslstudy.study_tables import Comparison
from dslstudy.tables import NOT_RUN, between, plus_minus

#: how dials are called in text
DIALS = {
    "gamma": "strength γ of the temperatures",
    "slate_size": "size of the slate",
    "temperature": "temperature",
    "num_negatives": "number of negatives",
    "batch_size": "size of a batch",
    "embedding_size": "size of a vector",
}


def over_paired_seeds(
    records: Mapping[str, Sequence[Record]], reference: str, *, metric: str = "ndcg@20"
) -> dict[str, Interval]:
    """Relative differences from a reference, seed by seed, with t intervals.

    Args:
        records: label -> its seeds, in one order for all; labels without records are left out.
        reference: the label the others are compared with.
        metric: a test metric.

    Returns:
        Label -> mean of ``metric / metric of the reference - 1``; a single seed has an interval without width.
    """
    found = {}
    for label, of_seeds in records.items():
        if label == reference or not of_seeds:
            continue
        away = [a.test[metric] / b.test[metric] - 1 for a, b in zip(of_seeds, records[reference], strict=True)]
        found[label] = mean_interval(away) if len(away) > 1 else Interval(away[0], away[0], away[0])
    return found


def arms(
    records: Mapping[str, Sequence[Record]],
    changes: Mapping[str, str],
    against: Mapping[str, Mapping[str, Comparison]],
    *,
    metric: str = "ndcg@20",
) -> Sortable:
    """Every arm with its metric over seeds and its differences over users; every row names its records.

    Args:
        records: arm -> its seeds; none where it was not run.
        changes: arm -> what is different about it.
        against: what the arms are compared with -> arm -> the comparison.
        metric: a test metric.
    """
    name, rows = metric_name(metric), []
    for label, of_seeds in records.items():
        row = {
            "arm": label,
            "change": changes.get(label, "–"),
            "validation": float(np.mean([r.validation[metric] for r in of_seeds])) if of_seeds else None,
            f"test {name}": plus_minus([r.test[metric] for r in of_seeds]) if of_seeds else NOT_RUN,
        }
        for reference, found in against.items():
            each = found.get(label)
            words = "–" if each is None else f"{between(each.relative, percent=True)}: {each.verdict} it"
            row[f"against {reference}"] = words
        rows.append(row | {"records": list(of_seeds) or "–"})
    return Sortable(rows)


def dials(
    lines: Mapping[str, Mapping[str, Mapping[float, Sequence[Record]]]],
    *,
    centres: Mapping[str, Mapping[str, float]],
    noise: Mapping[str, float],
    metric: str = "ndcg@20",
) -> Sortable:
    """Each dial of each loss: its best value on validation, and what the chosen one gives up.

    Args:
        lines: dial -> loss -> value -> the records of its seeds.
        centres: dial -> loss -> the value that was chosen.
        noise: loss -> the difference that chance alone may make.
        metric: a validation metric.
    """
    rows = []
    for dial, of_losses in lines.items():
        for loss, line in of_losses.items():
            means = {value: float(np.mean([r.validation[metric] for r in of])) for value, of in line.items()}
            best = max(means, key=lambda value: means[value])
            given_up = means[best] - means[centres[dial][loss]]
            rows.append(
                {
                    "dial": DIALS.get(dial, dial),
                    "loss": display_name(loss),
                    "chosen": f"{centres[dial][loss]:g}",
                    "best here": f"{best:g}",
                    "given up": given_up,
                    "from worst to best": max(means.values()) - min(means.values()),
                    "more than seeds do": "yes" if given_up > noise[loss] else "no",
                    "records": [record for value in sorted(line) for record in line[value]],
                }
            )
    return Sortable(rows)
