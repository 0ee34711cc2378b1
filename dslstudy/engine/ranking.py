"""The ranking trainer: one call trains a stack of runs that share data and backbone.

Each run has its own random numbers, so its result does not depend on which other runs are in the stack.
Derived in the book's chapter *From BPR to the softmax loss*; what it costs is measured in *Speed*.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from dslstudy.data.interactions import Interactions
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.memory import TooLargeError, is_out_of_memory, runs_that_fit
from dslstudy.engine.stack import Stack, TrainedRun, Validate, check_stack
from dslstudy.errors import InputError

__all__ = ["Stack", "TrainedRun", "Validate", "train", "training_device"]


def training_device(name: str) -> torch.device:
    """The device that a user named.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here; use --device cpu") from error
    return device


def train(
    interactions: Interactions,
    configs: Sequence[TrainingConfig],
    validate: Validate,
    *,
    device: str = "cpu",
    progress: bool = True,
    compile: str = "auto",
    checkpoint: Checkpoint | None = None,
) -> list[TrainedRun]:
    """Train a stack of runs and keep each at its best validation.

    A stack that does not fit the device is cut into smaller ones, trained one after the other.

    Args:
        interactions: the training interactions.
        configs: one configuration per run; they must agree on ``TrainingConfig.stack_key``.
        validate: scores the tables of the runs in flight, more is better (NDCG@20 on the validation cut).
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show a progress bar on standard error.
        compile: ``auto`` compiles the losses of long runs where there is a compiler, ``always``, ``never``.
        checkpoint: where the runs' states are kept while they are trained; runs found there go on from it. The caller
            removes it when the results are safe.

    Returns:
        One trained run per configuration, in their order. On the CPU the same seed gives the same bits.

    Raises:
        InputError: no interactions, configurations that cannot share a stack, or a run too large for the device.
    """
    if not configs:
        return []
    if len(interactions) == 0:
        raise InputError("there are no training interactions")
    check_stack(configs)
    where = training_device(device)
    runs = [TrainedRun(config) for config in configs]
    saved = {} if checkpoint is None else checkpoint.runs
    for run in runs:
        _recall(run, saved.get(_key(run)))
    shared = configs[0]
    fit = runs_that_fit(interactions.num_users, interactions.num_items, shared.embedding_size, where)
    todo = _stacks([run for run in runs if not _finished(saved.get(_key(run)))], saved, fit)
    while todo:
        stack = todo.pop(0)
        try:
            _train_stack(interactions, stack, saved, validate, where, progress, compile, checkpoint)
        except Exception as error:
            if not (isinstance(error, TooLargeError) or is_out_of_memory(error)):
                raise
            left = [run for run in stack if not _finished(saved.get(_key(run)))]
            if len(left) == 1:
                raise InputError(
                    f"one run of {shared.backbone} does not fit the memory of {where}: lower batch_size, num_negatives"
                    " or embedding_size, or use another device"
                ) from error
            halves = left[: len(left) // 2], left[len(left) // 2 :]
        else:
            continue
        if where.type == "cuda":
            torch.cuda.empty_cache()
        for run in stack:  # back to the last checkpoint, or to the start
            run.__init__(run.config)
            _recall(run, saved.get(_key(run)))
        todo = [*filter(None, halves), *todo]
    return runs


def _stacks(runs: list[TrainedRun], saved: dict, most: int) -> list[list[TrainedRun]]:
    """Runs that stand at the same epoch, at most so many together."""
    by_epoch: dict[int, list[TrainedRun]] = {}
    for run in runs:
        by_epoch.setdefault(saved.get(_key(run), {}).get("epoch", 0), []).append(run)
    return [group[i : i + most] for group in by_epoch.values() for i in range(0, len(group), most)]


def _train_stack(
    interactions: Interactions,
    runs: list[TrainedRun],
    saved: dict,
    validate: Validate,
    device: torch.device,
    progress: bool,
    compile: str,
    checkpoint: Checkpoint | None,
) -> None:
    config = runs[0].config
    with (
        Stack(interactions, runs, device, compile=compile) as stack,
        tqdm(total=config.epochs, desc=_title(runs), unit="epoch", disable=not progress, leave=False) as bar,
    ):
        if _key(runs[0]) in saved:
            stack.restore([saved[_key(run)] for run in stack.active])
            bar.update(stack.epoch_number)
        while stack.active and stack.epoch_number < config.epochs:
            stack.epoch()
            epoch = stack.epoch_number
            if epoch % config.evaluate_every == 0 or epoch == config.epochs:
                stack.validate(validate)
                in_flight = [run.best for run in stack.active]
                best = max(in_flight, default=max(run.best for run in runs))
                bar.set_postfix(best=f"{best:.4f}", runs=len(in_flight))
            bar.update()
            if checkpoint is not None and checkpoint.due:
                checkpoint.write(_states(runs, stack))
        if checkpoint is not None:
            stack.keep([])
            checkpoint.write(_states(runs, stack))


def _states(runs: Sequence[TrainedRun], stack: Stack) -> dict[str, dict]:
    """What the checkpoint keeps: of runs in flight everything, of the others what they leave behind."""
    in_flight = dict(zip(map(id, stack.active), stack.states(), strict=True))
    names = ("user_table", "item_table", "history", "best_epoch", "seconds", "diverged")
    return {
        _key(run): in_flight.get(id(run), {"finished": True}) | {name: getattr(run, name) for name in names}
        for run in runs
    }


def _recall(run: TrainedRun, state: dict | None) -> None:
    """Give a run back what it had left behind at the checkpoint."""
    if state is not None:
        for name in ("user_table", "item_table", "best_epoch", "seconds", "diverged"):
            setattr(run, name, state[name])
        run.history = list(state["history"])


def _finished(state: dict | None) -> bool:
    return state is not None and state.get("finished", False)


def _key(run: TrainedRun) -> str:
    return repr(run.config)


def _title(runs: Sequence[TrainedRun]) -> str:
    config, losses = runs[0].config, sorted({run.config.loss for run in runs})
    return f"{config.backbone} {'+'.join(losses)}" + (f" x{len(runs)}" if len(runs) > 1 else "")
