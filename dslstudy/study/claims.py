"""The claims ledger: what the papers say, what the records of this study say, and a verdict that a rule gives.

No verdict is typed. Each claim names the runs that speak about it; what the store has of them gives an interval, and
one of four rules turns reported value and interval into *reproduced*, *partly*, *undecided*, *not* or *not attempted*
(book: the chapters that each row names).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from dslstudy.metrics.significance import Interval
from dslstudy.study.store import Record
from dslstudy.study.study import Study

REPRODUCED, PARTLY, UNDECIDED, NOT = "reproduced", "partly", "undecided", "not"
NOT_ATTEMPTED = "not attempted"
VERDICTS = (REPRODUCED, PARTLY, UNDECIDED, NOT, NOT_ATTEMPTED)
#: a mean farther from a published value than this share of it has not reproduced it, however wide its interval
NEAR = 0.05
#: fewest runs that give an interval over seeds
FEWEST = 2


@dataclass(frozen=True)
class Evidence:
    """What our runs say about a claim.

    Attributes:
        interval: our value.
        runs: the records behind it.
        wanted: how many runs the claim asks for.
        complete: nothing that the claim speaks of is missing.
        note: what is covered, in words.
    """

    interval: Interval
    runs: Sequence[Record]
    wanted: int
    complete: bool
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """Something a paper says.

    Attributes:
        paper: ``DSL``, ``C2AL``, or the one whose table is reproduced.
        statement: in a few words.
        reported: the value that the rule compares with; ``None`` if none was printed.
        shown: the reported value as text.
        unit: ``%`` or empty.
        source: where it stands.
        notebook: the chapter that shows our side.
        rule: ``effect``, ``direction``, ``exceeds`` or ``value``, see :func:`verdict`.
        measure: our side, or ``None`` without runs.
        command: makes one of the runs.
    """

    paper: str
    statement: str
    reported: float | None
    shown: str
    unit: str
    source: str
    notebook: str
    rule: str
    measure: Callable[[Study], Evidence | None]
    command: str


@dataclass(frozen=True)
class Row:
    """A claim with our evidence and the verdict."""

    claim: Claim
    evidence: Evidence | None

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        if self.evidence is None:
            return NOT_ATTEMPTED
        interval = self.evidence.interval
        return verdict(self.claim.rule, self.claim.reported, interval, complete=self.evidence.complete)

    @property
    def state(self) -> str:
        """``current``, ``stale`` if code has changed since one of the runs, ``–`` without runs."""
        if self.evidence is None:
            return "–"
        return "stale" if any(record.stale for record in self.evidence.runs) else "current"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = self.evidence
        return {
            "paper": self.claim.paper,
            "claim": self.claim.statement,
            "reported": self.claim.reported,
            "reported_text": self.claim.shown,
            "unit": self.claim.unit,
            "source": self.claim.source,
            "ours": None if found is None else found.interval.estimate,
            "low": None if found is None else found.interval.low,
            "high": None if found is None else found.interval.high,
            "verdict": self.verdict,
            "state": self.state,
            "runs": 0 if found is None else len(found.runs),
            "wanted": 0 if found is None else found.wanted,
            "note": "" if found is None else found.note,
            "keys": [] if found is None else [record.key for record in found.runs],
            "notebook": self.claim.notebook,
            "command": self.claim.command,
        }


def verdict(rule: str, reported: float | None, ours: Interval, *, complete: bool = True) -> str:
    """What a rule says.

    ``effect``: reproduced if the interval lies on the reported side of zero and reaches the reported size, partly if it
    lies there and does not reach it, undecided if it holds zero and reaches the reported size. ``direction``:
    reproduced if it lies on the side of zero that the sign of ``reported`` says, undecided if it holds zero.
    ``exceeds``: reproduced if the whole interval lies above the reported value, partly if our estimate does, undecided
    if only a part of the interval does or runs are missing. ``value``: reproduced if our estimate is within 5 % of
    the reported value and the interval, that of one more run, holds it; partly if only the first is so. What is
    incomplete is at most partly reproduced; runs that are too few for any estimate leave a claim undecided.

    Args:
        rule: ``effect``, ``direction``, ``exceeds`` or ``value``.
        reported: what was reported.
        ours: our value.
        complete: every run that the claim speaks of is there.
    """
    if reported is None:
        return NOT_ATTEMPTED
    if not isfinite(ours.estimate):
        return UNDECIDED
    full = REPRODUCED if complete else PARTLY
    if rule == "value":
        if abs(ours.estimate / reported - 1) > NEAR:
            return NOT
        return full if ours.low <= reported <= ours.high else PARTLY
    if rule == "exceeds":
        if ours.low > reported:
            return full
        if ours.estimate > reported:
            return PARTLY
        return UNDECIDED if ours.high > reported or not complete else NOT  # what is missing may exceed it
    sign = 1 if reported > 0 else -1
    nearest, farthest = sorted((sign * ours.low, sign * ours.high))
    if not nearest > 0:
        undecided = farthest >= 0 if rule == "direction" else farthest >= sign * reported
        return UNDECIDED if undecided else NOT
    return full if rule == "direction" or farthest >= sign * reported else PARTLY
