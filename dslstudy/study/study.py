"""A study: asks for runs by configuration, trains what is missing, keeps what was trained."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from dslstudy import __version__
from dslstudy.data import Split, load_split
from dslstudy.data.click_logs import ClickSplit
from dslstudy.data.fetch import replacing
from dslstudy.data.interactions import Interactions
from dslstudy.data.registry import registry
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.false_negatives import hide, train_with_false_negatives
from dslstudy.engine.ranking import TrainedRun, train, training_device
from dslstudy.errors import InputError
from dslstudy.metrics.topk import RankingEvaluator, RankingMetrics
from dslstudy.models import model_class
from dslstudy.study.click_cohorts import click_split
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.click_runs import TrainedClickModel, keep_click_model, kept_click_model, train_click_run
from dslstudy.study.config import RunConfig
from dslstudy.study.profiles import Profile, get_profile
from dslstudy.study.provenance import code_commit, code_fingerprint, environment, peak_memory_mb
from dslstudy.study.store import AnyConfig, Record, RunStore, committed_store, read_record, user_store

SELECTION_METRIC = "ndcg@20"
#: runs trained together at most; they share a checkpoint, so a kill loses a minute, not a stack
GPU_STACK, CPU_STACK = 64, 16


class DivergedError(InputError):
    """Runs that diverged before their first validation and so have no record.

    Args:
        configs: the runs.
    """

    def __init__(self, configs: Sequence[RunConfig]) -> None:
        self.configs = configs
        super().__init__(
            f"training diverged before its first validation: {configs[0].title}, learning rate"
            f" {configs[0].learning_rate}; lower it or raise the temperature"
        )


@dataclass(frozen=True)
class TrainedModel:
    """A run's tables, for chapters that look inside a model.

    Attributes:
        record: the run's record.
        split: the interactions it was trained, selected and tested on.
        user_table: (U, d) float32 at the selected epoch, rows of unit length for cosine scores.
        item_table: (I, d) float32 likewise.
    """

    record: Record
    split: Split
    user_table: np.ndarray
    item_table: np.ndarray


class Study:
    """Runs under one profile.

    Args:
        profile: decides what may be trained here.
        store: where new records go; this machine's user store by default.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show progress bars on standard error.
        compile: ``auto``, ``always`` or ``never``: whether losses are compiled.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        store: RunStore | None = None,
        device: str = "cpu",
        progress: bool = True,
        compile: str = "auto",
    ) -> None:
        self.profile = profile
        self.store = store or user_store()
        self.committed = committed_store()
        self.device = str(training_device(device))
        self.progress = progress
        self.compile = compile

    def find(self, config: AnyConfig) -> Record | None:
        """The record of a run without training anything: a fresh one if there is one, else a committed stale one."""
        records = [record for record in (self.store.get(config), self.committed.get(config)) if record is not None]
        fresh = [record for record in records if not record.stale]
        return (fresh or records or [None])[0]

    def records(self, dataset: str) -> list[Record]:
        """Every record of a data set, each run once: a fresh one if there is one, else a stale one."""
        found: dict[str, Record] = {}
        for store in (self.store, self.committed):
            for record in map(read_record, sorted(store.folder(dataset).glob("*.json"))):
                if record.key not in found or (found[record.key].stale and not record.stale):
                    found[record.key] = record
        return list(found.values())

    def obtain(self, configs: Iterable[AnyConfig], *, description: str = "runs") -> list[Record]:
        """The records of runs, training those that are missing or stale.

        Args:
            configs: in any order, repeats allowed.
            description: the progress bar's title.

        Returns:
            One record per configuration, in their order.

        Raises:
            InputError: runs are missing that this profile does not train, or a run diverged.
        """
        configs = list(configs)
        wanted = {config.key: config for config in configs}
        found = {key: record for key, config in wanted.items() if (record := self._fresh(config))}
        missing = [config for key, config in wanted.items() if key not in found]
        refused = [config for config in missing if not self._may_train(config)]
        if refused:
            raise InputError(
                f"{len(refused)} of {len(wanted)} runs have no record and profile {self.profile.name!r} does not train"
                f" on {refused[0].dataset} (first: {refused[0].title}); use --profile paper, or dslstudy run"
            )
        size = GPU_STACK if self.device.startswith("cuda") else CPU_STACK
        bar = tqdm(total=len(missing), desc=description, unit="run", disable=not (self.progress and missing))
        with bar:
            for stack in _stacks(missing, size):
                for config, model in zip(stack, self._train(stack), strict=True):
                    found[config.key] = model.record
                bar.update(len(stack))
        return [found[config.key] for config in configs]

    def retrain(self, config: AnyConfig) -> Record:
        """Train a run whether or not it has a record; the new record takes the old one's place."""
        return self._train([config])[0].record

    def train(self, config: AnyConfig) -> TrainedModel | TrainedClickModel:
        """A run with its tables, or with its model if it is a click run; both are kept, so the second call only reads.

        Raises:
            InputError: this profile does not train on that data set, the run is a baseline, or it diverged.
        """
        if isinstance(config, ClickRunConfig):
            return self._click_model(config)
        if config.is_baseline:
            raise InputError(f"{config.backbone} is a baseline and has no embedding tables")
        tables = self.store.path(config).with_suffix(".tables.npz")
        record = self._fresh(config)
        if record is not None and tables.exists():
            try:
                with np.load(tables) as arrays:
                    if str(arrays["fingerprint"]) == code_fingerprint(config):
                        return TrainedModel(record, split_of(config), arrays["user_table"], arrays["item_table"])
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                tables.unlink(missing_ok=True)  # damaged: train again
        if not self._may_train(config):
            raise InputError(f"profile {self.profile.name!r} does not train on {config.dataset}; use --profile paper")
        model = self._train([config])[0]
        with replacing(tables) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                user_table=model.user_table,
                item_table=model.item_table,
                fingerprint=np.array(code_fingerprint(config)),
            )
        return model

    def _click_model(self, config: ClickRunConfig) -> TrainedClickModel:
        record = self._fresh(config)
        kept = None if record is None else kept_click_model(record, self.store)
        if kept is not None:
            return kept
        if not self._may_train(config):
            raise InputError(f"profile {self.profile.name!r} does not train on {config.dataset}; use --profile paper")
        trained = self._train([config])[0]
        keep_click_model(trained, self.store)
        return trained

    def _may_train(self, config: AnyConfig) -> bool:
        if isinstance(config, ClickRunConfig) and config.dataset_parameters.get("rows", 0) > self.profile.click_rows:
            return False
        return config.dataset in self.profile.trains or config.dataset not in registry(None)

    def _fresh(self, config: AnyConfig) -> Record | None:
        record = self.find(config)
        if record is None or record.stale or not record.path.with_suffix(".npz").is_file():
            return None
        if config.dataset not in registry(None) and record.data["fingerprint"] != _data_of(config).fingerprint:
            return None  # one's own file has changed under its name
        return record

    def _train(self, configs: Sequence[AnyConfig]) -> list[TrainedModel] | list[TrainedClickModel]:
        """Train one stack and store its records."""
        self.store.prepare()
        if isinstance(configs[0], ClickRunConfig):
            device, progress = self.device, self.progress
            return [train_click_run(config, self.store, device=device, progress=progress) for config in configs]
        split = split_of(configs[0])
        validation, test = evaluators(split, self.device)
        if configs[0].is_baseline:
            return [self._baseline(config, split, validation, test) for config in configs]
        checkpoint = self._checkpoint(configs, split)
        hidden, train_stack = hidden_of(configs[0]), partial(train, split.train)
        if hidden is not None:
            train_stack = partial(train_with_false_negatives, *hidden, configs[0].hidden_probability)
        runs = train_stack(
            configs,
            lambda users, items: [m.mean()[SELECTION_METRIC] for m in validation.evaluate(users, items)],
            device=self.device,
            progress=self.progress,
            compile=self.compile,
            checkpoint=checkpoint,
        )
        models, diverged = [], []
        for config, run in zip(configs, runs, strict=True):
            if not run.history:
                diverged.append(config)
                continue
            tables = run.user_table[None], run.item_table[None]
            record = self._store(
                config, split, validation.evaluate(*tables)[0], test.evaluate(*tables)[0], run, len(configs)
            )
            models.append(TrainedModel(record, split, run.user_table.numpy(), run.item_table.numpy()))
        checkpoint.remove()
        if diverged:
            raise DivergedError(diverged)
        return models

    def _checkpoint(self, configs: Sequence[RunConfig], split: Split) -> Checkpoint:
        """Where the states of a stack lie while it is trained: one file per set of runs, beside the records."""
        runs = hashlib.sha256("".join(config.key for config in configs).encode()).hexdigest()[:16]
        code = sorted({code_fingerprint(config) for config in configs})
        identity = json.dumps([code, split.fingerprint, self.device, self.compile, torch.__version__])
        return Checkpoint(self.store.root / "in-flight" / f"{runs}.pt", identity)

    def _baseline(
        self, config: RunConfig, split: Split, validation: RankingEvaluator, test: RankingEvaluator
    ) -> TrainedModel:
        started = datetime.now(UTC)
        model = model_class(config.backbone)(**config.backbone_parameters).fit(split.train)
        run = TrainedRun(config, torch.empty(0), torch.empty(0))
        run.seconds = (datetime.now(UTC) - started).total_seconds()
        record = self._store(
            config,
            split,
            validation.evaluate_scores(model.score_block),
            test.evaluate_scores(model.score_block),
            run,
            1,
        )
        return TrainedModel(record, split, np.empty((0, 0)), np.empty((0, 0)))

    def _store(
        self,
        config: RunConfig,
        split: Split,
        validation: RankingMetrics,
        test: RankingMetrics,
        run: TrainedRun,
        stack: int,
    ) -> Record:
        epochs, data = run.history[-1]["epoch"] if run.history else 0, _describe(config, split)
        record = Record(
            config=config,
            data=data,
            code={"version": __version__, "commit": code_commit(), "fingerprint": code_fingerprint(config)},
            environment=environment(self.device),
            cost={
                "seconds": round(run.seconds, 3),
                "peak_memory_mb": round(peak_memory_mb(self.device), 1),
                "interactions_per_second": round(epochs * data["train"] / run.seconds) if epochs else None,
                "stack": stack,
            },
            selection={
                "metric": SELECTION_METRIC,
                "best_epoch": run.best_epoch,
                "epochs": epochs,
                "diverged": run.diverged,
            },
            history=run.history,
            validation=validation.mean(),
            test=test.mean(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return self.store.put(record, {"users": test.users, **test.values})


def open_study(
    profile: str = "quick",
    *,
    store: Path | str | None = None,
    device: str = "cpu",
    progress: bool = True,
    compile: str = "auto",
) -> Study:
    """The way into the study for notebooks and the command line.

    Args:
        profile: ``smoke``, ``quick`` or ``paper``.
        store: folder for new records; this machine's user store by default.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show progress bars on standard error.
        compile: ``auto`` compiles the losses of long runs where there is a compiler, ``always``, ``never``.

    Raises:
        InputError: unknown profile or device.
    """
    chosen = None if store is None else RunStore(store)
    return Study(get_profile(profile), store=chosen, device=device, progress=progress, compile=compile)


def split_of(config: RunConfig) -> Split:
    """The interactions of a run, loaded once per process; hidden ones are still among its training interactions."""
    return _split(config.dataset, config.split, config.split_seed, config.validation_fraction)


def hidden_of(config: RunConfig) -> tuple[Interactions, Interactions] | None:
    """What a run is trained on and what is hidden from it; ``None`` for a run that hides nothing."""
    if not config.hides:
        return None
    return hide(split_of(config).train, config.hidden_fraction, seed=config.split_seed)


@lru_cache(maxsize=8)
def _split(dataset: str, split: str, seed: int, validation_fraction: float) -> Split:
    return load_split(dataset, split, seed=seed, validation_fraction=validation_fraction)


def _data_of(config: AnyConfig) -> Split | ClickSplit:
    return click_split(config) if isinstance(config, ClickRunConfig) else split_of(config)


def evaluators(split: Split, device: str = "cpu") -> tuple[RankingEvaluator, RankingEvaluator]:
    """The validation and the test evaluator of a split: what was seen earlier is never a candidate.

    Nor is what a run hides: it is no part of what the run learns from, and finding it would be no mistake.
    """
    train_items, validation_items = split.train.csr(), split.validation.csr()
    return (
        RankingEvaluator(validation_items, train_items, device=device),
        RankingEvaluator(split.test.csr(), train_items + validation_items, device=device),
    )


def _describe(config: RunConfig, split: Split) -> dict[str, Any]:
    hidden = hidden_of(config)
    return {
        "name": config.dataset,
        "sha256": dict(split.data_sha256),
        "fingerprint": split.fingerprint,
        "users": split.train.num_users,
        "items": split.train.num_items,
        "train": len(split.train if hidden is None else hidden[0]),
        "validation": len(split.validation),
        "test": len(split.test),
        **({} if hidden is None else {"hidden": len(hidden[1])}),
    }


def _stacks(configs: Sequence[AnyConfig], size: int) -> list[list[AnyConfig]]:
    """Cut runs into stacks that share data and shape, at most ``size`` runs each."""
    groups: dict[tuple[object, ...], list[AnyConfig]] = {}
    for config in configs:
        if isinstance(config, ClickRunConfig):
            groups[config.data_key, config.key] = [config]
            continue
        data = (config.dataset, config.split, config.split_seed, config.validation_fraction)
        kind = (config.key,) if config.is_baseline else config.stack_key()
        groups.setdefault((data, kind), []).append(config)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
