"""The cells of a table: a search, then fresh seeds of the setting that did best on validation (book: IID results).

A cell knows from its name alone which runs it needs, so a table shows what the stores have of it and ``dslstudy study``
trains what is missing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dslstudy.engine.config import require_one_of
from dslstudy.models import BASELINES
from dslstudy.study.config import RunConfig
from dslstudy.study.locks import locks_of
from dslstudy.study.matched import kept, measure_temperature
from dslstudy.study.protocol import VARIATIONS, Protocol
from dslstudy.study.search import Done, Prior, Search, Trial, best_trial, found_trials, obtain_alone, run_searches
from dslstudy.study.spaces import STARTS, Point
from dslstudy.study.store import Record
from dslstudy.study.study import Study

#: what the control is called: the softmax loss at the temperature that the tuned DSL acts like
MATCHED = "softmax-matched"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of a table.

    Attributes:
        protocol: how it is made.
        dataset: on which data.
        backbone: a backbone, or a baseline.
        loss: a loss or one of its variations, :data:`MATCHED`, or ``none`` for a baseline.
        split: of the data; ``default`` is the published split where there is one.
    """

    protocol: Protocol
    dataset: str
    backbone: str
    loss: str
    split: str = "default"

    @property
    def data(self) -> str:
        """The data set, and its split where that is not the usual one."""
        return self.dataset if self.split == "default" else f"{self.dataset} {self.split}"

    @property
    def name(self) -> str:
        """In words, e.g. ``amazon2014-health mf dsl`` or ``amazon2014-health popularity-shift mf dsl``."""
        return f"{self.data} {self.backbone}" + ("" if self.is_baseline else f" {self.loss}")

    @property
    def label(self) -> str:
        """What the table calls the line: the loss, or the baseline."""
        return self.backbone if self.is_baseline else self.loss

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits, for locks and shares."""
        return hashlib.sha256(f"{self.protocol.name} {self.name}".encode()).hexdigest()[:16]

    @property
    def is_baseline(self) -> bool:
        """Whether there is nothing to train."""
        return self.backbone in BASELINES

    @property
    def is_control(self) -> bool:
        """Whether it is the softmax loss at DSL's temperature, which has no search of its own."""
        return self.loss == MATCHED

    @property
    def budget(self) -> int:
        """How many trials are asked for."""
        if self.is_baseline or self.is_control:
            return 0
        return self.protocol.trials if self.backbone == "mf" else self.protocol.transfer_trials

    @property
    def of_mf(self) -> "Cell":
        """The same cell with matrix factorization."""
        return replace(self, backbone="mf")

    @property
    def of_dsl(self) -> "Cell":
        """The cell of DSL beside this one."""
        return replace(self, loss="dsl")


@dataclass(frozen=True)
class State:
    """What the stores have of a cell.

    Attributes:
        cell: which.
        trials: that are over, in their order.
        budget: how many there shall be.
        seeds: the records of its seeds, ``None`` where one is missing; all are missing while the search goes on.
        outdated: whether what the cell's setting was read from has changed: the temperature of the control.
    """

    cell: Cell
    trials: Sequence[Trial]
    budget: int
    seeds: Sequence[Record | None]
    outdated: bool = False

    @property
    def stale(self) -> bool:
        """Whether code has changed since one of the runs, or since the setting was measured."""
        return self.outdated or any(record.stale for record in self.records)

    @property
    def searched(self) -> bool:
        """Whether the search is over."""
        return len(self.trials) >= self.budget

    @property
    def found(self) -> list[Record]:
        """The records of the seeds that are there."""
        return [record for record in self.seeds if record is not None]

    @property
    def records(self) -> list[Record]:
        """The records of trials and seeds that are there."""
        return [*(trial.record for trial in self.trials if trial.record is not None), *self.found]

    @property
    def done(self) -> bool:
        """Whether nothing is missing or stale."""
        return self.searched and None not in self.seeds and not self.stale

    @property
    def missing(self) -> int:
        """How many runs are missing."""
        return max(self.budget - len(self.trials), 0) + self.seeds.count(None)

    @property
    def word(self) -> str:
        """``done``, ``not yet run``, ``stale``, or how far it is."""
        if self.missing == self.budget + len(self.seeds):
            return "not yet run"
        if self.missing:
            parts = [f"{len(self.trials)} of {self.budget} trials"] if self.budget else []
            return ", ".join([*parts, f"{len(self.found)} of {len(self.seeds)} seeds"])
        return "stale" if self.stale else "done"


def cells_of(
    protocol: Protocol,
    table: str = "iid",
    *,
    datasets: Sequence[str] = (),
    backbones: Sequence[str] = (),
    losses: Sequence[str] = (),
) -> list[Cell]:
    """The cells of a table in the order in which they are made: smallest data first, what others start from first.

    Args:
        protocol: of a profile.
        table: ``iid`` or ``popularity-shift``.
        datasets: only these; all of the table by default.
        backbones: only these, baselines among them; all by default.
        losses: only these, :data:`MATCHED` and variations among them; by default all but variations.

    Raises:
        InputError: a name that the table does not have.
    """
    protocol = protocol.of_table(table)
    usual = (*protocol.losses, *((MATCHED,) if "dsl" in protocol.losses else ()))
    known = {
        "data set": protocol.tables[table],
        "backbone": (*protocol.backbones, *BASELINES),
        "loss": (*usual, *protocol.variations),
    }
    wanted = {}
    for (what, names), given in zip(known.items(), (datasets, backbones, losses), strict=True):
        for name in given:
            require_one_of(f"{what} of table {table} at profile {protocol.name}", name, names)
        wanted[what] = [name for name in names if not given or name in given]
    pairs = [(backbone, loss) for backbone in protocol.backbones for loss in (known["loss"] if losses else usual)]
    pairs = [(backbone, loss) for backbone, loss in pairs if backbone in wanted["backbone"] and loss in wanted["loss"]]
    if not losses:
        pairs = [*((name, "none") for name in BASELINES if name in wanted["backbone"]), *pairs]
    return [
        Cell(protocol=protocol, dataset=dataset, backbone=backbone, loss=loss, split=protocol.split_of(table, dataset))
        for dataset in wanted["data set"]
        for backbone, loss in pairs
    ]


def share_of(cells: Sequence[Cell], share: int, shares: int) -> list[Cell]:
    """The cells of one of several processes: whole losses, so that none waits for another's search.

    Args:
        cells: all cells.
        share: which, from 1.
        shares: how many.
    """
    # the control goes with DSL, whose temperature it has; baselines cost nothing
    order = list(dict.fromkeys("dsl" if cell.is_control else cell.loss for cell in cells))
    place = {loss: number % shares for number, loss in enumerate(order)}
    return [cell for cell in cells if place["dsl" if cell.is_control else cell.loss] == share - 1]


def base_of(cell: Cell, *, trial: bool = False) -> RunConfig:
    """A run that costs what those of a cell cost, be it a trial of its search or one of the table's."""
    if cell.is_baseline:
        return RunConfig(dataset=cell.dataset, split=cell.split, backbone=cell.backbone, loss="none")
    loss = "softmax" if cell.is_control else cell.loss
    return cell.protocol.base_run(cell.dataset, cell.backbone, loss, split=cell.split, trial=trial)


def start_runs(cell: Cell) -> list[RunConfig]:
    """The table's runs at the point where a cell's search starts: what is trained while nothing better is known."""
    start = Search(base=base_of(cell)).run_of(_first_of(cell))
    return [_with(start, seed=seed) for seed in _seeds(cell)]


def search_of(study: Study, cell: Cell) -> Search | None:
    """The search of a cell; ``None`` for cells without one, and while the one it starts from is not over."""
    if not cell.budget:
        return None
    start = _first_of(cell)
    if cell.backbone != "mf":
        before = state_of(study, cell.of_mf)
        if not before.searched:
            return None
        if any(trial.record for trial in before.trials):
            start = best_trial(before.trials).parameters
    protocol = cell.protocol
    return Search(
        base=base_of(cell, trial=True),
        trials=cell.budget,
        sampler=protocol.sampler,
        start=start,
        only=protocol.bpr_only if cell.loss == "bpr" else protocol.only,
        round_size=protocol.round_size,
    )


def _first_of(cell: Cell) -> Point:
    """Where a search starts that no other one comes before."""
    return STARTS[VARIATIONS.get(cell.loss, (cell.loss, {}))[0]]


def state_of(study: Study, cell: Cell) -> State:
    """What the stores of a study have of a cell; nothing is trained."""
    search = search_of(study, cell)
    trials = _done(study, search)
    budget = cell.budget if search is None else search.size
    runs = _runs_of(study, cell, search, trials)
    seeds: list[Record | None] = [study.find(run) for run in runs] if runs else [None] * len(_seeds(cell))
    return State(cell, trials[:budget], budget, seeds, outdated=bool(runs) and _outdated(study, cell))


def _outdated(study: Study, cell: Cell) -> bool:
    """Whether the temperature of a control was measured on a DSL of older code."""
    if not cell.is_control:
        return False
    of_dsl = seed_runs(study, cell.of_dsl)[0]
    found = kept(study, of_dsl)
    return found is not None and found.stale(of_dsl)


def unprimed_runs(study: Study, cell: Cell) -> list[RunConfig]:
    """The table's runs of the best setting that a cell's search found by itself, the start that it was given left out.

    Where the start wins, these say how much of the result was in the search and how much in the start.

    Args:
        study: whose stores are read.
        cell: with a search.

    Returns:
        One for each seed; none while the search goes on, or if no other trial has a record.
    """
    search = search_of(study, cell)
    trials = _done(study, search)
    if search is None or len(trials) < search.size:
        return []
    return _seeds_of_best(cell, [trial for trial in trials if trial.number])


def seed_runs(study: Study, cell: Cell) -> list[RunConfig]:
    """The runs whose test metrics the table shows; none while it is not known which they are."""
    search = search_of(study, cell)
    return _runs_of(study, cell, search, _done(study, search))


def _done(study: Study, search: Search | None) -> list[Trial]:
    """The trials of a search that are over."""
    return [] if search is None else [trial for trial in found_trials(study, search)[: search.size] if trial.done]


def _runs_of(study: Study, cell: Cell, search: Search | None, trials: Sequence[Trial]) -> list[RunConfig]:
    if cell.is_baseline:
        return [base_of(cell)]
    if cell.is_control:
        of_dsl = seed_runs(study, cell.of_dsl)
        found = kept(study, of_dsl[0]) if of_dsl else None
        return [] if found is None else [_matched(run, found.temperature) for run in of_dsl]
    return [] if search is None or len(trials) < search.size else _seeds_of_best(cell, trials)


def _seeds_of_best(cell: Cell, trials: Sequence[Trial]) -> list[RunConfig]:
    if not any(trial.record for trial in trials):
        return []
    best, epochs = best_trial(trials).config, base_of(cell).epochs
    return [_with(best, epochs=epochs, seed=seed) for seed in _seeds(cell)]


def complete(study: Study, cells: Sequence[Cell], *, done: Done | None = None) -> list[State]:
    """Train all that some cells need and do not have, other cells that they start from included.

    Args:
        study: trains the runs and keeps their records.
        cells: of any data sets and backbones; what may share a stack is trained in one.
        done: called with the runs that were trained, whenever some were.

    Raises:
        InputError: the profile does not train on this data set, or the store cannot be written to.
    """
    study.store.prepare("in-flight")
    with locks_of(study.store.root).held(cell.key for cell in cells):
        searched = [cell for cell in cells if cell.budget]
        searched += [cell.of_dsl for cell in cells if cell.is_control]
        searched = list(dict.fromkeys(searched))
        first = dict.fromkeys(cell.of_mf for cell in searched)  # what the others start from
        _search_all(study, list(first), done)
        _search_all(study, [cell for cell in searched if cell not in first], done)
        for cell in searched:
            if cell.loss == "dsl" and (of_dsl := seed_runs(study, cell)):
                _measure(study, of_dsl[0], done)
        runs = [run for cell in cells for run in seed_runs(study, cell)]
        labels = dict.fromkeys(cell.label for cell in cells)
        obtain_alone(study, runs, description="seeds " + "+".join(labels), done=done)
    return [state_of(study, cell) for cell in cells]


def _search_all(study: Study, cells: Sequence[Cell], done: Done | None) -> None:
    searches = [search_of(study, cell) for cell in cells]
    priors: list[Prior] = []
    for cell in cells:
        before = state_of(study, cell.of_mf).trials if cell.backbone != "mf" else ()
        priors.append([(trial.parameters, trial.value) for trial in before if trial.record is not None])
    run_searches(study, [search for search in searches if search is not None], priors, done=done)


def _measure(study: Study, run: RunConfig, done: Done | None) -> None:
    """Train the tuned DSL's first seed with its tables kept, and see which temperature it acts like."""
    with locks_of(study.store.root).held([run.key]):
        found, before = kept(study, run), study.find(run)
        if found is not None and not found.stale(run):
            return
        measure_temperature(study, run)
    if done is not None and (before is None or before.stale):
        done([run])


def _seeds(cell: Cell) -> tuple[int, ...]:
    return (0,) if cell.is_baseline else cell.protocol.seeds


def _with(run: RunConfig, **changes: object) -> RunConfig:
    return RunConfig.from_dict(run.to_dict() | changes)


def _matched(run: RunConfig, temperature: float) -> RunConfig:
    return _with(run, loss="softmax", loss_parameters={"temperature": temperature})
