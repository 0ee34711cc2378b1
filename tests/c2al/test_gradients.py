"""Gradients: the identity against autograd, the decomposition against explicit geometry and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_worlds import make_batch, make_model
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.attention import AttentionProbe
from dslstudy.c2al.cohorts import named_pair
from dslstudy.c2al.gradients import (
    EVERYONE,
    HEAD,
    OTHERS,
    SHARED,
    TAIL,
    GradientProbe,
    attention_gradient,
    gradient_parts,
    layer_of,
    split_gradient,
)
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.c2al.methods.plain import Plain
from dslstudy.data.click_world import ClickWorld
from dslstudy.engine.clicks import ClickTrainingConfig, train_clicks
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FORMS


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", [0.0, 0.1, 3.0])
def test_the_identity_holds_in_the_whole_model(form, weight):
    batch = make_batch()
    model = make_model(C2AL(), batch, form=form)
    h, seen = model.encoder.encode(batch.features, intermediates=True)
    auxiliary = model.heads(h)
    primary_loss = binary_cross_entropy_with_logits(model.encoder.head(h).squeeze(-1), batch.labels)
    auxiliary_loss = sum(
        binary_cross_entropy_with_logits(auxiliary[:, side], batch.labels * mask)
        for side, mask in enumerate((batch.head, batch.tail))
    )
    (X,), (Y,), (G,) = seen.X, seen.Y, seen.G
    at_g = [torch.autograd.grad(loss, G, retain_graph=True)[0] for loss in (primary_loss, auxiliary_loss)]
    (at_y,) = torch.autograd.grad(primary_loss + weight * auxiliary_loss, Y)
    assert at_y.abs().max() > 0
    torch.testing.assert_close(attention_gradient(X, *at_g, weight=weight, form=form), at_y)
    # once more with the gram matrix written out, one example at a time
    for x, p, a, y in zip(X, *at_g, at_y, strict=True):
        gram = x @ x.T if form == "embedding" else x.T @ x
        torch.testing.assert_close(gram @ (p + weight * a), y)


VECTORS = st.lists(st.floats(-10, 10), min_size=4, max_size=4).map(lambda row: torch.tensor(row, dtype=torch.float64))


@given(VECTORS, VECTORS)
def test_parts_are_those_of_plane_geometry(g, a):
    parts = split_gradient([g[:1], g[1:].view(3, 1)], [a[:1], a[1:].view(3, 1)])
    length = math.sqrt(sum(x * x for x in g.tolist()))
    along = sum(x * y for x, y in zip(g.tolist(), a.tolist(), strict=True)) / length if length else 0.0
    across = [y - along * x / length for x, y in zip(g.tolist(), a.tolist(), strict=True)] if length else a.tolist()
    assert parts.primary == pytest.approx(length)
    assert parts.parallel == pytest.approx(along, abs=1e-9)
    assert parts.orthogonal == pytest.approx(math.sqrt(sum(x * x for x in across)), abs=1e-9)
    assert parts.parallel**2 + parts.orthogonal**2 == pytest.approx(parts.auxiliary**2, abs=1e-9)
    if parts.auxiliary > 1e-6 and length > 1e-6:
        assert parts.cosine == pytest.approx(torch.cosine_similarity(g, a, dim=0).item(), abs=1e-9)
        assert parts.orthogonal_share == pytest.approx(1 - parts.cosine**2, abs=1e-9)


def test_lengths_of_nothing():
    parts = split_gradient([torch.zeros(2)], [torch.tensor([3.0, 4.0])])
    assert (parts.parallel, parts.orthogonal) == (0, 5)
    assert math.isnan(parts.cosine)
    assert math.isnan(split_gradient([torch.ones(2)], [torch.zeros(2)]).orthogonal_share)
    with pytest.raises(InputError, match="same parameters"):
        split_gradient([torch.ones(2)], [torch.ones(3)])


def test_parameters_belong_to_their_layers():
    model = make_model(Plain(), make_batch(), layers=2)
    groups = {name: layer_of(name) for name, _ in model.named_parameters()}
    assert groups["embedding.weight"] == "embedding"
    assert groups["layers.1.attention.2.weight"] == "attention 2"
    assert groups["layers.0.interaction.bias"] == "interaction 1"
    assert groups["layers.0.interaction_norm.bias"] == "norms 1"
    assert groups["top.bias"] == "top"
    assert groups["head.weight"] is None
    layers = {f"{part} {number}" for part in ("attention", "deep", "interaction", "norms") for number in (1, 2)}
    assert set(groups.values()) == layers | {"embedding", "top", None}


@pytest.mark.parametrize("form", FORMS)
def test_parts_agree_with_gradients_taken_one_row_at_a_time(form):
    batch, method = make_batch(12), C2AL(lambda_head=0.3, lambda_tail=0.7)
    model = make_model(method, batch, form=form)
    names = [name for name, _ in model.encoder.named_parameters() if not name.startswith("head")]
    shared = [dict(model.encoder.named_parameters())[name] for name in names]

    def row_gradients(row):
        features = [feature[row : row + 1] for feature in batch.features]
        logits, others = model(features)
        y, n = batch.labels[row : row + 1], len(batch.labels)
        aux = 0.3 * binary_cross_entropy_with_logits(others[:, 0], y * batch.head[row])
        aux = aux + 0.7 * binary_cross_entropy_with_logits(others[:, 1], y * batch.tail[row])
        losses = binary_cross_entropy_with_logits(logits, y) / n, aux / n
        return [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]

    rows = [row_gradients(row) for row in range(len(batch.labels))]
    of_cohort = {EVERYONE: torch.ones(12), HEAD: batch.head, TAIL: batch.tail, OTHERS: ~(batch.head | batch.tail)}
    found = {(parts.cohort, parts.layer): parts for parts in gradient_parts(method, model, batch, step=5)}
    layers = (SHARED, "embedding", "attention 1", "deep 1", "interaction 1", "norms 1", "top")
    assert set(found) == {(cohort, layer) for cohort in of_cohort for layer in layers}
    for (cohort, layer), parts in found.items():
        mine = [i for i, name in enumerate(names) if layer in (SHARED, layer_of(name))]
        members = of_cohort[cohort].nonzero().flatten().tolist()
        g, a = (
            np.concatenate([sum(rows[r][side][i] for r in members).numpy().ravel() for i in mine]) for side in (0, 1)
        )
        whole = np.concatenate([sum(row[1][i] for row in rows).numpy().ravel() for i in mine])
        assert parts.step == 5
        assert parts.primary == pytest.approx(np.linalg.norm(g))
        assert parts.auxiliary == pytest.approx(np.linalg.norm(a))
        assert parts.parallel == pytest.approx(a @ g / np.linalg.norm(g))
        assert parts.transfer == pytest.approx(whole @ g / np.linalg.norm(g) / np.linalg.norm(whole))


def test_transfer_says_whom_a_step_along_the_auxiliary_gradient_helps():
    """Finite differences: a small step down the auxiliary loss lowers a cohort's loss where transfer is positive."""
    batch, method = make_batch(60, seed=3), C2AL(lambda_head=1.0, lambda_tail=0.0)
    model = make_model(method, batch, seed=1)
    parts = {p.cohort: p for p in gradient_parts(method, model, batch) if p.layer == SHARED}
    shared = [parameter for name, parameter in model.encoder.named_parameters() if layer_of(name) is not None]
    _, others = model(batch.features)
    auxiliary = torch.autograd.grad(
        binary_cross_entropy_with_logits(others[:, 0], batch.labels * batch.head), shared, allow_unused=True
    )

    def losses():
        rows = binary_cross_entropy_with_logits(model.encoder(batch.features), batch.labels, reduction="none")
        return {cohort: rows[mask].sum().item() / 60 for cohort, mask in ((HEAD, batch.head), (TAIL, batch.tail))}

    before = losses()
    with torch.no_grad():
        for parameter, gradient in zip(shared, auxiliary, strict=True):
            parameter -= 1e-5 * gradient
    after = losses()
    for cohort in (HEAD, TAIL):
        slope = parts[EVERYONE].auxiliary * parts[cohort].primary * parts[cohort].transfer
        assert after[cohort] - before[cohort] == pytest.approx(-1e-5 * slope, rel=1e-3)


def test_a_plain_run_has_no_auxiliary_gradient():
    batch = make_batch()
    for parts in gradient_parts(Plain(), make_model(Plain(), batch), batch):
        assert parts.auxiliary == 0
        assert parts.primary > 0


def test_cohorts_without_rows_are_left_out():
    batch = make_batch(cohorts=2)
    found = gradient_parts(C2AL(), make_model(C2AL(), batch), batch)
    assert {parts.cohort for parts in found} == {EVERYONE, HEAD, TAIL}


def test_the_probe_leaves_the_model_as_it_was():
    batch, method = make_batch(), C2AL()
    model = make_model(method, batch)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe = GradientProbe(method)
    for step in (0, 10):
        probe(model, batch, step)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parts.step for parts in probe.records if (parts.cohort, parts.layer) == (TAIL, "top")] == [0, 10]


def test_a_model_of_another_shape_is_refused():
    method = Plain()
    with pytest.raises(InputError, match="shared FMAttention only"):
        gradient_parts(method, torch.nn.Linear(2, 1), make_batch())


def test_probes_of_a_run_do_not_change_it():
    split = ClickWorld(rows=1200, fields=3, field_size=6, users=40, contrast=2.0).split(0)
    config = ClickTrainingConfig(embedding_size=4, hidden=8, batch_size=128, epochs=2, method="c2al")
    pair = named_pair(split.axes["cohort"], "head", "tail")
    rows = [torch.from_numpy(feature.values.astype(np.int64)) for feature in split.validation.features]
    gradients, attention = GradientProbe(config.make_method()), AttentionProbe(config.make_method(), rows)

    def probe(model, batch, step):
        gradients(model, batch, step)
        attention(model, batch, step)

    options = {"cohorts": pair.cohorts(split), "progress": False}
    (probed,) = train_clicks(split, [config], probe=probe, probe_steps={0, 6}, **options)
    (alone,) = train_clicks(split, [config], **options)
    assert np.array_equal(probed.test, alone.test)
    assert {parts.step for parts in gradients.records} == {record.step for record in attention.records} == {0, 6}
    assert {parts.cohort for parts in gradients.records} == {EVERYONE, HEAD, TAIL, OTHERS}
    assert all(record.change > 0 for record in attention.records if record.step == 6)
