"""What one training run needs to know, checked when it is written down."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Any

from dslstudy.engine import rivals  # noqa: F401 - adds its losses to OBJECTIVES
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.errors import InputError
from dslstudy.models import BACKBONES, backbone_options

SCORES = ("cosine", "inner-product")
NEGATIVE_SAMPLING = ("example", "batch")


def require_one_of(what: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a name that is not known and offer the nearest ones.

    Raises:
        InputError: with up to three close names, or all of them.
    """
    allowed = list(allowed)
    if value in allowed:
        return
    near = get_close_matches(str(value), allowed, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(allowed)}"
    raise InputError(f"unknown {what} {value!r}; {hint}")


def require_number(name: str, value: object, *, above: float | None = None, at_least: float | None = None) -> None:
    """Refuse what is no finite number or lies outside its range.

    Raises:
        InputError: with the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value!r}")
    if above is not None and not value > above:
        raise InputError(f"{name} must be greater than {above}, got {value}")
    if at_least is not None and not value >= at_least:
        raise InputError(f"{name} must be at least {at_least}, got {value}")


def require_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least one.

    Raises:
        InputError: it is not.
    """
    require_number(name, value, at_least=1)
    if not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, got {value}")


def require_seed(seed: object) -> None:
    """Refuse what cannot seed a run.

    Raises:
        InputError: with the range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")


def check_backbone_parameters(backbone: str, parameters: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that a backbone or baseline does not have.

    Raises:
        InputError: with those that it has.
    """
    if parameters:
        known = backbone_options(backbone)
        for name in parameters:
            if not known:
                raise InputError(f"{backbone} has no hyperparameters of its own, so none called {name!r}")
            require_one_of(f"hyperparameter of {backbone}", name, sorted(known))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run of the ranking trainer.

    Attributes:
        backbone: the model that makes the embedding tables.
        backbone_parameters: its own hyperparameters.
        score: ``cosine`` or ``inner-product``.
        embedding_size: size d of a vector.
        loss: name of the loss.
        loss_parameters: its hyperparameters; what is left out takes the loss's default.
        learning_rate: Adam's step size.
        weight_decay: L2 coefficient of the embeddings.
        batch_size: examples B per step.
        num_negatives: negatives N per example.
        negative_sampling: ``example`` draws N negatives for each example (the published protocol), ``batch`` draws N
            for the whole batch.
        epochs: most passes over the training interactions.
        evaluate_every: epochs between validations.
        patience: validations without a better one after which the run stops.
        seed: of initialisation, order and negatives.

    Raises:
        InputError: an unknown name, a number out of range, or a hyperparameter that the loss does not have.
    """

    backbone: str = "mf"
    backbone_parameters: Mapping[str, Any] = field(default_factory=dict)
    score: str = "cosine"
    embedding_size: int = 64
    loss: str = "softmax"
    loss_parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    batch_size: int = 1024
    num_negatives: int = 1000
    negative_sampling: str = "example"
    epochs: int = 200
    evaluate_every: int = 5
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("backbone", self.backbone, BACKBONES)
        check_backbone_parameters(self.backbone, self.backbone_parameters)
        require_one_of("score", self.score, SCORES)
        require_one_of("loss", self.loss, OBJECTIVES)
        require_one_of("negative sampling", self.negative_sampling, NEGATIVE_SAMPLING)
        for name in ("embedding_size", "batch_size", "num_negatives", "epochs", "evaluate_every", "patience"):
            require_count(name, getattr(self, name))
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("weight_decay", self.weight_decay, at_least=0)
        require_seed(self.seed)
        # one spelling per run: 1 and 1.0, a default given or left out, must give the same configuration
        complete = OBJECTIVES[self.loss].complete(self.loss_parameters)
        for name, value in complete.items():
            if not isinstance(value, str):
                require_number(name, value)
            if "temperature" in name:
                require_number(name, value, above=0)
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        object.__setattr__(self, "weight_decay", float(self.weight_decay))
        object.__setattr__(self, "loss_parameters", complete)
        object.__setattr__(self, "backbone_parameters", dict(self.backbone_parameters))

    def stack_key(self) -> tuple[object, ...]:
        """Runs with equal keys can be trained in one stack."""
        return (
            self.backbone,
            tuple(sorted(self.backbone_parameters.items())),
            self.score,
            self.embedding_size,
            self.batch_size,
            self.num_negatives,
            self.negative_sampling,
            self.epochs,
            self.evaluate_every,
        )
