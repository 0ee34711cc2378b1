"""Positives and negatives, drawn on the device (book: From BPR to the softmax loss)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dslstudy.data.interactions import Interactions


class Positives:
    """The training interactions on a device, sorted by user so that a user's items are one slice.

    Args:
        interactions: the training interactions.
        device: where the tensors live.
    """

    def __init__(self, interactions: Interactions, device: torch.device | str = "cpu") -> None:
        self.num_users, self.num_items = interactions.num_users, interactions.num_items
        keys = torch.tensor(interactions.keys(), device=device)
        self.users, self.items = keys // self.num_items, keys % self.num_items
        counts = torch.bincount(self.users, minlength=self.num_users)
        self.start = torch.zeros(self.num_users + 1, dtype=torch.int64, device=device)
        self.start[1:] = counts.cumsum(0)

    def __len__(self) -> int:
        return len(self.users)

    def of_users(self, users: Tensor) -> Tensor:
        """Which items each of the users has interacted with.

        Args:
            users: (B,) user ids.

        Returns:
            (B, I) bool. It is as large as one batch of scores against all items, never users x items, and filling
            it from the users' slices costs far less than looking up each of B x N sampled pairs.
        """
        first, count = self.start[users], self.start[users + 1] - self.start[users]
        total = int(count.sum())
        shift = first - (count.cumsum(0) - count)
        row_start = torch.arange(len(users), device=users.device) * self.num_items
        place = torch.arange(total, device=users.device) + torch.repeat_interleave(shift, count, output_size=total)
        cell = self.items[place] + torch.repeat_interleave(row_start, count, output_size=total)
        known = torch.zeros(len(users), self.num_items, dtype=torch.bool, device=users.device)
        known.view(-1).index_fill_(0, cell, True)
        return known


def epoch_batches(
    positives: Positives, generators: Sequence[torch.Generator], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the interactions in an order of each run's own.

    Args:
        positives: what to go through.
        generators: one random stream per run.
        batch_size: examples B in a batch; the last batch of the epoch holds what remains.

    Yields:
        users (R, B) and positive items (R, B).
    """
    n, device = len(positives), positives.users.device
    order = torch.stack([torch.randperm(n, generator=generator, device=device) for generator in generators])
    for batch in order.split(batch_size, dim=1):
        yield positives.users[batch], positives.items[batch]


def draw_negatives(
    num_items: int, shape: tuple[int, ...], generators: Sequence[torch.Generator], device: torch.device | str
) -> Tensor:
    """Draw items uniformly with replacement, each run from its own stream.

    Args:
        num_items: items I to draw from.
        shape: (B, N) for negatives per example, (N,) for negatives that a batch shares.
        generators: one random stream per run.
        device: the generators' device.

    Returns:
        (R, *shape) int64. Accidental positives are still in it; the trainer masks them.
    """
    negatives = torch.empty((len(generators), *shape), dtype=torch.int64, device=device)
    for row, generator in zip(negatives, generators, strict=True):
        row.random_(0, num_items, generator=generator)
    return negatives
