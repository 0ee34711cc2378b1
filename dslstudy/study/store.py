"""The store: run records on disk, one JSON file per run, per-user metrics beside it (book: Data and splits)."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dslstudy.data.fetch import cache_dir, replacing
from dslstudy.errors import InputError
from dslstudy.study.config import RunConfig

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What is kept of a run.

    Attributes:
        config: the run's configuration.
        data: name, sha256 of each file, the split's fingerprint and sizes.
        code: package version, commit, and the fingerprint of the code that decides the result.
        environment: library versions, device, threads.
        cost: seconds, peak memory in MiB, interactions per second, runs in the stack.
        selection: the metric that chose the epoch, the epoch, and how many were run.
        history: one entry per validation.
        validation: metrics on the validation cut, e.g. ``ndcg@20``.
        test: metrics on the test interactions.
        finished: when, ISO 8601 in UTC.
        path: where the record lies, if it lies anywhere yet.
    """

    config: RunConfig
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    selection: Mapping[str, Any]
    history: list[dict[str, float]]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    finished: str
    path: Path | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """The run's name."""
        return self.config.key

    @property
    def stale(self) -> bool:
        """Whether the code that decides this run's result has changed since it was made."""
        from dslstudy.study.provenance import code_fingerprint

        return self.code["fingerprint"] != code_fingerprint(self.config)

    def per_user(self, metric: str) -> np.ndarray:
        """One test metric for every evaluated user, in ascending order of user ids.

        Args:
            metric: e.g. ``ndcg@20``; ``users`` gives the ids.

        Raises:
            InputError: no such metric was kept, or its file is missing or damaged.
        """
        if self.path is None:
            raise InputError(f"run {self.key} has not been stored, so its per-user metrics are not on disk")
        file = self.path.with_suffix(".npz")
        try:
            with np.load(file) as arrays:
                if metric not in arrays:
                    raise InputError(f"{file.name} keeps {', '.join(arrays)}, not {metric!r}")
                return arrays[metric]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file} is missing or damaged; delete {self.path} and run again") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "title": self.config.title,
            "config": self.config.to_dict(),
            "data": dict(self.data),
            "code": dict(self.code),
            "environment": dict(self.environment),
            "cost": dict(self.cost),
            "selection": dict(self.selection),
            "history": self.history,
            "validation": dict(self.validation),
            "test": dict(self.test),
            "per_user": f"{self.key}.npz",
            "finished": self.finished,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path | None = None) -> "Record":
        """The record that :meth:`to_dict` wrote.

        Raises:
            InputError: it was written for another schema, or its key does not fit its configuration.
        """
        if values.get("schema") != SCHEMA:
            raise InputError(f"{path}: record of schema {values.get('schema')!r}, this version reads {SCHEMA}")
        config = RunConfig.from_dict(values["config"])
        if values["key"] != config.key:
            raise InputError(f"{path}: the record's key {values['key']} does not fit its configuration ({config.key})")
        names = ("data", "code", "environment", "cost", "selection", "history", "validation", "test", "finished")
        return cls(config=config, path=path, **{name: values[name] for name in names})


class RunStore:
    """Records in a folder: ``<dataset>/<key>.json`` and ``<key>.npz``.

    A record counts only when its JSON file is there, and that is written last, by a rename: killing a sweep at any
    moment loses the run in flight and nothing else.

    Args:
        root: the folder; it need not exist yet.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser()

    def path(self, config: RunConfig) -> Path:
        """Where the record of a run lies or would lie."""
        folder = "".join(c if c.isalnum() or c in "-_." else "_" for c in config.dataset).strip("._") or "data"
        return self.root / folder / f"{config.key}.json"

    def get(self, config: RunConfig) -> Record | None:
        """The record of a run, or ``None``.

        Raises:
            InputError: the file is there but damaged.
        """
        path = self.path(config)
        return _read(path) if path.exists() else None

    def put(self, record: Record, per_user: Mapping[str, np.ndarray]) -> Record:
        """Write a record and its per-user metrics; returns the record with its path."""
        path = self.path(record.config)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{name: _compact(values) for name, values in per_user.items()})
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record.to_dict(), indent=1) + "\n", encoding="utf-8")
        return _read(path)

    def __iter__(self) -> Iterator[Record]:
        """All records, in a fixed order."""
        for path in sorted(self.root.glob("*/*.json")):
            yield _read(path)


def _compact(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32 if np.issubdtype(values.dtype, np.integer) else np.float32)


def _read(path: Path) -> Record:
    try:
        return Record.from_dict(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the record {path} is damaged ({error}); delete it and run again") from error


def user_store() -> RunStore:
    """The store of this machine's user, where new records go unless told otherwise."""
    return RunStore(cache_dir() / "runs")


def committed_store() -> RunStore:
    """The records that came with the repository (``results/runs``); empty where the package stands alone."""
    root = os.environ.get("DSLSTUDY_RESULTS")
    return RunStore(Path(root) if root else Path(__file__).parents[2] / "results" / "runs")
