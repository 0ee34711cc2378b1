"""The suites of benchmarks as plans: which contenders, with which settings, on which data (book: Speed).

They are written down in ``benchmarks/suites.toml``, which only a checkout of the repository has.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dslstudy.engine.config import require_one_of
from dslstudy.errors import InputError
from dslstudy.study.benchmarks import Comparison, Contender

#: what synthetic data are made of; a sweep over one of them changes the data, any other sweep a setting
DATA_AXES = ("num_users", "num_items", "interactions_per_user")
#: what `--smoke` makes of every suite: seconds on generated data
SMOKE = {
    "dataset": "synthetic-ranking",
    "repeats": 2,
    "seconds": 0.05,
    "warmup": 1,
    "least_updates": 1,
    "epochs": 2,
    "evaluate_every": 1,
}
_SMOKE_SIZES = {"embedding_size": 8, "batch_size": 256, "num_negatives": 16, "runs": 2}
_SMOKE_SYNTHETIC = {"num_users": 100, "num_items": 80, "interactions_per_user": 10}


def checkout_folder() -> Path:
    """The folder ``benchmarks`` of the checkout.

    Raises:
        InputError: the package stands alone.
    """
    folder = Path(__file__).parents[2] / "benchmarks"
    if not (folder / "suites.toml").exists():
        raise InputError("dslstudy bench needs a clone of the repository: its contenders are in the folder benchmarks")
    return folder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A suite, ready to be measured.

    Attributes:
        suite: its name.
        title: for people.
        mode: ``rate``, ``train`` or ``evaluate``.
        dataset: name or path of the data, or empty where data are made for each contender.
        repeats: rounds; every contender is measured once in each.
        seconds: how long one measurement lasts (of a training: at most).
        warmup: updates that do not count.
        least_updates: updates that are measured however long they take.
        epochs: of a training.
        evaluate_every: epochs between two looks at validation.
        target: the validation NDCG@20 whose time is taken.
        contenders: who is measured, without trials.
        synthetic: sizes of generated data.
        ratios: comparisons by division.
        differences: comparisons by subtraction.
        limits: bounds on one contender.
    """

    suite: str
    title: str
    mode: str
    dataset: str = ""
    repeats: int = 5
    seconds: float = 5.0
    warmup: int = 2
    least_updates: int = 2
    epochs: int = 10
    evaluate_every: int = 1
    target: float | None = None
    contenders: Sequence[Contender]
    synthetic: Mapping[str, int] = field(default_factory=dict)
    ratios: Sequence[Comparison] = ()
    differences: Sequence[Comparison] = ()
    limits: Sequence[Comparison] = ()

    def __post_init__(self) -> None:
        require_one_of("mode", self.mode, ("rate", "train", "evaluate"))
        if self.repeats < 1 or not self.seconds > 0:
            raise InputError(
                f"a benchmark needs at least one repeat and some seconds, not {self.repeats} repeats"
                f" of {self.seconds} s"
            )

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured, for the record."""
        names = ["repeats", "seconds", "warmup"]
        names += ["epochs", "evaluate_every", "target"] if self.mode == "train" else []
        return {name: getattr(self, name) for name in names} | (
            {"synthetic": dict(self.synthetic)} if self.synthetic else {}
        )

    def only(self, names: Sequence[str]) -> "Plan":
        """The plan with some of its contenders (those of a sweep by the name before the comma).

        Raises:
            InputError: no such contender.
        """
        known = list(dict.fromkeys(contender.name.partition(",")[0] for contender in self.contenders))
        for name in names:
            require_one_of("contender", name, known)
        kept = [contender for contender in self.contenders if contender.name.partition(",")[0] in names]
        return replace(self, contenders=kept)

    def smoke(self) -> "Plan":
        """The same in seconds: small, on generated data, two values of each sweep."""
        seen: dict[tuple[str, str | None], int] = {}
        contenders = []
        for contender in self.contenders:
            key = (contender.name.partition(",")[0], contender.axis)
            seen[key] = seen.get(key, 0) + 1
            if contender.axis is not None and seen[key] > 2:
                continue
            small = {
                name: min(value, seen[key] * _SMOKE_SIZES[name]) if name in _SMOKE_SIZES else value
                for name, value in contender.settings.items()
            }
            small |= {
                name: seen[key] * value
                for name, value in _SMOKE_SYNTHETIC.items()
                if name == contender.axis and name in contender.settings
            }
            contenders.append(replace(contender, settings=small))
        settings = SMOKE if self.dataset else {name: value for name, value in SMOKE.items() if name != "dataset"}
        return replace(
            self,
            contenders=contenders,
            synthetic=_SMOKE_SYNTHETIC if self.synthetic else {},
            target=None if self.target is None else 0.0,
            **settings,
        )


@cache
def _file(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def suite_names(folder: Path | None = None) -> list[str]:
    """Every suite, in the order of the file."""
    return list(_file((folder or checkout_folder()) / "suites.toml"))


def read_plan(suite: str, folder: Path | None = None) -> Plan:
    """The plan of a suite.

    Args:
        suite: its name.
        folder: where ``suites.toml`` lies; the checkout's ``benchmarks`` by default.

    Raises:
        InputError: no such suite, or one that is not written as it should be.
    """
    written = _file((folder or checkout_folder()) / "suites.toml")
    require_one_of("suite", suite, written)
    values = dict(written[suite])
    shared, sweep = values.pop("settings", {}), values.pop("sweep", {})
    try:
        bases = [
            Contender(**contender | {"settings": shared | contender.get("settings", {})})
            for contender in values.pop("contenders")
        ]
        comparisons = {
            kind: [Comparison(**c) for c in values.pop(kind, [])] for kind in ("ratios", "differences", "limits")
        }
        return Plan(suite=suite, contenders=_swept(bases, sweep), **comparisons, **values)
    except (KeyError, TypeError) as error:
        raise InputError(f"suite {suite!r} in suites.toml is not written as it should be: {error}") from error


def _swept(bases: Sequence[Contender], sweep: Mapping[str, Sequence[int]]) -> list[Contender]:
    """Each contender once for each value of each axis, one axis at a time."""
    if not sweep:
        return list(bases)
    return [
        replace(base, name=f"{base.name}, {axis} {value}", settings={**base.settings, axis: value}, axis=axis)
        for axis, values in sweep.items()
        for value in values
        for base in bases
    ]


def synthetic_pairs(
    *, num_users: int, num_items: int, interactions_per_user: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Interactions (n, 2) for measurements of speed alone: items long-tailed, users alike, nothing to be learnt.

    Args:
        num_users: users U.
        num_items: items I.
        interactions_per_user: draws of each user; those that repeat count once.
        seed: of the draws.

    Returns:
        Pairs for training and, one in ten, for validation.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    popularity = np.arange(1, num_items + 1) ** -0.8
    items = rng.choice(num_items, size=num_users * interactions_per_user, p=popularity / popularity.sum())
    keys = np.unique(np.repeat(np.arange(num_users), interactions_per_user) * num_items + items)
    pairs = np.stack([keys // num_items, keys % num_items], axis=1)
    held_out = rng.random(len(pairs)) < 0.1
    return pairs[~held_out], pairs[held_out]
