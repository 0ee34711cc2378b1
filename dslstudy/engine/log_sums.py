"""Losses that see their negatives only through ``log Σ_j exp(s_j/τ)``: score, sum and differentiate block by block.

For such a loss the gradient of a negative's score is a factor of its example times ``exp(s_j/τ)``, and the factor is
known as soon as the example's sum is. So a block of examples can go from scores to gradients while it lies in a core's
cache, and no (B, N) tensor is ever written to memory (book: Speed). Where the item set is not much larger than the
sample, even picking the sampled scores is left out: an item drawn c times counts c times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.engine.sampler import Cells
from dslstudy.engine.scores import buffers

#: count how often each item was drawn, instead of picking its score, as long as I <= COUNT_LIMIT * N
COUNT_LIMIT = 1.5
#: exp(1/τ) with cosines up to one overflows nothing below this 1/τ; beyond, an example's largest score is taken off
SAFE_INVERSE = 40.0


class Exponentials(NamedTuple):
    """What a block needs.

    Attributes:
        sums: (P, b) sums of exp(s_j/τ - shift) over the real negatives.
        shift: (P, b) what was taken off, or None.
        dense: makes the exponentials as weights (P, b, W) of the rows of the source.
    """

    sums: Tensor
    shift: Tensor | None
    dense: Callable[[], Tensor]


#: for a slice of examples and their vectors over τ (P, b, d)
Exponentiate = Callable[[slice, Tensor], Exponentials]
#: for a slice of examples and their log sums (P, b): losses and their gradients of positives and log sums
Finish = Callable[[slice, Tensor], tuple[Tensor, Tensor, Tensor]]


def through_log_sums(
    vectors: Tensor,
    source: Tensor,
    inverse: Tensor,
    exponentiate: Exponentiate,
    finish: Finish,
    blocks: Sequence[slice],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses, and the gradients of their sum.

    Args:
        vectors: (P, B, d) of the examples.
        source: (P, W, d), whose products with the vectors are the scores.
        inverse: (P,) 1/τ.
        exponentiate: one of :func:`counted`, :func:`picked` and :func:`shared`.
        finish: the loss of the log sums.
        blocks: of examples, worked on one after the other.

    Returns:
        Losses (P, B), gradients of positives (P, B), of vectors (P, B, d) and of the source (P, W, d).
    """
    inverse = inverse.view(-1, 1, 1)
    of_vectors, of_source = torch.empty_like(vectors), torch.zeros_like(source)
    losses, of_positive = [], []
    for block in blocks:
        here = vectors[:, block]
        sums, shift, dense = exponentiate(block, here * inverse)
        real = sums != 0  # a sum that is not finite is real: a run that diverges must be seen to
        logs = torch.where(real, sums, 1.0).log()
        if shift is not None:
            logs += shift
        of_block = finish(block, logs)
        loss, positive, factor = (torch.where(real, part, 0.0) for part in of_block)
        losses.append(loss)
        of_positive.append(positive)
        factor = torch.where(real, factor / sums, 0.0).unsqueeze(-1) * inverse
        weights = dense()
        of_vectors[:, block] = torch.bmm(weights, source) * factor
        of_source.baddbmm_(weights.mT, here * factor)
    return torch.cat(losses, 1), torch.cat(of_positive, 1), of_vectors, of_source


def bounded(score: str, inverse: Tensor) -> bool:
    """Whether exponentials of the scores can neither overflow nor all underflow."""
    return score == "cosine" and float(inverse.max()) <= SAFE_INVERSE


def counts_of(negatives: Tensor, known: Cells, num_items: int) -> Tensor:
    """How often each item (P, b, I) was drawn for an example; never, if it is one of the user's training items.

    Args:
        negatives: (P, b, N).
        known: the users' training items.
        num_items: items I.
    """
    runs, examples, _ = negatives.shape
    counts = torch.zeros(runs, examples, num_items, device=negatives.device)
    counts.scatter_add_(2, negatives, torch.ones((), device=negatives.device).expand(negatives.shape))
    known.fill(counts, slice(0, examples), 0.0)
    return counts


def counted(columns: Tensor, counts: Tensor) -> Exponentiate:
    """Scores of all items, weighted by counts (P, b, I); only for bounded scores.

    Args:
        columns: (P, d, I), the source transposed.
        counts: (P, B, I).
    """

    def exponentiate(block: slice, vectors: Tensor) -> Exponentials:
        buffer = _products(vectors, columns)
        buffer.exp_().mul_(counts[:, block])
        return Exponentials(buffer.sum(-1), None, lambda: buffer)

    return exponentiate


def picked(columns: Tensor, negatives: Tensor, known: Cells, *, shifted: bool) -> Exponentiate:
    """Scores of all items, of which each example's negatives are picked.

    Args:
        columns: (P, d, I), the source transposed.
        negatives: (P, B, N).
        known: the users' training items.
        shifted: take each example's largest score off.
    """

    def exponentiate(block: slice, vectors: Tensor) -> Exponentials:
        buffer = _products(vectors, columns)
        known.fill(buffer, block)
        scores = buffer.gather(2, negatives[:, block])
        shift = _take_off(scores) if shifted else None
        sums = scores.exp_().sum(-1)
        return Exponentials(sums, shift, lambda: buffer.zero_().scatter_add_(2, negatives[:, block], scores))

    return exponentiate


def shared(columns: Tensor, known: Tensor, *, shifted: bool) -> Exponentiate:
    """Scores of the negatives that the batch shares; for all examples at once.

    Args:
        columns: (P, d, N), one for each negative.
        known: places of the users' training items in the flattened scores (``Cells.places_among``).
        shifted: take each example's largest score off.
    """

    def exponentiate(_: slice, vectors: Tensor) -> Exponentials:
        scores = _products(vectors, columns)
        scores.view(-1).index_fill_(0, known, -torch.inf)
        shift = _take_off(scores) if shifted else None
        return Exponentials(scores.exp_().sum(-1), shift, lambda: scores)

    return exponentiate


def _products(vectors: Tensor, columns: Tensor) -> Tensor:
    """(P, b, d) by (P, d, W), in the thread's buffer."""
    buffer = buffers.take((*vectors.shape[:2], columns.shape[2]), vectors)
    return torch.bmm(vectors, columns, out=buffer)


def _take_off(scores: Tensor) -> Tensor:
    """Take each example's largest score off its scores, in place; zero where none is real."""
    largest = scores.amax(-1)
    largest = torch.where(largest > -torch.inf, largest, 0.0)
    scores -= largest.unsqueeze(-1)
    return largest


def finishing(
    of_log_sum: Callable[..., Tensor], positive: Tensor, examples: int, keywords: Callable[[slice], dict]
) -> Finish:
    """The loss as :func:`through_log_sums` wants it.

    Args:
        of_log_sum: takes positives (P, b), log sums (P, b) and hyperparameters; gives losses (P, b).
        positive: (P, B).
        examples: the losses' mean is over so many.
        keywords: the hyperparameters for a slice of the examples.
    """

    def finish(block: slice, logs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, logs = positive[:, block].detach().requires_grad_(), logs.requires_grad_()
        losses = of_log_sum(scores, logs, **keywords(block))
        return losses.detach(), *torch.autograd.grad(losses.sum() / examples, (scores, logs))

    return finish
