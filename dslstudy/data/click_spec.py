"""What a click log's TOML declares: the label rule, the columns, features and axes.

The registry holds such a table for every registered log (``[datasets.NAME.clicks]``); a user's own log has one in a
file beside it. For example::

    label = { column = "rating", at_least = 4 }
    user = "user_id"
    item = "item_id"
    time = "timestamp"
    features = [
        { column = "user_id", min_count = 5 },
        { column = "age", edges = [18, 25, 35] },
        { column = "genres", separator = "|" },
    ]
    axes = [
        { name = "age", unit = "user", column = "age", edges = [25, 35] },
        { name = "activity", unit = "user", count = "user", quantiles = 5 },
        { name = "age x activity", crossed = ["age", "activity"] },
    ]
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dslstudy.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """Which rows are positive.

    Attributes:
        column: holds 0 and 1, unless one of the following says otherwise.
        at_least: positive from this number on.
        equals: positive if the column reads exactly so.
    """

    column: str
    at_least: float | None = None
    equals: str | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One feature.

    Attributes:
        column: where it comes from.
        name: what it is called; the column's name if nothing else is said.
        separator: splits a text into several values; "" for one value per row.
        min_count: values with fewer training rows become id 0.
        edges: inner edges of bins, for a number; the bin from an edge on includes it.
        quantiles: number of bins of equal count in train, for a number; 0 for none.
    """

    column: str
    name: str = ""
    separator: str = ""
    min_count: int = 1
    edges: tuple[float, ...] = ()
    quantiles: int = 0

    def __post_init__(self) -> None:
        """Name the feature and check that it is cut in one way."""
        object.__setattr__(self, "name", self.name or self.column)
        _check_cut(self, f"feature {self.name!r}")
        if self.separator and (self.edges or self.quantiles):
            raise InputError(f"feature {self.name!r} has a separator and bins; lists of values cannot be cut")
        if not isinstance(self.min_count, int) or self.min_count < 1:
            raise InputError(f"min_count of feature {self.name!r} is an integer from 1, not {self.min_count!r}")


@dataclass(frozen=True, kw_only=True)
class AxisSpec:
    """One axis.

    Attributes:
        name: what it is called.
        unit: "user", "item" or "row": what lies in a bin as a whole.
        column: where its value comes from ...
        count: ... or "user" or "item": their number of training rows is the value ...
        crossed: ... or the names of two axes declared before.
        edges: inner edges of bins.
        quantiles: number of bins of equal count; neither: one bin per value.
        weight: quantiles over "units" (each user or item counts once) or over "rows".
    """

    name: str
    unit: str = "row"
    column: str = ""
    count: str = ""
    crossed: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    quantiles: int = 0
    weight: str = "units"

    def __post_init__(self) -> None:
        """Check that the axis says one thing."""
        if bool(self.column) + bool(self.count) + bool(self.crossed) != 1:
            raise InputError(f"axis {self.name!r} needs exactly one of column, count and crossed")
        for value, name, allowed in (
            (self.unit, "unit", ("user", "item", "row")),
            (self.count, "count", ("", "user", "item")),
            (self.weight, "weight", ("units", "rows")),
        ):
            if value not in allowed:
                listed = ", ".join(filter(None, allowed))
                raise InputError(f"{name} of axis {self.name!r} is one of {listed}, not {value!r}")
        if self.crossed and len(self.crossed) != 2:
            raise InputError(f"axis {self.name!r} crosses {len(self.crossed)} axes; name two")
        if self.count and not (self.edges or self.quantiles):
            raise InputError(f"axis {self.name!r} counts rows; it needs edges or quantiles")
        _check_cut(self, f"axis {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class ClickSpec:
    """All that turns columns into a click log.

    Attributes:
        label: which rows are positive.
        user: column of the user.
        item: column of the item, or "".
        time: column of the time (seconds or ISO dates), or "".
        features: what a model sees, in order.
        axes: what cohorts are cut along.
    """

    label: LabelRule
    user: str
    item: str = ""
    time: str = ""
    features: tuple[FeatureSpec, ...] = ()
    axes: tuple[AxisSpec, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that are needed, each once."""
        named = [self.label.column, self.user, self.item, self.time]
        named += [one.column for one in (*self.features, *self.axes)]
        return tuple(dict.fromkeys(filter(None, named)))


def click_spec(table: Mapping[str, Any], where: str) -> ClickSpec:
    """Read the TOML table of a click log.

    Args:
        table: as parsed by ``tomllib``.
        where: file or registry entry, for the messages.

    Raises:
        InputError: a missing or misspelt key, or values that contradict each other.
    """
    try:
        spec = _make(
            ClickSpec,
            {
                **table,
                "label": _make(LabelRule, table.get("label", {}), "label"),
                "features": tuple(_make(FeatureSpec, one, "features") for one in table.get("features", ())),
                "axes": tuple(_make(AxisSpec, one, "axes") for one in table.get("axes", ())),
            },
            "the table",
        )
        _check_names(spec)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return spec


def _make(kind: type, table: Any, place: str) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(f"{place} holds {table!r} where a table such as {{ column = ... }} is needed")
    known = {one.name: one for one in fields(kind)}
    for key in table:
        if key not in known:
            raise InputError(f"{place} has an unknown key {key!r}; known are {', '.join(known)}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    except TypeError as error:
        missing = [name for name in ("column", "name", "label", "user") if name in known and name not in table]
        raise InputError(f"{place} needs {' and '.join(missing) or str(error)}") from error


def _check_names(spec: ClickSpec) -> None:
    if not spec.features:
        raise InputError("no features are declared; a model needs at least one")
    for kind, named in (("feature", spec.features), ("axis", spec.axes)):
        names = [one.name for one in named]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two {'axes' if kind == 'axis' else 'features'} are called {twice[0]!r}; rename one")
    before: set[str] = set()
    for axis in spec.axes:
        if unknown := [name for name in axis.crossed if name not in before]:
            raise InputError(f"axis {axis.name!r} crosses {unknown[0]!r}, which is not declared before it")
        before.add(axis.name)


def _check_cut(spec: FeatureSpec | AxisSpec, what: str) -> None:
    if spec.edges and spec.quantiles:
        raise InputError(f"{what} has edges and quantiles; keep one of them")
    if list(spec.edges) != sorted(set(spec.edges)):
        raise InputError(f"the edges of {what} must ascend, not {list(spec.edges)}")
    if spec.quantiles and (not isinstance(spec.quantiles, int) or spec.quantiles < 2):
        raise InputError(f"quantiles of {what} is an integer from 2, not {spec.quantiles!r}")
