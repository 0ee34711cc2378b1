"""What the auxiliary heads do to the gradient: the identity at the attention, and its parts along and across.

Book: "Auxiliary heads and the gradient they inject".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.method import Batch, Method
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, interaction

#: group of all shared parameters together
SHARED = "all shared"
#: the cohorts of a batch, by what selects their rows
EVERYONE, HEAD, TAIL, OTHERS = "everyone", "head", "tail", "others"


def attention_gradient(X: Tensor, primary: Tensor, auxiliary: Tensor, *, weight: float = 1.0, form: str) -> Tensor:
    """Gradient of the objective at the attention, ``X Xᵀ (∂L_primary/∂G + λ ∂L_aux/∂G)``; ``XᵀX (...)`` for ``fields``.

    The interactions ``G = X Xᵀ Y`` are linear in Y and the gram matrix is symmetric, so the same product that makes the
    interactions carries the gradient back: an auxiliary head reaches the attention only along the directions that the
    embeddings of an example span.

    Args:
        X: (..., d, m) embeddings that enter the layer.
        primary: (..., d, k) or, for ``fields``, (..., m, k): gradient of the primary loss at G.
        auxiliary: like ``primary``: gradient of the auxiliary losses at G.
        weight: λ.
        form: ``fields`` or ``embedding``.

    Returns:
        Like ``primary``: the gradient at Y.

    Source: arXiv 2510.02215, gradient analysis. Chapter: "Auxiliary heads and the gradient they inject".
    """
    return interaction(X, primary + weight * auxiliary, form)


@dataclass(frozen=True)
class GradientParts:
    """The auxiliary gradient of some parameters, split along and across the primary gradient.

    Attributes:
        primary: length of the primary gradient.
        auxiliary: length of the auxiliary gradient, its weight included.
        parallel: length of its part along the primary gradient; negative where it points the other way.
        orthogonal: length of its part across.
        step: steps taken when it was measured.
        cohort: whose rows.
        layer: group of parameters.
        transfer: cosine between this cohort's primary gradient and the auxiliary gradient of the *whole* batch: above
            zero, a step along the latter lowers the cohort's loss.
    """

    primary: float
    auxiliary: float
    parallel: float
    orthogonal: float
    step: int = 0
    cohort: str = EVERYONE
    layer: str = SHARED
    transfer: float = math.nan

    @property
    def cosine(self) -> float:
        """Cosine of the angle between both gradients; ``nan`` where one is zero."""
        return self.parallel / self.auxiliary if self.auxiliary and self.primary else math.nan

    @property
    def orthogonal_share(self) -> float:
        """Share of the auxiliary gradient's squared length that is across; ``nan`` where it is zero."""
        return (self.orthogonal / self.auxiliary) ** 2 if self.auxiliary else math.nan


def split_gradient(primary: Sequence[Tensor], auxiliary: Sequence[Tensor]) -> GradientParts:
    """Split one gradient along and across another.

    Args:
        primary: gradients of some parameters, of any shapes.
        auxiliary: gradients of the same parameters.

    Returns:
        Lengths of both and of the two parts; all of the auxiliary gradient is across where the primary one is zero.

    Raises:
        InputError: other shapes.
    """
    if [g.shape for g in primary] != [g.shape for g in auxiliary]:
        raise InputError("primary and auxiliary gradients must be of the same parameters")
    g, a = (torch.cat([each.detach().double().flatten() for each in side]) for side in (primary, auxiliary))
    length = g.norm()
    direction = g / length if length > 0 else g
    along = a @ direction
    across = (a - along * direction).norm()
    return GradientParts(length.item(), a.norm().item(), along.item(), across.item())


def layer_of(parameter: str) -> str | None:
    """Group of a parameter of ``FMAttention`` by its name: ``embedding``, ``attention 1``, ``deep 1``, ..., ``top``.

    ``None`` for the primary head, which no other loss shares.
    """
    first, *rest = parameter.split(".")
    if first == "head":
        return None
    if first != "layers":
        return first
    part = "norms" if rest[1].endswith("norm") else rest[1]
    return f"{part} {int(rest[0]) + 1}"


def gradient_parts(method: Method, model: nn.Module, batch: Batch, *, step: int = 0) -> list[GradientParts]:
    """Split the auxiliary gradient on the shared parameters, layer by layer and cohort by cohort.

    Both losses are means over the batch, that is sums of what its rows contribute; a cohort's gradients are those of
    its rows' contributions, so that the gradients of head, tail and others add up to everyone's. That holds for every
    method whose loss is a mean of losses of single rows.

    Args:
        method: what the model is trained with; the auxiliary loss is its loss less the primary cross-entropy.
        model: in training.
        batch: some rows.
        step: noted in the result.

    Returns:
        One entry per cohort with rows in the batch and per group of parameters, all shared ones together first.

    Raises:
        InputError: a method whose exported model is not ``FMAttention``: nothing there is shared in this sense.
    """
    encoder = method.export(model)
    if not isinstance(encoder, FMAttention):
        raise InputError(f"{type(method).__name__} exports another model; gradients split on a shared FMAttention only")
    groups: dict[str, list[int]] = {SHARED: []}
    shared: list[nn.Parameter] = []
    for name, parameter in encoder.named_parameters():
        group = layer_of(name)
        if group is not None:
            groups[SHARED].append(len(shared))
            groups.setdefault(group, []).append(len(shared))
            shared.append(parameter)

    gradients = {
        cohort: _primary_and_auxiliary(method, model, encoder, part, shared, len(part.labels) / len(batch.labels))
        for cohort, part in _cohorts_of(batch).items()
    }
    _, whole = gradients[EVERYONE]
    result = []
    for cohort, (primary, auxiliary) in gradients.items():
        for layer, places in groups.items():
            mine = [primary[i] for i in places]
            parts = split_gradient(mine, [auxiliary[i] for i in places])
            transfer = split_gradient(mine, [whole[i] for i in places]).cosine
            result.append(replace(parts, step=step, cohort=cohort, layer=layer, transfer=transfer))
    return result


def _cohorts_of(batch: Batch) -> Mapping[str, Batch]:
    """Everyone, and the rows of head, tail and neither, where there are any."""
    rows = {HEAD: batch.head, TAIL: batch.tail, OTHERS: ~(batch.head | batch.tail)}
    return {EVERYONE: batch} | {name: _select(batch, mask) for name, mask in rows.items() if mask.any()}


def _select(batch: Batch, mask: Tensor) -> Batch:
    return Batch(
        tuple(feature[mask] for feature in batch.features),
        batch.labels[mask],
        batch.head[mask],
        batch.tail[mask],
        batch.cohort[mask],
        batch.rows[mask],
    )


def _primary_and_auxiliary(
    method: Method, model: nn.Module, encoder: FMAttention, batch: Batch, shared: Sequence[Tensor], share: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of both losses, each times the share of the batch that these rows are."""
    primary = binary_cross_entropy_with_logits(encoder(method.inputs(batch)), batch.labels)
    losses = primary, method.loss(model, batch)
    first, both = (torch.autograd.grad(share * loss, shared, allow_unused=True) for loss in losses)
    zeros = [torch.zeros_like(parameter) for parameter in shared]
    g = [zero if each is None else each for each, zero in zip(first, zeros, strict=True)]
    total = [zero if each is None else each for each, zero in zip(both, zeros, strict=True)]
    return g, [t - p for t, p in zip(total, g, strict=True)]


class GradientProbe:
    """Records the parts of the auxiliary gradient while a model trains; hand it to ``train_clicks`` as ``probe``.

    Args:
        method: of the run.

    Attributes:
        records: what was measured, in order.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.records: list[GradientParts] = []

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> None:
        """Measure on the batch whose step is about to be taken."""
        self.records += gradient_parts(self.method, model, batch, step=step)
