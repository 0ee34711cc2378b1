"""Where hyperparameters are searched: the published spaces, and ours for DSL (book: Protocol and search)."""

from collections.abc import Mapping, Sequence
from math import prod

from dslstudy.engine.config import require_one_of
from dslstudy.errors import InputError

Space = Mapping[str, Sequence[float | int]]
Point = Mapping[str, float | int]

_LEARNING_RATE = (0.1, 0.01, 0.001)
_WEIGHT_DECAY = (0.0, 1e-6, 1e-5, 1e-4)
_TEMPERATURE = (0.01, 0.05, 0.1, 0.2, 0.5)
_OPTIMIZER: Space = {"learning_rate": _LEARNING_RATE, "weight_decay": _WEIGHT_DECAY}

#: loss -> setting -> values. All but the last two are those of the code released with PSL (NeurIPS 2024) and SL@K (KDD
#: 2025); what is constant there (AdvInfoNCE's adversary, SL@K's K) is left at the loss's default.
SPACES: dict[str, Space] = {
    "bpr": {"learning_rate": (*_LEARNING_RATE, 0.0001), "weight_decay": _WEIGHT_DECAY},
    "llpauc": {**_OPTIMIZER, "alpha": (0.1, 0.3, 0.5, 0.7, 0.9), "beta": (0.01, 0.1)},
    "softmax": {**_OPTIMIZER, "temperature": _TEMPERATURE},
    "advinfonce": {**_OPTIMIZER, "temperature": _TEMPERATURE},
    "bsl": {**_OPTIMIZER, "positive_temperature": _TEMPERATURE, "temperature": _TEMPERATURE},
    "psl": {**_OPTIMIZER, "temperature": (0.005, 0.025, 0.05, 0.1, 0.25)},
    "slatk": {
        **_OPTIMIZER,
        "temperature": _TEMPERATURE,
        "weight_temperature": tuple(0.5 + 0.25 * step for step in range(11)),
        "quantile_every": (5, 20),
    },
    "dsl": {
        **_OPTIMIZER,
        "temperature": _TEMPERATURE,
        "alpha": (-0.6, -0.3, 0.0, 0.3),
        "beta": (-0.2, 0.0, 0.2, 0.4),
        "gamma": (0.0, 0.1, 0.2, 0.4),
        "slate_size": (5, 20, 50),
    },
    "positive_weight": {**_OPTIMIZER, "temperature": _TEMPERATURE, "weight": (0.6, 0.7, 0.8, 0.9, 1.0)},
}
_COSINE_START: Point = {"learning_rate": 0.1, "weight_decay": 0.0, "temperature": 0.2}
#: loss -> the point that a search looks at first: what the papers chose on Amazon Health (BPR: a step that also gets
#: somewhere in a short training), the package's own hyperparameters for DSL, SL itself for its positive weight
STARTS: dict[str, Point] = {
    "bpr": {"learning_rate": 0.01, "weight_decay": 1e-4},
    "llpauc": {"learning_rate": 0.1, "weight_decay": 0.0, "alpha": 0.7, "beta": 0.01},
    "softmax": _COSINE_START,
    "advinfonce": _COSINE_START,
    "bsl": {**_COSINE_START, "positive_temperature": 0.2},
    "psl": {**_COSINE_START, "temperature": 0.1},
    "slatk": {**_COSINE_START, "weight_temperature": 2.5, "quantile_every": 5},
    "dsl": {**_COSINE_START, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 20},
    "positive_weight": {**_COSINE_START, "weight": 1.0},
}
#: settings of a run itself; all others are the loss's
OF_RUN = ("learning_rate", "weight_decay")


def space_of(loss: str, only: Mapping[str, Sequence[float | int]] | None = None) -> dict[str, tuple[float | int, ...]]:
    """The search space of a loss: setting -> values.

    Args:
        loss: one of :data:`SPACES`.
        only: setting -> the values it is narrowed to; settings that the loss does not have are passed over.

    Raises:
        InputError: no space is known, or nothing is left of a setting.
    """
    require_one_of("loss with a search space", loss, SPACES)
    kept = {}
    for name, values in SPACES[loss].items():
        wanted = (only or {}).get(name, values)
        kept[name] = tuple(value for value in values if value in wanted)
        if not kept[name]:
            shown = ", ".join(f"{value:g}" for value in values)
            raise InputError(f"no value of {name} is left in the search space of {loss}; choose from {shown}")
    return kept


def size_of(space: Space) -> int:
    """How many points a space has."""
    return prod(len(values) for values in space.values())
