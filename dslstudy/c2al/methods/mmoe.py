"""Multi-gate mixture of experts on C2AL's auxiliary tasks (book: Against the obvious alternatives)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from dslstudy.c2al.experts import Experts, head_logits, mix, trunk
from dslstudy.c2al.method import Context, WithHeads
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, initialise


class GatedPrimary(nn.Module):
    """The primary task's way through the experts: what inference needs.

    It is larger than ``FMAttention`` by all experts but one and by a gate.
    """

    def __init__(self, encoder: FMAttention, experts: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.experts = Experts(encoder.top.in_features, encoder.hidden, experts, first=encoder.top)
        self.gate = nn.Linear(encoder.top.in_features, experts)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (batch,) of a click."""
        x = trunk(self.encoder, features)
        return self.encoder.head(mix(self.gate, x, self.experts(x))).squeeze(-1)


class MixtureOfExperts(nn.Module):
    """All tasks: shared experts, and a gate and a head for each task."""

    def __init__(self, encoder: FMAttention, experts: int, rates: Sequence[float], generator: Generator) -> None:
        super().__init__()
        # the heads draw first: they start as they do in C2AL
        self.heads = WithHeads(encoder, rates, generator).heads
        self.primary = GatedPrimary(encoder, experts)
        self.gates = nn.ModuleList(nn.Linear(encoder.top.in_features, experts) for _ in rates)
        for new in (*self.primary.experts.layers[1:], self.primary.gate, self.gates):
            initialise(new, generator)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the primary head (batch,) and of the others (batch, heads)."""
        primary = self.primary
        x = trunk(primary.encoder, features)
        outputs = primary.experts(x)
        logits = primary.encoder.head(mix(primary.gate, x, outputs)).squeeze(-1)
        return logits, head_logits(self.heads, [mix(gate, x, outputs) for gate in self.gates])


@dataclass(frozen=True)
class MMoE(C2AL):
    """C2AL's three tasks, each with a gate of its own over shared experts.

    The experts stand where ``FMAttention`` has its last hidden layer, which is the first of them: with one expert this
    is C2AL. Unlike C2AL it leaves a larger model behind: all experts and the primary gate are needed for inference.

    Attributes:
        experts: how many.

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts"
    (KDD 2018), section 4.
    """

    experts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts < 1:
            raise InputError(f"experts must be at least 1, got {self.experts}")

    def build(self, encoder: FMAttention, context: Context, generator: Generator) -> nn.Module:
        """The encoder with experts, gates and two further heads."""
        return MixtureOfExperts(encoder, self.experts, self.label_rates(context), generator)

    def export(self, model: nn.Module) -> nn.Module:
        """The primary task's way through all experts."""
        return model.primary
