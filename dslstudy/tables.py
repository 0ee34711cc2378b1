"""Tables of the book as pandas data frames: records in, numbers with their intervals out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.published import published_value
from dslstudy.errors import InputError
from dslstudy.metrics.significance import Interval, holm, mean_interval, paired_bootstrap
from dslstudy.names import display_name, metric_name

if TYPE_CHECKING:
    import pandas as pd

    from dslstudy.data import Dataset
    from dslstudy.study import Record
    from dslstudy.study.claims import Row

METRICS = ("recall@20", "ndcg@20")
#: what a cell says where there is no run
NOT_RUN = "not yet run"


def plus_minus(values: Sequence[float] | NDArray, digits: int = 4) -> str:
    """A mean with the half width of its 95 % t interval, ``0.1234 ± 0.0010``; a single value stands alone.

    Raises:
        InputError: no value.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        raise InputError("there is no value to average")
    if values.size == 1:
        return f"{values[0]:.{digits}f}"
    interval = mean_interval(values)
    return f"{interval.estimate:.{digits}f} ± {interval.high - interval.estimate:.{digits}f}"


def between(interval: Interval, *, percent: bool = False, digits: int = 4) -> str:
    """An estimate with the ends of its interval, ``+1.2 % [+0.4, +2.0]`` or ``+0.0012 [+0.0004, +0.0020]``."""
    scale, digits, unit = (100, 1, " %") if percent else (1, digits, "")
    low, middle, high = (f"{scale * value:+.{digits}f}" for value in (interval.low, interval.estimate, interval.high))
    return f"{middle}{unit} [{low}, {high}]"


def over_seeds(records: Mapping[str, Sequence["Record"]], *, metrics: Sequence[str] = METRICS) -> "pd.DataFrame":
    """Test metrics over seeds: one row for each label, means with 95 % t intervals.

    Args:
        records: label -> one record for each seed; a baseline, which has no seed, comes with one record.
        metrics: columns.

    Raises:
        InputError: a label without records.
    """
    rows = {
        label: {metric_name(m): plus_minus([record.test[m] for record in of_seeds]) for m in metrics}
        | {"runs": len(of_seeds), "seconds per run": _seconds(of_seeds)}
        for label, of_seeds in records.items()
    }
    return _frame(rows)


def over_users(records: Mapping[str, "Record"], *, metrics: Sequence[str] = METRICS) -> "pd.DataFrame":
    """Test metrics over users: one row for each label, means with 95 % intervals of the mean user.

    Args:
        records: label -> one record.
        metrics: columns.
    """
    rows = {
        label: {metric_name(m): plus_minus(record.per_user(m)) for m in metrics}
        | {"users": len(record.per_user("users"))}
        for label, record in records.items()
    }
    return _frame(rows)


def mean_over_seeds(records: Sequence["Record"], metric: str) -> NDArray[np.float64]:
    """One metric of every user, averaged over seeds, shape (users,).

    Raises:
        InputError: the records were evaluated on different users.
    """
    users = records[0].per_user("users")
    if any(not np.array_equal(users, record.per_user("users")) for record in records[1:]):
        raise InputError("these records were evaluated on different users; compare runs of one split")
    return np.mean([record.per_user(metric) for record in records], axis=0, dtype=np.float64)


def differences(
    records: Mapping[str, Sequence["Record"]], reference: str, *, metric: str = "ndcg@20", seed: int = 0
) -> dict[str, tuple[Interval, Interval, float]]:
    """The numbers of :func:`paired_differences`: absolute, relative, and the p-value after Holm, label by label.

    Args:
        records: label -> one record for each seed.
        reference: the label that the others are compared with.
        metric: which one.
        seed: of the bootstrap.

    Raises:
        InputError: no such reference, or records of different users.
    """
    if reference not in records:
        raise InputError(f"there is no {reference!r} to compare with; choose from {', '.join(records)}")
    per_user = {label: mean_over_seeds(of_seeds, metric) for label, of_seeds in records.items()}
    base = per_user.pop(reference)
    absolute = {label: paired_bootstrap(values, base, seed=seed) for label, values in per_user.items()}
    relative = {label: paired_bootstrap(values, base, relative=True, seed=seed) for label, values in per_user.items()}
    adjusted = holm({label: interval.p_value for label, interval in absolute.items()})
    return {label: (absolute[label], relative[label], adjusted[label]) for label in per_user}


def paired_differences(
    records: Mapping[str, Sequence["Record"]], reference: str, *, metric: str = "ndcg@20", seed: int = 0
) -> "pd.DataFrame":
    """How far each label is from a reference, user by user: paired bootstrap over users, p-values after Holm.

    A user's value is her mean over the seeds, so the interval is about users; what seeds do is in :func:`over_seeds`.

    Args:
        records: label -> one record for each seed.
        reference: the label that the others are compared with.
        metric: which one.
        seed: of the bootstrap.

    Raises:
        InputError: no such reference, or records of different users.
    """
    rows = {
        label: {
            f"difference in {metric_name(metric)}": between(absolute),
            "relative": between(relative, percent=True),
            "p (Holm)": p_value_text(adjusted),
        }
        for label, (absolute, relative, adjusted) in differences(records, reference, metric=metric, seed=seed).items()
    }
    return _frame(rows, title=f"against {reference}")


def beside_published(
    records: Mapping[str, Sequence["Record | None"]],
    dataset: str,
    *,
    backbone: str = "mf",
    metrics: Sequence[str] = METRICS,
) -> "pd.DataFrame":
    """Published numbers, ours with 95 % t intervals over seeds, and how far apart they are.

    Args:
        records: loss -> what the store has for each seed, ``None`` where it has nothing.
        dataset: a name of the registry.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.
        metrics: one row each.

    Returns:
        Rows by loss and metric. Where runs are missing the row says so; where the code has changed since they were
        made, the column ``state`` says ``stale``.
    """
    import pandas as pd

    rows, index = [], []
    for loss, of_seeds in records.items():
        found = [record for record in of_seeds if record is not None]
        for metric in metrics:
            printed = published_value(dataset, loss, metric, backbone=backbone)
            values = [record.test[metric] for record in found]
            away = np.mean(values) / printed - 1 if values and printed else None
            index.append((display_name(loss), metric_name(metric)))
            rows.append(
                {
                    "published": "–" if printed is None else f"{printed:.4f}",
                    "ours": plus_minus(values) if values else NOT_RUN,
                    "relative difference": "–" if away is None else f"{away:+.1%}",
                    "seeds": f"{len(found)} of {len(of_seeds)}",
                    "state": state_of(of_seeds),
                }
            )
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index))


def found_values(records: Mapping[str, Sequence["Record | None"]], metric: str) -> dict[str, NDArray[np.float64]]:
    """A test metric of the records that are there; label -> one value for each, none where nothing was run."""
    return {
        label: np.array([record.test[metric] for record in of_seeds if record is not None], dtype=np.float64)
        for label, of_seeds in records.items()
    }


def published_distances(
    records: Mapping[str, Sequence["Record | None"]],
    dataset: str,
    *,
    backbone: str = "mf",
    metrics: Sequence[str] = METRICS,
) -> str:
    """Sentences on how far the means over seeds are from the published values, for all losses that have one.

    Args:
        records: loss -> what the store has for each seed, ``None`` where it has nothing.
        dataset: a name of the registry.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.
        metrics: which ones.
    """
    sentences = []
    for loss in records:
        away = []
        for metric in metrics:
            printed = published_value(dataset, loss, metric, backbone=backbone)
            ours = found_values(records, metric)[loss]
            if printed and len(ours):
                away.append(f"{ours.mean() / printed - 1:+.1%} in {metric_name(metric)}")
        where = (
            f"is {' and '.join(away)} away from its published value" if away else "has not been run yet on this data"
        )
        sentences.append(f"{display_name(loss)} {where}.")
    return " ".join(sentences)


def state_of(records: Iterable["Record | None"]) -> str:
    """What may be said of some records together: ``current``, ``stale``, ``incomplete`` or ``not yet run``."""
    records = list(records)
    found = [record for record in records if record is not None]
    if not found:
        return NOT_RUN
    if any(record.stale for record in found):
        return "stale: the code has changed since"
    return "current" if len(found) == len(records) else "incomplete"


def provenance(records: Mapping[str, Sequence["Record | None"]]) -> "pd.DataFrame":
    """Where records come from: commit, device, library versions, time; one row for each label that has any."""
    rows = {}
    for label, of_seeds in records.items():
        found = [record for record in of_seeds if record is not None]
        if not found:
            continue
        rows[display_name(label)] = {
            "records": ", ".join(record.key[:8] for record in found),
            "commit": _each(str(record.code["commit"] or "–") for record in found),
            "device": _each(record.environment["device"] for record in found),
            "torch": _each(record.environment["torch"] for record in found),
            "seconds per run": _seconds(found),
        }
    return _frame(rows)


def click_metrics(
    arms: Mapping[str, Sequence["Record"]], *, metrics: Sequence[str] = ("ne", "auc", "log_loss", "ece")
) -> "pd.DataFrame":
    """Test metrics of click runs over paired runs: one row for each arm, means with 95 % t intervals.

    Args:
        arms: label -> one record for each seed or world.
        metrics: columns, e.g. ``ne@tail`` for a cohort; a dash where an arm knows no cohorts.
    """
    rows = {}
    for label, records in arms.items():
        values = {m: [record.test[m] for record in records if m in record.test] for m in metrics}
        rows[display_name(label)] = {
            metric_name(m): plus_minus(of_metric) if of_metric else "–" for m, of_metric in values.items()
        } | {"runs": len(records), "seconds per run": _seconds(records)}
    return _frame(rows)


def click_differences(
    arms: Mapping[str, Sequence["Record"]], reference: str = "plain", *, cohorts: str = "c2al", seed: int = 0
) -> "pd.DataFrame":
    """``NE_diff`` of each arm against a reference, overall and per cohort; negative is better.

    Args:
        arms: label -> one record for each seed or world, in one order for all.
        reference: the label that the others are compared with.
        cohorts: the label whose cohorts count; random pairs are measured on the real one.
        seed: of the bootstrap.

    Returns:
        Rows by arm and by what the interval is over: ``runs`` (t interval of paired differences) or ``users``
        (bootstrap clustered by user); p-values are Holm's over all arms.

    Raises:
        InputError: no such label, or arms that are not paired.
    """
    import pandas as pd

    from dslstudy.study.click_comparison import compare_clicks

    for label in (reference, cohorts):
        if label not in arms:
            raise InputError(f"there is no {label!r} to compare with; choose from {', '.join(arms)}")
    found = {
        label: compare_clicks(records, arms[reference], cohorts=arms[cohorts], seed=seed)
        for label, records in arms.items()
        if label != reference
    }
    adjusted = holm({label: each.over_users["overall"].p_value for label, each in found.items()})
    rows, index = [], []
    for label, each in found.items():
        for over, intervals in (("runs", each.over_runs), ("users", each.over_users)):
            index.append((display_name(label), over))
            cells = {scope: _percent(intervals[scope]) if scope in intervals else "–" for scope in each.per_run}
            rows.append(cells | {"p (Holm)": p_value_text(adjusted[label]) if over == "users" else ""})
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index), columns=["overall", "head", "tail", "p (Holm)"])


def claims_table(rows: Sequence["Row"]) -> "pd.DataFrame":
    """The claims ledger: one row for each claim of :func:`dslstudy.study.ledger.ledger`.

    Args:
        rows: of the ledger, or some of them.
    """
    import pandas as pd

    cells = [
        {
            "claim": row.claim.statement,
            "reported": row.claim.shown,
            "ours": "–" if row.evidence is None else _ours(row),
            "verdict": row.verdict,
            "runs": "–" if row.evidence is None else f"{len(row.evidence.runs)} ({row.state})",
            "covers": "–" if row.evidence is None else row.evidence.note,
            "chapter": row.claim.notebook,
        }
        for row in rows
    ]
    return pd.DataFrame(cells, index=[row.claim.paper for row in rows])


def _ours(row: "Row") -> str:
    interval, unit = row.evidence.interval, row.claim.unit
    if not np.isfinite(interval.estimate):
        return "–"
    if unit:
        # a verdict may turn on the third digit: what is reported has two
        return _percent(interval, digits=3) + f" {unit}"
    low, middle, high = (f"{value:.4f}" for value in (interval.low, interval.estimate, interval.high))
    return f"{middle} [{low}, {high}]"


def _percent(interval: Interval, *, digits: int = 2) -> str:
    """An interval that is in percent already, ``-0.12 [-0.20, -0.04]``."""
    low, middle, high = (f"{value:+.{digits}f}" for value in (interval.low, interval.estimate, interval.high))
    return f"{middle} [{low}, {high}]"


def datasets(loaded: Sequence["Dataset"] = ()) -> "pd.DataFrame":
    """The registry as a table, with what can be counted where a data set is at hand.

    Args:
        loaded: data sets in memory; for these the sizes are measured and the share of the head is given.
    """
    from dslstudy.data import describe
    from dslstudy.data.registry import registry

    measured = {data.name: describe(data) for data in loaded}
    rows = {}
    for name, spec in registry().items():
        facts = measured.get(name, {})
        users, items, count = (facts.get(key, getattr(spec, key)) for key in ("users", "items", "interactions"))
        rows[name] = {
            "users": f"{users:,}",
            "items": f"{items:,}",
            "interactions": f"{count:,}",
            "density": f"{count / users / items:.2%}",
            "top 20 % hold": f"{facts['head_share']:.0%}" if facts else "–",
            "split used": spec.published if spec.split == "published" else f"ours ({spec.split})",
            "counted": "here" if facts else "as registered",
        }
    return _frame(rows)


def say(text: str) -> None:
    """Show a paragraph of Markdown in a notebook: sentences whose numbers were computed.

    Args:
        text: Markdown; line breaks and indentation of the source do not matter.
    """
    from inspect import cleandoc

    from IPython.display import Markdown, display

    display(Markdown(cleandoc(text)))


def _frame(rows: Mapping[str, Mapping[str, Any]], title: str = "") -> "pd.DataFrame":
    import pandas as pd

    # a title over the index goes where it does not cost a header row
    return pd.DataFrame.from_dict(dict(rows), orient="index").rename_axis(columns=title or None)


def _seconds(records: Sequence["Record"]) -> str:
    return f"{np.mean([record.cost['seconds'] for record in records]):.1f}"


def p_value_text(p: float) -> str:
    """A p-value as tables print it: three digits, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
