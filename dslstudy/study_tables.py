"""Tables of the study: search spaces, trials, cells; every row names the records behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dslstudy.data.published import published_value
from dslstudy.metrics.significance import LEVEL, Interval
from dslstudy.names import display_name, metric_name
from dslstudy.sortable import Sortable
from dslstudy.study.cells import MATCHED, State
from dslstudy.study.optimism import Optimism
from dslstudy.study.paired_seeds import gain_over_seeds
from dslstudy.study.protocol import Protocol
from dslstudy.study.search import Trial, best_trial
from dslstudy.study.served import Served
from dslstudy.study.spaces import SPACES, size_of, space_of
from dslstudy.study.store import Record
from dslstudy.study.trials import trials_needed, validations
from dslstudy.tables import METRICS, NOT_RUN, between, differences, p_value_text, plus_minus

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from dslstudy.study.inside import Inside
    from dslstudy.study.noise_experiments import Fall

BETTER, WORSE, ALIKE = "better than", "worse than", "not told apart from"


def cell_label(label: str) -> str:
    """How a line of the table is called.

    >>> cell_label("softmax-matched")
    "SL at DSL's temperature"
    """
    return "SL at DSL's temperature" if label == MATCHED else display_name(label)


def verdict(difference: Interval, p_value: float) -> str:
    """A word for a difference: ``better than``, ``worse than`` or ``not told apart from``.

    Args:
        difference: with its interval.
        p_value: after correction for the family it belongs to.
    """
    if p_value >= LEVEL:
        return ALIKE
    return BETTER if difference.estimate > 0 else WORSE


@dataclass(frozen=True)
class Comparison:
    """A cell beside a reference, over users.

    Attributes:
        absolute: difference of the means.
        relative: the same as a share of the reference.
        p_value: Holm's, over all comparisons of the table.
        verdict: the word for it.
        over_seeds: the relative difference seed by seed; ``None`` for what has no seeds.
    """

    absolute: Interval
    relative: Interval
    p_value: float
    verdict: str
    over_seeds: Interval | None = None


def compare(
    records: Mapping[str, Sequence[Record]], *, reference: str = "softmax", metric: str = "ndcg@20", seed: int = 0
) -> dict[str, Comparison]:
    """Every label against a reference: paired bootstrap over users of each user's mean over seeds, Holm-corrected.

    Args:
        records: label -> its seeds; labels without records are left out.
        reference: the label the others are compared with.
        metric: which one.
        seed: of the bootstrap.

    Returns:
        Nothing where the reference has no records.
    """
    found = {label: of_seeds for label, of_seeds in records.items() if of_seeds}
    if reference not in found:
        return {}
    return {
        label: Comparison(
            absolute,
            relative,
            p_value,
            verdict(absolute, p_value),
            gain_over_seeds(found[label], found[reference], metric=metric),
        )
        for label, (absolute, relative, p_value) in differences(found, reference, metric=metric, seed=seed).items()
    }


def beside(found: Sequence[Record], reference: Sequence[Record], *, metric: str = "ndcg@20") -> Comparison:
    """The seeds of one setting beside those of another, over users: one comparison, so nothing to correct.

    Args:
        found: the one.
        reference: the other.
        metric: which one.
    """
    return compare({"found": found, "reference": reference}, reference="reference", metric=metric)["found"]


def spaces(protocol: Protocol) -> "pd.DataFrame":
    """The search spaces of a protocol: one row for each loss, one column for each setting."""
    import pandas as pd

    rows = {}
    for loss in (*protocol.losses, *(name for name in protocol.variations if name in SPACES)):
        space = space_of(loss, protocol.bpr_only if loss == "bpr" else protocol.only)
        rows[display_name(loss)] = {
            name.replace("_", " "): ", ".join(f"{value:g}" for value in values) for name, values in space.items()
        } | {"points": size_of(space)}
    frame = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return frame[[*(name for name in frame.columns if name != "points"), "points"]]


def all_trials(trials: Mapping[str, Sequence[Trial]]) -> Sortable:
    """Every trial of every search, best validation first, diverged ones last.

    Args:
        trials: loss -> its trials.
    """
    pairs = [(loss, trial) for loss, of_loss in trials.items() for trial in of_loss]
    rows = [
        {
            "loss": display_name(loss),
            "trial": trial.number + 1,
            "validation NDCG@20": None if trial.record is None else trial.value,
            "test NDCG@20": None if trial.record is None else trial.record.test["ndcg@20"],
            "best epoch": None if trial.record is None else trial.record.selection["best_epoch"],
            "settings": _settings(trial),
            "record": "diverged" if trial.failed else trial.record or NOT_RUN,
        }
        for loss, trial in sorted(pairs, key=lambda pair: -pair[1].value)
    ]
    return Sortable(rows)


def chosen(trials: Mapping[str, Sequence[Trial]], *, reference: str = "softmax") -> Sortable:
    """What each search chose, and how long it takes to beat the best of the reference.

    Args:
        trials: loss -> its trials; losses without any are left out.
        reference: the loss to be beaten.
    """
    target = max(validations(trials[reference]), default=np.inf)
    rows = []
    for loss, of_loss in trials.items():
        if not any(trial.record for trial in of_loss):
            continue
        best = best_trial(of_loss)
        first, on_average = trials_needed(validations(of_loss), target)
        itself = loss == reference
        rows.append(
            {
                "loss": display_name(loss),
                "trials": len(of_loss),
                "best validation NDCG@20": best.value,
                "median": float(np.median(validations(of_loss))),
                f"trials to beat {display_name(reference)}": "–" if itself else "never" if first is None else first,
                "in other orders": "–" if itself or on_average is None else f"{on_average:.1f}",
                "chosen": _settings(best),
                "record": best.record,
            }
        )
    return Sortable(rows)


def cells(states: Sequence[State], *, metrics: Sequence[str] = METRICS, printed: bool = False) -> Sortable:
    """The cells of one data set and backbone: means over seeds with 95 % t intervals, and where they come from.

    Args:
        states: of the cells.
        metrics: columns.
        printed: put the published values beside ours.
    """
    rows = []
    for state in states:
        row: dict[str, Any] = {"loss": cell_label(state.cell.label)}
        for metric in metrics:
            values = [record.test[metric] for record in state.found]
            value = _printed(state, metric)
            if printed:
                row[f"{metric_name(metric)} published"] = "–" if value is None else f"{value:.4f}"
            row[metric_name(metric)] = plus_minus(values) if values else NOT_RUN
            if printed:
                away = f"{np.mean(values) / value - 1:+.1%}" if values and value else "–"
                row[f"{metric_name(metric)} away"] = away
        rows.append(row | {"state": state.word, "records": state.found or "–"})
    return Sortable(rows)


def comparisons(found: Mapping[str, Comparison], *, metric: str = "ndcg@20", reference: str = "SL") -> Sortable:
    """Every comparison of a table: intervals over users and over seeds, Holm's p-value over users and the word for it.

    Args:
        found: as from :func:`compare`.
        metric: which one it was of.
        reference: how the reference is called.
    """
    return Sortable(
        [
            {
                "loss": cell_label(label),
                f"difference in {metric_name(metric)}": between(each.absolute),
                "relative": between(each.relative, percent=True),
                "relative, over seeds": "–" if each.over_seeds is None else between(each.over_seeds, percent=True),
                "p (Holm)": p_value_text(each.p_value),
                "verdict": f"{each.verdict} {reference}",
            }
            for label, each in found.items()
        ]
    )


def pull_of_bsl(state: State) -> float:
    """BSL's pull over push τ₂/τ₁ in a finished cell; one is SL."""
    chosen = state.found[0].config.loss_parameters
    return chosen["temperature"] / chosen["positive_temperature"]


def pulls_of_bsl(states: Sequence[State]) -> str:
    """How hard BSL pulls beside its push, as its searches chose it: with two equal temperatures it is SL.

    Args:
        states: of one data set; without a finished cell of BSL nothing is said.
    """
    said = []
    for state in states:
        if state.cell.loss != "bsl" or not state.done:
            continue
        pull, temperature = pull_of_bsl(state), state.found[0].config.loss_parameters["temperature"]
        kind = "SL" if pull == 1 else f"pull over push {pull:g} at temperature {temperature:g}"
        said.append(f"{kind} with {display_name(state.cell.backbone)}")
    return f"BSL, as its searches chose it, is {'; '.join(said)}." if said else ""


def progress(states: Sequence[State]) -> Sortable:
    """How far cells are: trials, seeds, state."""
    return Sortable(
        [
            {
                "data set": state.cell.data,
                "backbone": display_name(state.cell.backbone),
                "loss": "–" if state.cell.is_baseline else cell_label(state.cell.loss),
                "trials": f"{len(state.trials)} of {state.budget}" if state.budget else "–",
                "seeds": f"{len(state.found)} of {len(state.seeds)}",
                "state": state.word,
            }
            for state in states
        ]
    )


def reports(found: Mapping[str, Optimism]) -> Sortable:
    """Searches as they are reported with and without a validation set.

    Args:
        found: loss -> its search in both ways.
    """
    rows = []
    for loss, each in found.items():
        name, same = metric_name(each.metric), each.peeked is each.honest
        rows.append(
            {
                "loss": display_name(loss),
                f"{name} chosen by validation": each.supported,
                f"{name} chosen by test": each.reported,
                "inflation": f"{100 * each.inflation:+.1f} %",
                "settings chosen by validation": _settings(each.honest),
                "settings chosen by test": "the same" if same else _settings(each.peeked),
                "records": [trial.record for trial in ([each.honest] if same else [each.honest, each.peeked])],
            }
        )
    return Sortable(rows)


def shown(lines: Sequence[Served], *, groups: "NDArray[np.int64]", head: int) -> Sortable:
    """What is recommended: how much of the catalogue, how evenly, how popular it is, and what the tail gets.

    Args:
        lines: of one table.
        groups: (I,) popularity group of each item, 0 the most popular.
        head: groups that do not belong to the tail.
    """
    rows = []
    for each in lines:
        parts = each.parts(groups)
        rows.append(
            {
                "line": cell_label(each.label),
                "NDCG@20": float(parts.sum(axis=1).mean()),
                "of it in the tail": float(parts[:, head:].sum(axis=1).mean()),
                "coverage@20": f"{each.coverage:.1%}",
                "Gini": f"{each.gini:.3f}",
                "average popularity": f"{each.popularity.mean():.1f}",
                "tail's share of the places": f"{each.exposure(groups)[head:].sum():.1%}",
                "records": list(each.records),
            }
        )
    return Sortable(rows)


def keeps(fall: "Fall") -> str:
    """A word for a fall beside SL's: ``keeps more than``, ``keeps less than`` or ``is not told apart from``."""
    word = ALIKE if fall.against is None else verdict(fall.against, fall.p_value)
    return {BETTER: "keeps more than", WORSE: "keeps less than"}.get(word, f"is {ALIKE}")


def noise(
    records: Mapping[str, Mapping[float, Sequence[Record]]],
    found: "Mapping[tuple[str, float], Fall]",
    *,
    metric: str = "ndcg@20",
) -> Sortable:
    """Every loss under every probability of false negatives.

    Args:
        records: loss -> probability -> its seeds.
        found: what false negatives cost, as from :func:`dslstudy.study.noise_experiments.falls`.
        metric: which one it was of.
    """
    rows = []
    for loss, of_loss in records.items():
        for probability, of_seeds in of_loss.items():
            fall = found.get((loss, probability))
            beside = fall is not None and fall.against is not None
            rows.append(
                {
                    "loss": display_name(loss),
                    "p": f"{probability:g}",
                    metric_name(metric): float(np.mean([record.test[metric] for record in of_seeds])),
                    "change from p = 0": between(fall.change, percent=True) if fall else "–",
                    "minus SL's": between(fall.against, percent=True) if beside else "–",
                    "p-value (Holm)": p_value_text(fall.p_value) if beside else "–",
                    "verdict": f"{keeps(fall)} SL" if beside else "–",
                    "records": list(of_seeds),
                }
            )
    return Sortable(rows)


def watched(seen: "Mapping[str, Sequence[Inside]]", records: Mapping[str, Sequence[Record]]) -> Sortable:
    """What was seen inside training: a row for each loss and epoch, medians over examples averaged over seeds.

    Args:
        seen: loss -> a run for each seed.
        records: loss -> the records of these runs.
    """
    from dslstudy.study.inside import LEVELS, curves

    middle, rows = LEVELS.index(0.5), []
    columns: dict[str, tuple[str, str | int | None]] = {
        "loss of the sample": ("loss", None),
        "entropy of κ": ("kappa_entropy", middle),
        "ρ": ("coupling", middle),
        "τᵢ with popularity": ("softness", None),
        "KL from nominal": ("radius", middle),
        "KL from uniform": ("radius_from_uniform", middle),
        "gradient, users": ("gradient", "users"),
        "gradient, items": ("gradient", "items"),
        "cosine, training": ("alignment", "training"),
        "cosine, test": ("alignment", "test"),
    }
    for loss, runs in seen.items():
        values = {column: curves(runs, *name).mean(axis=0) for column, name in columns.items()}
        for place, epoch in enumerate(curves(runs, "epoch")[0]):
            row: dict[str, Any] = {"loss": display_name(loss), "epoch": int(epoch)}
            row |= {
                column: None if np.isnan(of_epochs[place]) else float(of_epochs[place])
                for column, of_epochs in values.items()
            }
            rows.append(row | {"records": list(records[loss])})
    return Sortable(rows)


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in trial.parameters.items())


def _printed(state: State, metric: str) -> float | None:
    cell = state.cell
    if cell.is_baseline or cell.is_control or cell.split != "default":
        return None  # nothing was printed for splits of our own
    return published_value(cell.dataset, cell.loss, metric, backbone=cell.backbone)
