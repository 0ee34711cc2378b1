"""The fused losses, in Triton's interpreter or on a GPU, against the plain losses in double precision.

``test_fused.py`` runs this file in a process of its own, since Triton decides at its first import whether to interpret.
"""

import os

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from dslstudy.engine import fused
from dslstudy.errors import InputError
from dslstudy.losses import dsl_loss, softmax_loss, unchecked

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
PHASES = (Phase.generate,)  # shrinking a failure would take minutes here
# float32 sums of up to 21 products, divided by a temperature of at least 0.05
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


def draw(runs, examples, negatives, items, size, seed, *, cosine=True):
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn(runs, n, size, generator=generator) for n in (examples, items)]
    vectors, table = (normalize(t, dim=-1) if cosine else t for t in tables)
    positive_items = torch.randint(items, (runs, examples), generator=generator)
    negative_items = torch.randint(items, (runs, examples, negatives), generator=generator)
    mask = torch.rand(runs, examples, negatives, generator=generator) < 0.7
    drawn = [tensor.to(DEVICE) for tensor in (vectors, table, positive_items, negative_items, mask)]
    return drawn[0].requires_grad_(), drawn[1].requires_grad_(), *drawn[2:]


def plain(vectors, table, positive_items, negative_items, *, mask=None, directions=None, **parameters):
    """Losses and gradients in float64, by indexing and the plain losses."""
    vectors, table = (t.detach().double().requires_grad_() for t in (vectors, table))
    directions = table.detach() if directions is None else directions.double()
    run = torch.arange(len(table), device=DEVICE)
    positive = (table[run[:, None], positive_items] * vectors).sum(-1)
    negatives = (table[run[:, None, None], negative_items] * vectors.unsqueeze(2)).sum(-1)
    if "alpha" in parameters:
        own, others = directions[run[:, None], positive_items], directions[run[:, None, None], negative_items]
        similarity = (own.unsqueeze(2) * others).sum(-1)
        losses = dsl_loss(positive, negatives, item_similarity=similarity, mask=mask, **parameters)
    else:
        losses = softmax_loss(positive, negatives, mask=mask, **parameters)
    return losses.detach(), *torch.autograd.grad((losses * upstream(losses)).sum(), (vectors, table))


def upstream(losses):
    return torch.linspace(-1, 2, losses.numel(), dtype=losses.dtype, device=losses.device).view_as(losses)


def gradients(losses, vectors, table):
    assert losses.dtype == torch.float32
    return losses.detach(), *torch.autograd.grad((losses * upstream(losses)).sum(), (vectors, table))


def compare(ours, theirs, **tolerance):
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), right, **(tolerance or TOLERANCE))


shapes = st.tuples(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 40), st.integers(1, 12), st.integers(1, 21)
)  # P, B, N, I, d


@given(shapes, st.integers(0, 2**31), st.booleans(), st.booleans(), st.sampled_from([torch.int32, torch.int64]))
@settings(max_examples=12, phases=PHASES)
def test_softmax_values_and_gradients(shape, seed, masked, cosine, dtype):
    vectors, table, positive_items, negative_items, mask = draw(*shape, seed, cosine=cosine)
    mask = mask if masked else None
    temperature = torch.linspace(0.05, 0.4, shape[0])
    losses = fused.fused_softmax_loss(
        vectors, table, positive_items.to(dtype), negative_items.to(dtype), temperature=temperature, mask=mask
    )
    theirs = plain(vectors, table, positive_items, negative_items, mask=mask, temperature=temperature.double())
    compare(gradients(losses, vectors, table), theirs)


@given(
    shapes,
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([0.0, -0.4, 1.5]),
    st.sampled_from([0.0, 0.3, -0.7]),
    st.sampled_from([0, 0.2, -0.6]),
    st.integers(1, 45),
)
@settings(max_examples=20, phases=PHASES)
def test_dsl_values_and_gradients(shape, seed, masked, alpha, beta, gamma, slate_size):
    vectors, table, positive_items, negative_items, mask = draw(*shape, seed)
    parameters = {
        "mask": mask if masked else None,
        "temperature": 0.2,
        "alpha": torch.linspace(alpha, -0.2, shape[0]),
        "beta": beta,
        "gamma": gamma,
        "slate_size": slate_size,
    }
    losses = fused.fused_dsl_loss(vectors, table, positive_items, negative_items, **parameters)
    compare(gradients(losses, vectors, table), plain(vectors, table, positive_items, negative_items, **parameters))


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize(("negatives", "size"), [(300, 40), (70, 200)])
def test_rows_and_vectors_of_several_blocks(gamma, negatives, size):
    vectors, table, positive_items, negative_items, mask = draw(1, 2, negatives, 50, size, seed=4)
    parameters = {"mask": mask, "temperature": 0.1, "alpha": 0.5, "beta": -0.5, "gamma": gamma, "slate_size": 9}
    losses = fused.fused_dsl_loss(vectors, table, positive_items, negative_items, **parameters)
    compare(gradients(losses, vectors, table), plain(vectors, table, positive_items, negative_items, **parameters))


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_similarities_of_another_table(gamma):
    vectors, table, positive_items, negative_items, mask = draw(2, 3, 20, 9, 6, seed=5, cosine=False)
    directions = normalize(table.detach().flip(1), dim=-1)
    parameters = {
        "mask": mask, "temperature": 0.5, "alpha": 0.2, "beta": 0.9, "gamma": torch.tensor([gamma, gamma]),
        "slate_size": torch.tensor([2, 7]),
    }  # fmt: skip
    losses = fused.fused_dsl_loss(
        vectors, table, positive_items, negative_items, item_directions=directions, **parameters
    )
    theirs = plain(vectors, table, positive_items, negative_items, directions=directions, **parameters)
    compare(gradients(losses, vectors, table), theirs)


def test_no_weights_is_the_softmax_loss():
    given = draw(1, 3, 20, 9, 6, seed=6)
    without = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "slate_size": 3}
    softmax = fused.fused_softmax_loss(*given[:4], temperature=0.2, mask=given[4])
    dsl = fused.fused_dsl_loss(*given[:4], temperature=0.2, mask=given[4], **without)
    assert torch.equal(softmax, dsl)


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_examples_without_real_negatives(gamma):
    vectors, table, positive_items, negative_items, mask = draw(1, 3, 20, 9, 6, seed=7)
    mask[0, 1:] = False
    positive_items[0] = torch.tensor([0, 7, 8], device=DEVICE)
    negative_items %= 7
    losses = fused.fused_dsl_loss(
        vectors, table, positive_items, negative_items, mask=mask,
        temperature=0.1, alpha=-0.3, beta=0.2, gamma=gamma, slate_size=4,
    )  # fmt: skip
    value, to_vectors, to_table = gradients(losses, vectors, table)
    assert value[0, 0] != 0
    assert torch.equal(value[0, 1:], torch.zeros(2, device=DEVICE))
    assert not to_vectors[0, 1:].any()
    assert to_vectors[0, 0].all()
    assert not to_table[0, 7:].any()


def test_masked_rows_are_never_looked_at():
    vectors, table, positive_items, negative_items, mask = draw(1, 2, 20, 9, 6, seed=8)
    with torch.no_grad():
        table[0, 3] = torch.nan
    positive_items[positive_items == 3] = 4
    parameters = {"temperature": 0.1, "alpha": -0.3, "beta": 0.2, "gamma": 0.3, "slate_size": 4}
    for ids, real in ((negative_items, mask & (negative_items != 3)), (negative_items.clamp(4), mask)):
        losses = fused.fused_dsl_loss(vectors, table, positive_items, ids, mask=real, **parameters)
        _, to_vectors, to_table = gradients(losses, vectors, table)
        assert losses.isfinite().all()
        assert to_vectors.isfinite().all()
        assert to_table.isfinite().all()


def test_a_diverged_table_is_not_hidden():
    vectors, table, positive_items, negative_items, _ = draw(1, 2, 20, 9, 6, seed=8)
    with torch.no_grad():
        table[0, 3] = torch.nan
        negative_items[0, 0, 5] = 3
    assert fused.fused_softmax_loss(vectors, table, positive_items, negative_items, temperature=0.1)[0, 0].isnan()


def test_negatives_and_masks_that_are_shared_need_no_copy():
    vectors, table, positive_items, negative_items, mask = draw(2, 3, 20, 9, 6, seed=9)
    shared, real = negative_items[:, :1].expand(-1, 3, -1), mask[:1].expand(2, -1, -1)
    parameters = {"temperature": 0.2, "alpha": 0.1, "beta": 0.2, "gamma": 0.3, "slate_size": 4}
    losses = fused.fused_dsl_loss(vectors, table, positive_items, shared, mask=real, **parameters)
    theirs = plain(vectors, table, positive_items, shared, mask=real, **parameters)
    compare(gradients(losses, vectors, table), theirs)
    turned = negative_items.transpose(1, 2).contiguous().transpose(1, 2)  # neighbours in a row lie apart
    straight = fused.fused_softmax_loss(vectors, table, positive_items, negative_items, temperature=0.2)
    assert torch.equal(fused.fused_softmax_loss(vectors, table, positive_items, turned, temperature=0.2), straight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tables(dtype):
    vectors, table, positive_items, negative_items, mask = draw(1, 3, 20, 9, 6, seed=10)
    vectors, table = (t.detach().to(dtype).requires_grad_() for t in (vectors, table))
    losses = fused.fused_softmax_loss(vectors, table, positive_items, negative_items, temperature=0.2, mask=mask)
    ours = gradients(losses, vectors, table)
    theirs = plain(vectors, table, positive_items, negative_items, temperature=0.2, mask=mask)
    compare(ours[:1], theirs[:1])  # the tables are rounded, the arithmetic is not
    assert ours[1].dtype == ours[2].dtype == dtype
    compare(ours[1:], theirs[1:], rtol=2 * torch.finfo(dtype).eps, atol=1e-2)


def test_gradients_with_respect_to_one_of_the_two():
    vectors, table, positive_items, negative_items, mask = draw(1, 3, 20, 9, 6, seed=11)
    _, to_vectors, to_table = plain(vectors, table, positive_items, negative_items, temperature=0.2, mask=mask)
    ids = (positive_items, negative_items)
    losses = fused.fused_softmax_loss(vectors, table.detach(), *ids, temperature=0.2, mask=mask)
    compare(torch.autograd.grad((losses * upstream(losses)).sum(), vectors), (to_vectors,))
    losses = fused.fused_softmax_loss(vectors.detach(), table, *ids, temperature=0.2, mask=mask)
    compare(torch.autograd.grad((losses * upstream(losses)).sum(), table), (to_table,))


def test_rows_beyond_two_to_the_31_entries():
    # only the pages that are written to take memory
    items, size = 2**23 + 4, 256
    table = torch.empty(1, items, size, dtype=torch.float16, device=DEVICE)
    generator = torch.Generator().manual_seed(12)
    table[0, -4:] = torch.randn(4, size, generator=generator).half().to(DEVICE)
    table[0, :4] = 0
    vectors = torch.randn(1, 1, size, generator=generator).half().to(DEVICE)
    ids = torch.tensor([items - 1, items - 4, items - 2], dtype=torch.int32, device=DEVICE).view(1, 1, 3)
    losses = fused.fused_softmax_loss(vectors, table, ids[..., 0], ids[..., 1:], temperature=20.0)
    scores = (table[0, -4:].double() @ vectors[0, 0].double())[None]
    compare((losses,), (softmax_loss(scores[:, 3], scores[:, [0, 2]], temperature=20.0)[None],))


def test_what_the_kernel_does_not_take():
    vectors, table, positive_items, negative_items, mask = draw(2, 3, 20, 9, 6, seed=13)

    def refuse(match, *tensors, **changed):
        parameters = {"temperature": 0.2, "alpha": 0.1, "beta": 0.2, "gamma": 0.3, "slate_size": 4} | changed
        given = list(tensors) + [vectors, table, positive_items, negative_items][len(tensors) :]
        with pytest.raises(InputError, match=match):
            fused.fused_dsl_loss(*given, **parameters)

    refuse("equal P and d", vectors[..., :5])
    refuse("equal P and d", vectors[:1])
    refuse(r"\(P, B, N\)", vectors, table, positive_items[:, :2])
    refuse(r"\(P, B, N\)", vectors, table, positive_items, negative_items[:, 0])
    refuse("int32 or int64", vectors, table, positive_items.double())
    refuse("bool", mask=mask.long())
    refuse("bool", mask=mask[..., :3])
    refuse("up to 4096 negatives", vectors, table, positive_items, negative_items.repeat(1, 1, 250))
    refuse("single precision", vectors.double(), table.double())
    refuse("single precision", vectors.half())
    refuse("temperature must be a number or one per run", temperature=torch.ones(3))
    refuse("item_directions", item_directions=table[:, :4])
    refuse("slate_size must be at least 1", slate_size=0)
    with unchecked():
        refuse("slate_size must be an integer", slate_size=2.0)


@pytest.mark.parametrize("score", ["cosine", "inner-product"])
def test_training_with_the_kernel_is_training_without_it(score, monkeypatch):
    """Two runs each of SL and DSL, one epoch; negatives of small batches are the same on both ways."""
    from dslstudy.data import load_split
    from dslstudy.engine import scores
    from dslstudy.engine.config import TrainingConfig
    from dslstudy.engine.part import Part
    from dslstudy.engine.ranking import train

    train_part = load_split("synthetic-ranking").train.select(range(0, 2800, 100))
    shared = {"embedding_size": 8, "num_negatives": 6, "batch_size": 16, "epochs": 1, "score": score}
    configs = [TrainingConfig(**shared, loss=loss, seed=seed) for loss in ("softmax", "dsl") for seed in (0, 1)]
    monkeypatch.setitem(scores.PRODUCT_LIMIT, DEVICE, 0)
    used, method = [], Part._fused
    monkeypatch.setattr(Part, "_fused", lambda self: used.append(self.stack.shared.loss) or method(self))
    fused_runs, plain_runs = [], []
    for runs, available in ((fused_runs, True), (plain_runs, False)):
        monkeypatch.setattr("dslstudy.engine.stack.fused_available", lambda device, answer=available: answer)
        runs += train(train_part, configs, lambda u, i: [0.0] * len(u), device=DEVICE, progress=False)
        steps = 2 * len(configs)  # two batches of every run
        assert len(used) == steps  # each of them when there is a kernel, and none afterwards
    for one, other in zip(fused_runs, plain_runs, strict=True):
        assert one.history[0]["loss"] == pytest.approx(other.history[0]["loss"], rel=1e-4)
        torch.testing.assert_close(one.item_table, other.item_table, rtol=1e-2, atol=1e-2)
