"""Scores by matrix product and by gathering are the same numbers, with the same gradients, as loops give."""

import pytest
import torch

from dslstudy.data.interactions import Interactions
from dslstudy.engine import scores
from dslstudy.engine.sampler import Positives
from dslstudy.engine.scores import add_rows, pick_scores, rows, score_tables, shared_scores, tensor_cores

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


@pytest.mark.parametrize("block", [1, 2**20])
@pytest.mark.parametrize("way", ["product", "gather", "shared"])
def test_picked_scores_and_gradients(tables, way, block, monkeypatch):
    vectors, items, negatives = tables
    monkeypatch.setitem(scores.PRODUCT_LIMIT, "cpu", 0 if way == "gather" else 1000)
    monkeypatch.setattr(scores, "blocks_of", in_blocks_of(3 if block == 1 else B))
    if way == "shared":
        negatives = negatives[:, 0]
    picked, expected = pick(way, vectors, items, negatives), by_loops(vectors, items, negatives)
    torch.testing.assert_close(picked, expected)
    weights = torch.randn(picked.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((picked * weights).sum(), (vectors, items)),
        torch.autograd.grad((expected * weights).sum(), (vectors, items)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def pick(way, vectors, items, negatives, known=None):
    if way == "shared":
        return shared_scores(vectors, rows(items, negatives), negatives, known)
    return pick_scores(vectors, items, negatives, known)


def in_blocks_of(size):
    return lambda examples, *_: [slice(i, min(i + size, examples)) for i in range(0, examples, size)]


@pytest.mark.parametrize("block", [2, B])
@pytest.mark.parametrize("way", ["product", "gather", "shared"])
def test_training_items_are_masked_in_every_way(tables, way, block, monkeypatch):
    vectors, items, negatives = tables
    monkeypatch.setitem(scores.PRODUCT_LIMIT, "cpu", 0 if way == "gather" else 1000)
    monkeypatch.setattr(scores, "blocks_of", in_blocks_of(block))
    pairs = {(0, 1), (0, 5), (1, 2), (2, 0), (2, 7), (3, 3)}
    array = torch.tensor(sorted(pairs)).numpy()
    positives = Positives(Interactions.with_ids(array[:, 0], array[:, 1], num_users=4, num_items=ITEMS))
    users = torch.tensor([[0, 2, 1, 3, 0], [2, 2, 3, 1, 0]])
    sampled = negatives[:, 0] if way == "shared" else negatives
    picked = pick(way, vectors, items, sampled, positives.cells(users.flatten()))
    plain = pick(way, vectors, items, sampled)
    masked = 0
    for p in range(P):
        for b in range(B):
            for n in range(N):
                item = int(sampled[p, n] if way == "shared" else sampled[p, b, n])
                if (int(users[p, b]), item) in pairs:
                    assert picked[p, b, n] == -torch.inf
                    masked += 1
                else:
                    assert picked[p, b, n] == plain[p, b, n]
    assert masked > 3


def test_rows_of_each_run(tables):
    _, items, negatives = tables
    picked = rows(items, negatives[:, :, 0])
    for p in range(P):
        for b in range(B):
            assert torch.equal(picked[p, b], items[p, negatives[p, b, 0]])


def test_values_are_added_to_rows_of_each_run(tables):
    _, items, negatives = tables
    items, index = items.detach(), negatives[:, :, 0].clone()
    before = items.clone()
    index[:, 1] = index[:, 0]  # a row twice
    values = torch.randn(*index.shape, items.shape[2], generator=torch.Generator().manual_seed(4), dtype=items.dtype)
    add_rows(items, index, values)
    for p in range(P):
        for b in range(B):
            before[p, index[p, b]] += values[p, b]
    torch.testing.assert_close(items, before)


def test_cosine_tables_have_unit_rows(tables):
    vectors, items, _ = tables
    for table in score_tables(vectors, items, "cosine"):
        torch.testing.assert_close(table.norm(dim=-1), torch.ones(table.shape[:-1], dtype=torch.float64))
    assert score_tables(vectors, items, "inner-product")[0] is vectors


def test_the_stated_tolerance_of_tensor_cores():
    """TF32 keeps 10 bits of mantissa: cosines of vectors rounded so are off by less than a thousandth."""
    generator = torch.Generator().manual_seed(0)
    for size in (2, 64, 512):
        users, items = score_tables(*(torch.randn(1, 500, size, generator=generator) for _ in range(2)), "cosine")
        rounded = [((t.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for t in (users, items)]
        assert not torch.equal(rounded[0], users)
        error = rounded[0].double() @ rounded[1].double().mT - users.double() @ items.double().mT
        assert 0 < error.abs().max() < 2**-10 + 2**-22
    before = torch.backends.cuda.matmul.allow_tf32
    for device, score, allowed in (
        ("cuda", "cosine", True),
        ("cuda", "inner-product", before),
        ("cpu", "cosine", before),
    ):
        with tensor_cores(torch.device(device), score):
            assert torch.backends.cuda.matmul.allow_tf32 == allowed
        assert torch.backends.cuda.matmul.allow_tf32 == before
