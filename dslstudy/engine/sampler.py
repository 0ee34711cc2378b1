"""Positives and negatives of a batch, and which negatives are positives (book: From BPR to the softmax loss)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dslstudy.data.interactions import Interactions
from dslstudy.engine.streams import place_seed, torch_seed, uniform_items


class Positives:
    """The training interactions on a device, sorted by user so that a user's items are one slice.

    Args:
        interactions: the training interactions.
        device: where the tensors live.
    """

    def __init__(self, interactions: Interactions, device: torch.device | str = "cpu") -> None:
        self.num_users, self.num_items = interactions.num_users, interactions.num_items
        self.keys = torch.tensor(interactions.keys(), device=device)
        self.users, self.items = self.keys // self.num_items, self.keys % self.num_items
        self.counts = torch.bincount(self.users, minlength=self.num_users)
        self.start = torch.zeros(self.num_users + 1, dtype=torch.int64, device=device)
        self.start[1:] = self.counts.cumsum(0)

    def __len__(self) -> int:
        return len(self.users)

    def cells(self, users: Tensor, total: int | None = None) -> Cells:
        """The training items of a batch's users.

        Args:
            users: (B,) user ids; several runs' users one behind the other.
            total: how many items that makes, if it is known; a GPU need not be asked then.
        """
        count = self.counts[users]
        if total is None:
            total = int(count.sum())
        end = count.cumsum(0)
        # the batch's slices laid end to end: place p of the result is place p + shift of the training interactions
        shift = self.start[users] - (end - count)
        row = torch.repeat_interleave(torch.arange(len(users), device=users.device), count, output_size=total)
        place = torch.arange(total, device=users.device) + shift[row]
        return Cells(users, row, self.items[place], end, self)


@dataclass
class Cells:
    """The training items of a batch's users as cells (row, item) of its score matrix, ordered by row.

    There are as many as the users have items: never a users x items matrix, and filling them in costs far less than
    looking up each of B x N sampled pairs.

    Attributes:
        users: (B,) the batch's users.
        row: (n,) row of each cell.
        item: (n,) column.
        end: (B,) number of cells in the rows up to and including this one.
        positives: what they were taken from.
    """

    users: Tensor
    row: Tensor
    item: Tensor
    end: Tensor
    positives: Positives

    def select(self, examples: slice, runs: int = 1) -> Cells:
        """The cells of some examples of each run; their rows are numbered from 0 again, run after run.

        On a GPU this waits to hear how many cells there are.
        """
        per_run, length = len(self.users) // runs, examples.stop - examples.start
        parts = []
        for run in range(runs):
            start, stop = run * per_run + examples.start, run * per_run + examples.stop
            first, last = (int(self.end[row - 1]) if row else 0 for row in (start, stop))
            parts.append(
                (
                    self.users[start:stop],
                    self.row[first:last] + (run * length - start),
                    self.item[first:last],
                    self.end[start:stop] - first,
                )
            )
        if runs == 1:
            return Cells(*parts[0], self.positives)
        users, row, item, end = (list(column) for column in zip(*parts, strict=True))
        total = 0
        for run, last in enumerate(end):
            end[run] = last + total
            total += len(row[run])
        return Cells(torch.cat(users), torch.cat(row), torch.cat(item), torch.cat(end), self.positives)

    def fill(self, scores: Tensor, examples: slice, value: float = -torch.inf) -> None:
        """Put a value on the cells of some examples, in place.

        Args:
            scores: (P, b, I) scores of the examples of each run; the batch has P times as many rows.
            examples: slice of 0 to B / P.
            value: minus infinity makes the softmax forget them.
        """
        runs, length, num_items = scores.shape
        here = self if runs * length == len(self.users) else self.select(examples, runs)
        scores.view(-1).index_fill_(0, here.row * num_items + here.item, value)

    def places_among(self, columns: Columns) -> Tensor:
        """Where the cells lie in the scores of negatives that the batch shares.

        A GPU would have to wait to hear how many there are: there, ``contains`` is the better way.

        Args:
            columns: of the negatives.

        Returns:
            (n,) places in the flattened (P, B / P, N).
        """
        runs, count = columns.order.shape
        per_run = len(self.users) // runs
        places = []
        for run in range(runs):
            here = self if runs == 1 else self.select(slice(run * per_run, (run + 1) * per_run))
            found = columns.times[run].bool()[here.item].nonzero()[:, 0]  # few of the cells were drawn
            item = here.item[found]
            times = columns.times[run][item]
            cell = torch.repeat_interleave(times)
            step = torch.arange(len(cell)) - (times.cumsum(0) - times)[cell]
            column = columns.order[run][columns.first[run][item][cell] + step]
            places.append((run * per_run + here.row[found][cell]) * count + column)
        return torch.cat(places)

    def contains(self, items: Tensor) -> Tensor:
        """Which items are cells of their row, by looking them up among the sorted keys of all interactions.

        Args:
            items: (P, B / P, N).

        Returns:
            (P, B / P, N) bool.
        """
        keys = self.positives.keys
        wanted = self.users.view(*items.shape[:2], 1) * self.positives.num_items + items
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        return keys[place] == wanted


@dataclass(frozen=True)
class Columns:
    """Which columns of a batch's scores are of an item, for negatives that the batch shares.

    Attributes:
        order: (P, N) columns, ordered by item.
        times: (P, I) how often each item was drawn.
        first: (P, I) where its columns begin in ``order``.
    """

    order: Tensor
    times: Tensor
    first: Tensor

    @classmethod
    def of(cls, negatives: Tensor, num_items: int) -> Columns:
        """Those of negatives (P, N), with repetitions."""
        times = torch.stack([drawn.bincount(minlength=num_items) for drawn in negatives])
        return cls(negatives.argsort(dim=1), times, times.cumsum(1) - times)


def epoch_order(num_interactions: int, seed: int, epoch: int) -> Tensor:
    """The order (n,) in which a run goes through the training interactions in one epoch; on the CPU."""
    generator = torch.Generator().manual_seed(torch_seed(seed, "order", epoch))
    return torch.randperm(num_interactions, generator=generator)


def draw_negatives(
    num_items: int,
    shape: Sequence[int],
    seed: int,
    place: Sequence[int] = (),
    device: torch.device | str = "cpu",
    *,
    purpose: str = "negatives",
) -> Tensor:
    """Draw items uniformly with replacement. Accidental positives are still among them.

    Args:
        num_items: items I to draw from.
        shape: (B, N) for negatives per example, (N,) for negatives that a batch shares.
        seed: of the run.
        place: where in the run they are used (epoch, step, share of the batch): another place, other numbers.
        device: where they are drawn; a GPU draws other numbers than a CPU.
        purpose: what they are for, one of ``streams.PURPOSES``.

    Returns:
        (*shape) int64.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return uniform_items(num_items, shape, place_seed(seed, purpose, *place))
    generator = torch.Generator(device).manual_seed(torch_seed(seed, purpose, *place))
    return torch.randint(num_items, tuple(shape), generator=generator, device=device)
