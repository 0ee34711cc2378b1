"""Scores of a batch: positives, sampled negatives, and which of those are real (book: From BPR to the softmax loss)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize

#: with per-example negatives, score all I items and pick N of them as long as I <= PRODUCT_LIMIT * N
PRODUCT_LIMIT = 20


def score_tables(user_table: Tensor, item_table: Tensor, score: str) -> tuple[Tensor, Tensor]:
    """Tables whose inner products are the scores: rows of unit length for ``cosine``, as they are otherwise."""
    if score == "cosine":
        return normalize(user_table, dim=-1), normalize(item_table, dim=-1)
    return user_table, item_table


@dataclass
class Batch:
    """What a loss sees of one batch of P runs.

    Attributes:
        positive: (P, B) scores of the positives.
        negatives: (P, B, N) scores of the sampled negatives.
        mask: (P, B, N) bool, True where the negative is none of the user's training items.
        positive_items: (P, B) ids of the positives.
        negative_items: (P, B, N) or (P, N) ids of the negatives.
        item_table: (P, I, d) the items' embeddings, for similarities.
    """

    positive: Tensor
    negatives: Tensor
    mask: Tensor
    positive_items: Tensor
    negative_items: Tensor
    item_table: Tensor

    @torch.no_grad()
    def item_similarity(self) -> Tensor:
        """Cosine of each positive with its negatives, (P, B, N), outside the graph (DESIGN: in stop-gradient)."""
        table = normalize(self.item_table.detach(), dim=-1)
        return pick_scores(rows(table, self.positive_items), table, self.negative_items)


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of each run's table: (P, n, d) at (P, B) gives (P, B, d).

    ``embedding`` is used because its backward pass adds up repeated rows in a fixed order and fast.
    """
    runs, n, size = table.shape
    offset = torch.arange(runs, device=table.device).view(-1, *[1] * (index.dim() - 1)) * n
    return embedding(index + offset, table.reshape(runs * n, size))


def pick_scores(vectors: Tensor, item_table: Tensor, negatives: Tensor) -> Tensor:
    """Inner products of each example's vector with its negatives.

    Args:
        vectors: (P, B, d).
        item_table: (P, I, d).
        negatives: (P, B, N), or (P, N) when the batch shares them.

    Returns:
        (P, B, N). One matrix product in all cases but very many items, where gathering N vectors costs less.
    """
    if negatives.dim() == 2:
        return vectors @ rows(item_table, negatives).mT
    if item_table.shape[1] <= PRODUCT_LIMIT * negatives.shape[2]:
        return (vectors @ item_table.mT).gather(2, negatives)
    return (rows(item_table, negatives) @ vectors.unsqueeze(-1)).squeeze(-1)


def real_negatives(known: Tensor, negatives: Tensor) -> Tensor:
    """Which sampled negatives are none of the user's training items.

    Args:
        known: (B, I) bool, the users' training items.
        negatives: (B, N) or, shared by the batch, (N,).

    Returns:
        (B, N) bool.
    """
    return ~known.gather(1, negatives.expand(len(known), -1))
