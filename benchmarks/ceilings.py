"""What this machine can do at most: copying memory, multiplying matrices. As bare as a measurement gets."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


def best_seconds(operation: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """The fastest of as many calls as fit the time, after two that do not count."""
    fastest, spent, calls = float("inf"), 0.0, -2
    while spent < seconds or calls < 3:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        operation()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - started
        calls += 1
        if calls > 0:
            fastest, spent = min(fastest, taken), spent + taken
    return fastest


def ceilings(device: torch.device, *, seconds: float) -> dict[str, float]:
    """Gigabytes per second read and written by a copy, gigaflops of a float32 product as the engine computes it."""
    values, size = (2**30, 8192) if device.type == "cuda" else (2**26, 2048)
    source = torch.ones(values // 4, device=device)
    target = torch.empty_like(source)
    copy = best_seconds(lambda: target.copy_(source), device, seconds=seconds)
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    out = torch.empty_like(left)
    product = best_seconds(lambda: torch.matmul(left, right, out=out), device, seconds=seconds)
    return {"gigabytes_per_second": 2e-9 * values / copy, "gigaflops_per_second": 2e-9 * size**3 / product}


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    measured = ceilings(torch.device(spec["device"]), seconds=min(1.0, spec["seconds"]))
    Path(sys.argv[2]).write_text(json.dumps(measured), encoding="utf-8")
