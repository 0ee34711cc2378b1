"""Random numbers that depend on nothing but a run's seed and the place where they are used.

No stream has a state that is carried along: the negatives of step 3 of epoch 7 are the same whether the run trains
alone or in a stack, from the start or from a checkpoint.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

#: what numbers are drawn for; a purpose's place in this tuple is part of every seed, so new ones go to the end
PURPOSES = ("start", "order", "negatives", "noise", "quantile", "adversary")


def place_seed(seed: int, purpose: str, *place: int) -> np.random.SeedSequence:
    """The seed of one place in a run.

    Args:
        seed: of the run.
        purpose: one of ``PURPOSES``.
        place: epoch, step, ... as far as the purpose needs them.
    """
    return np.random.SeedSequence([seed, PURPOSES.index(purpose), *place])


def torch_seed(seed: int, purpose: str, *place: int) -> int:
    """``place_seed`` as the 63-bit number that seeds a ``torch.Generator``."""
    return int(place_seed(seed, purpose, *place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def uniform_items(num_items: int, shape: Sequence[int], seed: np.random.SeedSequence) -> Tensor:
    """Items drawn uniformly with replacement, on the CPU.

    Each 64-bit output of SFC64 makes two items by multiplication and shift, whose bias is below ``I / 2**31``. That
    costs a third of ``Tensor.random_`` on int64.

    Args:
        num_items: items I, at most 2**31.
        shape: of the result.
        seed: decides the numbers.

    Returns:
        (*shape) int64.
    """
    items = torch.empty(tuple(shape), dtype=torch.int64)
    flat, total = items.view(-1), items.numel()
    half = (total + 1) // 2
    raw = torch.from_numpy(np.random.SFC64(seed).random_raw(half).view(np.int64))
    first, second = flat[:half], flat[half:]
    # 31 bits times I stays below 2**62
    torch.bitwise_and(raw, 2**31 - 1, out=first).mul_(num_items).bitwise_right_shift_(31)
    raw = raw[: total - half]
    torch.bitwise_right_shift(raw, 32, out=second).bitwise_and_(2**31 - 1).mul_(num_items).bitwise_right_shift_(31)
    return items
