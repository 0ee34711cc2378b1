"""Experts and gates, which MMoE and PLE put where the encoder has its last hidden layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dslstudy.models.fm_attention import FMAttention


def trunk(encoder: FMAttention, features: Sequence[Tensor]) -> Tensor:
    """What every task shares: embeddings after the ensemble layers, (batch, m d)."""
    embeddings = encoder.embed(features)
    for layer in encoder.layers:
        embeddings = layer(embeddings)
    return embeddings.flatten(1)


class Experts(nn.Module):
    """Some hidden layers side by side, each a linear map and a ReLU.

    Args:
        inputs: width of what they see.
        hidden: width of each.
        number: how many; with ``first`` it is one of them.
        first: a layer that exists already, such as the encoder's last hidden layer.
    """

    def __init__(self, inputs: int, hidden: int, number: int, first: nn.Linear | None = None) -> None:
        super().__init__()
        known = [] if first is None else [first]
        self.layers = nn.ModuleList(known + [nn.Linear(inputs, hidden) for _ in range(number - len(known))])

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (batch, number, hidden)."""
        return torch.stack([functional.relu(layer(x)) for layer in self.layers], dim=1)


def mix(gate: nn.Linear, x: Tensor, outputs: Tensor) -> Tensor:
    """Experts' outputs (batch, n, hidden), weighted by the softmax of the gate at x: (batch, hidden)."""
    return (gate(x).softmax(-1).unsqueeze(1) @ outputs).squeeze(1)


def head_logits(heads: nn.Linear, representations: Sequence[Tensor]) -> Tensor:
    """Logits (batch, T) of T heads, each of its own representation (batch, hidden)."""
    stacked = torch.stack(list(representations), dim=1)
    return (stacked * heads.weight).sum(-1) + heads.bias
