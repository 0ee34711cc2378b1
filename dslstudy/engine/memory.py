"""How many runs fit a device at a time, and what an out-of-memory error looks like."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

#: share of the free memory that a plan may fill
USABLE = 0.7
#: tables' worth of memory per run: values, gradients, two moments, the backbone's output and its gradients, the best
COPIES = 8


class TooLargeError(RuntimeError):
    """A stack does not fit the device even one run at a time."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = 2**62
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        available = [line.split()[1] for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")]
        free = int(available[0]) * 1024 if available else free
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, max(0, limit - _address_space()))
    return free


def _address_space() -> int:
    """Bytes of this process's address space in use."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0


def runs_that_fit(num_users: int, num_items: int, embedding_size: int, device: torch.device) -> int:
    """How many runs' tables, gradients and moments fit the device together; at least one, so that it is tried."""
    per_run = COPIES * (num_users + num_items) * embedding_size * 4
    return max(1, int(USABLE * free_bytes(device) / per_run))
