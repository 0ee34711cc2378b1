"""Does a loss's gradient point where NDCG goes? (book: *Does the gradient point where NDCG goes?*)

NDCG is a step function of the scores, so it has no useful gradient of its own. Two substitutes are measured here. The
first takes a small finite step along a direction and looks at NDCG itself (:func:`step`). The second compares a
direction with the gradient of *smoothed* NDCG, the expected NDCG when Gaussian noise is added to every score
(:func:`smoothed_ndcg`); that function is infinitely differentiable and tends to NDCG as the noise vanishes.

Everything is a function of tensors: a score matrix ``(U, I)``, or tables ``(U, d)`` and ``(I, d)`` with rows of unit
length whose inner products are the scores. No loss is known here, only gradients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dslstudy.errors import InputError

#: scores of one block of users
_BLOCK = 2**15


class SmoothedNdcg(NamedTuple):
    """Smoothed NDCG of each user, its gradient, and how well the gradient is known.

    Attributes:
        value: (U,) Monte-Carlo estimate of the expected NDCG.
        gradient: (U, I) unbiased estimate of its gradient with respect to the scores; zero where not a candidate.
        error: (U,) estimated root mean square of the Euclidean distance between this gradient and the true one.
    """

    value: Tensor
    gradient: Tensor
    error: Tensor


class Direction(NamedTuple):
    """A direction in the space of both tables.

    Attributes:
        users: (U, d), a row is orthogonal to the user's vector.
        items: (I, d), likewise.
    """

    users: Tensor
    items: Tensor


def smoothed_ndcg(
    scores: Tensor,
    relevant: Tensor,
    *,
    noise: float,
    generator: torch.Generator,
    candidates: Tensor | None = None,
    cutoff: int = 20,
    draws: int = 16,
) -> SmoothedNdcg:
    """Expected NDCG@K of ``scores + noise * standard normal`` and its gradient with respect to the scores.

    Of every draw, the noise of one item at a time is integrated out exactly: as the item's score moves, NDCG jumps
    where it passes another item, and the derivative of the expectation is the sum of these jumps weighted by a Gaussian
    density. Only the K highest others matter, so a draw costs O(I K) per user. The estimate is the conditional
    expectation of the plain score-function estimate, NDCG times noise, so it is unbiased and varies less. The chapter
    proves it, ``thm-smoothed-gradient``.

    Args:
        scores: (U, I).
        relevant: (U, I) bool, the items to be found; each user needs at least one.
        noise: standard deviation of the noise, in the unit of the scores.
        generator: random stream on the scores' device.
        candidates: (U, I) bool, the items that are ranked; all by default. Relevant items must be candidates.
        cutoff: K.
        draws: Monte-Carlo draws, at least 2.

    Returns:
        :class:`SmoothedNdcg`, in the dtype of the scores.

    Raises:
        InputError: wrong shapes, a user without relevant items, relevant items that are no candidates, a noise, cut-off
            or number of draws out of range, scores that are not finite.
    """
    _check(scores, relevant, candidates, noise, cutoff, draws)
    if candidates is not None:
        scores = scores.masked_fill(~candidates, -torch.inf)
    gain = _gains(cutoff, scores)
    wanted = relevant.to(scores.dtype)
    # Few users at a time: what a draw touches then stays in the processor's cache.
    rows = max(1, _BLOCK // scores.shape[1])
    blocks = zip(scores.split(rows), wanted.split(rows), strict=True)
    parts = [_block(*block, gain, noise, draws, generator) for block in blocks]
    value, gradient, error = (torch.cat(part) for part in zip(*parts, strict=True))
    per_ideal = 1 / gain.cumsum(0)[relevant.sum(1).clamp(max=cutoff) - 1]
    return SmoothedNdcg(value * per_ideal, gradient * per_ideal.unsqueeze(1), error * per_ideal)


def _block(
    scores: Tensor, wanted: Tensor, gain: Tensor, noise: float, draws: int, generator: torch.Generator
) -> SmoothedNdcg:
    """Like :func:`smoothed_ndcg` for DCG, of checked input; scores are -inf where not a candidate."""
    cutoff = len(gain)
    value = torch.zeros_like(scores[:, 0])
    total, squares = torch.zeros_like(scores), torch.zeros_like(scores)
    for _ in range(draws):
        noisy = torch.randn(scores.shape, generator=generator, dtype=scores.dtype, device=scores.device)
        noisy = noisy.mul_(noise).add_(scores)
        top, place = noisy.topk(min(cutoff + 1, scores.shape[1]), dim=1)
        hit = wanted.gather(1, place)
        value += hit[:, :cutoff] @ gain[: hit.shape[1]]
        of_draw = _jumps(scores, wanted, top, place, hit, gain, noise)
        total += of_draw
        squares += of_draw.square_()
    mean = total / draws
    variance = (squares / draws - mean.square()).clamp(min=0) / (draws - 1)
    return SmoothedNdcg(value / draws, mean, variance.sum(1).sqrt())


def pull_back(score_gradient: Tensor, user_table: Tensor, item_table: Tensor) -> Direction:
    """A gradient with respect to the scores as a direction of the tables (chain rule, then :func:`tangent`).

    Args:
        score_gradient: (U, I).
        user_table: (U, d), rows of unit length.
        item_table: (I, d), rows of unit length.

    Raises:
        InputError: shapes that do not fit.
    """
    if score_gradient.shape != (len(user_table), len(item_table)):
        raise InputError(
            f"the gradient has shape {tuple(score_gradient.shape)}, the tables score {len(user_table)} users and"
            f" {len(item_table)} items"
        )
    return tangent(score_gradient @ item_table, score_gradient.T @ user_table, user_table, item_table)


def tangent(user_gradient: Tensor, item_gradient: Tensor, user_table: Tensor, item_table: Tensor) -> Direction:
    """The part of a gradient that turns vectors: with cosine scores nothing else changes a score.

    Args:
        user_gradient: (U, d).
        item_gradient: (I, d).
        user_table: (U, d), rows of unit length.
        item_table: (I, d), rows of unit length.

    Raises:
        InputError: shapes that do not fit.
    """
    parts = []
    for gradient, table in ((user_gradient, user_table), (item_gradient, item_table)):
        if gradient.shape != table.shape:
            raise InputError(f"the gradient has shape {tuple(gradient.shape)}, its table {tuple(table.shape)}")
        parts.append(gradient - (gradient * table).sum(-1, keepdim=True) * table)
    return Direction(*parts)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between rows, (..., n) and (..., n) give (...); 0 where a row is zero."""
    product = (a * b).sum(-1)
    return product / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=torch.finfo(a.dtype).tiny)


def table_cosine(a: Direction, b: Direction) -> float:
    """Cosine of the angle between two directions of the whole model, users and items together."""
    flat = [torch.cat([direction.users.flatten(), direction.items.flatten()]) for direction in (a, b)]
    return float(cosine(*flat))


def step(user_table: Tensor, item_table: Tensor, direction: Direction, size: float) -> tuple[Tensor, Tensor]:
    """The tables after a step, rows brought back to unit length.

    Args:
        user_table: (U, d), rows of unit length.
        item_table: (I, d), rows of unit length.
        direction: where to; only its direction counts. A zero direction leaves the tables as they are.
        size: Euclidean length of the step relative to that of the tables, ``sqrt(U + I)``.

    Returns:
        New tables (U, d) and (I, d).
    """
    length = math.sqrt(float(direction.users.square().sum() + direction.items.square().sum()))
    if length == 0:
        return user_table, item_table
    scale = size * math.sqrt(len(user_table) + len(item_table)) / length
    moved = (user_table + scale * direction.users, item_table + scale * direction.items)
    return tuple(torch.nn.functional.normalize(table, dim=-1) for table in moved)  # type: ignore[return-value]


def _gains(cutoff: int, like: Tensor) -> Tensor:
    """Gain of places 1..K, (K,)."""
    return 1 / torch.log2(torch.arange(2, cutoff + 2, dtype=like.dtype, device=like.device))


def _jumps(
    scores: Tensor, wanted: Tensor, top: Tensor, place: Tensor, hit: Tensor, gain: Tensor, noise: float
) -> Tensor:
    """Sum over the others at the top of (jump of DCG when the item passes it) x (density of passing it), (U, I).

    Passing the other in place r of the ranking without the item moves the item from place r + 1 to r and the other
    from r to r + 1, so DCG jumps by (relevance of the item - relevance of the other) * (gain of r - gain of r + 1).
    """
    loss_of_place = torch.cat([gain[:-1] - gain[1:], gain[-1:], gain.new_zeros(1)])[: top.shape[1]]  # (K + 1,)
    total = torch.zeros_like(scores)
    scaled = scores * (math.sqrt(0.5) / noise)
    scaled_top = top * (math.sqrt(0.5) / noise)
    for q in range(min(top.shape[1], len(gain))):
        # e^-40 is nothing, but its square is still a normal number; subnormal ones would cost a multiple of the time.
        density = (scaled_top[:, q : q + 1] - scaled).square_().clamp_(max=40.0).neg_().exp_()
        total.addcmul_(density, wanted - hit[:, q : q + 1], value=float(loss_of_place[q]))
    # An item at the top is no competitor of itself, and those below it stand one place higher without it.
    own = scores.gather(1, place)
    density = torch.exp(-0.5 * ((top.unsqueeze(1) - own.unsqueeze(2)) / noise).square_())
    jump = hit.unsqueeze(2) - hit.unsqueeze(1)
    index = torch.arange(top.shape[1], device=top.device)
    place_without = index - (index > index.unsqueeze(1)).long()  # [item, other]
    exact = (density * jump * loss_of_place[place_without]).sum(2)
    # Fewer candidates than places: the places of -inf are nobody's.
    total.scatter_(1, place, torch.where(own.isfinite(), exact, 0.0))
    return torch.where(scores.isfinite(), total, 0.0) / (noise * math.sqrt(2 * math.pi))


def _check(scores: Tensor, relevant: Tensor, candidates: Tensor | None, noise: float, cutoff: int, draws: int) -> None:
    if scores.ndim != 2 or relevant.shape != scores.shape or relevant.dtype != torch.bool:
        raise InputError(
            f"scores {tuple(scores.shape)} must be (users, items), relevant {tuple(relevant.shape)} bool of that shape"
        )
    if candidates is not None and (candidates.shape != scores.shape or candidates.dtype != torch.bool):
        raise InputError("candidates must be bool and have the shape of the scores")
    if not bool(torch.isfinite(scores).all()):
        raise InputError("scores must be finite (did training diverge?)")
    if not bool(relevant.any(1).all()):
        raise InputError("a user has no relevant item, so NDCG is undefined; leave such users out")
    if candidates is not None and bool((relevant & ~candidates).any()):
        raise InputError("a relevant item is not a candidate and could never be found")
    if not (math.isfinite(noise) and noise > 0):
        raise InputError(f"noise must be positive and finite, got {noise}")
    if cutoff < 1 or draws < 2:
        raise InputError(f"cutoff must be at least 1 and draws at least 2, got {cutoff} and {draws}")
