"""Progressive layered extraction on C2AL's auxiliary tasks (book: Against the obvious alternatives)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from dslstudy.c2al.experts import Experts, head_logits, mix, trunk
from dslstudy.c2al.method import Context, WithHeads
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, initialise

PRIMARY, SHARED = "primary", "shared"
TASKS = (PRIMARY, "head", "tail")


class Extraction(nn.Module):
    """One level: experts of each task and shared ones, and a gate for each output.

    A task's gate chooses among its own and the shared experts; the shared gate, which the last level lacks, among all.

    Args:
        experts: experts of each task that has some, and the shared ones.
        gates: one per output.
    """

    def __init__(self, experts: Mapping[str, Experts], gates: Mapping[str, nn.Linear]) -> None:
        super().__init__()
        self.experts, self.gates = nn.ModuleDict(experts), nn.ModuleDict(gates)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One representation (batch, hidden) per gate."""
        outputs = {name: experts(inputs[name]) for name, experts in self.experts.items()}
        return {
            name: mix(gate, inputs[name], torch.cat([outputs[which] for which in self.seen_by(name)], dim=1))
            for name, gate in self.gates.items()
        }

    def seen_by(self, name: str) -> list[str]:
        """Whose experts the gate of an output chooses among."""
        return [which for which in self.experts if which in (name, SHARED) or name == SHARED]

    def only(self, outputs: Sequence[str]) -> "Extraction":
        """The same level, without what these outputs do not need."""
        needed = {which for name in outputs for which in self.seen_by(name)}
        return Extraction(
            {name: experts for name, experts in self.experts.items() if name in needed},
            {name: self.gates[name] for name in outputs},
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Whose representations the level reads."""
        return tuple(name for name in (*TASKS, SHARED) if name in self.experts or name in self.gates)


class LayeredPrimary(nn.Module):
    """The primary task's way through the levels: what inference needs.

    It is larger than ``FMAttention``. From two levels on, even the auxiliary tasks' experts of all but the last level
    stay, because the shared gate reads them.
    """

    def __init__(self, encoder: FMAttention, levels: Sequence[Extraction]) -> None:
        super().__init__()
        self.encoder, kept = encoder, []
        outputs: tuple[str, ...] = (PRIMARY,)
        for level in reversed(levels):
            kept.append(level.only(outputs))
            outputs = kept[-1].inputs
        self.levels = nn.ModuleList(reversed(kept))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (batch,) of a click."""
        representations = dict.fromkeys((*TASKS, SHARED), trunk(self.encoder, features))
        for level in self.levels:
            representations = level(representations)
        return self.encoder.head(representations[PRIMARY]).squeeze(-1)


class LayeredExtraction(nn.Module):
    """All tasks: the levels, and a head for each task."""

    def __init__(
        self,
        encoder: FMAttention,
        levels: int,
        shared: int,
        specific: int,
        rates: Sequence[float],
        generator: Generator,
    ) -> None:
        super().__init__()
        # the heads draw first: they start as they do in C2AL
        self.heads = WithHeads(encoder, rates, generator).heads
        self.encoder = encoder
        self.levels = nn.ModuleList()
        width, first = encoder.top.in_features, encoder.top
        for number in range(1, levels + 1):
            experts = {SHARED: Experts(width, encoder.hidden, shared, first=first)}
            if specific:
                experts |= {task: Experts(width, encoder.hidden, specific) for task in TASKS}
            gates = {task: nn.Linear(width, shared + specific) for task in TASKS}
            if number < levels:
                gates[SHARED] = nn.Linear(width, shared + specific * len(TASKS))
            for bank in experts.values():
                for layer in bank.layers:
                    if layer is not first:
                        initialise(layer, generator)
            for gate in gates.values():
                initialise(gate, generator)
            self.levels.append(Extraction(experts, gates))
            width, first = encoder.hidden, None

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the primary head (batch,) and of the others (batch, heads)."""
        representations = dict.fromkeys((*TASKS, SHARED), trunk(self.encoder, features))
        for level in self.levels:
            representations = level(representations)
        logits = self.encoder.head(representations[PRIMARY]).squeeze(-1)
        return logits, head_logits(self.heads, [representations[task] for task in TASKS[1:]])


@dataclass(frozen=True)
class PLE(C2AL):
    """C2AL's three tasks, each with experts of its own besides shared ones, over several levels.

    The first level stands where ``FMAttention`` has its last hidden layer, which is the first shared expert: with one
    level, one shared expert and no others this is C2AL. With one level it is the paper's customized gate control.
    Unlike C2AL it leaves a larger model behind.

    Attributes:
        levels: of extraction.
        shared: shared experts of each level.
        specific: experts of each task in each level.

    Source: Tang et al., "Progressive Layered Extraction (PLE)" (RecSys 2020), sections 4.1 and 4.2.
    """

    levels: int = 2
    shared: int = 2
    specific: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("levels", 1), ("shared", 1), ("specific", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def build(self, encoder: FMAttention, context: Context, generator: Generator) -> nn.Module:
        """The encoder with levels of experts and two further heads."""
        rates = self.label_rates(context)
        return LayeredExtraction(encoder, self.levels, self.shared, self.specific, rates, generator)

    def export(self, model: nn.Module) -> nn.Module:
        """The primary task's way through the levels."""
        return LayeredPrimary(model.encoder, model.levels)
