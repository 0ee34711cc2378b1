"""A click run, written down: data, cohorts, method, hyperparameters, seed (book: Finding cohorts; Does it help?)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from dslstudy.c2al.divergences import DIVERGENCES
from dslstudy.c2al.methods import METHODS, method_class
from dslstudy.data.click_formats import PARAMETERS
from dslstudy.data.click_world import ClickWorld
from dslstudy.data.registry import registry
from dslstudy.engine.clicks import ClickTrainingConfig
from dslstudy.engine.config import require_number, require_one_of
from dslstudy.errors import InputError

PAIRS = ("extremes", "labels", "discover")
#: what a field is when the run does not depend on it
_NO_COHORTS = {"axis": "", "pair": "", "bins": 0, "head": "", "tail": "", "divergence": "", "random_pair_seed": None}


@dataclass(frozen=True, kw_only=True)
class ClickRunConfig(ClickTrainingConfig):
    """Everything that decides a click run's result. Two equal configurations are the same run.

    A method that knows no cohorts (``plain``) has one spelling whatever the cohorts are called: the same baseline is
    compared with every pair.

    Attributes:
        dataset: name of a click log in the registry, or the path of one's own.
        dataset_parameters: keyword arguments of ``load_click_split``: a world's dials, ``split``, ``quantiles``, ...
        split_seed: of a random split, or of the rows drawn from a world.
        axis: along which cohorts are cut.
        pair: how head and tail are found on it: ``extremes`` (the last bins against the first), ``labels`` (named by
            hand) or ``discover`` (the bins whose out-of-sample predictions are farthest apart).
        bins: bins on either side, for ``extremes``; with ten quantiles one bin is a cohort of a tenth.
        head: label of the head's bin, for ``labels``.
        tail: label of the tail's bin, for ``labels``.
        divergence: what is largest between the bins, for ``discover``.
        random_pair_seed: draw as many users, items or rows at random instead of the pair; ``None`` keeps the pair.

    The other attributes are those of :class:`~dslstudy.engine.clicks.ClickTrainingConfig`.
    """

    task: ClassVar[str] = "clicks"

    dataset: str
    dataset_parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    split_seed: int = 0
    axis: str = ""
    pair: str = "extremes"
    bins: int = 1
    head: str = ""
    tail: str = ""
    divergence: str = "js"
    random_pair_seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("split_seed", "random_pair_seed"):
            value = getattr(self, name)
            if value is None and name == "random_pair_seed":
                continue
            require_number(name, value, at_least=0)
            if not isinstance(value, int):
                raise InputError(f"{name} must be a whole number, got {value}")
        object.__setattr__(self, "dataset_parameters", complete_parameters(self.dataset, self.dataset_parameters))
        if not self.knows_cohorts:
            self._settle(_NO_COHORTS)
            return
        if not self.axis:
            raise InputError(f"{self.method} needs cohorts: name an axis of {self.dataset}, such as axis=activity")
        require_one_of("pair", self.pair, PAIRS)
        if self.random_pair_seed is not None and not method_class(self.method).needs_pair:
            raise InputError(f"{self.method} learns from all cohorts of an axis; it takes no random pair")
        getattr(self, f"_settle_{self.pair}")()

    def _settle_extremes(self) -> None:
        require_number("bins", self.bins, at_least=1)
        if not isinstance(self.bins, int):
            raise InputError(f"bins must be a whole number, got {self.bins}")
        self._without_labels()
        self._settle({"divergence": ""})

    def _settle_labels(self) -> None:
        if not (self.head and self.tail) or self.head == self.tail:
            raise InputError(f"pair 'labels' needs two bins of {self.axis}, not {self.head!r} and {self.tail!r}")
        self._settle({"bins": 0, "divergence": ""})

    def _settle_discover(self) -> None:
        require_one_of("divergence", self.divergence, DIVERGENCES)
        self._without_labels()
        self._settle({"bins": 0})

    def _without_labels(self) -> None:
        if self.head or self.tail:
            raise InputError(f"head and tail are found by {self.pair!r}; name them with pair 'labels' only")

    def _settle(self, values: Mapping[str, Any]) -> None:
        """Fields the run does not depend on all read the same, so that one run has one spelling."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def knows_cohorts(self) -> bool:
        """Whether the method looks at cohorts at all."""
        kind = method_class(self.method)
        return kind.needs_pair or kind.needs_axis

    @property
    def title(self) -> str:
        """One line for people, e.g. ``movielens-100k popularity c2al lambda_head=0.1 lambda_tail=0.1 seed 0``."""
        usual = complete_parameters(self.dataset, {})
        turned = {name: value for name, value in self.dataset_parameters.items() if value != usual.get(name)}
        dials = " ".join(f"{name}={value}" for name, value in turned.items())
        settings = " ".join(f"{name}={value}" for name, value in self.method_parameters.items())
        words = [self.dataset, dials, self.cohorts_title, self.method, settings, f"seed {self.seed}"]
        return " ".join(word for word in words if word)

    @property
    def cohorts_title(self) -> str:
        """The cohorts in a few words, empty without any."""
        if not self.axis:
            return ""
        how = {
            "extremes": "" if self.bins == 1 else f" {self.bins} bins",
            "labels": f" {self.head} against {self.tail}",
            "discover": f" farthest {self.divergence}",
        }[self.pair]
        chance = "" if self.random_pair_seed is None else f" random {self.random_pair_seed}"
        return f"{self.axis}{how}{chance}"

    @property
    def data_key(self) -> tuple[Any, ...]:
        """Runs with equal keys see the same rows."""
        return self.dataset, tuple(sorted(self.dataset_parameters.items())), self.split_seed

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClickRunConfig":
        """The configuration that :meth:`to_dict` wrote.

        Raises:
            InputError: a field that configurations do not have.
        """
        known = {f.name for f in fields(cls)}
        for name in values:
            require_one_of("field of a click run", name, known)
        return cls(**values)

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name the run: a hash of its task and its canonical JSON."""
        text = json.dumps({"task": self.task} | self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_click_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> ClickRunConfig:
    """A configuration from plain values and settings named without saying where they belong.

    Args:
        values: fields of a click run.
        settings: each a field of a click run (``learning_rate``, ``axis``), a hyperparameter of its method
            (``lambda_head``), or a parameter of its data set (``rows``).

    Raises:
        InputError: a setting that none of them has.
    """
    own = {f.name for f in fields(ClickRunConfig)}
    method = values.get("method", "plain")
    require_one_of("method", method, METHODS)
    of_method = {f.name for f in fields(method_class(method))}
    of_data = dataset_options(values["dataset"])
    given: dict[str, Any] = dict(values)
    for name, value in settings.items():
        require_one_of("setting", name, sorted(own | of_method | of_data))
        if name in own:
            given[name] = value
        else:
            place = "method_parameters" if name in of_method else "dataset_parameters"
            given[place] = {**given.get(place, {}), name: value}
    return ClickRunConfig.from_dict(given)


def dataset_options(dataset: str) -> set[str]:
    """Names of the parameters that ``load_click_split`` takes for a data set."""
    return {f.name for f in fields(ClickWorld)} if _world(dataset) is not None else set(PARAMETERS)


def complete_parameters(dataset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a data set in their one spelling: all the dials of a world, what was given of other logs.

    Raises:
        InputError: a parameter that the data set does not have, or a dial out of its range.
    """
    for name in given:
        require_one_of(f"parameter of {dataset}", name, sorted(dataset_options(dataset)))
    usual = _world(dataset)
    if usual is None:
        return dict(sorted(given.items()))
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}  # as JSON has them
    dials = {**asdict(usual), **given, **lists}
    kinds = {f.name: type(f.default) for f in fields(ClickWorld)}
    for name, value in dials.items():  # 1 and 1.0 are one dial
        if isinstance(value, int) and not isinstance(value, bool) and (kinds[name] is float or name.endswith("_rate")):
            dials[name] = float(value)
    return asdict(ClickWorld(**dials))


def _world(dataset: str) -> ClickWorld | None:
    """The world that a data set is drawn from, unless it is read from files."""
    spec = registry("clicks").get(dataset)
    return ClickWorld(**spec.generator) if spec is not None and spec.generator else None
