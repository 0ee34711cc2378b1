"""Factorization-machine attention: the click model whose minorities the C2AL chapters are about.

Categorical features become embeddings; an attention network looks at all of them and decides how their pairwise inner
products are mixed; a deep branch runs beside it (book: Why one objective forgets minorities).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslstudy.errors import InputError

FORMS = ("fields", "embedding")


@dataclass
class Intermediates:
    """What a forward pass computed on its way, one entry per layer; all are part of the graph.

    Attributes:
        X: (batch, d, m) embeddings that enter the layer, one column per feature.
        Y: (batch, m, k) attention in the form ``fields``, (batch, d, k) in the form ``embedding``.
        G: like Y: ``XᵀX Y`` or ``X Xᵀ Y``.
        attention_hidden: (batch, hidden) activations of the attention network before its last layer.
    """

    X: list[Tensor] = field(default_factory=list)
    Y: list[Tensor] = field(default_factory=list)
    G: list[Tensor] = field(default_factory=list)
    attention_hidden: list[Tensor] = field(default_factory=list)


def interaction(X: Tensor, Y: Tensor, form: str) -> Tensor:
    """Pairwise inner products of the columns of X (``fields``) or of its rows (``embedding``), mixed by Y.

    Both products are taken from the right, so the gram matrix is never made.

    Args:
        X: (..., d, m).
        Y: (..., m, k) for ``fields``, (..., d, k) for ``embedding``.
        form: which of the two.

    Returns:
        Like Y: ``XᵀX Y`` or ``X Xᵀ Y``.
    """
    if form == "fields":
        return X.mT @ (X @ Y)
    return X @ (X.mT @ Y)


class Layer(nn.Module):
    """One ensemble layer: attention branch plus deep branch plus residual, then layer norm.

    Shapes:
        (batch, m, d) -> (batch, m, d).
    """

    def __init__(self, num_features: int, embedding_size: int, attention_size: int, hidden: int, form: str) -> None:
        super().__init__()
        width = num_features * embedding_size
        attended = (num_features if form == "fields" else embedding_size) * attention_size
        self.form, self.attention_size = form, attention_size
        self.input_norm = nn.LayerNorm(width)
        self.attention = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, attended))
        self.interaction_norm = nn.LayerNorm(attended)
        self.interaction = nn.Linear(attended, width)
        self.deep = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.output_norm = nn.LayerNorm(width)

    def forward(self, embeddings: Tensor, seen: Intermediates | None = None) -> Tensor:
        """Embeddings of the next layer (batch, m, d)."""
        X = embeddings.mT
        flat = embeddings.flatten(1)
        normed = self.input_norm(flat)
        attention_hidden = self.attention[1](self.attention[0](normed))
        Y = self.attention[2](attention_hidden).unflatten(1, (-1, self.attention_size))
        G = interaction(X, Y, self.form)
        if seen is not None:
            seen.X.append(X)
            seen.Y.append(Y)
            seen.G.append(G)
            seen.attention_hidden.append(attention_hidden)
        mixed = self.interaction(self.interaction_norm(G.flatten(1)))
        return self.output_norm(flat + mixed + self.deep(normed)).view_as(embeddings)


class FMAttention(nn.Module):
    """A click model with factorization-machine attention.

    With the embeddings of the m features as columns of X (d, m) and the attention ``Y = MLP(X)``, a layer has the
    interactions ``G``. The C2AL paper prints ``G = X Xᵀ Y`` with Y (d, k): the form ``embedding``, in which the d x d
    gram matrix compares coordinates. Wukong, whose factorization machine it follows, stores one embedding per *row*, so
    that the same symbols compare features: in our orientation ``G = XᵀX Y`` with Y (m, k), the form ``fields``. That is
    a factorization machine in the usual sense, and the default.
    Around it stands one layer of a DHEN-like ensemble: attention branch and deep branch are added to the input and
    normalised. A last hidden layer makes h, a linear head makes the logit.

    Args:
        sizes: number of ids of each feature.
        embedding_size: d.
        attention_size: k, columns of the attention.
        hidden: width of the hidden layers, and of h.
        layers: ensemble layers.
        form: ``fields`` or ``embedding``.
        generator: random stream of the initial parameters, on the CPU. It alone decides them.

    Raises:
        InputError: no features, a size below one or an unknown form.

    Sources: Li et al., "C2AL" (arXiv 2510.02215); Zhang et al., "Wukong" (ICML 2024), section 3; Zhang et al., "DHEN"
    (2022). Chapter: "Why one objective forgets minorities".
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        embedding_size: int = 16,
        attention_size: int = 4,
        hidden: int = 32,
        layers: int = 1,
        form: str = "fields",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1 or min(embedding_size, attention_size, hidden, layers) < 1:
            raise InputError("a click model needs at least one feature, and every size must be at least 1")
        if form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        self.sizes = tuple(int(size) for size in sizes)
        self.embedding_size, self.attention_size, self.hidden = embedding_size, attention_size, hidden
        self.form = form
        width = len(self.sizes) * embedding_size
        # one table for all features: one look-up, one gradient
        self.embedding = nn.Embedding(sum(self.sizes), embedding_size)
        self.layers = nn.ModuleList(
            Layer(len(self.sizes), embedding_size, attention_size, hidden, form) for _ in range(layers)
        )
        self.top = nn.Linear(width, hidden)
        self.head = nn.Linear(hidden, 1)
        starts = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        initialise(self, generator)

    def architecture(self) -> dict[str, Any]:
        """What makes an untrained model of the same shape: keyword arguments of the constructor."""
        return {
            "sizes": list(self.sizes),
            "embedding_size": self.embedding_size,
            "attention_size": self.attention_size,
            "hidden": self.hidden,
            "layers": len(self.layers),
            "form": self.form,
        }

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Embeddings (batch, m, d); several ids of one feature are averaged, and none gives zero."""
        if len(features) != len(self.sizes):
            raise InputError(f"the model has {len(self.sizes)} features, got {len(features)}")
        if all(feature.dim() == 1 for feature in features):
            return self.embedding(torch.stack(list(features), dim=1) + self.starts)
        columns = []
        for feature, start in zip(features, self.starts, strict=True):
            if feature.dim() == 1:
                columns.append(self.embedding(feature + start))
            else:
                real = (feature >= 0).unsqueeze(-1)
                vectors = self.embedding(feature.clamp(min=0) + start) * real
                columns.append(vectors.sum(1) / real.sum(1).clamp(min=1))
        return torch.stack(columns, dim=1)

    def encode(self, features: Sequence[Tensor], intermediates: bool = False) -> Any:
        """The shared representation.

        Args:
            features: one tensor per feature: (batch,) ids, or (batch, w) ids padded with -1.
            intermediates: also return what was computed on the way.

        Returns:
            h (batch, hidden), or (h, Intermediates).
        """
        seen = Intermediates() if intermediates else None
        embeddings = self.embed(features)
        for layer in self.layers:
            embeddings = layer(embeddings, seen)
        h = functional.relu(self.top(embeddings.flatten(1)))
        return (h, seen) if intermediates else h

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (batch,) of a click."""
        return self.head(self.encode(features)).squeeze(-1)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter from one stream, in the order of the sub-modules.

    Linear layers by the rule of LeCun et al. (1998, "Efficient BackProp"), standard deviation ``1 / sqrt(inputs)``,
    biases zero; embeddings small, so that an id that was never seen adds little; layer norms are the identity.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                part.weight.normal_(0, EMBEDDING_SCALE, generator=generator)
            elif isinstance(part, nn.Linear):
                part.weight.normal_(0, 1 / math.sqrt(part.in_features), generator=generator)
                part.bias.zero_()


#: standard deviation of initial embeddings
EMBEDDING_SCALE = 0.1


def from_architecture(architecture: Mapping[str, Any]) -> FMAttention:
    """A model of the given shape whose parameters are about to be overwritten."""
    return FMAttention(**architecture, generator=torch.Generator().manual_seed(0))
