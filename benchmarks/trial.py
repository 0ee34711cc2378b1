"""One trial of one contender, measured the same way whoever it is.

`dslstudy bench` starts a contender as a process of its own, `python CONTENDER.py TASK.json RESULT.json`, and reads the
result. This file needs numpy and the standard library alone, so that it also runs where the peers are installed.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Task:
    """What a contender is asked to do.

    Attributes:
        mode: `rate` (updates per second), `train` (a number of epochs, tables kept after each) or `evaluate` (users per
            second).
        settings: embedding_size, num_negatives, batch_size, temperature, learning_rate, ...
        seed: of everything random.
        threads: processor cores it may use.
        device: `cpu` or `cuda`.
        train: (n, 2) user and item of each training interaction, both counted from zero.
        validation: (m, 2) likewise, none of them in `train`.
        num_users, num_items: sizes of the id spaces.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.mode, self.settings = spec["mode"], spec["settings"]
        self.seed, self.threads, self.device = spec["seed"], spec["threads"], spec["device"]
        with np.load(spec["data"]) as arrays:
            self.train, self.validation = arrays["train"], arrays["validation"]
            self.num_users, self.num_items = int(arrays["num_users"]), int(arrays["num_items"])

    @property
    def updates_per_epoch(self) -> int:
        """Batches in one pass over the training interactions; the last one may be smaller."""
        return -(-len(self.train) // self.settings["batch_size"])

    def interactions(self, updates: int) -> float:
        """Training interactions in that many updates, averaged over an epoch."""
        return updates * len(self.train) / self.updates_per_epoch


class Contender(Protocol):
    """What a trial needs to know of a contender.

    Attributes:
        chunk: the fewest updates it can do at a time (a whole epoch for those that offer nothing smaller).
        runs: runs that one of its updates trains together.
    """

    chunk: int
    runs: int

    def run(self, updates: int) -> None:
        """Train for so many updates, a multiple of `chunk`, and wait until they are done."""

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Tables (R, U, d) and (R, I, d) whose inner products are its scores."""

    def evaluate(self) -> int:
        """Rank all items for every user with validation interactions, NDCG@20 and Recall@20; returns the users."""


def memory_mb(*, peak: bool) -> float:
    """Memory of this process in MiB: in use now, or the most since `forget_peak`."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:" if peak else "VmRSS:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Let the peak of memory start anew where the system offers that (Linux); elsewhere it stays the process's own."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def measure_rate(contender: Contender, task: Task) -> dict[str, Any]:
    """Updates until the time is over, after some that do not count: compiling, caches, first touches are theirs."""
    started = time.perf_counter()
    contender.run(contender.chunk * -(-task.spec["warmup"] // contender.chunk))
    warmup_seconds = time.perf_counter() - started
    updates, seconds = 0, 0.0
    while updates < task.spec["least_updates"] or seconds < task.spec["seconds"]:
        chunk = contender.chunk
        if updates:  # about ten looks at the clock are enough
            wanted = updates / seconds * task.spec["seconds"] / 10
            chunk = max(contender.chunk, int(wanted) // contender.chunk * contender.chunk)
        started = time.perf_counter()
        contender.run(chunk)
        seconds += time.perf_counter() - started
        updates += chunk
    return {
        "updates": updates,
        "seconds": seconds,
        "warmup_seconds": warmup_seconds,
        "updates_per_second": updates / seconds,
        "seconds_per_update": seconds / updates,
        "interactions_per_second": contender.runs * task.interactions(updates) / seconds,
    }


def measure_training(build: Callable[[Task], Contender], task: Task, result: Path) -> dict[str, Any]:
    """Epochs one after another; the clock stands still while tables are written for the driver to evaluate.

    A first contender, which is thrown away, does what is to be done once, such as compiling.
    """
    started = time.perf_counter()
    throwaway = build(task)
    throwaway.run(throwaway.chunk * -(-task.spec["warmup"] // throwaway.chunk))
    close(throwaway)
    warmup_seconds = time.perf_counter() - started
    contender = build(task)
    seconds, history = 0.0, []
    every = task.spec["evaluate_every"]
    while len(history) * every < task.spec["epochs"] and seconds < task.spec["seconds"]:
        started = time.perf_counter()
        for _ in range(every):
            contender.run(task.updates_per_epoch)
        seconds += time.perf_counter() - started
        users, items = contender.tables()
        tables = result.with_name(f"{result.stem}-{len(history)}.npz")
        np.savez(tables, users=users.astype(np.float32), items=items.astype(np.float32))
        history.append({"epoch": (len(history) + 1) * every, "seconds": seconds, "tables": tables.name})
    close(contender)
    updates = history[-1]["epoch"] * task.updates_per_epoch
    return {
        "updates": updates,
        "seconds": seconds,
        "warmup_seconds": warmup_seconds,
        "updates_per_second": updates / seconds,
        "interactions_per_second": contender.runs * task.interactions(updates) / seconds,
        "history": history,
    }


def measure_evaluation(contender: Contender, task: Task) -> dict[str, Any]:
    """Evaluations until the time is over, the first one included in memory but not in time."""
    started = time.perf_counter()
    contender.evaluate()
    warmup_seconds = time.perf_counter() - started
    users, seconds = 0, 0.0
    while not users or seconds < task.spec["seconds"]:
        started = time.perf_counter()
        users += contender.evaluate()
        seconds += time.perf_counter() - started
    return {
        "users": users,
        "seconds": seconds,
        "warmup_seconds": warmup_seconds,
        "users_per_second": users / seconds,
    }


def close(contender: Contender) -> None:
    """Let a contender end its threads, if it has any."""
    getattr(contender, "close", lambda: None)()


def main(build: Callable[[Task], Contender]) -> None:
    """Read the task, build the contender, measure, write the result."""
    spec, result = (Path(word) for word in sys.argv[1:3])
    task = Task(json.loads(spec.read_text(encoding="utf-8")))
    before = memory_mb(peak=False)
    forget_peak()
    if task.mode == "train":
        measured = measure_training(build, task, result)
    else:
        started = time.perf_counter()
        contender = build(task)
        measured = {"build_seconds": time.perf_counter() - started}
        with_model = memory_mb(peak=False)
        if task.mode == "evaluate":
            forget_peak()
            measured |= measure_evaluation(contender, task)
            measured["memory_above_model_mb"] = memory_mb(peak=True) - with_model
        else:
            measured |= measure_rate(contender, task)
        measured |= getattr(contender, "facts", dict)()
        close(contender)
    peak = memory_mb(peak=True)
    measured |= {"peak_memory_mb": peak, "memory_above_start_mb": peak - before}
    result.write_text(json.dumps(measured), encoding="utf-8")
