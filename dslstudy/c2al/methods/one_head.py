"""One auxiliary head instead of two (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dslstudy.c2al.method import Batch, Context, Method, require_weight
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention

SIDES = ("head", "tail")


@dataclass(frozen=True)
class OneHead(Method):
    """C2AL with the weight of one head only.

    Attributes:
        side: whose head stays, ``head`` or ``tail``.
        weight: weight λ of its loss.
    """

    side: str = "tail"
    weight: float = 0.1

    needs_pair: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise InputError(f"side must be one of {', '.join(SIDES)}, got {self.side!r}")
        require_weight("weight", self.weight)

    @property
    def _pair(self) -> C2AL:
        return C2AL(**{f"lambda_{side}": self.weight if side == self.side else 0.0 for side in SIDES})

    def build(self, encoder: FMAttention, context: Context, generator: torch.Generator) -> nn.Module:
        """The encoder with two further heads, one of which never learns: so the other starts as it does in C2AL."""
        return self._pair.build(encoder, context, generator)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Objective ()."""
        return self._pair.loss(model, batch)
