"""One auxiliary head for every cohort of the axis (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Context, Method, WithHeads, require_weight
from dslstudy.models.fm_attention import FMAttention


def cohort_labels(labels: Tensor, cohort: Tensor, num_cohorts: int) -> Tensor:
    """``y 1[x in cohort c]`` for every c: (b, K) from labels (b,) and cohorts (b,); all zero where a row has none."""
    member = cohort.unsqueeze(-1) == torch.arange(num_cohorts, device=cohort.device)
    return labels.unsqueeze(-1) * member.to(labels.dtype)


@dataclass(frozen=True)
class MultiCohort(Method):
    """C2AL with K heads, one per cohort of the axis, all with the same weight.

    Attributes:
        weight: weight λ of each head's loss; the K losses are added.
    """

    weight: float = 0.1

    needs_axis: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weight("weight", self.weight)

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The encoder with K further heads."""
        labels = cohort_labels(context.labels, context.cohorts.cohort, context.cohorts.num_cohorts)
        return WithHeads(encoder, labels.mean(dim=0).tolist(), generator)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """``BCE(logits, y) + λ Σ_c BCE(logits_c, y 1[cohort c])``, means over b."""
        logits, others = model(self.inputs(batch))
        loss = binary_cross_entropy_with_logits(logits, batch.labels)
        if self.weight:
            num_cohorts = others.shape[1]
            labels = cohort_labels(batch.labels, batch.cohort, num_cohorts)
            # the function's mean is over rows and cohorts, the sum over cohorts is wanted
            loss = loss + self.weight * num_cohorts * binary_cross_entropy_with_logits(others, labels)
        return loss
