"""The cohort as one more feature (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dslstudy.c2al.method import Batch, Context, Method
from dslstudy.models.fm_attention import FMAttention


@dataclass(frozen=True)
class CohortFeature(Method):
    """Plain training of a model that is told the cohort.

    The only method here whose exported model is larger than the baseline's, and which must know the cohort of every row
    it scores. The embeddings of the other features and the primary head start as the baseline's do; the layers between
    are wider and draw from the stream of the heads.
    """

    needs_axis: ClassVar[bool] = True

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """A model with one more feature: id 0 for rows without a cohort, c + 1 for cohort c."""
        sizes = [*encoder.sizes, context.cohorts.num_cohorts + 1]
        wider = FMAttention(**encoder.architecture() | {"sizes": sizes}, generator=generator)
        with torch.no_grad():
            wider.embedding.weight[: sum(encoder.sizes)] = encoder.embedding.weight
            wider.head.load_state_dict(encoder.head.state_dict())
        return wider

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The features and the cohort."""
        return (*batch.features, batch.cohort + 1)
