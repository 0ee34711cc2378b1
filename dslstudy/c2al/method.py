"""What a training method is: heads and losses put around the shared encoder, and what is left of them in the end.

A method is a small frozen dataclass whose fields are its hyperparameters. The trainer asks it for a model, for the loss
of a batch, and at last for the model that is used (book: Auxiliary heads and the gradient they inject).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, initialise


def random_stream(seed: int, name: str) -> torch.Generator:
    """The random stream of one purpose, such as ``encoder``, ``heads`` or ``order``.

    Streams of one seed are independent, so that a method which draws more heads changes neither the initial encoder
    nor the order of the batches.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class Cohorts:
    """Where each row of a part stands.

    Attributes:
        head: (n,) bool, in the head cohort.
        tail: (n,) bool, in the tail cohort.
        cohort: (n,) int64, cohort along the whole axis from 0; -1 where a row has none.
        num_cohorts: cohorts along the axis.
    """

    head: Tensor
    tail: Tensor
    cohort: Tensor
    num_cohorts: int


@dataclass(frozen=True)
class Batch:
    """Some rows of a click log, on the device of the model.

    Attributes:
        features: one tensor per feature: (b,) ids, or (b, w) ids padded with -1.
        labels: (b,) float, 1 for a click.
        head: (b,) bool.
        tail: (b,) bool.
        cohort: (b,) int64, -1 = none.
        rows: (b,) int64, places in the part that the batch is from.
    """

    features: tuple[Tensor, ...]
    labels: Tensor
    head: Tensor
    tail: Tensor
    cohort: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Context:
    """What a method may know of the training rows.

    Attributes:
        labels: (n,) float.
        cohorts: where each row stands.
        seed: of the run, for methods that need a random stream of their own.
    """

    labels: Tensor
    cohorts: Cohorts
    seed: int = 0

    @property
    def base_rate(self) -> float:
        """Share of clicks."""
        return self.labels.double().mean().item()


class Surrounded(nn.Module):
    """An encoder in the hands of a method that keeps something beside it, and throws that away on export.

    Args:
        encoder: shared encoder with the primary head.
    """

    def __init__(self, encoder: FMAttention) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Sequence[Tensor]) -> Any:
        """Logits (batch,) of the primary head."""
        return self.encoder(features)


class WithHeads(Surrounded):
    """An encoder with its primary head, and further heads that see the same h.

    Args:
        encoder: shared encoder with the primary head.
        rates: share of positives of each further head's label; its bias starts there.
        generator: random stream of the further heads.
    """

    def __init__(self, encoder: FMAttention, rates: Sequence[float], generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.heads = nn.Linear(encoder.hidden, len(rates))
        initialise(self.heads, generator)
        with torch.no_grad():
            self.heads.bias.copy_(torch.tensor([prior_logit(rate) for rate in rates]))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the primary head (batch,) and of the others (batch, heads)."""
        h = self.encoder.encode(features)
        return self.encoder.head(h).squeeze(-1), self.heads(h)


class WithGroups(Surrounded):
    """An encoder with one number per cohort that the loss multiplies; rows without a cohort are a group too.

    Args:
        encoder: shared encoder with the primary head.
        weights: (K + 1,) weight of rows without a cohort, then of each cohort.
    """

    def __init__(self, encoder: FMAttention, weights: Tensor) -> None:
        super().__init__(encoder)
        self.register_buffer("weights", weights)


def group_sizes(cohorts: Cohorts) -> Tensor:
    """(K + 1,) rows without a cohort, then rows of each cohort."""
    return torch.bincount(cohorts.cohort + 1, minlength=cohorts.num_cohorts + 1)


def inverse_frequency(sizes: Tensor, exponent: float) -> Tensor:
    """Weights ``n_g^-exponent`` of groups with n_g rows, with mean one over the rows; empty groups weigh nothing.

    Args:
        sizes: (G,) rows of each group.
        exponent: 0 leaves every row its weight, 1 gives every group the same total.
    """
    weights = torch.where(sizes > 0, sizes.clamp(min=1).double() ** -exponent, 0.0)
    return (weights * sizes.sum() / (weights * sizes).sum()).float()


def prior_logit(rate: float) -> float:
    """Where a head's bias starts: the logit of its label's rate, kept within 0.1 % and 99.9 %."""
    rate = min(max(rate, 1e-3), 1 - 1e-3)
    return math.log(rate / (1 - rate))


@dataclass(frozen=True)
class Method:
    """Base of all methods: the plain objective, and defaults for every hook."""

    #: needs a head and a tail cohort with rows in them
    needs_pair: ClassVar[bool] = False
    #: needs the cohorts of a whole axis
    needs_axis: ClassVar[bool] = False

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The model that is trained.

        Args:
            encoder: the shared encoder, already initialised.
            context: the training rows.
            generator: random stream of everything that the method adds.
        """
        return encoder

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Objective (), a pure function of parameters and batch."""
        return functional.binary_cross_entropy_with_logits(model(self.inputs(batch)), batch.labels)

    def backward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Leave the gradients of one step in the parameters and return the loss; for methods that change gradients."""
        loss = self.loss(model, batch)
        loss.backward()
        return loss.detach()

    def sample_weights(self, context: Context) -> Tensor | None:
        """(n,) weights with which rows are drawn, with replacement; None: each row once per epoch."""
        return None

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Features that the exported model takes."""
        return batch.features

    def export(self, model: nn.Module) -> nn.Module:
        """The model that is used: it maps ``inputs(batch)`` to logits (b,)."""
        return model.encoder if isinstance(model, Surrounded) else model

    def parameters(self) -> dict[str, float | int | str]:
        """The hyperparameters by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def require_weight(name: str, value: float) -> None:
    """Refuse what is no finite number from zero up.

    Raises:
        InputError: with the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} must be a finite number of at least 0, got {value!r}")
