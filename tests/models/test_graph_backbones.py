import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError
from dslstudy.models.lightgcn import LightGCN, _Propagate, normalized_graph
from dslstudy.models.xsimgcl import XSimGCL, _info_nce, info_nce

USERS, ITEMS, SIZE = 12, 9, 4


def interactions(seed=0, users=USERS, items=ITEMS, share=0.3):
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((users, items)) < share)
    return Interactions.with_ids(pairs[:, 0], pairs[:, 1], num_users=users, num_items=items)


def make(model, seeds=(1,), data=None, size=SIZE, **options):
    data = interactions() if data is None else data
    return model(
        num_users=data.num_users,
        num_items=data.num_items,
        embedding_size=size,
        generators=[torch.Generator().manual_seed(seed) for seed in seeds],
        interactions=data,
        **options,
    )


def dense_graph(data):
    """The normalised adjacency matrix, edge by edge."""
    edges = list(zip(data.users.tolist(), data.items.tolist(), strict=True))
    graph = np.zeros((data.num_users + data.num_items,) * 2)
    for user, item in edges:
        weight = 1 / math.sqrt(sum(u == user for u, _ in edges) * sum(i == item for _, i in edges))
        graph[user, data.num_users + item] = graph[data.num_users + item, user] = weight
    return graph


def layers_by_hand(model, run, count):
    """Layers 0 to count of one run by dense products."""
    graph = torch.from_numpy(dense_graph(interactions())).float()
    layers = [torch.cat([model.user_embedding[run], model.item_embedding[run]])]
    for _ in range(count):
        layers.append(graph @ layers[-1])
    return layers


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8), st.floats(0.05, 1))
def test_the_graph_is_normalised_by_both_degrees(seed, users, items, share):
    data = interactions(seed, users, items, share)
    np.testing.assert_allclose(normalized_graph(data).to_dense().numpy(), dense_graph(data), rtol=1e-6)


def test_building_the_graph_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(LightGCN)


def test_the_sparse_product_has_the_right_gradient():
    graph = normalized_graph(interactions())
    graph = torch.sparse_csr_tensor(
        graph.crow_indices(), graph.col_indices(), graph.values().double(), graph.shape, check_invariants=True
    )
    x = torch.randn(USERS + ITEMS, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _Propagate.apply(graph, x), x)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_lightgcn_is_the_mean_of_all_layers_in_value_and_gradient(layers):
    model = make(LightGCN, seeds=(1, 2), layers=layers)
    pull = torch.randn(2, USERS + ITEMS, SIZE)
    tables = model()
    (torch.cat(tables, dim=1) * pull).sum().backward()
    found = model.user_embedding.grad.clone(), model.item_embedding.grad.clone()
    model.zero_grad()
    by_hand = torch.stack([sum(layers_by_hand(model, run, layers)) / (layers + 1) for run in range(2)])
    torch.testing.assert_close(torch.cat(tables, dim=1), by_hand)
    (by_hand * pull).sum().backward()
    torch.testing.assert_close(found, (model.user_embedding.grad, model.item_embedding.grad))


def test_xsimgcl_without_noise_is_the_mean_of_layers_from_one():
    model = make(XSimGCL, seeds=(1, 2)).eval()
    for run in range(2):
        by_hand = sum(layers_by_hand(model, run, 3)[1:]) / 3
        torch.testing.assert_close(torch.cat(model(), dim=1)[run], by_hand)
    torch.testing.assert_close(model(), make(XSimGCL, seeds=(1, 2), noise=0.0)())


def test_noise_moves_every_layer_by_epsilon_within_its_orthant():
    noise = 0.3
    model = make(XSimGCL, layers=1, noise=noise)
    noisy, clean = torch.cat(model(), dim=1), torch.cat(model.inference_tables(), dim=1)
    moved = noisy - clean
    linked = clean.norm(dim=-1) > 0  # a node without edges is at zero, which has no orthant
    torch.testing.assert_close(moved[linked].norm(dim=-1), torch.full((int(linked.sum()),), noise))
    assert (moved * clean >= 0).all()
    assert (moved[~linked] == 0).all()
    assert not torch.equal(noisy, torch.cat(model(), dim=1)), "each pass draws its own noise"


def test_only_training_passes_are_noisy():
    model = make(XSimGCL)
    assert not torch.equal(model()[0], model.inference_tables()[0])
    torch.testing.assert_close(model.inference_tables(), model.eval()())


def nce_by_definition(anchors, others, rows, temperature):
    def cosine(x, y):
        return float(x @ y / (x.norm() * y.norm()))

    rows = set(rows)
    terms = []
    for row in rows:
        total = sum(math.exp(cosine(anchors[row], others[other]) / temperature) for other in rows)
        terms.append(-math.log(math.exp(cosine(anchors[row], others[row]) / temperature) / total))
    return sum(terms) / len(terms)


@given(
    st.integers(0, 10**6),
    st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=3),
    st.sampled_from([0.1, 0.5, 2.0]),
)
def test_info_nce_equals_its_definition_over_distinct_rows(seed, ids, temperature):
    stream = torch.Generator().manual_seed(seed)
    anchors, others = (torch.randn(len(ids), 6, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    expected = [nce_by_definition(anchors[run], others[run], rows, temperature) for run, rows in enumerate(ids)]
    for cut_or_masked in (info_nce, _info_nce):  # as on a CPU, as on a GPU
        found = cut_or_masked(anchors, others, torch.tensor(ids), temperature)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_info_nce_has_the_right_gradient_and_survives_a_tiny_temperature():
    ids = torch.tensor([[0, 3, 3, 1]])
    views = [torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for cut_or_masked in (info_nce, _info_nce):
        assert torch.autograd.gradcheck(lambda a, b, f=cut_or_masked: f(a, b, ids, 0.2), views)
        assert torch.isfinite(cut_or_masked(*views, ids, 1e-4)).all()


@pytest.mark.parametrize("contrast_layer", [1, 2, 3])
def test_the_auxiliary_loss_contrasts_the_final_with_the_chosen_layer(contrast_layer):
    model = make(XSimGCL, noise=0.0, contrast_layer=contrast_layer, contrast_weight=0.7, contrast_temperature=0.3)
    model()
    linked = interactions()
    users, items = linked.users[:6].astype(int).tolist(), linked.items[:6].astype(int).tolist()
    layers = [layer.detach() for layer in layers_by_hand(model, 0, 3)]
    final, contrast = sum(layers[1:]) / 3, layers[contrast_layer]
    expected = nce_by_definition(final, contrast, users, 0.3)
    expected += nce_by_definition(final, contrast, [USERS + item for item in items], 0.3)
    found = model.auxiliary_loss(torch.tensor([users]), torch.tensor([items]))
    assert found.shape == (1,)
    assert found.item() == pytest.approx(0.7 * expected, rel=1e-4)


@pytest.mark.parametrize(("model", "size"), [(LightGCN, 4), (LightGCN, 7), (XSimGCL, 4), (XSimGCL, 7), (XSimGCL, 64)])
def test_a_run_in_a_stack_equals_the_run_alone(model, size):
    data = interactions(seed=3, users=80, items=50, share=0.1)
    stream = torch.Generator().manual_seed(5)
    users = torch.randint(80, (4, 32), generator=stream)
    items = torch.randint(50, (4, 32), generator=stream)

    def tables_losses_gradients(seeds, runs):
        backbone = make(model, seeds, data, size)
        for _ in range(2):  # the second pass has fresh noise
            tables = backbone()
        total = sum((table**2).sum() for table in tables)
        losses = torch.zeros(len(seeds))
        if model is XSimGCL:
            losses = backbone.auxiliary_loss(users[runs], items[runs])
            total = total + losses.sum()
        total.backward()
        return *tables, losses, backbone.user_embedding.grad, backbone.item_embedding.grad

    stack = tables_losses_gradients((11, 12, 13, 14), slice(None))
    for run, seed in enumerate((11, 12, 13, 14)):
        for together, alone in zip(stack, tables_losses_gradients((seed,), slice(run, run + 1)), strict=True):
            assert torch.equal(together[run], alone[0])


def test_runs_that_leave_take_their_noise_with_them():
    staying = make(XSimGCL, seeds=(3,))
    model = make(XSimGCL, seeds=(1, 3, 2))
    model(), staying()
    model.keep([1])
    assert [len(parameter) for parameter in model.parameters()] == [1, 1]
    assert torch.equal(model()[0], staying()[0])


def test_tables_are_contiguous_and_the_graph_is_no_parameter():
    model = make(XSimGCL, seeds=(1, 2))
    assert all(table.is_contiguous() for table in model())
    assert not any(table.requires_grad for table in model.inference_tables())
    assert (
        {name for name, _ in model.named_parameters()}
        == {"user_embedding", "item_embedding"}
        == set(model.state_dict())
    )


def test_bad_input_is_refused_with_a_reason():
    for layers in (0, 1.5):
        with pytest.raises(InputError, match="layers must be"):
            make(LightGCN, layers=layers)
    with pytest.raises(InputError, match="the graph has 12 users and 9 items"):
        LightGCN(
            num_users=3, num_items=9, embedding_size=2, generators=[torch.Generator()], interactions=interactions()
        )
    for layer in (0, 4):
        with pytest.raises(InputError, match="contrast_layer"):
            make(XSimGCL, contrast_layer=layer)
    for bad in ({"noise": -1}, {"contrast_weight": -1}, {"contrast_temperature": 0}):
        with pytest.raises(InputError, match="contrast_temperature above 0"):
            make(XSimGCL, **bad)
    with pytest.raises(InputError, match="forward pass in training mode"):
        make(XSimGCL).auxiliary_loss(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long))
