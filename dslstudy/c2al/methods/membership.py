"""Heads that predict cohort membership and never see a label (book: Against the obvious alternatives)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Context
from dslstudy.c2al.methods.c2al import C2AL


@dataclass(frozen=True)
class Membership(C2AL):
    """C2AL's two heads and weights with the labels ``1[x in head]`` and ``1[x in tail]``.

    What is left of C2AL when the click is taken out of its auxiliary labels: if it helps as much, the partial conflict
    of labels is not what helps.
    """

    @staticmethod
    def label_rates(context: Context) -> list[float]:
        """Shares of both cohorts."""
        return [cohort.float().mean().item() for cohort in (context.cohorts.head, context.cohorts.tail)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """``BCE(logits, y) + λ_head BCE(head_logits, 1[head]) + λ_tail BCE(tail_logits, 1[tail])``, means over b."""
        logits, others = model(self.inputs(batch))
        loss = binary_cross_entropy_with_logits(logits, batch.labels)
        for column, weight, member in ((0, self.lambda_head, batch.head), (1, self.lambda_tail, batch.tail)):
            if weight:
                loss = loss + weight * binary_cross_entropy_with_logits(others[:, column], member.to(others.dtype))
        return loss
