"""What every companion of a loss can do; one companion serves the runs of a stack that have the same loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dslstudy.engine.optimizer import StackedAdam
from dslstudy.engine.sampler import Positives

if TYPE_CHECKING:
    from dslstudy.engine.config import TrainingConfig

#: gives the score tables (R, U, d) and (R, I, d) of the runs, at a cost: ask only when they are needed
Tables = Callable[[], tuple[Tensor, Tensor]]


class Companion(ABC):
    """The state that a loss keeps for R runs, and how it changes.

    Args:
        configs: of the runs; they agree on every setting that ``Objective.of_companion`` names and that is a whole
            number.
        positives: the training interactions, on the device.

    Attributes:
        moving: whether gradients of the variables are wanted in this epoch.
        steps: how often they have moved.
    """

    moving = False
    steps = 0

    def __init__(self, configs: Sequence[TrainingConfig], positives: Positives) -> None:
        self.configs, self.positives = list(configs), positives
        self.device = positives.keys.device

    def start_epoch(self, epoch: int, tables: Tables) -> None:  # noqa: B027 - not every companion has something to do
        """Prepare for an epoch, counted from 1."""

    @abstractmethod
    def variables(self) -> list[Tensor]:
        """Tensors (R, ...) that the loss depends on."""

    @abstractmethod
    def keywords(self, variables: Sequence[Tensor], users: Tensor, negatives: Tensor) -> dict[str, Any]:
        """What the loss takes besides scores and hyperparameters.

        Args:
            variables: those of P runs, (P, ...).
            users: (P, b) of the examples.
            negatives: (P, b, N) of each example, or (P, N) shared by the batch.
        """

    def step(self, gradients: Sequence[Tensor]) -> None:  # noqa: B027 - nor something that moves
        """Move the variables, given the gradients (R, ...) of the mean loss; called while ``moving``."""

    def kept(self) -> list[Tensor]:
        """All tensors (R, ...) of the state, for checkpoints; they are written to in place."""
        return self.variables()

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some of the runs only."""
        self.configs = [self.configs[i] for i in staying]


class LearningCompanion(Companion):
    """A companion whose variables are learnt by Adam while the model learns.

    Args:
        configs: of the runs.
        positives: the training interactions, on the device.
        values: the variables at the start, (R, ...).
        learning_rate: (R,) Adam's step sizes.
    """

    def __init__(
        self,
        configs: Sequence[TrainingConfig],
        positives: Positives,
        values: Sequence[Tensor],
        learning_rate: Sequence[float],
    ) -> None:
        super().__init__(configs, positives)
        self.values = [torch.nn.Parameter(value.to(self.device), requires_grad=False) for value in values]
        self.optimizer = StackedAdam(self.values, learning_rate, [0.0] * len(self.configs))

    def variables(self) -> list[Tensor]:
        """Tensors (R, ...) that the loss depends on."""
        return list(self.values)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step of Adam, down the gradients."""
        for value, gradient in zip(self.values, gradients, strict=True):
            value.grad = gradient
        self.optimizer.step()

    @property
    def steps(self) -> int:
        """How often the variables have moved."""
        return self.optimizer.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.optimizer.steps = steps

    def kept(self) -> list[Tensor]:
        """The variables and Adam's moments."""
        return [*self.values, *self.optimizer.mean, *self.optimizer.square]

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some of the runs only."""
        super().keep(staying)
        self.values = [torch.nn.Parameter(value[list(staying)], requires_grad=False) for value in self.values]
        self.optimizer.keep(staying, self.values)
