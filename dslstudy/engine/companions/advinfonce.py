"""AdvInfoNCE's adversary: a matrix factorization of its own that decides how hard each negative is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dslstudy.engine.companions.companion import LearningCompanion, Tables
from dslstudy.engine.sampler import Positives
from dslstudy.engine.scores import pick_scores, rows, shared_scores
from dslstudy.engine.streams import torch_seed

if TYPE_CHECKING:
    from dslstudy.engine.config import TrainingConfig


class Adversary(LearningCompanion):
    """Tables (R, U, d) and (R, I, d) whose inner products are the logits of the hardness.

    They start as small normal numbers, so that all negatives are about equally hard, and move in every
    ``adversary_every``-th epoch only, with a small step: together that bounds how far the adversary strays. In such an
    epoch model and adversary move at the same time; the published code holds the model still.

    Source: Zhang et al., "Empowering Collaborative Filtering with Principled Adversarial Contrastive Loss" (NeurIPS
    2023). Chapter: "From BPR to the softmax loss", section "The other losses of the tables".
    """

    def __init__(self, configs: Sequence[TrainingConfig], positives: Positives) -> None:
        shapes = [(count, configs[0].embedding_size) for count in (positives.num_users, positives.num_items)]
        values = [torch.empty(len(configs), *shape) for shape in shapes]
        for run, config in enumerate(configs):
            generator = torch.Generator().manual_seed(torch_seed(config.seed, "adversary"))
            for value in values:
                torch.nn.init.xavier_normal_(value[run], generator=generator)
        rates = [config.loss_parameters["adversary_learning_rate"] for config in configs]
        super().__init__(configs, positives, values, rates)

    def start_epoch(self, epoch: int, tables: Tables) -> None:
        """Move in some epochs only."""
        # the last run of this kind may have left the stack
        self.moving = bool(self.configs) and epoch % self.configs[0].loss_parameters["adversary_every"] == 0

    def keywords(self, variables: Sequence[Tensor], users: Tensor, negatives: Tensor) -> dict[str, Any]:
        """``logits`` (P, b, N) of the negatives."""
        user_table, item_table = variables
        vectors = rows(user_table, users)
        if negatives.dim() == 2:
            logits = shared_scores(vectors, rows(item_table, negatives), negatives)
        else:
            logits = pick_scores(vectors, item_table, negatives)
        return {"logits": logits}

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Up the gradients."""
        super().step([-gradient for gradient in gradients])
