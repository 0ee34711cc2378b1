"""Heads that predict cohort membership and never see a label (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Context, Method, WithHeads, require_weight
from dslstudy.models.fm_attention import FMAttention


@dataclass(frozen=True)
class Membership(Method):
    """C2AL's two heads with the labels ``1[x in head]`` and ``1[x in tail]``.

    What is left of C2AL when the click is taken out of its auxiliary labels: if it helps as much, the partial conflict
    of labels is not what helps.

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
        pair = (context.cohorts.head, context.cohorts.tail)
        return WithHeads(encoder, [each.float().mean().item() for each in pair], generator)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """``BCE(logits, y) + λ_head BCE(head_logits, 1[head]) + λ_tail BCE(tail_logits, 1[tail])``, means over b."""
        logits, others = model(self.inputs(batch))
        loss = binary_cross_entropy_with_logits(logits, batch.labels)
        for column, weight, member in ((0, self.lambda_head, batch.head), (1, self.lambda_tail, batch.tail)):
            if weight:
                loss = loss + weight * binary_cross_entropy_with_logits(others[:, column], member.to(others.dtype))
        return loss
