"""The store: run records on disk, one JSON file per run, its arrays beside it (book: Data and splits).

A ranking run keeps the metrics of every user, a click run the prediction for every row: what a paired test needs.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from dslstudy.data.fetch import cache_dir, replacing
from dslstudy.engine.config import require_one_of
from dslstudy.errors import InputError
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.config import RunConfig
from dslstudy.trace import note

SCHEMA = 1
#: so many characters of a data set's name, which may be a path, name the folder of its records
_LONGEST = 100
AnyConfig = RunConfig | ClickRunConfig
#: task -> what its runs are written down as
CONFIGS: dict[str, type[RunConfig] | type[ClickRunConfig]] = {kind.task: kind for kind in (RunConfig, ClickRunConfig)}
#: part of a record -> what whoever reads it counts on; the metrics are those of its task
_NEEDED = {"code": ("fingerprint",), "cost": ("seconds",), "selection": ("best_epoch", "epochs")}
_METRICS = {
    "ranking": {"validation": ("ndcg@20",), "test": ("recall@20", "ndcg@20")},
    "clicks": {"validation": ("ne",), "test": ("ne",)},
}


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
        validation: metrics on the validation cut, e.g. ``ndcg@20`` or ``ne``.
        test: metrics on the test interactions or rows.
        model: what is measured on the trained model itself, e.g. ``parameters``; nothing for ranking runs.
        finished: when, ISO 8601 in UTC.
        path: where the record lies, if it lies anywhere yet.
    """

    config: AnyConfig
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    selection: Mapping[str, Any]
    history: list[dict[str, float]]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    finished: str
    model: Mapping[str, float] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """The run's name."""
        return self.config.key

    @property
    def task(self) -> str:
        """``ranking`` or ``clicks``."""
        return self.config.task

    @property
    def stale(self) -> bool:
        """Whether the code that decides this run's result has changed since it was made."""
        from dslstudy.study.provenance import code_fingerprint

        return self.code["fingerprint"] != code_fingerprint(self.config)

    def per_user(self, metric: str) -> np.ndarray:
        """One test metric of a ranking run for every evaluated user, in ascending order of user ids.

        Args:
            metric: e.g. ``ndcg@20``; ``users`` gives the ids.

        Raises:
            InputError: no such metric was kept, or its file is missing or damaged.
        """
        return self.array(metric)

    def array(self, name: str) -> np.ndarray:
        """One of the arrays kept beside the record.

        Args:
            name: a metric of a ranking run, or what :mod:`dslstudy.study.click_rows` keeps of a click run.

        Raises:
            InputError: no such array was kept, or the file is missing or damaged.
        """
        if self.path is None:
            raise InputError(f"run {self.key} has not been stored, so its arrays are not on disk")
        (values,) = read_arrays(self.path.with_suffix(".npz"), [name], mend=f"delete {self.path} and run again")
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "task": self.task,
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
            "model": dict(self.model),
            "arrays": f"{self.key}.npz",
            "finished": self.finished,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path | None = None) -> "Record":
        """The record that :meth:`to_dict` wrote.

        Raises:
            InputError: it was written for another schema, or its key does not fit its configuration.
        """
        if values.get("schema") != SCHEMA:
            raise InputError(f"it has schema {values.get('schema')!r}, this version of dslstudy reads {SCHEMA}")
        task = values.get("task", "ranking")  # the only one there was when the first records were written
        require_one_of("task of a record", task, CONFIGS)
        config = CONFIGS[task].from_dict(values["config"])
        if values["key"] != config.key:
            raise InputError(f"its key {values['key']} does not fit its configuration ({config.key})")
        names = ("data", "code", "environment", "cost", "selection", "history", "validation", "test", "finished")
        model = values.get("model", {})
        for part, needed in (_NEEDED | _METRICS[task]).items():
            if missing := [name for name in needed if name not in dict(values[part])]:
                raise ValueError(f"its {part} has no {', '.join(missing)}")
        _require_numbers("cost", {"seconds": values["cost"]["seconds"]})
        for part in ("validation", "test"):
            _require_numbers(part, values[part])
        if not isinstance(values["history"], list):
            raise ValueError("its history is no list")
        return cls(config=config, model=model, path=path, **{name: values[name] for name in names})


def _require_numbers(part: str, values: Mapping[str, Any]) -> None:
    """ValueError if one of a record's values is no number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"its {part} has {value!r} for {name}")


class RunStore:
    """Records in a folder: ``<dataset>/<key>.json`` and ``<key>.npz``.

    A record counts only when its JSON file is there, and that is written last, by a rename: killing a sweep at any
    moment loses the run in flight and nothing else.

    Args:
        root: the folder; it need not exist yet.

    Raises:
        InputError: there is something else in its place, or it has no name.
    """

    def __init__(self, root: Path | str) -> None:
        if not str(root):
            raise InputError("the store has an empty name; give a folder for the records, . for this one")
        self.root = Path(root).expanduser()
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"the store {self.root} is no folder; give a folder for the records")

    def prepare(self, *parts: str) -> None:
        """Make the folder and try to write into it, before work is done whose result it shall keep.

        Args:
            parts: of folders in it that are needed too.

        Raises:
            InputError: it cannot be made, or not be written to.
        """
        for folder in (self.root, *(self.root / part for part in parts)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                TemporaryFile(dir=folder).close()
            except OSError as error:
                raise InputError(
                    f"cannot write to the store {folder} ({error.strerror}); give --store, or set DSLSTUDY_CACHE to, a"
                    " folder you may write to"
                ) from error

    def folder(self, dataset: str) -> Path:
        """Where the records of a data set lie."""
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in dataset)[-_LONGEST:].strip("._")
        return self.root / (name or "data")

    def path(self, config: AnyConfig) -> Path:
        """Where the record of a run lies or would lie."""
        return self.folder(config.dataset) / f"{config.key}.json"

    def get(self, config: AnyConfig) -> Record | None:
        """The record of a run, or ``None``.

        Raises:
            InputError: the file is there but damaged.
        """
        path = self.path(config)
        return read_record(path) if path.exists() else None

    def put(self, record: Record, arrays: Mapping[str, np.ndarray]) -> Record:
        """Write a record and the arrays beside it; returns the record with its path.

        Args:
            record: of a finished run.
            arrays: name -> array; integers are kept as int32, or as they are if they are smaller, other numbers as
                float32.
        """
        path = self.path(record.config)
        write_arrays(path.with_suffix(".npz"), arrays)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record.to_dict(), indent=1) + "\n", encoding="utf-8")
        return read_record(path)

    def paths(self) -> list[Path]:
        """Where the records lie, in a fixed order."""
        return sorted(self.root.glob("*/*.json"))

    def __iter__(self) -> Iterator[Record]:
        """All records, in a fixed order."""
        yield from map(read_record, self.paths())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into one compressed file, all of it or nothing; ``numpy.load`` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # NumPy's own compression takes a fifth more room
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_BZIP2) as file:
        for name, values in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, _compact(values), allow_pickle=False)


def read_arrays(path: Path, names: Sequence[str], *, mend: str) -> list[np.ndarray]:
    """Some of the arrays in one file.

    Args:
        path: what :func:`write_arrays` wrote.
        names: of the arrays.
        mend: what to do about a damaged file, for the message.

    Raises:
        InputError: the file is missing or damaged, or has no such array.
    """
    try:
        with np.load(path) as arrays:
            for name in names:
                if name not in arrays:
                    raise InputError(f"{path.name} keeps {', '.join(arrays)}, not {name!r}; if it should, {mend}")
            return [arrays[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is missing or damaged; {mend}") from error


def _compact(values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.integer):
        return values.astype(np.float32)
    return values if values.dtype.itemsize < 4 else values.astype(np.int32)


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        InputError: it cannot be read, is damaged, or of a later version.
    """
    note(path)
    try:
        return Record.from_dict(json.loads(path.read_text(encoding="utf-8")), path)
    except OSError as error:  # it may be as good as ever
        raise InputError(f"the record {path} cannot be read ({error.strerror}); look whether you may") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"the record {path} is damaged ({what}); delete it and run again") from error


def user_store() -> RunStore:
    """The store of this machine's user, where new records go unless told otherwise."""
    return RunStore(cache_dir() / "runs")


def committed_store() -> RunStore:
    """The records that came with the repository (``results/runs``); empty where the package stands alone."""
    root = os.environ.get("DSLSTUDY_RESULTS")
    return RunStore(Path(root) if root else Path(__file__).parents[2] / "results" / "runs")
