"""LightGCN: embeddings averaged over the neighbourhoods of the user-item graph (book: Backbones)."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import block_array
from torch import Tensor, nn

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError
from dslstudy.models.backbone import Backbone, normal_tables


def normalized_graph(interactions: Interactions) -> Tensor:
    """The graph of users and items with its edges weighted by ``1 / sqrt(degree * degree)``.

    Returns:
        (U + I, U + I) float32 sparse CSR, symmetric, users first; nodes without an edge have empty rows.
    """
    edges = interactions.csr().astype(np.float64)
    graph = block_array([[None, edges], [edges.T, None]], format="csr")
    degree = np.diff(graph.indptr)
    rows = np.repeat(np.arange(len(degree)), degree)
    weights = 1 / np.sqrt(degree[rows] * degree[graph.indices])  # every edge has two ends, so no degree here is 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(graph.indptr.astype(np.int64)),
            torch.from_numpy(graph.indices.astype(np.int64)),
            torch.from_numpy(weights.astype(np.float32)),
            graph.shape,
            check_invariants=True,
        )


class _Propagate(torch.autograd.Function):
    """graph @ x for a symmetric graph, whose backward is the same product: no transposed copy is ever made."""

    @staticmethod
    def forward(ctx: Any, graph: Tensor, x: Tensor) -> Tensor:
        ctx.graph = graph
        return _product(graph, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, _product(ctx.graph, gradient)


def _product(graph: Tensor, x: Tensor) -> Tensor:
    """graph @ x for x (n, R, d), on a GPU in one product.

    On a CPU each run has its own: there the rounding of a sum depends on how wide x is, and so on the other runs.
    """
    if x.device.type != "cpu":
        return (graph @ x.flatten(1)).view_as(x)
    return torch.stack([graph @ x[:, run].contiguous() for run in range(x.shape[1])], dim=1)


class LightGCN(Backbone):
    """A stack of R runs of LightGCN (He et al., 2020, equations 3 to 8).

    Layer k + 1 of a node is the weighted sum of layer k of its neighbours; a table is the mean of layers 0 to
    ``layers``. Runs lie side by side as columns, so on a GPU a layer of the whole stack costs one sparse product.

    Args:
        num_users: users U.
        num_items: items I.
        embedding_size: size d of a vector.
        generators: one random stream per run, on the device where the tables shall live.
        interactions: the training interactions: the graph.
        layers: how far information travels.
        initial_scale: standard deviation of the initial entries.

    Shapes:
        ``user_embedding`` (R, U, d) and ``item_embedding`` (R, I, d).

    Raises:
        InputError: fewer than one layer, or interactions with other sizes.
    """

    def __init__(
        self,
        *,
        num_users: int,
        num_items: int,
        embedding_size: int,
        generators: Sequence[torch.Generator],
        interactions: Interactions,
        layers: int = 2,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if layers < 1 or layers != int(layers):
            raise InputError(f"layers must be a positive integer, not {layers}; without layers it is backbone mf")
        if (interactions.num_users, interactions.num_items) != (num_users, num_items):
            raise InputError(
                f"the graph has {interactions.num_users} users and {interactions.num_items} items,"
                f" the model {num_users} and {num_items}"
            )
        self.layers = int(layers)
        self.user_embedding = nn.Parameter(normal_tables(num_users, embedding_size, generators, scale=initial_scale))
        self.item_embedding = nn.Parameter(normal_tables(num_items, embedding_size, generators, scale=initial_scale))
        graph = normalized_graph(interactions).to(self.user_embedding.device)
        self.register_buffer("graph", graph, persistent=False)

    def nodes(self) -> Tensor:
        """Layer 0: (U + I, R, d), users first."""
        return torch.cat([self.user_embedding, self.item_embedding], dim=1).transpose(0, 1).contiguous()

    def propagate(self, nodes: Tensor) -> Tensor:
        """One layer on: (U + I, R, d) -> (U + I, R, d)."""
        return _Propagate.apply(self.graph, nodes)

    def tables(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Cut (U + I, R, d) into (R, U, d) and (R, I, d)."""
        users = self.user_embedding.shape[1]
        return nodes[:users].transpose(0, 1).contiguous(), nodes[users:].transpose(0, 1).contiguous()

    def forward(self) -> tuple[Tensor, Tensor]:
        """The tables that scores are computed from: (R, U, d), (R, I, d)."""
        layer = total = self.nodes()
        for _ in range(self.layers):
            layer = self.propagate(layer)
            total = total + layer
        return self.tables(total / (self.layers + 1))
