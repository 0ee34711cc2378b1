"""How attention is distributed: density, tails and rank of the attention and of the layers before it.

All statistics but the scale stay the same when every value is multiplied by one number, so that a layer that merely
grew does not look denser. Book: "Why one objective forgets minorities".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from dslstudy.c2al.method import Batch, Method
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention

#: edges of the histogram, in units of the root mean square; the outermost bins hold all that is beyond
EDGES = np.linspace(-4, 4, 65)
#: "near zero" is closer than this many root mean squares: of normal values 8 % are
NEAR_ZERO = 0.1


@dataclass(frozen=True, eq=False)
class AttentionStatistics:
    """How values are distributed.

    Attributes:
        scale: root mean square.
        histogram: (64,) share of the values between ``EDGES``, in units of the scale.
        kurtosis: excess kurtosis: 0 for normal values, above for heavy tails.
        near_zero: share of the values within ``NEAR_ZERO`` scales of zero.
        effective_rank: exp of the entropy of the singular values, from 1 to the smaller side of the matrix.
        entropy: of the shares that entries have of a row's absolute sum, mean over rows, over its largest value: 1 if
            all entries are equally large (dense), 0 if one has everything.
    """

    scale: float
    histogram: NDArray[np.float64]
    kurtosis: float
    near_zero: float
    effective_rank: float
    entropy: float


def attention_statistics(values: ArrayLike) -> AttentionStatistics:
    """Statistics of attention outputs or of a weight matrix.

    Args:
        values: (n, ...) one row per example, such as Y of shape (batch, m, k), or per unit of a weight matrix
            (out, in); what follows the first axis is one row of the matrix.

    Raises:
        InputError: no rows, fewer than two values in a row, values that are not finite, or nothing but zeros.

    Source of the effective rank: Roy and Vetterli, "The effective rank" (EUSIPCO 2007).
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim < 2 or not matrix.size or matrix[0].size < 2:
        raise InputError(f"attention of shape {matrix.shape} has no rows of at least two values")
    matrix = matrix.reshape(len(matrix), -1)
    if not np.isfinite(matrix).all():
        raise InputError("attention has values that are not finite; the run diverged, lower its learning rate")
    scale = float(np.sqrt((matrix**2).mean()))
    if scale == 0:
        raise InputError("all attention is zero: its distribution has no shape")
    unit = matrix / scale
    counts, _ = np.histogram(unit.clip(EDGES[0], EDGES[-1]), EDGES)
    centred = unit - unit.mean()
    variance = (centred**2).mean()
    return AttentionStatistics(
        scale=scale,
        histogram=counts / unit.size,
        kurtosis=float((centred**4).mean() / variance**2 - 3) if variance > 0 else float("nan"),
        near_zero=float((np.abs(unit) < NEAR_ZERO).mean()),
        effective_rank=float(np.exp(_entropy(np.linalg.svd(unit, compute_uv=False)))),
        entropy=float(_entropy(np.abs(unit)).mean() / np.log(unit.shape[1])),
    )


def _entropy(masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in nats of the shares along the last axis; zero where there is no mass."""
    total = masses.sum(-1, keepdims=True)
    share = np.divide(masses, total, out=np.zeros_like(masses), where=total > 0)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(-1)


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """One tensor of a model at one moment.

    Attributes:
        step: steps taken.
        tensor: ``attention 1`` (the output Y of layer 1), or a weight: ``attention weight 1`` (last of the attention
            network), ``attention input weight 1`` (its first), ``deep weight 1``, ``embedding``.
        statistics: of its values.
        change: length of its change since the first record, relative to its length then.
    """

    step: int
    tensor: str
    statistics: AttentionStatistics
    change: float


class AttentionProbe:
    """Records attention statistics while a model trains; hand it to ``train_clicks`` as ``probe``.

    Args:
        method: of the run.
        features: one tensor per feature of some fixed rows, (n,) or (n, w): every record looks at the same rows.

    Attributes:
        records: what was measured, in order.
    """

    def __init__(self, method: Method, features: Sequence[Tensor]) -> None:
        self.method, self.features = method, tuple(features)
        self.records: list[AttentionRecord] = []
        self._first: dict[str, NDArray[np.float64]] = {}

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> None:
        """Measure before a step; the batch is not looked at."""
        self.measure(self.method.export(model), step)

    def measure(self, encoder: nn.Module, step: int) -> None:
        """Measure an exported model.

        Raises:
            InputError: it is not ``FMAttention``.
        """
        if not isinstance(encoder, FMAttention):
            raise InputError(f"attention is measured on FMAttention, not on {type(encoder).__name__}")
        for name, tensor in _tensors(encoder, self.features):
            values = tensor.detach().cpu().double().numpy()
            values = values.reshape(len(values), -1)
            first = self._first.setdefault(name, values.copy())
            change = float(np.linalg.norm(values - first) / np.linalg.norm(first))
            self.records.append(AttentionRecord(step, name, attention_statistics(values), change))


def _tensors(encoder: FMAttention, features: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "embedding", encoder.embedding.weight
    with torch.no_grad():
        _, seen = encoder.encode([feature.to(encoder.starts.device) for feature in features], intermediates=True)
    for number, (layer, Y) in enumerate(zip(encoder.layers, seen.Y, strict=True), start=1):
        yield f"attention {number}", Y
        yield f"attention weight {number}", layer.attention[-1].weight
        yield f"attention input weight {number}", layer.attention[0].weight
        yield f"deep weight {number}", layer.deep[0].weight
