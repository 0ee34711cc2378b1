"""The ranking trainer: a stack of runs that share data and backbone, one leading axis on everything.

Each run has its own random stream, so its result does not depend on which other runs are in the stack.
Derived in the book's chapter *From BPR to the softmax loss*.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dslstudy.data.interactions import Interactions
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.optimizer import StackedAdam
from dslstudy.engine.sampler import Positives, draw_negatives, epoch_batches
from dslstudy.engine.scores import Batch, pick_scores, real_negatives, rows, score_tables
from dslstudy.errors import InputError
from dslstudy.losses import unchecked
from dslstudy.models import model_class

#: called with the score tables (R, U, d) and (R, I, d) of the runs in flight; returns one value per run, more is better
Validate = Callable[[Tensor, Tensor], Sequence[float]]

#: how many scores one part of the stack may hold at a time on a GPU; on the CPU a part is one run, since a run's
#: scores already keep all cores busy and a larger part would only push them out of the cache
SCORES_IN_FLIGHT = 2**28


@dataclass
class TrainedRun:
    """What a run leaves behind.

    Attributes:
        config: its configuration.
        user_table: (U, d) at the best validation; rows have unit length when the score is cosine.
        item_table: (I, d) likewise.
        history: one entry per validation: ``epoch``, mean training ``loss`` since the last one, ``validation``.
        best_epoch: the epoch that the tables are of.
        seconds: wall time of its stack divided by the runs then in flight, summed over epochs.
        diverged: the epoch in which its loss stopped being finite, if it did; the run ends there.
    """

    config: TrainingConfig
    user_table: Tensor
    item_table: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    diverged: int | None = None

    @property
    def best(self) -> float:
        """Best validation value so far."""
        return max((entry["validation"] for entry in self.history), default=float("-inf"))


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
) -> list[TrainedRun]:
    """Train a stack of runs and keep each at its best validation.

    Args:
        interactions: the training interactions.
        configs: one configuration per run; they must agree on ``TrainingConfig.stack_key``.
        validate: scores the tables of the runs in flight, more is better (NDCG@20 on the validation cut).
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show a progress bar on standard error.

    Returns:
        One trained run per configuration, in their order. On the CPU the same seed gives the same bits.

    Raises:
        InputError: no interactions, or configurations that cannot share a stack.
    """
    if not configs:
        return []
    if len(interactions) == 0:
        raise InputError("there are no training interactions")
    if len({config.stack_key() for config in configs}) > 1:
        raise InputError("the runs of a stack must share backbone, score, sizes, sampling and epochs")
    stack = _Stack(interactions, configs, training_device(device))
    bar = tqdm(total=configs[0].epochs, desc=_title(configs), unit="epoch", disable=not progress, leave=False)
    with bar:
        for epoch in range(1, configs[0].epochs + 1):
            stack.epoch()
            if epoch % configs[0].evaluate_every == 0 or epoch == configs[0].epochs:
                stack.validate(epoch, validate)
                in_flight = [run.best for run in stack.active]
                best = max(in_flight, default=max(run.best for run in stack.runs))
                bar.set_postfix(best=f"{best:.4f}", runs=len(in_flight))
            bar.update()
            if not stack.active:
                break
    return stack.runs


def _title(configs: Sequence[TrainingConfig]) -> str:
    losses = sorted({config.loss for config in configs})
    return f"{configs[0].backbone} {'+'.join(losses)}" + (f" x{len(configs)}" if len(configs) > 1 else "")


class _Stack:
    """The runs in flight: parameters, optimizer, random streams."""

    def __init__(self, interactions: Interactions, configs: Sequence[TrainingConfig], device: torch.device) -> None:
        self.device, self.shared = device, configs[0]
        # runs of one loss stand together, so that a part is a slice
        order = sorted(range(len(configs)), key=lambda i: (configs[i].loss, _words(configs[i])))
        empty = torch.empty(0)
        self.runs = [TrainedRun(config, empty, empty) for config in configs]
        self.active = [self.runs[i] for i in order]
        self.positives = Positives(interactions, device)
        self.generators = [torch.Generator(device).manual_seed(run.config.seed) for run in self.active]
        self.backbone = model_class(self.shared.backbone)(
            num_users=interactions.num_users,
            num_items=interactions.num_items,
            embedding_size=self.shared.embedding_size,
            generators=self.generators,
            interactions=interactions,
            **self.shared.backbone_parameters,
        ).to(device)
        self.optimizer = StackedAdam(
            self.backbone.parameters(),
            torch.tensor([run.config.learning_rate for run in self.active], device=device),
            torch.tensor([run.config.weight_decay for run in self.active], device=device),
        )
        self._reset_loss()

    def _reset_loss(self) -> None:
        self.loss_sum = torch.zeros(len(self.active), device=self.device)
        self.examples = 0

    def epoch(self) -> None:
        """One pass over the interactions for every run in flight."""
        started = time.perf_counter()
        config = self.shared
        for users, items in epoch_batches(self.positives, self.generators, config.batch_size):
            shape = (config.num_negatives,)
            if config.negative_sampling == "example":
                shape = (users.shape[1], *shape)
            negatives = draw_negatives(self.positives.num_items, shape, self.generators, self.device)
            self._step(users, items, negatives)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        for run in self.active:
            run.seconds += (time.perf_counter() - started) / len(self.active)

    def _step(self, users: Tensor, items: Tensor, negatives: Tensor) -> None:
        """Gradients of the losses with respect to the tables, part by part; then once through the backbone."""
        tables = self.backbone()
        gradients = [torch.empty_like(table) for table in tables]
        for part in self._parts(users.shape[1]):
            user_table, item_table = (table[part].detach().requires_grad_() for table in tables)
            batch = self._score(user_table, item_table, users[part], items[part], negatives[part])
            runs = self.active[part]
            with unchecked():  # validate() looks for losses that are not finite, once per validation
                losses = OBJECTIVES[runs[0].config.loss](batch, [run.config.loss_parameters for run in runs])
            means = losses.mean(dim=1)
            for gradient, of_part in zip(
                gradients, torch.autograd.grad(means.sum(), (user_table, item_table)), strict=True
            ):
                gradient[part] = of_part
            self.loss_sum[part] += means.detach() * users.shape[1]
        self.examples += users.shape[1]
        auxiliary = self.backbone.auxiliary_loss(users, items)
        if auxiliary is None:
            torch.autograd.backward(tables, gradients)
        else:
            torch.autograd.backward([*tables, auxiliary.sum()], [*gradients, None])
        self.optimizer.step()

    def _score(self, user_table: Tensor, item_table: Tensor, users: Tensor, items: Tensor, negatives: Tensor) -> Batch:
        user_table, scored_items = score_tables(user_table, item_table, self.shared.score)
        vectors = rows(user_table, users)
        known = (self.positives.of_users(run_users) for run_users in users)
        mask = torch.stack([real_negatives(k, sampled) for k, sampled in zip(known, negatives, strict=True)])
        return Batch(
            positive=(vectors * rows(scored_items, items)).sum(dim=-1),
            negatives=pick_scores(vectors, scored_items, negatives),
            mask=mask,
            positive_items=items,
            negative_items=negatives,
            item_table=item_table,
        )

    def _parts(self, batch_size: int) -> Iterator[slice]:
        """Slices of runs with one loss whose scores fit the device together."""
        most = 1
        if self.device.type == "cuda":
            width = max(self.positives.num_items, self.shared.num_negatives)
            most = max(1, SCORES_IN_FLIGHT // (batch_size * width))
        start = 0
        while start < len(self.active):
            kind = (self.active[start].config.loss, _words(self.active[start].config))
            stop = start + 1
            while stop < len(self.active) and stop - start < most:
                if (self.active[stop].config.loss, _words(self.active[stop].config)) != kind:
                    break
                stop += 1
            yield slice(start, stop)
            start = stop

    def validate(self, epoch: int, validate: Validate) -> None:
        """Note the validation of every run, keep new bests, and let runs go that stopped improving."""
        with torch.no_grad():
            tables = score_tables(*self.backbone.inference_tables(), self.shared.score)
            losses = (self.loss_sum / self.examples).tolist()
            finite = [i for i, loss in enumerate(losses) if isfinite(loss)]
            for i in set(range(len(losses))) - set(finite):
                self.active[i].diverged = epoch  # one bad setting must not take the rest of the stack with it
            if len(finite) < len(losses):
                tables, losses = tuple(table[finite] for table in tables), [losses[i] for i in finite]
                self._keep(finite)
            values = validate(*tables) if finite else []
            staying = []
            for i, (run, loss, value) in enumerate(zip(self.active, losses, values, strict=True)):
                if value > run.best:
                    run.best_epoch = epoch
                    run.user_table, run.item_table = (table[i].cpu().clone() for table in tables)
                run.history.append({"epoch": epoch, "loss": loss, "validation": float(value)})
                if epoch - run.best_epoch < run.config.patience * self.shared.evaluate_every:
                    staying.append(i)
        self._keep(staying)
        self._reset_loss()

    def _keep(self, staying: list[int]) -> None:
        if len(staying) == len(self.active):
            return
        self.active = [self.active[i] for i in staying]
        self.generators = [self.generators[i] for i in staying]
        if not staying:
            return
        self.backbone.keep(staying)
        self.optimizer.keep(torch.tensor(staying, device=self.device), self.backbone.parameters())


def _words(config: TrainingConfig) -> tuple[str, ...]:
    return OBJECTIVES[config.loss].words(config.loss_parameters)
