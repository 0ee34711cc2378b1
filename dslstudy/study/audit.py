"""The audit: stored records, drawn at random, trained again and compared (book: Rerun and cite).

A record is audited only if the code that made it has not changed since; one that is stale would be a comparison of two
programs. The new runs go to a scratch store: an audit never touches what it audits.
"""

import random
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dslstudy.engine.config import require_one_of
from dslstudy.errors import InputError
from dslstudy.study.click_rows import click_metrics, rows_of
from dslstudy.study.profiles import get_profile
from dslstudy.study.provenance import environment
from dslstudy.study.store import CONFIGS, Record, RunStore, read_record
from dslstudy.study.study import Study

#: how far a retrained metric may be from its record, as a share of it, on the same processor with the same torch: on a
#: CPU the two agree to the bit, on a GPU sums are taken in an order that varies
SAME_MACHINE = {"ranking": 0.01, "clicks": 0.002}
#: the same elsewhere. A ranking run draws its random numbers on its device, so it is at worst one with another seed:
#: four times the spread that seeds have in the committed runs. A click run draws them on the CPU; only rounding differs
ELSEWHERE = {"ranking": 0.06, "clicks": 0.02}
#: what is allowed on top, whatever the metric's size
ABSOLUTE = {"ranking": 0.001, "clicks": 0.002}
#: kept arrays are rounded, so the metric they give may differ from the record's by this much; a rounded prediction may
#: also change places or bins with another one
KEPT = {"ranking": 1e-5, "clicks": 1e-3}


@dataclass(frozen=True)
class Entry:
    """One file of a store.

    Attributes:
        path: the file.
        record: what is in it, unless it is damaged.
        damage: what is wrong with it, if anything.
    """

    path: Path
    record: Record | None
    damage: str = ""

    @property
    def state(self) -> str:
        """``current``, ``stale`` (the code has changed since) or ``damaged``."""
        if self.record is None:
            return "damaged"
        return "stale" if self.record.stale else "current"

    @property
    def title(self) -> str:
        """The run in one line, or the damage."""
        return self.damage if self.record is None else self.record.config.title


@dataclass(frozen=True)
class Difference:
    """One test metric, recorded and retrained.

    Attributes:
        metric: its name.
        recorded: what the record says.
        again: what training again gave.
        allowed: the largest difference that is within tolerance.
    """

    metric: str
    recorded: float
    again: float
    allowed: float

    @property
    def within(self) -> bool:
        """Whether the difference is within tolerance; a value that is not a number never is."""
        return abs(self.again - self.recorded) <= self.allowed


@dataclass(frozen=True)
class Finding:
    """What the audit of one record found.

    Attributes:
        record: the one audited.
        again: the record of the retrained run; ``None`` if it could not be trained.
        differences: one for each test metric.
        complaints: what else is wrong: other data under the same name, arrays that do not fit, a metric that is gone.
    """

    record: Record
    again: Record | None
    differences: Sequence[Difference]
    complaints: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every metric is within tolerance and nothing else is wrong."""
        return not self.complaints and all(difference.within for difference in self.differences)

    @property
    def identical(self) -> bool:
        """Whether training again gave the very same numbers."""
        return all(difference.again == difference.recorded for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "key": self.record.key,
            "title": self.record.config.title,
            "task": self.record.task,
            "passed": self.passed,
            "complaints": list(self.complaints),
            "seconds": {"recorded": self.record.cost["seconds"], "again": self.again and self.again.cost["seconds"]},
            "differences": {
                difference.metric: {
                    "recorded": difference.recorded,
                    "again": difference.again,
                    "allowed": difference.allowed,
                    "within": difference.within,
                }
                for difference in self.differences
            },
        }


def survey(store: RunStore, *, task: str | None = None) -> list[Entry]:
    """Every record of a store with its state, in a fixed order; a damaged one is listed, not raised.

    Args:
        store: to look through.
        task: ``ranking`` or ``clicks``; both by default. Damaged files belong to either.

    Raises:
        InputError: unknown task.
    """
    if task is not None:
        require_one_of("task", task, CONFIGS)
    entries = []
    for path in store.paths():
        try:
            record = read_record(path)
        except InputError as error:
            entries.append(Entry(path, None, str(error)))
            continue
        if task not in (None, record.task):
            continue
        arrays = path.with_suffix(".npz")
        if zipfile.is_zipfile(arrays):
            entries.append(Entry(path, record))
        else:
            entries.append(Entry(path, None, f"{arrays} is missing or damaged; delete {path} and run again"))
    return entries


def draw(entries: Iterable[Entry], sample: int, *, seed: int = 0) -> list[Record]:
    """Some of the records that can be audited, each as likely as any other.

    Args:
        entries: of :func:`survey`.
        sample: how many; all of them where there are fewer.
        seed: of the draw.

    Raises:
        InputError: no record is current, or ``sample`` is below one.
    """
    if sample < 1:
        raise InputError(f"an audit needs a sample of at least 1 record, got {sample}")
    entries = list(entries)
    current = [entry.record for entry in entries if entry.record is not None and entry.state == "current"]
    if not current:
        stale = sum(entry.state == "stale" for entry in entries)
        why = f"all {stale} readable records are stale, train them again" if stale else "there are no records here"
        raise InputError(f"nothing to audit: {why} (dslstudy run)")
    return random.Random(seed).sample(current, min(sample, len(current)))


def audit(
    records: Iterable[Record], *, scratch: Path | str, device: str = "cpu", progress: bool = True
) -> Iterator[Finding]:
    """Train each record's run again and compare, one finding at a time.

    Args:
        records: of :func:`draw`.
        scratch: folder for the new runs; those that lie there already are not trained again, so that an interrupted
            audit can go on.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show progress bars on standard error.

    Raises:
        InputError: a record lies in the scratch folder itself.
    """
    study = Study(get_profile("paper"), store=RunStore(scratch), device=device, progress=progress)
    for record in records:
        if record.path is not None and record.path.resolve() == study.store.path(record.config).resolve():
            raise InputError(f"the scratch folder {scratch} holds the records to audit; name another one")
        again = study.store.get(record.config)
        if again is None or again.stale:
            try:
                again = study.retrain(record.config)
            except InputError as error:  # its data cannot be had, say: the others go on
                yield Finding(record, None, (), [f"it could not be trained again: {error}"])
                continue
        yield compare(record, again)


def compare(record: Record, again: Record) -> Finding:
    """A record beside the record of its run trained again."""
    complaints = []
    if record.data["fingerprint"] != again.data["fingerprint"]:
        complaints.append(f"the data are not those of the record ({record.data['fingerprint']})")
    missing = [name for name in again.test if name not in record.test]
    if missing:
        complaints.append(f"the record lacks {', '.join(missing)}")
    gone = [name for name in record.test if name not in again.test]
    if gone:
        complaints.append(f"training again gave no {', '.join(gone)}")
    differences = [
        Difference(name, value, again.test[name], _allowed(record, again.environment, value))
        for name, value in record.test.items()
        if name in again.test
    ]
    return Finding(record, again, differences, [*complaints, *_kept_wrongly(record)])


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two environments have the same kind of processor, number of threads and version of torch."""
    return all(one.get(name) == other.get(name) for name in ("device", "threads", "torch"))


def repeats(record: Record, probabilities: np.ndarray) -> bool:
    """Whether a click run that was trained again on this processor, while being looked at, is its record.

    Where the record was made by the same kind of processor, prediction by prediction, to a thousandth; elsewhere
    rounding differs and training carries it on, so there by the normalized entropy, as an audit asks for.

    Args:
        record: of a click run.
        probabilities: (n,) what the new run predicts for the test rows.
    """
    rows = rows_of(record)
    here, recorded = environment("cpu"), record.test["ne"]
    if same_machine(record.environment, here):
        return np.allclose(probabilities, rows.probabilities, atol=1e-3)
    again = click_metrics(rows.labels, probabilities)["ne"]
    return bool(abs(again - recorded) <= _allowed(record, here, recorded))


def same_training(record: Record, history: Sequence[Mapping[str, Any]], device: str) -> bool:
    """Whether a ranking run that was trained again, while being looked at, is its record.

    On the record's kind of processor every epoch has to agree in every digit. A GPU adds up in an order that varies,
    and elsewhere rounding differs, on another device the random numbers too: there the best validation has to be as
    near as an audit asks for.

    Args:
        record: of a ranking run.
        history: what the new run's epochs gave, as in the record.
        device: where it was trained.
    """
    here = environment(device)
    if device == "cpu" and same_machine(record.environment, here):
        return list(history) == list(record.history)
    best, again = (max(epoch["validation"] for epoch in epochs) for epochs in (record.history, history))
    return bool(abs(again - best) <= _allowed(record, here, best))


def _allowed(record: Record, again: Mapping[str, Any], value: float) -> float:
    """How far a metric of this value may be from its record in another environment."""
    share = SAME_MACHINE if same_machine(record.environment, again) else ELSEWHERE
    return share[record.task] * abs(value) + ABSOLUTE[record.task]


def _kept_wrongly(record: Record) -> Iterator[str]:
    """Complaints about arrays that do not give the metrics of their record."""
    try:
        kept = _kept_metrics(record)
    except InputError as error:
        yield str(error)
        return
    for name, value in record.test.items():
        if not abs(kept.get(name, np.nan) - value) <= KEPT[record.task]:
            yield f"the kept values give {name} {kept.get(name, np.nan):.4f}, the record says {value:.4f}"


def _kept_metrics(record: Record) -> dict[str, float]:
    if record.task == "clicks":
        rows = rows_of(record)
        return click_metrics(rows.labels, rows.probabilities, rows.side)
    return {name: float(np.mean(record.per_user(name), dtype=np.float64)) for name in record.test}
