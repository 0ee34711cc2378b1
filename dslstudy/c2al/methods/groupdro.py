"""Group distributionally robust optimisation over the cohorts (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Context, Method, WithGroups, group_sizes, require_weight
from dslstudy.models.fm_attention import FMAttention


@dataclass(frozen=True)
class GroupDRO(Method):
    """``Σ_c q_c l_c``: mean losses of the cohorts, weighted by how badly they do.

    Before each step ``q_c <- q_c exp(η l_c) / Σ``, with the losses of the batch; a cohort that has no row in it keeps
    its weight but for the normalisation. Rows without a cohort are a group too.

    Attributes:
        step_size: η. At zero all groups keep the same weight.

    Source: Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts" (ICLR 2020), algorithm 1.
    """

    step_size: float = 0.01

    needs_axis: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weight("step_size", self.step_size)

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The encoder with the groups' weights, at first the same for all groups that have rows."""
        present = (group_sizes(context.cohorts) > 0).float()
        return WithGroups(encoder, present / present.sum())

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """``Σ_c q_c l_c`` with the weights as they are; it does not change them."""
        return model.weights @ self.group_losses(model, batch)

    def backward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Weights first, then the gradients under the new weights."""
        losses = self.group_losses(model, batch)
        grown = model.weights * torch.exp(self.step_size * losses.detach())
        model.weights.copy_(grown / grown.sum())
        loss = model.weights @ losses
        loss.backward()
        return loss.detach()

    def group_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy (K + 1,) of rows without a cohort, then of each cohort; zero where the batch has none."""
        losses = binary_cross_entropy_with_logits(model(self.inputs(batch)), batch.labels, reduction="none")
        group, empty = batch.cohort + 1, torch.zeros_like(model.weights)
        counts = empty.index_add(0, group, torch.ones_like(losses))
        return empty.index_add(0, group, losses) / counts.clamp(min=1)
