"""Attention statistics: against scipy and explicit loops, and unmoved by the scale of what they describe."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.c2al.attention import EDGES, AttentionProbe, attention_statistics
from dslstudy.c2al.method import Batch
from dslstudy.c2al.methods.plain import Plain
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FORMS, FMAttention


@given(st.integers(0, 1000), st.sampled_from([(6, 4), (5, 3, 2), (1, 9)]))
def test_agrees_with_explicit_loops(seed, shape):
    values = np.random.default_rng(seed).standard_t(3, size=shape)
    found = attention_statistics(values)
    rows = values.reshape(shape[0], -1)
    flat = rows.ravel().tolist()
    scale = math.sqrt(sum(v * v for v in flat) / len(flat))
    assert found.scale == pytest.approx(scale)
    assert found.kurtosis == pytest.approx(stats.kurtosis(flat))
    assert found.near_zero == pytest.approx(sum(abs(v) < 0.1 * scale for v in flat) / len(flat))
    entropies = [stats.entropy(np.abs(row), base=len(row)) for row in rows]
    assert found.entropy == pytest.approx(np.mean(entropies))
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(rows @ rows.T), 0))
    assert found.effective_rank == pytest.approx(math.exp(stats.entropy(roots)), rel=1e-4)
    inside = sum(EDGES[40] <= v / scale < EDGES[41] for v in flat) / len(flat)
    assert found.histogram[40] == pytest.approx(inside)
    assert found.histogram.sum() == pytest.approx(1)
    assert found.histogram[-1] == pytest.approx(sum(v / scale >= EDGES[-2] for v in flat) / len(flat))


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_the_scale_changes_nothing_else(seed, factor):
    values = np.random.default_rng(seed).normal(size=(8, 5))
    one, other = attention_statistics(values), attention_statistics(factor * values)
    assert other.scale == pytest.approx(factor * one.scale)
    for name in ("kurtosis", "effective_rank", "entropy"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9)
    assert other.near_zero == one.near_zero


def test_reference_values():
    normal = attention_statistics(np.random.default_rng(0).normal(size=(5000, 20)))
    assert normal.kurtosis == pytest.approx(0, abs=0.1)
    assert normal.near_zero == pytest.approx(2 * stats.norm.cdf(0.1) - 1, abs=0.005)
    assert normal.effective_rank == pytest.approx(20, abs=0.1)
    dense, sparse = np.ones((10, 6)), np.tile(np.eye(6)[0], (10, 1))
    assert attention_statistics(dense).entropy == pytest.approx(1)
    assert attention_statistics(sparse).entropy == 0
    assert attention_statistics(dense).effective_rank == pytest.approx(1)
    assert attention_statistics(np.eye(6)).effective_rank == pytest.approx(6)
    assert math.isnan(attention_statistics(dense).kurtosis)
    assert attention_statistics(np.eye(6)).near_zero == pytest.approx(5 / 6)


@pytest.mark.parametrize("form", FORMS)
def test_the_probe_measures_the_same_rows_of_every_layer(form):
    encoder = FMAttention(
        (6, 5), embedding_size=4, attention_size=3, layers=2, form=form, generator=torch.Generator().manual_seed(0)
    )
    stream = torch.Generator().manual_seed(1)
    features = [torch.randint(0, size, (30,), generator=stream) for size in (6, 5)]
    probe, batch = AttentionProbe(Plain(), features), Batch((), *torch.zeros(5, 0))
    probe(encoder, batch, 0)
    with torch.no_grad():
        before = encoder.encode(features, intermediates=True)[1].Y[0].clone()
        encoder.layers[0].attention[2].weight *= 2
        encoder.layers[0].attention[2].bias *= 2
        probe(encoder, batch, 7)
        after = encoder.encode(features, intermediates=True)[1].Y[0]
    assert {record.step for record in probe.records} == {0, 7}
    at_end = {record.tensor: record for record in probe.records if record.step == 7}
    assert set(at_end) == {"embedding"} | {
        f"{name} {layer}"
        for name in ("attention", "attention weight", "attention input weight", "deep weight")
        for layer in (1, 2)
    }
    assert at_end["attention weight 1"].change == pytest.approx(1)
    assert at_end["attention 1"].change == pytest.approx(((after - before).norm() / before.norm()).item())
    assert at_end["attention 1"].statistics.scale == pytest.approx(after.pow(2).mean().sqrt().item())
    assert at_end["embedding"].change == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: attention_statistics(np.ones(4)), "no rows of at least two values"),
        (lambda: attention_statistics(np.ones((4, 1))), "no rows of at least two values"),
        (lambda: attention_statistics(np.zeros((4, 2))), "all attention is zero"),
        (lambda: attention_statistics(np.full((4, 2), np.nan)), "lower its learning rate"),
        (lambda: AttentionProbe(Plain(), []).measure(torch.nn.Linear(2, 1), 0), "not on Linear"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
