"""A run, written down: data, split, backbone, loss, hyperparameters, seed (book: Data and splits; the store)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from dslstudy.engine.config import TrainingConfig, check_backbone_parameters, require_number, require_one_of
from dslstudy.engine.false_negatives import check_false_negatives
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.errors import InputError
from dslstudy.models import BACKBONES, BASELINES, backbone_options

SPLITS = ("default", "published", "iid", "popularity-shift", "temporal")
#: share of each user's training items that the published study of false negatives hides
HIDDEN_FRACTION = 0.1


@dataclass(frozen=True, kw_only=True)
class RunConfig(TrainingConfig):
    """Everything that decides a run's result. Two equal configurations are the same run.

    Attributes:
        dataset: name in the registry, or the path of one's own data.
        split: how test interactions are told apart; ``default`` is the published split where there is one.
        split_seed: of our own splits and of the validation cut.
        validation_fraction: share of each user's training items that selection uses.
        hidden_fraction: share of each user's training items that is hidden: neither trained on nor a candidate when
            the run is evaluated. ``None`` hides nothing, unless a probability is given: then a tenth, as published.
        hidden_probability: with which a negative is one of the user's hidden items; where items are hidden and nothing
            is said, 0, and they are drawn as often as any other item.

    The other attributes are those of :class:`~dslstudy.engine.config.TrainingConfig`; a baseline (``popularity``,
    ``item-knn``, ``ease``) has the loss ``none`` and keeps its hyperparameters in ``backbone_parameters``.
    """

    task: ClassVar[str] = "ranking"

    dataset: str
    split: str = "default"
    split_seed: int = 0
    validation_fraction: float = 0.1
    # out of the text that names a run in a checkpoint, so that a run without them keeps its name; a checkpoint holds
    # the runs of one stack, which agree on both
    hidden_fraction: float | None = field(default=None, repr=False)
    hidden_probability: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_one_of("split", self.split, SPLITS)
        require_number("validation_fraction", self.validation_fraction, above=0)
        if self.validation_fraction >= 1:
            raise InputError(f"validation_fraction must be below 1, got {self.validation_fraction}")
        require_number("split_seed", self.split_seed, at_least=0)
        if not self.is_baseline:
            super().__post_init__()
            self._check_hidden()
            return
        if self.hides:
            raise InputError(f"{self.backbone} draws no negatives; leave hidden_fraction and hidden_probability out")
        if self.loss != "none" or self.loss_parameters:
            raise InputError(f"{self.backbone} has nothing to minimise; give it the loss 'none'")
        check_backbone_parameters(self.backbone, self.backbone_parameters)
        # a baseline has no training settings: they all stand at their defaults, so that one run has one spelling
        for name in _TRAINING_ONLY:
            object.__setattr__(self, name, _DEFAULTS[name])
        object.__setattr__(self, "backbone_parameters", dict(self.backbone_parameters))

    def _check_hidden(self) -> None:
        """Complete and check what is said of hidden items; one spelling per run."""
        if not self.hides:
            return
        fraction = HIDDEN_FRACTION if self.hidden_fraction is None else self.hidden_fraction
        probability = 0.0 if self.hidden_probability is None else self.hidden_probability
        require_number("hidden_fraction", fraction, above=0)
        if fraction >= 1:
            raise InputError(f"hidden_fraction must be below 1, got {fraction}")
        require_number("hidden_probability", probability)
        check_false_negatives(self, probability)
        object.__setattr__(self, "hidden_fraction", float(fraction))
        object.__setattr__(self, "hidden_probability", float(probability))

    @property
    def hides(self) -> bool:
        """Whether some of the training items are hidden."""
        return self.hidden_fraction is not None or self.hidden_probability is not None

    def stack_key(self) -> tuple[object, ...]:
        """Runs with equal keys can be trained in one stack."""
        return (*super().stack_key(), *((self.hidden_fraction, self.hidden_probability) if self.hides else ()))

    @property
    def is_baseline(self) -> bool:
        """Whether the backbone is one that is not trained by gradients."""
        return self.backbone in BASELINES

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self.hides:  # a run that hides nothing keeps the key that it had before this could be said
            del values["hidden_fraction"], values["hidden_probability"]
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """The configuration that :meth:`to_dict` wrote.

        Raises:
            InputError: a field that configurations do not have.
        """
        known = {f.name for f in fields(cls)}
        for name in values:
            require_one_of("field of a run", name, known)
        return cls(**values)

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name the run: a hash of its canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """One line for people, e.g. ``amazon2014-health mf softmax temperature=0.2 seed 0``."""
        parameters = self.backbone_parameters if self.is_baseline else self.loss_parameters
        settings = " ".join(f"{name}={value}" for name, value in parameters.items())
        hidden = f"hidden {self.hidden_fraction:g} drawn with {self.hidden_probability:g}" if self.hides else ""
        words = [self.dataset, self.backbone, "" if self.is_baseline else self.loss, settings, hidden]
        words.append(f"seed {self.seed}")
        return " ".join(word for word in words if word)


_DEFAULTS = {f.name: f.default for f in fields(TrainingConfig)}
_TRAINING_ONLY = tuple(
    name for name in _DEFAULTS if name not in ("backbone", "backbone_parameters", "loss", "loss_parameters", "seed")
)


def with_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain values and settings named without saying where they belong.

    Args:
        values: fields of a run.
        settings: each a field of a run (``learning_rate``) or a hyperparameter of its loss (``temperature``) or of
            its backbone.

    Raises:
        InputError: a setting that neither the run nor its loss nor its backbone has.
    """
    own = {f.name for f in fields(RunConfig)}
    loss = values.get("loss", "softmax")
    backbone = values.get("backbone", "mf")
    require_one_of("backbone", backbone, [*BACKBONES, *BASELINES])
    if backbone in BASELINES:
        of_loss: set[str] = set()
    else:
        require_one_of("loss", loss, OBJECTIVES)
        of_loss = set(OBJECTIVES[loss].defaults)
    of_backbone = backbone_options(backbone)
    fields_given: dict[str, Any] = dict(values)
    for name, value in settings.items():
        require_one_of("setting", name, sorted(own | of_loss | of_backbone))
        if name in own:
            fields_given[name] = value
        elif name in of_loss:
            fields_given["loss_parameters"] = {**fields_given.get("loss_parameters", {}), name: value}
        else:
            fields_given["backbone_parameters"] = {**fields_given.get("backbone_parameters", {}), name: value}
    return RunConfig.from_dict(fields_given)
