"""Records of benchmarks: who was measured, how often, on which machine, by which command (book: Speed).

One JSON file per suite lies in ``results/benchmarks``; the suites themselves are in ``benchmarks/suites.toml``.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dslstudy.data.fetch import write_atomically
from dslstudy.errors import InputError
from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.study.config import RunConfig
from dslstudy.study.provenance import code_commit, code_fingerprint, environment

SCHEMA = 1


@dataclass(frozen=True)
class Spread:
    """A figure over repeats.

    Attributes:
        median: of the repeats.
        low: the smallest.
        high: the largest.
        count: repeats.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise the values of the repeats.

        Raises:
            InputError: there are none.
        """
        if not len(values):
            raise InputError("there is no repeat to summarise; measure at least one")
        return cls(float(np.median(values)), float(min(values)), float(max(values)), len(values))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One that was measured.

    Attributes:
        name: short, unique in its suite.
        title: for people.
        script: the file in ``benchmarks`` that was run.
        environment: ``own``, or ``peers`` for the environment that ``make peers`` makes.
        settings: all that it was asked for.
        differs: in what it does not do the same as ours.
        axis: the setting that a sweep changes here, if any.
        trials: one entry per repeat: what was measured, by name.
    """

    name: str
    title: str
    script: str
    environment: str = "own"
    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: Sequence[str] = field(default_factory=list)
    axis: str | None = None
    trials: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def values(self, measure: str) -> list[float | None]:
        """One measure of every repeat; ``None`` where there is nothing to report (a target never reached).

        Raises:
            InputError: it was not measured.
        """
        if not self.trials or any(measure not in trial for trial in self.trials):
            known = sorted({name for trial in self.trials for name, value in trial.items() if _is_number(value)})
            raise InputError(f"{self.name!r} has no measure {measure!r}; it has: {', '.join(known) or 'no trial'}")
        return [trial[measure] for trial in self.trials]

    def spread(self, measure: str) -> Spread | None:
        """The measure over repeats; ``None`` if a repeat has nothing to report."""
        values = self.values(measure)
        return None if None in values else Spread.of(values)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two contenders set against each other, repeat by repeat.

    Attributes:
        of: name of the one.
        over: name of the other; empty for a limit on the one.
        measure: what is compared.
        at_least: what we want the median to be at least.
        at_most: what we want the median to be at most.
    """

    of: str
    over: str = ""
    measure: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, median: float) -> bool | None:
        """Whether the median is what we want; ``None`` where nothing is wanted."""
        if self.at_least is not None:
            return median >= self.at_least
        return None if self.at_most is None else median <= self.at_most


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord:
    """What is kept of a suite.

    Attributes:
        suite: its name.
        title: for people.
        mode: ``rate``, ``train`` or ``evaluate``.
        command: what to type to measure it again.
        data: name and sizes of what was trained on.
        protocol: repeats, seconds, epochs, the validation NDCG@20 whose time is taken.
        contenders: with their trials. The k-th trials of all contenders were measured in one round.
        ratios: comparisons by division.
        differences: comparisons by subtraction, paired over seeds.
        limits: bounds on one contender.
        ceilings: what this machine can do at most, measured in the same run.
        environment: libraries and machine.
        code: version, commit and fingerprint of the code.
        finished: when, ISO 8601 in UTC.
    """

    suite: str
    title: str
    mode: str
    command: str
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    contenders: Sequence[Contender]
    ratios: Sequence[Comparison] = field(default_factory=list)
    differences: Sequence[Comparison] = field(default_factory=list)
    limits: Sequence[Comparison] = field(default_factory=list)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any]
    code: Mapping[str, Any]
    finished: str

    def contender(self, name: str) -> Contender:
        """The contender of that name.

        Raises:
            InputError: there is none.
        """
        for contender in self.contenders:
            if contender.name == name:
                return contender
        known = ", ".join(contender.name for contender in self.contenders)
        raise InputError(f"suite {self.suite} has no contender {name!r}; it has: {known}")

    def has(self, comparison: Comparison) -> bool:
        """Whether both sides of a comparison were measured, in every repeat."""
        names = {contender.name for contender in self.contenders}
        sides = [side for side in (comparison.of, comparison.over) if side]
        return all(side in names and self.contender(side).spread(comparison.measure) for side in sides)

    def ratio(self, comparison: Comparison) -> Spread:
        """The one's measure over the other's, repeat by repeat: both were measured in the same round."""
        return Spread.of([a / b for a, b in self._pairs(comparison)])

    def difference(self, comparison: Comparison) -> Interval:
        """The mean difference over seeds with its 95 % t interval."""
        return mean_interval([a - b for a, b in self._pairs(comparison)])

    def _pairs(self, comparison: Comparison) -> list[tuple[float, float]]:
        sides = [self.contender(side).values(comparison.measure) for side in (comparison.of, comparison.over)]
        if None in sides[0] or None in sides[1]:
            raise InputError(
                f"{comparison.of} over {comparison.over}: {comparison.measure} is missing in some repeat; "
                "ask `has` before"
            )
        return list(zip(*sides, strict=True))

    @property
    def stale(self) -> bool:
        """Whether the engine's code has changed since."""
        return self.code["fingerprint"] != engine_fingerprint()

    def to_json(self) -> str:
        """The record as it lies on disk."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "BenchmarkRecord":
        """The record that :meth:`to_json` wrote.

        Raises:
            InputError: it is damaged, or of another schema.
        """
        try:
            values = json.loads(text)
            if values.pop("schema") != SCHEMA:
                raise InputError("this benchmark record was written by another version; measure it again")
            for name, kind in _PARTS.items():
                values[name] = [kind(**part) for part in values[name]]
            return cls(**values)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no benchmark record ({error}); measure it again with dslstudy bench") from error


_PARTS = {"contenders": Contender, "ratios": Comparison, "differences": Comparison, "limits": Comparison}
assert set(_PARTS) < {f.name for f in fields(BenchmarkRecord)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def engine_fingerprint() -> str:
    """Twelve hexadecimal digits over the code of a run with the softmax loss; comments do not count."""
    return code_fingerprint(RunConfig(dataset="movielens-100k"))


def code_description() -> dict[str, Any]:
    """What a record says of the code it was measured with."""
    from dslstudy import __version__

    return {"version": __version__, "commit": code_commit(), "fingerprint": engine_fingerprint()}


def machine(device: str, threads: int) -> dict[str, Any]:
    """Libraries and machine, as far as speed depends on them."""
    described = environment(device) | {"kind": device.partition(":")[0], "threads": threads, "cores": os.cpu_count()}
    try:
        described["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
        described["load_before"] = round(os.getloadavg()[0], 2)
    except (AttributeError, OSError, ValueError):
        pass  # a system that does not say
    return described


def benchmarks_folder() -> Path:
    """Where the committed records lie; ``DSLSTUDY_BENCHMARKS`` names another place."""
    other = os.environ.get("DSLSTUDY_BENCHMARKS")
    return Path(other) if other else Path(__file__).parents[2] / "results" / "benchmarks"


def read_benchmark(suite: str, folder: Path | None = None) -> BenchmarkRecord | None:
    """The record of a suite; ``None`` if it has not been run.

    Args:
        suite: its name.
        folder: where to look; the committed records by default.

    Raises:
        InputError: the file is damaged.
    """
    path = (folder or benchmarks_folder()) / f"{suite}.json"
    if not path.exists():
        return None
    try:
        return BenchmarkRecord.from_json(path.read_text(encoding="utf-8"))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def write_benchmark(record: BenchmarkRecord, folder: Path | None = None) -> Path:
    """Keep a record; it takes the place of an older one.

    Args:
        record: of one suite.
        folder: where to; beside the committed records by default.
    """
    path = (folder or benchmarks_folder()) / f"{record.suite}.json"
    write_atomically(path, record.to_json().encode())
    return path
