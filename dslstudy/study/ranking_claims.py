"""Claims about ranking: how much DSL gains over a tuned softmax loss, and how well the baselines are reproduced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np

from dslstudy.data.published import PRINTED_AS, published, published_rows, published_value
from dslstudy.metrics.significance import Interval, mean_interval, prediction_interval
from dslstudy.study.cells import Cell, state_of
from dslstudy.study.claims import FEWEST, Claim, Evidence
from dslstudy.study.paired_seeds import gains_by_seed
from dslstudy.study.protocol import IID, SHIFTED, protocol_of
from dslstudy.study.store import Record
from dslstudy.study.study import Study

#: so many large gains are "several settings"
SEVERAL = 3
LOSSES = ("softmax", "dsl")
#: the claims of the abstract, as the table of what was published words them
ON_AVERAGE = "mean relative gain of DSL over SL across datasets, metrics and backbones"
UNDER_SHIFT = "mean relative gain of DSL over SL under popularity shift"
IN_SEVERAL = "relative gain exceeds this in several settings"
BACKBONES = ("mf", "lightgcn", "xsimgcl")
# in what a run must agree with those of a cell to stand for it: everything but what is searched, length and seed
_SAME = (
    "backbone",
    "backbone_parameters",
    "loss",
    "score",
    "embedding_size",
    "batch_size",
    "num_negatives",
    "negative_sampling",
    "hidden_fraction",
)


def dsl_claims() -> list[Claim]:
    """The claims of the DSL paper's abstract."""
    rows = {row["claim"].removesuffix(" (percent)"): row for _, row in published("dsl_claims").iterrows()}
    command = "dslstudy study --profile paper --only iid"
    shifted_command = "dslstudy study --profile paper --only popularity-shift"

    def claim(statement: str, notebook: str, measure: Callable[[Study], Evidence | None], run: str, rule: str) -> Claim:
        value = float(rows[statement]["value"])
        return Claim(
            paper="DSL",
            statement=statement,
            reported=value,
            shown=f"{value:+g} %",
            unit="%",
            source=rows[statement]["source"],
            notebook=notebook,
            rule=rule,
            measure=measure,
            command=run,
        )

    return [
        claim(ON_AVERAGE, "iid-results", lambda study: _mean_gain(study, IID), command, "effect"),
        claim(UNDER_SHIFT, "popularity-shift", lambda study: _mean_gain(study, SHIFTED), shifted_command, "effect"),
        claim(IN_SEVERAL, "iid-results", _several_large_gains, command, "exceeds"),
    ]


def baseline_claims() -> list[Claim]:
    """The published values of every loss that DSL is compared with: those that come out well and those that do not."""
    found = []
    for dataset in PRINTED_AS:
        for backbone in BACKBONES:
            for loss in protocol_of("paper").losses:
                value = published_value(dataset, loss, "ndcg@20", backbone=backbone)
                if value is None:
                    continue
                found.append(
                    Claim(
                        paper="SL@K and PSL tables",
                        statement=f"NDCG@20 of {loss} with {backbone} on {dataset}",
                        reported=value,
                        shown=f"{value:.4f}",
                        unit="",
                        source=_source(dataset, loss, backbone),
                        notebook=_chapter_of(dataset, backbone, loss),
                        rule="value",
                        measure=_of_cell(dataset, backbone, loss),
                        command=f"dslstudy study --profile paper --only {_table_of(dataset)} --dataset {dataset}"
                        f" --backbone {backbone} --loss {loss}",
                    )
                )
    return found


def _chapter_of(dataset: str, backbone: str, loss: str) -> str:
    if dataset == "amazon2014-health" and loss in ("bpr", "softmax"):
        return "from-bpr-to-softmax" if backbone == "mf" else "backbones"
    return "popularity-shift" if dataset in SHIFTED else "iid-results"


def _table_of(dataset: str) -> str:
    return "popularity-shift" if dataset in SHIFTED else "iid"


def _source(dataset: str, loss: str, backbone: str) -> str:
    return str(published_rows(dataset, loss, backbone=backbone)["source"].iloc[-1])


def tuned(study: Study, dataset: str, backbone: str, loss: str) -> list[Record]:
    """The seeds of a cell of the study at profile ``paper``, by seed; empty while any is missing.

    Args:
        study: whose stores are read.
        dataset: of the registry, on its published split.
        backbone: of the runs.
        loss: of the runs.
    """
    cell = state_of(study, Cell(protocol=protocol_of("paper"), dataset=dataset, backbone=backbone, loss=loss))
    return [] if None in cell.seeds else cell.found


def best_setting(study: Study, dataset: str, backbone: str, loss: str, *, seeds: int = FEWEST) -> list[Record]:
    """The seeds of a cell; while any is missing, of the best setting that was trained as the cell's runs are.

    A published value may be met at its published setting, before anything is searched.

    Args:
        study: whose stores are read.
        dataset: of the registry, on its published split.
        backbone: of the runs.
        loss: of the runs.
        seeds: fewest seeds that count where the cell is not complete.

    Returns:
        By seed; empty if no setting has enough.
    """
    if found := tuned(study, dataset, backbone, loss):
        return found
    base = protocol_of("paper").base_run(dataset, backbone, loss)
    groups: dict[str, list[Record]] = {}
    for record in study.records(dataset):
        config = record.config
        if config.task != "ranking" or config.split not in ("default", "published"):
            continue
        if all(getattr(config, name) == getattr(base, name) for name in _SAME):
            groups.setdefault(str(config.to_dict() | {"seed": None}), []).append(record)
    groups = {name: records for name, records in groups.items() if len(records) >= seeds}
    if not groups:
        return []
    best = max(groups.values(), key=lambda records: np.mean([record.validation["ndcg@20"] for record in records]))
    return sorted(best, key=lambda record: record.config.seed)


def _of_cell(dataset: str, backbone: str, loss: str) -> Callable[[Study], Evidence | None]:
    def measure(study: Study) -> Evidence | None:
        records = best_setting(study, dataset, backbone, loss)
        if not records:
            return None
        interval = prediction_interval([record.test["ndcg@20"] for record in records])
        config, note = records[0].config, f"{len(records)} seeds; the interval is that of one more"
        if not tuned(study, dataset, backbone, loss):
            note += f"; one setting, learning rate {config.learning_rate:g}, weight decay {config.weight_decay:g};"
            note += " no search of the study"
        return Evidence(interval, records, len(records), complete=True, note=note)

    return measure


def _gains(study: Study, datasets: Sequence[str]) -> dict[tuple[str, str, str], tuple[np.ndarray, list[Record]]]:
    """Cell (data set, backbone, metric) -> relative gain of DSL over the softmax loss for each seed, in percent."""
    cells = {}
    for dataset in datasets:
        for backbone in BACKBONES:
            base, ours = (tuned(study, dataset, backbone, loss) for loss in LOSSES)
            for metric in ("recall@20", "ndcg@20"):
                gains = 100 * gains_by_seed(ours, base, metric=metric)
                if len(gains) >= FEWEST:
                    cells[dataset, backbone, metric] = gains, [*base, *ours]
    return cells


def _mean_gain(study: Study, datasets: Sequence[str]) -> Evidence | None:
    cells = _gains(study, datasets)
    if not cells:
        return None
    seeds = min(len(gain) for gain, _ in cells.values())
    by_seed = np.mean([gain[:seeds] for gain, _ in cells.values()], axis=0)
    return _over_cells(mean_interval(by_seed), cells, 2 * len(datasets) * len(BACKBONES), "metric")


def _several_large_gains(study: Study) -> Evidence | None:
    """The third largest gain in NDCG@20: if it is large, there are several."""
    datasets = (*IID, *SHIFTED)
    cells = {cell: found for cell, found in _gains(study, datasets).items() if cell[-1] == "ndcg@20"}
    if not cells:
        return None
    intervals = sorted((mean_interval(gain) for gain, _ in cells.values()), key=lambda each: -each.estimate)
    chosen = intervals[SEVERAL - 1] if len(intervals) >= SEVERAL else Interval(nan, nan, nan)
    found = _over_cells(chosen, cells, len(datasets) * len(BACKBONES), "NDCG@20 alone")
    return replace(found, note=f"{found.note}; of the gains the one at place {SEVERAL}")


def _over_cells(interval: Interval, cells: Mapping[Any, Any], wanted: int, last: str) -> Evidence:
    records = {record.key: record for _, of_cell in cells.values() for record in of_cell}
    note = f"{len(cells)} of {wanted} cells (data set, backbone, {last}); interval over seeds"
    return Evidence(interval, list(records.values()), len(records), len(cells) == wanted, note)
