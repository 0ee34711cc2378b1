"""C2AL: one auxiliary head per cohort of the pair (book: Auxiliary heads and the gradient they inject)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dslstudy.c2al.labels import auxiliary_labels
from dslstudy.c2al.method import Batch, Context, Method, WithHeads, require_weight
from dslstudy.c2al.objective import c2al_objective
from dslstudy.models.fm_attention import FMAttention


@dataclass(frozen=True)
class C2AL(Method):
    """Two heads with the labels ``y 1[head]`` and ``y 1[tail]``, thrown away in the end.

    A random cohort pair is this method too, with other masks.

    Attributes:
        lambda_head: weight of the head cohort's loss.
        lambda_tail: weight of the tail cohort's loss.
    """

    lambda_head: float = 0.1
    lambda_tail: float = 0.1

    needs_pair: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weight("lambda_head", self.lambda_head)
        require_weight("lambda_tail", self.lambda_tail)

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The encoder with two further heads."""
        return WithHeads(encoder, self.label_rates(context), generator)

    @staticmethod
    def label_rates(context: Context) -> list[float]:
        """Shares of positives of both auxiliary labels."""
        labels = auxiliary_labels(context.labels, context.cohorts.head, context.cohorts.tail)
        return [each.mean().item() for each in labels]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Objective ()."""
        logits, others = model(self.inputs(batch))
        return c2al_objective(
            logits,
            others[:, 0],
            others[:, 1],
            batch.labels,
            batch.head,
            batch.tail,
            lambda_head=self.lambda_head,
            lambda_tail=self.lambda_tail,
        )
