"""The runs in flight: a stack that shares data and backbone, one leading axis on everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from dslstudy.data.interactions import Interactions
from dslstudy.engine.companions.companion import Companion
from dslstudy.engine.compiling import decide
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.fused import fused_available, fused_fits
from dslstudy.engine.log_sums import counts_of
from dslstudy.engine.memory import TooLargeError, is_out_of_memory
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.optimizer import StackedAdam
from dslstudy.engine.part import Part
from dslstudy.engine.sampler import Cells, Columns, Positives, draw_negatives, epoch_order
from dslstudy.engine.scores import add_rows, rows, score_tables, scores_by_product, tensor_cores
from dslstudy.engine.streams import torch_seed
from dslstudy.engine.workers import Workers
from dslstudy.errors import InputError
from dslstudy.models import model_class

#: called with the score tables (R, U, d) and (R, I, d) of the runs in flight; returns one value per run, more is better
Validate = Callable[[Tensor, Tensor], Sequence[float]]
#: a loss and the hyperparameters that runs computed together agree on
Kind = tuple[str | int, ...]

#: scores that one part of the stack may hold at a time on a GPU; on a CPU a part is one run
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
    user_table: Tensor = field(default_factory=lambda: torch.empty(0))
    item_table: Tensor = field(default_factory=lambda: torch.empty(0))
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    diverged: int | None = None

    @property
    def best(self) -> float:
        """Best validation value so far."""
        return max((entry["validation"] for entry in self.history), default=float("-inf"))


@dataclass(frozen=True)
class Place:
    """Where in the training a batch stands, and how many training items its users have, run by run."""

    epoch: int
    step: int
    cells: Sequence[int] | None


class Stack:
    """A stack of runs: parameters, optimizer, and one step of training for all of them.

    Use it as a context manager, or ``close`` it: on a CPU it owns threads.

    Args:
        interactions: the training interactions.
        runs: the runs, which agree on ``TrainingConfig.stack_key``.
        device: where it is trained.
        compile: ``auto``, ``always`` or ``never``: whether losses are compiled.
    """

    def __init__(
        self, interactions: Interactions, runs: Sequence[TrainedRun], device: torch.device, *, compile: str = "auto"
    ) -> None:
        self.device, self.shared, self.epoch_number = device, runs[0].config, 0
        # runs of one loss stand together, so that a part is a slice
        self.active = sorted(runs, key=_kind_of)
        self.positives = Positives(interactions, device)
        self.generators = [
            torch.Generator(device).manual_seed(torch_seed(run.config.seed, "start")) for run in self.active
        ]
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
            [run.config.learning_rate for run in self.active],
            [run.config.weight_decay for run in self.active],
        )
        self.kinds = [_kind_of(run) for run in self.active]
        self.companions: dict[Kind, Companion] = {}
        for kind in dict.fromkeys(self.kinds):
            make = OBJECTIVES[kind[0]].companion
            if make is not None:
                self.companions[kind] = make([run.config for run in self.active[self._of_kind(kind)]], self.positives)
        config = self.shared
        self.compile = decide(compile, config.epochs * len(interactions) * config.num_negatives, device)
        # the fused kernel gathers: it is for item sets too large to be scored whole
        self.fused = (
            config.negative_sampling == "example"
            and not scores_by_product(interactions.num_items, config.num_negatives, device.type)
            and fused_fits(config.num_negatives, config.embedding_size)
            and fused_available(device)
        )
        width = max(interactions.num_items, config.num_negatives)
        self.part_size = 1 if device.type == "cpu" else max(1, SCORES_IN_FLIGHT // (config.batch_size * width))
        self._of_step: dict[tuple[object, ...], Future[Any]] = {}
        self._step_lock = Lock()
        self._of_variables: dict[Kind, list[Tensor]] = {}
        self._of_tables: list[Tensor] = []
        self._settings: dict[tuple[int, int], tuple[tuple[str, ...], dict[str, Tensor | int]]] = {}
        self._reset_loss()
        self.workers = Workers(device).__enter__()
        self._prefetch = ThreadPoolExecutor(1, "dslstudy-prefetch") if device.type == "cuda" else None
        self._next_orders: Future[tuple[int, list[int], Tensor]] | None = None

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        self.workers.__exit__(None, None, None)
        if self._prefetch is not None:
            self._prefetch.shutdown(cancel_futures=True)

    def _reset_loss(self) -> None:
        self.loss_sum = torch.zeros(len(self.active), device=self.device)
        self.examples = 0

    # -- one epoch ------------------------------------------------------------------------------------------------

    def epoch(self) -> None:
        """One pass over the interactions for every run in flight."""
        started = time.perf_counter()
        for users, items, place in self._batches():
            self._step(users, items, place)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        for run in self.active:
            run.seconds += (time.perf_counter() - started) / len(self.active)

    def steps(self, count: int) -> None:
        """Exactly ``count`` updates of every run, over as many epochs as that takes (for measurements)."""
        while count > 0:
            for users, items, place in self._batches():
                self._step(users, items, place)
                count -= 1
                if count == 0:
                    break
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Place]]:
        """Users (R, B), positive items (R, B) and the place of every batch of the next epoch."""
        self.epoch_number += 1
        for run, generator in zip(self.active, self.generators, strict=True):
            generator.manual_seed(torch_seed(run.config.seed, "noise", self.epoch_number))
        self._start_companions()
        order = self._orders()
        batches = order.split(self.shared.batch_size, dim=1)
        cells = None
        if self.device.type == "cuda":  # asked once per epoch: asking in each step would wait for the device
            counts = self.positives.counts[self.positives.users[order]]
            cells = torch.stack([part.sum(1) for part in counts.split(self.shared.batch_size, dim=1)]).tolist()
        for step, batch in enumerate(batches):
            place = Place(self.epoch_number, step, cells and cells[step])
            yield self.positives.users[batch], self.positives.items[batch], place

    def _orders(self) -> Tensor:
        """The runs' orders (R, n) of this epoch, on the device; a GPU's next ones are drawn while it works."""
        seeds = [run.config.seed for run in self.active]
        if self._prefetch is None:
            return torch.stack([epoch_order(len(self.positives), seed, self.epoch_number) for seed in seeds])
        if self._next_orders is not None:
            epoch, drawn_for, orders = self._next_orders.result()
            ready = epoch == self.epoch_number and set(seeds) <= set(drawn_for)
        else:
            ready = False
        if not ready:
            _, drawn_for, orders = self._draw_orders(self.epoch_number, seeds)
        self._next_orders = self._prefetch.submit(self._draw_orders, self.epoch_number + 1, seeds)
        here = orders.to(self.device, non_blocking=True)
        return here if drawn_for == seeds else here[[drawn_for.index(seed) for seed in seeds]]

    def _draw_orders(self, epoch: int, seeds: list[int]) -> tuple[int, list[int], Tensor]:
        orders = torch.stack([epoch_order(len(self.positives), seed, epoch) for seed in seeds])
        return epoch, seeds, orders.pin_memory()

    # -- one step -------------------------------------------------------------------------------------------------

    def _step(self, users: Tensor, items: Tensor, place: Place) -> None:
        """Gradients of the losses with respect to the tables, part by part; then once through the backbone."""
        with self.workers.all_threads():
            tables = self.backbone()
        if [table.shape for table in self._of_tables] != [table.shape for table in tables]:
            self._of_tables = [torch.empty_like(table) for table in tables]

        def of_part(part: slice) -> None:
            self._part(part, tables, users, items, place)

        for kind, companion in self.companions.items():
            if companion.moving:
                self._of_variables[kind] = [torch.empty_like(value) for value in companion.variables()]
        with tensor_cores(self.device, self.shared.score):
            self.workers.spread(of_part, self._parts())
        self._of_step.clear()
        self.examples += users.shape[1]
        with self.workers.all_threads():
            auxiliary = self.backbone.auxiliary_loss(users, items)
            pairs = list(zip(tables, self._of_tables, strict=True))
            made = [(table, gradient) for table, gradient in pairs if not table.is_leaf]
            for table, gradient in pairs:
                if table.is_leaf:  # the backbone's own parameter: nothing to go back through
                    table.grad = gradient
            outputs, weights = [table for table, _ in made], [gradient for _, gradient in made]
            if auxiliary is not None:
                outputs, weights = [*outputs, auxiliary.sum()], [*weights, None]
            if outputs:
                torch.autograd.backward(outputs, weights)
        with self.workers.all_threads() if len(self.active) == 1 else nullcontext():
            self.optimizer.step(self.workers.spread)
        self._move_companions()

    def settings_of(self, part: slice) -> tuple[tuple[str, ...], dict[str, Tensor | int]]:
        """Words and numbers of a part's loss, put on the device once."""
        place = part.start, part.stop
        if place not in self._settings:
            runs = [run.config for run in self.active[part]]
            objective = OBJECTIVES[runs[0].loss]
            numbers = objective.numbers([run.loss_parameters for run in runs], self.device)
            self._settings[place] = objective.words(runs[0].loss_parameters), numbers
        return self._settings[place]

    def _of_kind(self, kind: Kind) -> slice:
        """The runs in flight that have a loss's kind."""
        count = self.kinds.count(kind)
        first = self.kinds.index(kind) if count else 0
        return slice(first, first + count)

    def companion_of(self, part: slice) -> tuple[Companion | None, slice]:
        """What the loss of a part carries along, and which of the companion's runs the part's are."""
        kind = self.kinds[part.start]
        first = self._of_kind(kind).start
        return self.companions.get(kind), slice(part.start - first, part.stop - first)

    def _start_companions(self) -> None:
        """Tell the companions that an epoch begins."""
        for kind, companion in self.companions.items():
            companion.start_epoch(self.epoch_number, partial(self._score_tables, self._of_kind(kind)))

    @torch.no_grad()
    def _score_tables(self, runs: slice) -> tuple[Tensor, Tensor]:
        with self.workers.all_threads():
            users, items = score_tables(*self.backbone.inference_tables(), self.shared.score)
        return users[runs], items[runs]

    def _move_companions(self) -> None:
        """One step of those whose variables move in this epoch."""
        for kind, companion in self.companions.items():
            if companion.moving:
                companion.step(self._of_variables.pop(kind))

    def _parts(self) -> list[slice]:
        """Slices of runs with one loss, at most ``part_size`` runs each."""
        parts, start = [], 0
        for stop in range(1, len(self.active) + 1):
            if stop == len(self.active) or stop - start == self.part_size or self.kinds[stop] != self.kinds[start]:
                parts.append(slice(start, stop))
                start = stop
        return parts

    def _part(self, part: slice, tables: Sequence[Tensor], users: Tensor, items: Tensor, place: Place) -> None:
        """A part's step; if memory runs out, of its halves."""
        try:
            losses, of_variables = self._losses_and_gradients(part, tables, users[part], items[part], place)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            size = part.stop - part.start
            if size == 1:
                raise TooLargeError(str(error)) from error
        else:
            if of_variables:
                _, runs = self.companion_of(part)
                for gradient, of_variable in zip(self._of_variables[self.kinds[part.start]], of_variables, strict=True):
                    gradient[runs] = of_variable
            self.loss_sum[part] += losses.sum(dim=1)
            return
        # outside the except block, so that the failed attempt's tensors are gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.part_size = middle = size // 2
        for half in (slice(part.start, part.start + middle), slice(part.start + middle, part.stop)):
            self._part(half, tables, users, items, place)

    def _losses_and_gradients(
        self, part: slice, tables: Sequence[Tensor], users: Tensor, items: Tensor, place: Place
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses (P, B) and the companion's gradients of their means; those of the tables are kept in the stack."""
        user_table, item_table = (table.detach()[part] for table in tables)
        negatives, item_rows = None, None
        if self.shared.negative_sampling == "batch":  # of the items, only a few rows are needed
            negatives = self.draw(part, place, (self.shared.num_negatives,))
            item_rows = torch.cat((negatives, items), dim=1)
        # leaves, from which scores are computed
        of_users = rows(user_table, users).requires_grad_()
        of_items = (item_table if item_rows is None else rows(item_table, item_rows)).requires_grad_()
        vectors, directions = score_tables(of_users, of_items, self.shared.score)
        if item_rows is None:
            source, positive_vectors = directions.detach(), rows(directions.detach(), items)
        else:
            source, positive_vectors = directions.detach().split((negatives.shape[1], items.shape[1]), dim=1)
        inputs = Part(
            self,
            part,
            place,
            users=users,
            positive_items=items,
            shared_negatives=negatives,
            positive_vectors=positive_vectors,
            vectors=vectors.detach(),
            source=source,
            cells=self.cells(part, users, place),
        )
        losses, of_positive, of_vectors, of_source, of_variables = inputs.losses_and_gradients()
        of_vectors.addcmul_(of_positive.unsqueeze(-1), positive_vectors)
        of_positive_vectors = of_positive.unsqueeze(-1) * vectors.detach()
        if item_rows is None:
            add_rows(of_source, items, of_positive_vectors)
        else:
            of_source = torch.cat((of_source, of_positive_vectors), dim=1)
        of_users, of_items = torch.autograd.grad((vectors, directions), (of_users, of_items), (of_vectors, of_source))
        of_user_table, of_item_table = (gradient[part] for gradient in self._of_tables)
        add_rows(of_user_table.zero_(), users, of_users)
        if item_rows is None:
            of_item_table.copy_(of_items)
        else:
            add_rows(of_item_table.zero_(), item_rows, of_items)
        return losses, of_variables

    def _once(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """What several runs of a step need and one of them makes: runs of one seed see the same batches."""
        with self._step_lock:
            future = self._of_step.get(key)
            made_here = future is None
            if made_here:
                future = self._of_step[key] = Future()
        if made_here:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                with self._step_lock:
                    del self._of_step[key]  # when there is more memory it may be tried again
        return future.result()

    def cells(self, part: slice, users: Tensor, place: Place) -> Cells:
        """The training items of the users (P, B) of a part."""
        total = place.cells and sum(place.cells[part])
        return self._once(("cells", *self._seeds(part)), lambda: self.positives.cells(users.flatten(), total))

    def cells_of_share(self, part: slice, cells: Cells, share: slice) -> Cells:
        """Those of a share of the examples."""
        key = ("cells", *self._seeds(part), share.start, share.stop)
        return self._once(key, lambda: cells.select(share, part.stop - part.start))

    def counts(self, part: slice, share: slice, negatives: Tensor, cells: Cells) -> Tensor:
        """How often each item (P, b, I) is a share's negative."""
        key = ("counts", *self._seeds(part), share.start, share.stop)
        return self._once(key, lambda: counts_of(negatives, cells, self.positives.num_items))

    def places_among(self, part: slice, share: slice, negatives: Tensor, cells: Cells) -> Tensor:
        """Where a share's scores of the batch's negatives (P, N) are of training items."""
        seeds, num_items = self._seeds(part), self.positives.num_items
        columns = self._once(("columns", *seeds), lambda: Columns.of(negatives, num_items))
        return self._once(("places", *seeds, share.start, share.stop), lambda: cells.places_among(columns))

    def mask(self, part: slice, share: slice, scores: Tensor, vectors: Tensor, source: Tensor) -> Tensor:
        """Which of a share's scores (P, b, N) of vectors (P, b, d) with a source (P, I, d) are of real negatives."""
        if self.device.type == "cpu" and not _surely_finite(vectors.detach(), source.detach()):
            # a diverging run: its scores may be infinite by themselves, which says nothing about others of its seed
            return scores.detach() != -torch.inf
        return self._once(("mask", *self._seeds(part), share.start, share.stop), lambda: scores.detach() != -torch.inf)

    def _seeds(self, part: slice) -> tuple[int, ...]:
        return tuple(run.config.seed for run in self.active[part])

    def draw(self, part: slice, place: Place, shape: tuple[int, ...], first: int = 0) -> Tensor:
        """Negatives (P, *shape), each run's from its own stream; ``first``: the first of the examples they are for."""
        where, num_items = (place.epoch, place.step, first), self.positives.num_items
        drawn = [
            self._once(
                ("negatives", run.config.seed, *where),
                lambda seed=run.config.seed: draw_negatives(num_items, shape, seed, where, self.device),
            )
            for run in self.active[part]
        ]
        return drawn[0].unsqueeze(0) if len(drawn) == 1 else torch.stack(drawn)

    # -- validation, and runs that leave --------------------------------------------------------------------------

    def validate(self, validate: Validate) -> None:
        """Note the validation of every run, keep new bests, and let runs go that stopped improving."""
        epoch = self.epoch_number
        with torch.no_grad(), self.workers.all_threads():
            tables = score_tables(*self.backbone.inference_tables(), self.shared.score)
            losses = (self.loss_sum / self.examples).tolist()
            sound = torch.stack([table.isfinite().flatten(1).all(dim=1) for table in tables]).all(dim=0).tolist()
            finite = [i for i, loss in enumerate(losses) if isfinite(loss) and sound[i]]
            for i in set(range(len(losses))) - set(finite):
                self.active[i].diverged = epoch  # one bad setting must not take the rest of the stack with it
            if len(finite) < len(losses):
                tables, losses = tuple(table[finite] for table in tables), [losses[i] for i in finite]
                self.keep(finite)
            values = validate(*tables) if finite else []
            staying = []
            for i, (run, loss, value) in enumerate(zip(self.active, losses, values, strict=True)):
                if value > run.best:
                    run.best_epoch = epoch
                    run.user_table, run.item_table = (table[i].cpu().clone() for table in tables)
                run.history.append({"epoch": epoch, "loss": loss, "validation": float(value)})
                if epoch - run.best_epoch < run.config.patience * self.shared.evaluate_every:
                    staying.append(i)
        self.keep(staying)
        self._reset_loss()

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some of the runs in flight only."""
        if len(staying) == len(self.active):
            return
        for kind, companion in self.companions.items():
            here = self._of_kind(kind)
            companion.keep([i - here.start for i in staying if here.start <= i < here.stop])
        self.active = [self.active[i] for i in staying]
        self.kinds = [self.kinds[i] for i in staying]
        self.generators = [self.generators[i] for i in staying]
        self._settings.clear()
        if not staying:
            return
        self.loss_sum = self.loss_sum[list(staying)]
        self.backbone.keep(staying)
        self.optimizer.keep(staying, self.backbone.parameters())

    # -- state ----------------------------------------------------------------------------------------------------

    def _state_tensors(self) -> dict[str, list[Tensor]]:
        """All that a run in flight needs to go on, but for numbers: tensors with a leading run axis."""
        return {
            "parameters": [p.detach() for p in self.backbone.parameters()],
            "mean": self.optimizer.mean,
            "square": self.optimizer.square,
        }

    def _companion_of_run(self, run: int) -> tuple[Companion | None, int]:
        companion, place = self.companion_of(slice(run, run + 1))
        return companion, place.start

    def states(self) -> list[dict[str, Any]]:
        """What each run in flight needs to go on, in the order of ``active``; on the CPU."""
        states = []
        for i in range(len(self.active)):
            state: dict[str, Any] = {
                name: [tensor[i].cpu().clone() for tensor in tensors] for name, tensors in self._state_tensors().items()
            }
            state |= {"loss_sum": float(self.loss_sum[i]), "examples": self.examples, "epoch": self.epoch_number}
            state["optimizer_steps"] = self.optimizer.steps
            companion, place = self._companion_of_run(i)
            if companion is not None:
                state["companion"] = [tensor[place].cpu().clone() for tensor in companion.kept()]
                state["companion_steps"] = companion.steps
            states.append(state)
        return states

    @torch.no_grad()
    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from states of one epoch, in the order of ``active``."""
        for i, state in enumerate(states):
            for name, tensors in self._state_tensors().items():
                for tensor, saved in zip(tensors, state[name], strict=True):
                    tensor[i].copy_(saved)
            self.loss_sum[i] = state["loss_sum"]
            companion, place = self._companion_of_run(i)
            if companion is not None:
                for tensor, saved in zip(companion.kept(), state["companion"], strict=True):
                    tensor[place].copy_(saved)
                companion.steps = state["companion_steps"]
        self.examples, self.epoch_number = states[0]["examples"], states[0]["epoch"]
        self.optimizer.steps = states[0]["optimizer_steps"]


def _kind_of(run: TrainedRun) -> Kind:
    return run.config.loss, *OBJECTIVES[run.config.loss].kind(run.config.loss_parameters)


def check_stack(configs: Sequence[TrainingConfig]) -> None:
    """Refuse runs that cannot share a stack.

    Raises:
        InputError: they differ in what a stack has in common.
    """
    if len({config.stack_key() for config in configs}) > 1:
        raise InputError("the runs of a stack must share backbone, score, sizes, sampling and epochs")


def _surely_finite(vectors: Tensor, source: Tensor) -> bool:
    """Whether no inner product can overflow, or be anything but a number."""
    return float(vectors.abs().amax() * source.abs().amax()) * vectors.shape[-1] < torch.finfo(vectors.dtype).max
