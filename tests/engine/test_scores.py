"""Scores by matrix product and by gathering are the same numbers, with the same gradients, as loops give."""

import pytest
import torch

from dslstudy.engine import scores
from dslstudy.engine.scores import Batch, pick_scores, rows, score_tables

P, B, N, ITEMS, D = 2, 5, 6, 8, 3


@pytest.fixture
def tables():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(P, B, D, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.randn(P, ITEMS, D, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.randint(ITEMS, (P, B, N), generator=generator),
    )


def by_loops(vectors, items, negatives):
    negatives = negatives if negatives.dim() == 3 else negatives[:, None].expand(P, B, -1)
    cells = [
        sum(vectors[p, b, k] * items[p, negatives[p, b, n], k] for k in range(D))
        for p in range(P)
        for b in range(B)
        for n in range(negatives.shape[2])
    ]
    return torch.stack(cells).view(P, B, -1)


@pytest.mark.parametrize("way", ["product", "gather", "shared"])
def test_picked_scores_and_gradients(tables, way, monkeypatch):
    vectors, items, negatives = tables
    monkeypatch.setattr(scores, "PRODUCT_LIMIT", 0 if way == "gather" else 1000)
    if way == "shared":
        negatives = negatives[:, 0]
    picked, expected = pick_scores(vectors, items, negatives), by_loops(vectors, items, negatives)
    torch.testing.assert_close(picked, expected)
    weights = torch.randn(picked.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((picked * weights).sum(), (vectors, items)),
        torch.autograd.grad((expected * weights).sum(), (vectors, items)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_rows_of_each_run(tables):
    _, items, negatives = tables
    picked = rows(items, negatives[:, :, 0])
    for p in range(P):
        for b in range(B):
            assert torch.equal(picked[p, b], items[p, negatives[p, b, 0]])


def test_cosine_tables_have_unit_rows(tables):
    vectors, items, _ = tables
    for table in score_tables(vectors, items, "cosine"):
        torch.testing.assert_close(table.norm(dim=-1), torch.ones(table.shape[:-1], dtype=torch.float64))
    assert score_tables(vectors, items, "inner-product")[0] is vectors


def test_item_similarity_is_the_cosine_and_carries_no_gradient(tables):
    _, items, negatives = tables
    positive_items = torch.tensor([[0, 1, 2, 3, 4], [7, 6, 5, 4, 3]])
    empty = torch.empty(0)
    batch = Batch(empty, empty, empty, positive_items, negatives, items)
    similarity = batch.item_similarity()
    assert not similarity.requires_grad
    for p in range(P):
        for b in range(B):
            for n in range(N):
                expected = torch.cosine_similarity(items[p, positive_items[p, b]], items[p, negatives[p, b, n]], dim=0)
                torch.testing.assert_close(similarity[p, b, n], expected.detach())
