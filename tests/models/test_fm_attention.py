"""The click model against explicit loops, and what its initial parameters depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, from_architecture, interaction

FORMS = ("fields", "embedding")


def model_of(sizes=(5, 7, 3), seed=0, **options):
    options = {"embedding_size": 4, "attention_size": 2, "hidden": 6} | options
    model = FMAttention(sizes, **options, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():  # biases and norms at other places than where they start, or a loop could forget them
        noise = torch.Generator().manual_seed(99)
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return model.double()


def layer_norm(values, module):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    scale, shift = module.weight.tolist(), module.bias.tolist()
    return [(v - mean) / math.sqrt(variance + module.eps) * s + b for v, s, b in zip(values, scale, shift, strict=True)]


def linear(values, module):
    weight, bias = module.weight.tolist(), module.bias.tolist()
    return [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def relu(values):
    return [max(v, 0.0) for v in values]


def one_row(model, ids):
    """The logit of one row, with scalars and lists only; ids is a list of ids per feature."""
    table = model.embedding.weight.tolist()
    d, m, k = model.embedding_size, len(model.sizes), model.attention_size
    vectors, start = [], 0
    for of_feature, size in zip(ids, model.sizes, strict=True):
        rows = [table[start + i] for i in of_feature]
        vectors.append([sum(row[c] for row in rows) / max(len(rows), 1) for c in range(d)])
        start += size
    for layer in model.layers:
        flat = [v for vector in vectors for v in vector]
        normed = layer_norm(flat, layer.input_norm)
        attended = linear(relu(linear(normed, layer.attention[0])), layer.attention[2])
        rows = m if model.form == "fields" else d
        Y = [attended[r * k : (r + 1) * k] for r in range(rows)]
        gram = [
            [
                sum(vectors[a][c] * vectors[b][c] for c in range(d))
                if model.form == "fields"
                else sum(vectors[f][a] * vectors[f][b] for f in range(m))
                for b in range(rows)
            ]
            for a in range(rows)
        ]
        G = [sum(gram[a][b] * Y[b][c] for b in range(rows)) for a in range(rows) for c in range(k)]
        mixed = linear(layer_norm(G, layer.interaction_norm), layer.interaction)
        deep = linear(relu(linear(normed, layer.deep[0])), layer.deep[2])
        out = layer_norm([a + b + c for a, b, c in zip(flat, mixed, deep, strict=True)], layer.output_norm)
        vectors = [out[f * d : (f + 1) * d] for f in range(m)]
    h = relu(linear([v for vector in vectors for v in vector], model.top))
    return linear(h, model.head)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layers", [1, 2])
def test_forward_is_what_loops_compute(form, layers):
    model = model_of(form=form, layers=layers)
    rows = [[[0], [6], [2]], [[4], [0], []], [[1], [3], [0, 2]], [[1], [3], [2, 2, 1]]]
    features = (
        torch.tensor([row[0][0] for row in rows]),
        torch.tensor([row[1][0] for row in rows]),
        torch.tensor([row[2] + [-1] * (3 - len(row[2])) for row in rows]),
    )
    torch.testing.assert_close(model(features), torch.tensor([one_row(model, row) for row in rows]).double())


@pytest.mark.parametrize("form", FORMS)
def test_single_and_multi_valued_features_agree(form):
    model = model_of(form=form)
    ids = [torch.tensor([0, 4, 2]), torch.tensor([6, 1, 1]), torch.tensor([2, 0, 1])]
    padded = [torch.stack([column, torch.full_like(column, -1)], dim=1) for column in ids]
    torch.testing.assert_close(model(padded), model(ids))


@given(order=st.permutations([0, 2, -1, -1]), extra=st.integers(0, 3))
def test_neither_padding_nor_the_order_of_ids_matters(order, extra):
    model = model_of()
    single = [torch.tensor([1]), torch.tensor([3])]
    expected = model([*single, torch.tensor([[0, 2]])])
    torch.testing.assert_close(model([*single, torch.tensor([order + [-1] * extra])]), expected)


@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3)))
def test_interaction_is_the_gram_matrix_times_attention(shape):
    b, d, m, k = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(b, d, m))
    for form, rows, gram in (
        ("fields", m, np.einsum("bdm,bdn->bmn", X, X)),
        ("embedding", d, np.einsum("bdm,bem->bde", X, X)),
    ):
        Y = rng.normal(size=(b, rows, k))
        found = interaction(torch.from_numpy(X), torch.from_numpy(Y), form).numpy()
        np.testing.assert_allclose(found, np.einsum("bij,bjk->bik", gram, Y), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_intermediates_belong_to_the_graph(form):
    model = model_of(form=form, layers=2)
    features = [torch.tensor([0, 4]), torch.tensor([6, 1]), torch.tensor([2, 0])]
    h, seen = model.encode(features, intermediates=True)
    assert torch.equal(h, model.encode(features))
    assert len(seen.X) == len(seen.Y) == len(seen.G) == len(seen.attention_hidden) == 2
    rows = 3 if form == "fields" else 4
    for X, Y, G, hidden in zip(seen.X, seen.Y, seen.G, seen.attention_hidden, strict=True):
        assert X.shape == (2, 4, 3)
        assert Y.shape == G.shape == (2, rows, 2)
        assert hidden.shape == (2, 6)
        torch.testing.assert_close(G, interaction(X, Y, form))
    table = model.embedding.weight
    torch.testing.assert_close(seen.X[0][1].T, torch.stack([table[4], table[5 + 1], table[5 + 7 + 0]]))
    logits = model.head(h).squeeze(-1)
    to_y, to_g = torch.autograd.grad(logits.sum(), [seen.Y[0], seen.G[0]])
    gram = seen.X[0].mT @ seen.X[0] if form == "fields" else seen.X[0] @ seen.X[0].mT
    assert to_y.abs().max() > 0
    torch.testing.assert_close(to_y, gram @ to_g)


def test_the_generator_alone_decides_the_initial_parameters():
    def parameters(seed):
        torch.manual_seed(torch.randint(1000, ()).item())  # the global stream has no say
        model = FMAttention((50, 60), generator=torch.Generator().manual_seed(seed))
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(parameters(3), parameters(3))
    assert not torch.equal(parameters(3), parameters(4))


def test_no_parameter_keeps_the_initialisation_of_its_module():
    """Every matrix must have been drawn from the generator: two models of one seed would differ otherwise."""
    models = [FMAttention((9, 8), layers=2, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    for (name, a), (_, b) in zip(models[0].named_parameters(), models[1].named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_unseen_ids_start_small_and_layers_keep_their_scale():
    model = FMAttention((2000, 30), generator=torch.Generator().manual_seed(0))
    assert model.embedding.weight.std() < 0.5
    logits = model([torch.arange(30), torch.arange(30)])
    assert 0.01 < logits.std() < 3


@pytest.mark.parametrize("options", [{}, {"form": "embedding", "layers": 2, "hidden": 5, "attention_size": 3}])
def test_the_architecture_rebuilds_the_shape(options):
    model = model_of(**options)
    again = from_architecture(model.architecture())
    assert again.architecture() == model.architecture()
    assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((), {}, "at least one feature"),
        ((3, 0), {}, "at least 1"),
        ((3,), {"attention_size": 0}, "at least 1"),
        ((3,), {"form": "rows"}, "one of fields, embedding"),
    ],
)
def test_wrong_shapes_are_refused(sizes, options, message):
    with pytest.raises(InputError, match=message):
        model_of(sizes, **options)


def test_the_number_of_features_is_checked():
    with pytest.raises(InputError, match="3 features, got 2"):
        model_of()([torch.tensor([0]), torch.tensor([0])])
