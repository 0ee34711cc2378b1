"""One click run from its configuration to what its record keeps (book: Does it help?)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dslstudy import __version__
from dslstudy.c2al.attention import AttentionProbe
from dslstudy.data.click_logs import ClickSplit
from dslstudy.engine.clicks import TrainedClicks, train_clicks
from dslstudy.engine.export import load_model, save_model
from dslstudy.errors import InputError
from dslstudy.metrics.normalized_entropy import log_loss
from dslstudy.models.fm_attention import FMAttention
from dslstudy.study.click_cohorts import click_split, cohort_pair, sides
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.click_rows import click_metrics, keep_rows, kept_arrays, kept_probabilities
from dslstudy.study.provenance import code_commit, code_fingerprint, environment, peak_memory_mb
from dslstudy.study.store import Record, RunStore

#: validation rows on which the attention of a trained model is measured
ATTENTION_ROWS = 2048
#: statistics of the attention that a record keeps
ATTENTION = ("scale", "kurtosis", "near_zero", "effective_rank", "entropy")


@dataclass(frozen=True)
class TrainedClickModel:
    """A click run with its model, for chapters that look inside one.

    Attributes:
        record: the run's record.
        split: the rows it was trained, selected and tested on.
        model: maps a list of feature tensors to logits; the method's own heads are gone.
    """

    record: Record
    split: ClickSplit
    model: nn.Module


def train_click_run(
    config: ClickRunConfig, store: RunStore, *, device: str = "cpu", progress: bool = True
) -> TrainedClickModel:
    """Train a click run and store its record.

    Args:
        config: of the run.
        store: where the record goes.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show a progress bar on standard error.

    Raises:
        InputError: no such axis or bins, an empty cohort, or the run diverged.
    """
    split = click_split(config)
    pair = cohort_pair(config)
    (run,) = train_clicks(
        split, [config], cohorts=None if pair is None else pair.cohorts(split), device=device, progress=progress
    )
    side = sides(config)
    arrays = kept_arrays(run.test, side)
    record = Record(
        config=config,
        data=_describe(config, split),
        code={"version": __version__, "commit": code_commit(), "fingerprint": code_fingerprint(config)},
        environment=environment(device),
        cost={
            "seconds": round(run.seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(device), 1),
            "rows_per_second": round(config.epochs * len(split.train) / run.seconds),
            "stack": 1,
        },
        selection={
            "metric": "validation_loss",
            "best_epoch": config.epochs,
            "epochs": config.epochs,
            "diverged": None,
        },
        history=run.history,
        validation=click_metrics(split.validation.labels, run.validation, sides(config, "validation")),
        test=click_metrics(split.test.labels, kept_probabilities(arrays), side),
        model=measure_model(run, split),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    keep_rows(store.path(config).parent, split.fingerprint, split.test.labels, split.test.users)
    return TrainedClickModel(store.put(record, arrays), split, run.model)


def keep_click_model(trained: TrainedClickModel, store: RunStore) -> None:
    """Write a run's model beside its record; one that is no plain ``FMAttention`` is trained again when asked for."""
    if isinstance(trained.model, FMAttention):
        metadata = {"key": trained.record.key, "fingerprint": trained.record.code["fingerprint"]}
        save_model(_model_path(trained.record, store), trained.model, metadata)


def kept_click_model(record: Record, store: RunStore) -> TrainedClickModel | None:
    """A run with the model that was kept of it; ``None`` if there is none, or an older or a damaged one."""
    path = _model_path(record, store)
    if not path.exists():
        return None
    try:
        model, metadata = load_model(path)
    except InputError:
        path.unlink()  # damaged: train again
        return None
    if metadata.get("fingerprint") != record.code["fingerprint"]:
        return None
    return TrainedClickModel(record, click_split(record.config), model)


def _model_path(record: Record, store: RunStore) -> Path:
    return store.path(record.config).with_suffix(".model.npz")


def measure_model(run: TrainedClicks, split: ClickSplit) -> dict[str, float]:
    """What is measured on the trained model itself: its size, and its attention on validation rows.

    Returns:
        ``parameters``, and for each layer ``attention 1 entropy`` and so on where the model is an ``FMAttention``.
    """
    values: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in run.model.parameters())}
    rows = np.arange(min(ATTENTION_ROWS, len(split.validation)))
    if not isinstance(run.model, FMAttention) or not len(rows):
        return values
    features = [torch.from_numpy(each.values[rows].astype(np.int64)) for each in split.validation.features]
    if len(features) != len(run.model.sizes):
        return values  # the method adds a feature of its own
    probe = AttentionProbe(run.config.make_method(), features)
    probe.measure(run.model, 0)
    for each in probe.records:
        if each.tensor.startswith("attention "):
            values |= {f"{each.tensor} {name}": float(getattr(each.statistics, name)) for name in ATTENTION}
    return values


def _describe(config: ClickRunConfig, split: ClickSplit) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": config.dataset,
        "split": split.name,
        "sha256": dict(split.data_sha256),
        "fingerprint": split.fingerprint,
        "features": list(split.feature_names),
        "base_rate": split.train.base_rate,
    }
    for part in ("train", "validation", "test"):
        log, side = split.part(part), sides(config, part)
        facts[part] = len(log)
        if side is not None:
            facts[f"{part}_cohorts"] = {"head": int((side > 0).sum()), "tail": int((side < 0).sum())}
    if config.axis:
        axis, pair = split.axis(config.axis), cohort_pair(config)
        facts["unit"] = axis.unit
        if config.random_pair_seed is None:
            facts["pair"] = {name: [axis.labels[place] for place in getattr(pair, name)] for name in ("head", "tail")}
    if split.truth is not None:
        labels, best = split.test.labels, split.truth.probabilities["test"]
        facts["bayes"] = {"ne": split.truth.bayes_ne("test"), "log_loss": log_loss(labels, best)}
    return facts
