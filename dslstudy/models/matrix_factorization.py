"""Matrix factorization: one vector per user and item, and nothing else (book: From BPR to the softmax loss)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dslstudy.data.interactions import Interactions
from dslstudy.models.backbone import Backbone, normal_tables


class MatrixFactorization(Backbone):
    """User and item embeddings of a stack of R runs (Koren et al., 2009, without biases).

    Args:
        num_users: users U.
        num_items: items I.
        embedding_size: size d of a vector.
        generators: one random stream per run, on the device where the tables shall live.
        interactions: not used; other backbones make a graph of them.
        initial_scale: standard deviation of the initial entries. With cosine scores only directions matter, and the
            scale decides how far one step of Adam turns a vector: the larger, the slower.

    Shapes:
        ``user_embedding`` (R, U, d) and ``item_embedding`` (R, I, d).
    """

    def __init__(
        self,
        *,
        num_users: int,
        num_items: int,
        embedding_size: int,
        generators: Sequence[torch.Generator],
        interactions: Interactions | None = None,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.user_embedding = nn.Parameter(normal_tables(num_users, embedding_size, generators, scale=initial_scale))
        self.item_embedding = nn.Parameter(normal_tables(num_items, embedding_size, generators, scale=initial_scale))

    def forward(self) -> tuple[Tensor, Tensor]:
        """The tables that scores are computed from: (R, U, d), (R, I, d)."""
        return self.user_embedding, self.item_embedding
