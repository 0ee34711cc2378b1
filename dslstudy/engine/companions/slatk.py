"""The users' top-K quantiles, which SL@K's weights are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dslstudy.engine.companions.companion import Companion, Tables
from dslstudy.engine.sampler import Positives, draw_negatives
from dslstudy.losses.slatk import topk_quantile

if TYPE_CHECKING:
    from dslstudy.engine.config import TrainingConfig

#: users whose quantiles are estimated together; part of the place their negatives are drawn for
USERS_AT_ONCE = 256


class TopKQuantiles(Companion):
    """Quantiles β_u (R, U), estimated anew at the start of every ``quantile_every``-th epoch.

    As published, a user's quantile is the K-th largest score among its training items and as many sampled negatives as
    an example has (Yang et al., "Breaking the Top-K Barrier", KDD 2025). Chapter: "From BPR to the softmax loss",
    section "The other losses of the tables".
    """

    def __init__(self, configs: Sequence[TrainingConfig], positives: Positives) -> None:
        super().__init__(configs, positives)
        self.quantiles = torch.zeros(len(self.configs), positives.num_users, device=self.device)

    def start_epoch(self, epoch: int, tables: Tables) -> None:
        """Estimate the quantiles, if it is time to."""
        if not self.configs:  # the last run of this kind has left the stack
            return
        settings = self.configs[0].loss_parameters
        if (epoch - 1) % settings["quantile_every"]:
            return
        for run, (config, users, items) in enumerate(zip(self.configs, *tables(), strict=True)):
            for first in range(0, len(users), USERS_AT_ONCE):
                block = torch.arange(first, min(first + USERS_AT_ONCE, len(users)), device=self.device)
                drawn = draw_negatives(
                    len(items),
                    (len(block), config.num_negatives),
                    config.seed,
                    (epoch, first),
                    self.device,
                    purpose="quantile",
                )
                scores = users[block] @ items.T
                seen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, drawn, True)
                cells = self.positives.cells(block)
                seen[cells.row, cells.item] = True
                self.quantiles[run, block] = topk_quantile(scores, settings["k"], mask=seen)

    def variables(self) -> list[Tensor]:
        """The quantiles."""
        return [self.quantiles]

    def keywords(self, variables: Sequence[Tensor], users: Tensor, negatives: Tensor) -> dict[str, Any]:
        """``quantile`` (P, b) of the examples' users."""
        return {"quantile": variables[0].gather(1, users)}

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some of the runs only."""
        super().keep(staying)
        self.quantiles = self.quantiles[list(staying)]
