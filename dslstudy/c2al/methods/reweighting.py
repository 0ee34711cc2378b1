"""Rows of small cohorts weigh more (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Context, Method, WithGroups, group_sizes, inverse_frequency, require_weight
from dslstudy.models.fm_attention import FMAttention


@dataclass(frozen=True)
class Reweighting(Method):
    """Cross-entropy weighted by ``n_c^-exponent``, n_c rows in the cohort, with mean weight one.

    Attributes:
        exponent: 0 is the plain objective, 1 gives every cohort of the axis the same say.
    """

    exponent: float = 0.5

    needs_axis: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weight("exponent", self.exponent)

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The encoder with the weights of the cohorts."""
        return WithGroups(encoder, inverse_frequency(group_sizes(context.cohorts), self.exponent))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """``mean_b w_c BCE(logits, y)``."""
        logits = model(self.inputs(batch))
        return binary_cross_entropy_with_logits(logits, batch.labels, weight=model.weights[batch.cohort + 1])
