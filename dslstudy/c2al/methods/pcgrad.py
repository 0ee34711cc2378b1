"""Gradient surgery on C2AL's auxiliary tasks (book: Against the obvious alternatives)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.gradients import layer_of
from dslstudy.c2al.labels import auxiliary_labels
from dslstudy.c2al.method import Batch, Context, WithHeads, random_stream
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.models.fm_attention import FMAttention


def project_conflicts(gradients: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Sum of the tasks' gradients after each has lost what conflicts with the others.

    Gradient i meets the others one after the other; where it points against gradient j, its part along j is taken
    away. The others stay as they were given.

    Args:
        gradients: (T, p) one gradient per task.
        orders: for each task the order in which it meets the others.

    Returns:
        (p,).
    """
    total = torch.zeros_like(gradients[0])
    for gradient, order in zip(gradients, orders, strict=True):
        for other in order:
            conflict = gradient @ gradients[other]
            if conflict < 0:
                gradient = gradient - conflict / gradients[other].square().sum() * gradients[other]
        total += gradient
    return total


class WithOrder(WithHeads):
    """An encoder with further heads, and the random stream of the order in which gradients meet."""

    def __init__(self, encoder: FMAttention, rates: Sequence[float], generator: Generator, seed: int) -> None:
        super().__init__(encoder, rates, generator)
        self.order = random_stream(seed, "pcgrad")


@dataclass(frozen=True)
class PCGrad(C2AL):
    """C2AL's three losses with their weights; conflicts are projected away on the parameters that all tasks share.

    A task with weight zero is none. The exported model is the plain one.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning" (NeurIPS 2020), algorithm 1.
    """

    def build(self, encoder: FMAttention, context: Context, generator: Generator) -> nn.Module:
        """The encoder with two further heads."""
        return WithOrder(encoder, self.label_rates(context), generator, context.seed)

    def backward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Leave projected gradients in the shared parameters, and the others' own in theirs."""
        losses = self.task_losses(model, batch)
        shared = [value for name, value in model.encoder.named_parameters() if layer_of(name) is not None]
        known = set(shared)
        own = [value for value in model.parameters() if value not in known]
        gradients = []
        for loss in losses:
            of_shared = torch.autograd.grad(loss, shared, retain_graph=True)
            gradients.append(torch.cat([gradient.flatten() for gradient in of_shared]))
        total = sum(losses)
        for parameter, gradient in zip(own, torch.autograd.grad(total, own, allow_unused=True), strict=True):
            parameter.grad = gradient
        projected = project_conflicts(torch.stack(gradients), self._orders(len(losses), model.order))
        for parameter, gradient in zip(shared, projected.split([each.numel() for each in shared]), strict=True):
            parameter.grad = gradient.view_as(parameter)
        return total.detach()

    def task_losses(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """Weighted losses () of the tasks, the primary one first."""
        logits, others = model(self.inputs(batch))
        labels = auxiliary_labels(batch.labels, batch.head, batch.tail)
        losses = [binary_cross_entropy_with_logits(logits, batch.labels)]
        for side, weight in enumerate((self.lambda_head, self.lambda_tail)):
            if weight:
                losses.append(weight * binary_cross_entropy_with_logits(others[:, side], labels[side]))
        return losses

    @staticmethod
    def _orders(tasks: int, stream: Generator) -> list[list[int]]:
        orders = []
        for task in range(tasks):
            others = [other for other in range(tasks) if other != task]
            orders.append([others[place] for place in torch.randperm(len(others), generator=stream).tolist()])
        return orders
