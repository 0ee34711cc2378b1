"""What the trainer asks of a backbone; a new one is a small file that answers it (book: Backbones)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def normal_tables(rows: int, size: int, generators: Sequence[torch.Generator], *, scale: float) -> Tensor:
    """Draw one normal table per run, each from that run's own random stream.

    Args:
        rows: users or items.
        size: embedding size d.
        generators: one per run; a run's table does not depend on the others in the stack.
        scale: standard deviation of the entries.

    Returns:
        (R, rows, d) float32 on the generators' device.
    """
    return torch.stack(
        [torch.randn(rows, size, generator=generator, device=generator.device) * scale for generator in generators]
    )


class Backbone(nn.Module):
    """Makes the user and item tables of a stack of R runs.

    Every backbone is built with ``num_users``, ``num_items``, ``embedding_size``, ``generators`` (one random stream per
    run, on the device where the tables shall live) and ``interactions`` (the training interactions) as keywords, and
    has a leading run axis on all its parameters. Its other keyword arguments are its hyperparameters.
    """

    def forward(self) -> tuple[Tensor, Tensor]:
        """The tables that training scores are computed from: (R, U, d), (R, I, d)."""
        raise TypeError(f"{type(self).__name__} must say how its tables are made: define forward")

    @torch.no_grad()
    def inference_tables(self) -> tuple[Tensor, Tensor]:
        """The tables to evaluate, without gradients and without noise: (R, U, d), (R, I, d)."""
        return self()

    def auxiliary_loss(self, users: Tensor, items: Tensor) -> Tensor | None:
        """A loss of the backbone's own, from its latest forward pass.

        Args:
            users: (R, B) of the batch.
            items: (R, B) its positive items.

        Returns:
            (R,) to be added to the mean ranking loss of the batch, or ``None`` for no such loss.
        """
        return None

    def keep(self, runs: Sequence[int]) -> None:
        """Go on with some runs only.

        Args:
            runs: indices of the runs that stay, in their order.
        """
        for parameter in self.parameters():
            parameter.data = parameter.data[list(runs)]
