"""Softmax-type losses straight from the embedding tables, by one fused kernel.

The plain path makes scores first, (P, B, N) or (P, B, I) of them, and then takes the loss of those. Here a Triton
kernel gathers, scores, weighs and sums up in one pass, and a second one adds the gradients to the tables, so that
neither the gathered vectors (P, B, N, d) nor the scores of all items (P, B, I) ever exist: what is kept for the
backward pass is one number per sampled negative.

It pays on a GPU where the tables are large: it reads N rows per example where a matrix product computes I scores per
example, so with few items per negative (``dslstudy.engine.scores``) the matrix product is the better way, and it always
is for negatives that a batch shares. Item gradients are added atomically: two runs of the same seed agree to rounding,
not to the bit.

Triton is needed only when a loss is computed here; importing this module does not load it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dslstudy.errors import InputError
from dslstudy.losses import dsl
from dslstudy.losses._checks import Hyperparameter, Scores
from dslstudy.losses._numerics import from_top
from dslstudy.losses.dsl import SlateSize

#: an example's row of negatives lies in the registers of one kernel program
MOST_NEGATIVES = 4096
#: and so do some whole vectors, in the backward pass
LARGEST_SIZE = 256
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def fused_available(device: torch.device | str) -> bool:
    """Whether the fused losses run on this device: CUDA with Triton, or any device in Triton's interpreter.

    Args:
        device: where the tables are.

    Returns:
        True if so. ``TRITON_INTERPRET=1``, set before Triton is first imported, chooses the interpreter, which is slow
        and for tests.
    """
    wanted = torch.device(device).type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return wanted and find_spec("triton") is not None


def fused_fits(num_negatives: int, embedding_size: int, dtype: torch.dtype = torch.float32) -> bool:
    """Whether the kernel takes rows of this many negatives and vectors of this size and type."""
    return num_negatives <= MOST_NEGATIVES and embedding_size <= LARGEST_SIZE and dtype in DTYPES


def fused_softmax_loss(
    vectors: Tensor,
    scored_items: Tensor,
    positive_items: Tensor,
    negative_items: Tensor,
    *,
    temperature: Hyperparameter,
    mask: Tensor | None = None,
) -> Tensor:
    """``softmax_loss`` of the inner products of the given vectors, with gradients to vectors and item table.

    Args:
        vectors: (P, B, d) the examples' user vectors, of unit length for cosine scores.
        scored_items: (P, I, d) the table that scores are inner products with, likewise.
        positive_items: (P, B) ids of the positives.
        negative_items: (P, B, N) ids of the negatives; a view expanded over runs or examples is not copied.
        temperature: τ > 0, a number or (P,); no gradient flows to it.
        mask: (P, B, N) bool, True = a real negative; None = all real.

    Returns:
        (P, B) float32, one loss per example; zero, with zero gradients, for an example without real negatives. Values
        are not checked: a score that is not finite gives a loss that is not.

    Raises:
        InputError: wrong shapes, dtypes or devices, more than ``MOST_NEGATIVES`` negatives, vectors longer than
            ``LARGEST_SIZE``, or no Triton for this device.

    Source and chapter: as ``dslstudy.losses.softmax_loss``.
    """
    sample = _Sample(positive_items, negative_items, mask)
    _check(vectors, scored_items, sample)
    return _FusedLoss.apply(vectors, scored_items, sample, _per_run("temperature", temperature, vectors), None)


def fused_dsl_loss(
    vectors: Tensor,
    scored_items: Tensor,
    positive_items: Tensor,
    negative_items: Tensor,
    *,
    temperature: Hyperparameter,
    alpha: Hyperparameter,
    beta: Hyperparameter,
    gamma: Hyperparameter,
    slate_size: SlateSize,
    item_directions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``dsl_loss`` in reading R1 of the inner products of the given vectors.

    With γ = 0 no example looks at the others and one pass does it all. Otherwise a first kernel leaves scores and
    log kappa, (P, B, N) each, from which torch takes slate, intensity and τ_i as ``dsl_loss`` does, and a second one
    finishes.

    Args:
        vectors: (P, B, d) the examples' user vectors, of unit length for cosine scores.
        scored_items: (P, I, d) the table that scores are inner products with, likewise.
        positive_items: (P, B) ids of the positives.
        negative_items: (P, B, N) ids of the negatives; a view expanded over runs or examples is not copied.
        temperature: τ > 0, a number or (P,). Like α, β and γ it gets no gradient.
        alpha: weight of the hardness.
        beta: weight of the item-item similarity.
        gamma: strength of the per-example temperature. Zero is noticed in a number or a tensor on the CPU: asking a
            GPU would wait for it.
        slate_size: m >= 1, as in ``dsl_loss``.
        item_directions: (P, I, d) rows of unit length whose inner products are the item-item similarities; None = those
            of ``scored_items``, which spares reading a second table (cosine scores).
        mask: (P, B, N) bool, True = a real negative; None = all real.

    Returns:
        (P, B) float32, one loss per example; zero, with zero gradients, for an example without real negatives. Values
        are not checked: a score that is not finite gives a loss that is not.

    Raises:
        InputError: as ``fused_softmax_loss``.

    Source and chapter: as ``dslstudy.losses.dsl_loss``.
    """
    sample = _Sample(positive_items, negative_items, mask)
    _check(vectors, scored_items, sample)
    directions = scored_items if item_directions is None else item_directions
    if directions.shape != scored_items.shape or directions.dtype not in DTYPES:
        raise InputError(
            f"item_directions must be a float table of shape {tuple(scored_items.shape)} like scored_items, "
            f"not {directions.dtype} {tuple(directions.shape)}"
        )
    weighing = _Weighing(
        directions.detach(),
        _per_run("alpha", alpha, vectors),
        _per_run("beta", beta, vectors),
        None if _is_zero(gamma) else _per_run("gamma", gamma, vectors),
        slate_size,
    )
    temperature = _per_run("temperature", temperature, vectors)
    return _FusedLoss.apply(vectors, scored_items, sample, temperature, weighing)


class _Sample(NamedTuple):
    """Which items a batch is about."""

    positive_items: Tensor  # (P, B)
    negative_items: Tensor  # (P, B, N)
    mask: Tensor | None  # (P, B, N)


class _Weighing(NamedTuple):
    """What DSL adds to the softmax loss; per run."""

    directions: Tensor  # (P, I, d)
    alpha: Tensor  # (P,)
    beta: Tensor  # (P,)
    gamma: Tensor | None  # (P,), None for zero
    slate_size: SlateSize


class _FusedLoss(torch.autograd.Function):
    """Losses (P, B) of vectors (P, B, d) and an item table (P, I, d)."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, items: Tensor, sample: _Sample, temperature: Tensor, weighing: _Weighing | None
    ) -> Tensor:
        sample = _Sample(sample.positive_items.contiguous(), _rowwise(sample.negative_items), _rowwise(sample.mask))
        given = vectors.contiguous(), items.contiguous(), sample, temperature
        if weighing is None or weighing.gamma is None:
            loss, weights = _one_pass(*given, weighing)
        else:
            loss, weights = _two_passes(*given, weighing)
        ctx.save_for_backward(*given[:2], sample.positive_items, sample.negative_items, weights)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        vectors, items, positive_items, negative_items, weights = ctx.saved_tensors
        (runs, examples, size), n = vectors.shape, negative_items.shape[2]
        vector_gradient = torch.empty(vectors.shape, dtype=torch.float32, device=vectors.device)
        item_gradient = torch.zeros(items.shape, dtype=torch.float32, device=items.device)
        width = _power_of_two(size)
        with torch.cuda.device_of(vectors):
            _kernels().backward[(runs * examples,)](
                vectors,
                items,
                positive_items,
                negative_items,
                weights,
                gradient.float().contiguous(),
                vector_gradient,
                item_gradient,
                examples,
                items.shape[1],
                *negative_items.stride()[:2],
                N=n,
                D=size,
                TILE_N=min(_power_of_two(n), 4096 // width),
                WIDTH=width,
            )
        return vector_gradient.to(vectors.dtype), item_gradient.to(items.dtype), None, None, None


def _one_pass(
    vectors: Tensor, items: Tensor, sample: _Sample, temperature: Tensor, weighing: _Weighing | None
) -> tuple[Tensor, Tensor]:
    """Losses (P, B) and the weights (P, B, N) of the negatives in the gradient."""
    loss, weights = _empty(vectors, sample)
    directions, alpha, beta = (items, temperature, temperature) if weighing is None else weighing[:3]
    with torch.cuda.device_of(vectors):
        _kernels().forward[(loss.numel(),)](
            vectors,
            items,
            directions.contiguous(),
            sample.positive_items,
            sample.negative_items,
            *_mask_argument(sample),
            1 / temperature,
            alpha,
            beta,
            loss,
            weights,
            loss.shape[1],
            items.shape[1],
            *_steps(sample),
            **_layout(vectors, sample),
            D=vectors.shape[2],
            WEIGHTED=weighing is not None,
            ONE_TABLE=_one_table(directions, items),
        )
    return loss, weights


def _two_passes(
    vectors: Tensor, items: Tensor, sample: _Sample, temperature: Tensor, weighing: _Weighing
) -> tuple[Tensor, Tensor]:
    """As ``_one_pass``, with a temperature for each example that depends on the whole batch."""
    loss, scores = _empty(vectors, sample)
    positive, log_kappa = torch.empty_like(loss), torch.empty_like(scores)
    layout, steps = _layout(vectors, sample), _steps(sample)
    with torch.cuda.device_of(vectors):
        _kernels().score[(loss.numel(),)](
            vectors,
            items,
            weighing.directions.contiguous(),
            sample.positive_items,
            sample.negative_items,
            *_mask_argument(sample),
            weighing.alpha,
            weighing.beta,
            positive,
            scores,
            log_kappa,
            loss.shape[1],
            items.shape[1],
            *steps,
            **layout,
            D=vectors.shape[2],
            ONE_TABLE=_one_table(weighing.directions, items),
        )
        tau = _per_example_temperature(Scores(positive, scores, sample.mask), log_kappa, temperature, weighing)
        del layout["BLOCK_D"]
        _kernels().finish[(loss.numel(),)](
            positive, scores, log_kappa, *_mask_argument(sample), 1 / tau, loss, loss.shape[1], *steps[2:], **layout
        )
    return loss, scores


def _per_example_temperature(scores: Scores, log_kappa: Tensor, temperature: Tensor, weighing: _Weighing) -> Tensor:
    """τ_i (P, B), by the functions of ``dsl_loss`` itself."""
    tau, gamma = temperature.unsqueeze(-1), weighing.gamma.unsqueeze(-1)
    seen = from_top(scores)
    strength = (log_kappa * tau.unsqueeze(-1)).add_(seen.below)
    slate, member = dsl._slate(strength, weighing.slate_size, scores)
    intensity = dsl._intensity(scores, slate, member, seen.live, tau, "R1")
    return dsl._per_example_temperature(intensity, seen.live, tau, gamma).contiguous()


def _kernels() -> Any:
    from dslstudy.engine import _kernels

    return _kernels


def _layout(vectors: Tensor, sample: _Sample) -> dict[str, int | bool]:
    """How a kernel program cuts its example up."""
    n = sample.negative_items.shape[2]
    block = _power_of_two(n)
    # A chunk of columns is at least one sector of 32 bytes per row, and as many as the registers hold.
    columns = min(_power_of_two(vectors.shape[2]), max(8, min(64, 16384 // block)))
    return {
        "N": n,
        "BLOCK_N": block,
        "BLOCK_D": columns,
        "MASKED": sample.mask is not None,
        "num_warps": max(4, min(16, block // 128)),
    }


def _power_of_two(n: int) -> int:
    """The smallest power of two from 16 that is at least n."""
    return max(16, 1 << (n - 1).bit_length())


def _empty(vectors: Tensor, sample: _Sample) -> tuple[Tensor, Tensor]:
    """Room for losses (P, B) and one number per negative (P, B, N)."""
    shape = sample.negative_items.shape
    return tuple(torch.empty(size, dtype=torch.float32, device=vectors.device) for size in (shape[:2], shape))


def _rowwise(tensor: Tensor | None) -> Tensor | None:
    """The tensor itself if the entries of a row are neighbours, whatever the other steps; else a copy."""
    return tensor if tensor is None or tensor.stride(-1) == 1 else tensor.contiguous()


def _mask_argument(sample: _Sample) -> tuple[Tensor]:
    """The mask as bytes; without one the kernel looks at no mask, and any tensor will do."""
    return (sample.negative_items if sample.mask is None else sample.mask.view(torch.uint8),)


def _steps(sample: _Sample) -> tuple[int, ...]:
    """Entries from run to run and from example to example, of the ids and of the mask."""
    mask = sample.negative_items if sample.mask is None else sample.mask
    return *sample.negative_items.stride()[:2], *mask.stride()[:2]


def _one_table(directions: Tensor, items: Tensor) -> bool:
    """Whether both are the same memory."""
    return directions.data_ptr() == items.data_ptr()


def _is_zero(value: Hyperparameter) -> bool:
    if isinstance(value, Tensor):
        return value.device.type == "cpu" and not value.any()
    return value == 0


def _per_run(name: str, value: Hyperparameter, vectors: Tensor) -> Tensor:
    """A hyperparameter as (P,) float32 beside the vectors."""
    runs = vectors.shape[0]
    value = torch.as_tensor(value, dtype=torch.float32, device=vectors.device).detach()
    if value.shape not in ((), (1,), (runs,)):
        raise InputError(f"{name} must be a number or one per run ({runs},), not of shape {tuple(value.shape)}")
    return value.expand(runs).contiguous()


def _check(vectors: Tensor, items: Tensor, sample: _Sample) -> None:
    """Refuse what the kernels do not take."""
    positive_items, negative_items, mask = sample
    if vectors.dim() != 3 or items.dim() != 3 or items.shape[::2] != vectors.shape[::2]:
        raise InputError(
            "the fused losses take vectors (P, B, d) and an item table (P, I, d) with equal P and d; "
            f"got {tuple(vectors.shape)} and {tuple(items.shape)}"
        )
    if (
        positive_items.shape != vectors.shape[:2]
        or negative_items.dim() != 3
        or negative_items.shape[:2] != vectors.shape[:2]
        or negative_items.shape[2] == 0
    ):
        raise InputError(
            f"item ids must have the shapes (P, B) = {tuple(vectors.shape[:2])} and (P, B, N), N >= 1; "
            f"got {tuple(positive_items.shape)} and {tuple(negative_items.shape)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != negative_items.shape):
        raise InputError(
            f"mask must be bool (True = a real negative) of shape {tuple(negative_items.shape)}; "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )
    if {positive_items.dtype, negative_items.dtype} - {torch.int32, torch.int64}:
        raise InputError(f"item ids must be int32 or int64, not {positive_items.dtype} and {negative_items.dtype}")
    n, size = negative_items.shape[2], vectors.shape[2]
    if not fused_fits(n, size, vectors.dtype) or items.dtype != vectors.dtype:
        raise InputError(
            f"the fused losses take up to {MOST_NEGATIVES} negatives and vectors and items of up to {LARGEST_SIZE} "
            f"half or single precision numbers, not {n} and {size} of {vectors.dtype} and {items.dtype}; "
            "compute scores and use dslstudy.losses"
        )
    if len({tensor.device for tensor in (vectors, items, positive_items, negative_items)}) > 1:
        raise InputError("vectors, item table and item ids must be on one device")
    if not fused_available(vectors.device):
        raise InputError(
            f"no fused losses on {vectors.device}: they need CUDA and Triton; compute scores and use dslstudy.losses"
        )
