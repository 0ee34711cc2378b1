"""Scores of a batch: positives, sampled negatives, and which of those are real (book: From BPR to the softmax loss).

The scores of N negatives per example are computed a few examples at a time, by a matrix product with all items or by
gathering the N vectors, and only the (B, N) scores stay: neither (B, I) nor (B, N, d) is ever held for a whole batch.
On a CPU that keeps the work inside the cache, which is worth more than the flops saved by scoring fewer items.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from dslstudy.engine.sampler import Cells, Columns

#: score all I items and pick N of them as long as I <= PRODUCT_LIMIT * N; beyond, gather the vectors of the N
PRODUCT_LIMIT = {"cpu": 30, "cuda": 20}
#: what one block of examples may hold: on a CPU about as much as a core's second-level cache
BLOCK_BYTES = {"cpu": 2**21, "cuda": 2**31}


def score_tables(user_table: Tensor, item_table: Tensor, score: str) -> tuple[Tensor, Tensor]:
    """Tables whose inner products are the scores: rows of unit length for ``cosine``, as they are otherwise."""
    return score_table(user_table, score), score_table(item_table, score)


def score_table(table: Tensor, score: str) -> Tensor:
    """One of the tables (or some of its rows) of :func:`score_tables`."""
    return _Directions.apply(table) if score == "cosine" else table


class _Directions(torch.autograd.Function):
    """Rows divided by their lengths, as ``torch.nn.functional.normalize`` does in twice as many passes."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        inverse = torch.linalg.vector_norm(table, dim=-1, keepdim=True).clamp_(min=1e-12).reciprocal_()
        directions = table * inverse
        ctx.save_for_backward(directions, inverse)
        return directions

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        directions, inverse = ctx.saved_tensors
        along = (gradient * directions).sum(dim=-1, keepdim=True)
        return torch.addcmul(gradient, directions, along, value=-1).mul_(inverse)


@dataclass
class Batch:
    """What a loss sees of a batch, or of a share of its examples, for P runs.

    Attributes:
        positive: (P, B) scores of the positives.
        negatives: (P, B, N) scores of the sampled negatives, -inf where one is a training item of the user.
        mask: (P, B, N) bool, True where the negative is none of the user's training items.
        similarity: (P, B, N) cosine of each positive with its negatives, for losses that use it.
        sources: what the negatives' scores were computed from, for their gradient.
    """

    positive: Tensor
    negatives: Tensor
    mask: Tensor
    similarity: Tensor | None = None
    sources: tuple[Tensor, ...] = ()


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of each run's table: (P, n, d) at (P, B) gives (P, B, d)."""
    runs, n, size = table.shape
    return embedding(_in_a_row(index, runs, n), table.reshape(runs * n, size))


def add_rows(table: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values (P, B, d) to rows (P, B) of each run's table (P, n, d), in place.

    On a CPU repeated rows are added up in the order of the batch. A table of gradients that is kept from step to step
    and added to costs a fraction of a new one that a backward pass fills with zeros.
    """
    runs, n, size = table.shape
    table.view(runs * n, size).index_add_(0, _in_a_row(index, runs, n).flatten(), values.reshape(-1, size))


def _in_a_row(index: Tensor, runs: int, n: int) -> Tensor:
    """Rows of the runs' tables as rows of the tables laid end to end."""
    return index if runs == 1 else index + torch.arange(runs, device=index.device).unsqueeze(1) * n


def scores_by_product(num_items: int, num_negatives: int, device: str) -> bool:
    """Whether scoring all items by one product costs less than gathering the vectors of the negatives."""
    return num_items <= PRODUCT_LIMIT[device] * num_negatives


def pick_scores(vectors: Tensor, item_table: Tensor, negatives: Tensor, known: Cells | None = None) -> Tensor:
    """Inner products of each example's vector with its own negatives.

    Args:
        vectors: (P, B, d).
        item_table: (P, I, d).
        negatives: (P, B, N).
        known: the users' training items; where a negative is among them its score becomes -inf.

    Returns:
        (P, B, N).
    """
    if scores_by_product(item_table.shape[1], negatives.shape[2], vectors.device.type):
        return _ByProduct.apply(vectors, item_table, negatives, known)
    scores = _ByGathering.apply(vectors, item_table, negatives)
    if known is None:
        return scores
    return scores.masked_fill(known.contains(negatives), -torch.inf)


def shared_scores(
    vectors: Tensor,
    negative_vectors: Tensor,
    negatives: Tensor,
    known: Cells | None = None,
    places: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Inner products of each example's vector with the negatives that its batch shares: one matrix product.

    Args:
        vectors: (P, B, d).
        negative_vectors: (P, N, d) rows of the item table.
        negatives: (P, N) which rows they are.
        known: the users' training items; where a negative is among them its score becomes -inf.
        places: gives the places of those scores on a CPU (``Cells.places_among``), for whoever keeps them.

    Returns:
        (P, B, N).
    """
    scores = vectors @ negative_vectors.mT
    if known is None:
        return scores
    if scores.device.type == "cpu":
        at = places() if places else known.places_among(Columns.of(negatives, known.positives.num_items))
        scores.view(-1).index_fill_(0, at, -torch.inf)
        return scores
    return scores.masked_fill(known.contains(negatives.unsqueeze(1).expand_as(scores)), -torch.inf)


@contextmanager
def tensor_cores(device: torch.device, score: str) -> Iterator[None]:
    """Let a GPU round the factors of matrix products to TF32 (10 bits of mantissa) while cosines are computed.

    Each factor is then off by at most 2**-11 of itself, so by Cauchy and Schwarz a product of two unit vectors by at
    most 2**-10 + 2**-22, a thousandth, whatever the embedding size. Inner products have no such bound and stay exact.
    """
    if device.type != "cuda" or score != "cosine":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class _Buffers(threading.local):
    """One block's memory per thread, kept from step to step: fresh memory is slow to touch."""

    def __init__(self) -> None:
        self.kept: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        size, kind = torch.Size(shape).numel(), (like.device, like.dtype)
        if kind not in self.kept or len(self.kept[kind]) < size:
            self.kept[kind] = torch.empty(size, dtype=like.dtype, device=like.device)
        return self.kept[kind][:size].view(shape)


buffers = _Buffers()


def blocks_of(examples: int, bytes_per_example: int, device: torch.device) -> list[slice]:
    """Slices of examples that one core works on at a time."""
    size = max(8, BLOCK_BYTES[device.type] // bytes_per_example)
    return [slice(start, min(start + size, examples)) for start in range(0, examples, size)]


class _ByProduct(torch.autograd.Function):
    """Score all items, pick N; block by block."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, item_table: Tensor, negatives: Tensor, known: Cells | None) -> Tensor:
        ctx.save_for_backward(vectors, item_table, negatives)
        runs, examples, _ = vectors.shape
        num_items = item_table.shape[1]
        scores = vectors.new_empty(negatives.shape)
        columns = item_table.mT
        for block in blocks_of(examples, runs * num_items * vectors.element_size(), vectors.device):
            buffer = buffers.take((runs, block.stop - block.start, num_items), vectors)
            torch.bmm(vectors[:, block], columns, out=buffer)
            if known is not None:
                known.fill(buffer, block)
            if runs == 1:
                torch.gather(buffer[0], 1, negatives[0, block], out=scores[0, block])
            else:
                scores[:, block] = buffer.gather(2, negatives[:, block])
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        vectors, item_table, negatives = ctx.saved_tensors
        runs, examples, _ = vectors.shape
        num_items = item_table.shape[1]
        of_vectors, of_items = torch.empty_like(vectors), torch.zeros_like(item_table)
        for block in blocks_of(examples, runs * num_items * vectors.element_size(), vectors.device):
            buffer = buffers.take((runs, block.stop - block.start, num_items), vectors).zero_()
            buffer.scatter_add_(2, negatives[:, block], gradient[:, block])
            of_vectors[:, block] = buffer @ item_table
            of_items.baddbmm_(buffer.mT, vectors[:, block])
        return of_vectors, of_items, None, None


class _ByGathering(torch.autograd.Function):
    """Gather the vectors of N items, multiply; block by block."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, item_table: Tensor, negatives: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, item_table, negatives)
        scores = vectors.new_empty(negatives.shape)
        for run, block in _ByGathering.parts(vectors, negatives):
            gathered = _ByGathering.gather(item_table[run], negatives[run, block])
            scores[run, block] = (gathered @ vectors[run, block].unsqueeze(-1)).squeeze(-1)
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        vectors, item_table, negatives = ctx.saved_tensors
        of_vectors, of_items = torch.empty_like(vectors), torch.zeros_like(item_table)
        for run, block in _ByGathering.parts(vectors, negatives):
            gathered = _ByGathering.gather(item_table[run], negatives[run, block])
            weight = gradient[run, block]
            of_vectors[run, block] = (weight.unsqueeze(-2) @ gathered).squeeze(-2)
            torch.mul(weight.unsqueeze(-1), vectors[run, block].unsqueeze(-2), out=gathered)
            of_items[run].index_add_(0, negatives[run, block].reshape(-1), gathered.flatten(0, 1))
        return of_vectors, of_items, None

    @staticmethod
    def parts(vectors: Tensor, negatives: Tensor) -> list[tuple[int, slice]]:
        """Run and block of examples, for all of them."""
        runs, examples, size = vectors.shape
        blocks = blocks_of(examples, negatives.shape[2] * size * vectors.element_size(), vectors.device)
        return [(run, block) for run in range(runs) for block in blocks]

    @staticmethod
    def gather(item_table: Tensor, negatives: Tensor) -> Tensor:
        """Vectors (b, N, d) of the items (b, N), in the thread's buffer."""
        buffer = buffers.take((*negatives.shape, item_table.shape[1]), item_table)
        torch.index_select(item_table, 0, negatives.reshape(-1), out=buffer.flatten(0, 1))
        return buffer
