"""The auxiliary variables of LLPAUC, which turn a partial area into a sum over examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dslstudy.engine.companions.companion import LearningCompanion
from dslstudy.engine.sampler import Positives
from dslstudy.losses.llpauc import LLPAUCState

if TYPE_CHECKING:
    from dslstudy.engine.config import TrainingConfig


class PartialAreaVariables(LearningCompanion):
    """The five variables of ``LLPAUCState``, with the model's learning rate; two of them ascend.

    Source: Shi et al., "Lower-Left Partial AUC" (WWW 2024). Chapter: "From BPR to the softmax loss", section "The other
    losses of the tables".
    """

    moving = True

    def __init__(self, configs: Sequence[TrainingConfig], positives: Positives) -> None:
        start = LLPAUCState((len(configs),))
        self.names = [name for name, _ in start.named_parameters()]
        rates = [config.learning_rate for config in configs]
        super().__init__(configs, positives, [value.detach() for value in start.parameters()], rates)

    def keywords(self, variables: Sequence[Tensor], users: Tensor, negatives: Tensor) -> dict[str, Any]:
        """The variables (P,) by name."""
        return dict(zip(self.names, variables, strict=True))

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Down for those that are minimised, up for the others, and back into their ranges."""
        state = LLPAUCState((len(self.configs),))
        for name, value, gradient in zip(self.names, self.values, gradients, strict=True):
            setattr(state, name, value)  # the module's rules, on the variables that Adam moves
            value.grad = gradient
        state.turn_gradients()
        super().step([value.grad for value in self.values])
        state.project()
