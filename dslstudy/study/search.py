"""Searching hyperparameters: the same number of trials for every loss, every trial kept (book: Protocol and search).

A trial is a run like any other, with its record in the store; the optimiser proposes and remembers in a journal beside
it. Whatever is killed when, what has a record is not trained again, and the proposals are those of a search that was
left in peace.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dslstudy.data.fetch import replacing
from dslstudy.engine.config import require_count, require_one_of, require_seed
from dslstudy.errors import InputError
from dslstudy.study.config import RunConfig
from dslstudy.study.locks import locks_of
from dslstudy.study.spaces import OF_RUN, Point, size_of, space_of
from dslstudy.study.store import Record
from dslstudy.study.study import SELECTION_METRIC, DivergedError, Study

if TYPE_CHECKING:
    from dslstudy.study.proposals import Journal, Proposal

SAMPLERS = ("tpe", "random", "grid")
#: points with their values
Prior = Sequence[tuple[Point, float]]
#: told which runs have just been trained
Done = Callable[[Sequence[RunConfig]], None]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, and how.

    Attributes:
        base: the run whose hyperparameters are searched; its loss decides the space.
        trials: how many; where the space has fewer points, all of them.
        sampler: ``tpe``, ``random`` or ``grid`` (in random order).
        seed: of the proposals.
        start: the first trial, such as another backbone's best; none is given by default.
        only: setting -> the values that the space is narrowed to.
        round_size: trials that are proposed and trained together; the sampler learns from them when all are done.
    """

    base: RunConfig
    trials: int = 20
    sampler: str = "tpe"
    seed: int = 0
    start: Point = field(default_factory=dict)
    only: Mapping[str, Sequence[float | int]] = field(default_factory=dict)
    round_size: int = 5

    def __post_init__(self) -> None:
        require_count("trials", self.trials)
        require_count("round_size", self.round_size)
        require_one_of("sampler", self.sampler, SAMPLERS)
        require_seed(self.seed)
        space = self.space
        if self.start and set(self.start) != set(space):
            for name in self.start:
                require_one_of(f"hyperparameter of {self.base.loss}", name, space)
            missing = sorted(set(space) - set(self.start))
            raise InputError(f"the first trial of {self.base.loss} has no {missing[0]}; give {', '.join(space)}")
        for name, value in self.start.items():
            if value not in space[name]:
                shown = ", ".join(f"{known:g}" for known in space[name])
                raise InputError(f"the first trial of {self.base.loss} has {name} {value:g}; the space has {shown}")

    @property
    def space(self) -> dict[str, tuple[float | int, ...]]:
        """Setting -> its values."""
        return space_of(self.base.loss, self.only)

    @property
    def size(self) -> int:
        """How many trials there will be."""
        return min(self.trials, size_of(self.space))

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name the journal; a search with more trials goes on in the same one."""
        settings = {"sampler": self.sampler, "seed": self.seed, "start": dict(self.start), "round": self.round_size}
        written = [self.base.to_dict(), settings, {name: list(values) for name, values in self.space.items()}]
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]

    def run_of(self, point: Mapping[str, Any]) -> RunConfig:
        """The run with the hyperparameters of a point."""
        of_run = {name: value for name, value in point.items() if name in OF_RUN}
        of_loss = {name: value for name, value in point.items() if name not in OF_RUN}
        values = self.base.to_dict()
        return RunConfig.from_dict(values | of_run | {"loss_parameters": {**values["loss_parameters"], **of_loss}})


@dataclass(frozen=True)
class Trial:
    """One proposal and what came of it.

    Attributes:
        number: from 0, in the order of the proposals.
        parameters: what was proposed.
        config: the run.
        record: of the run; ``None`` if it diverged before its first validation, or has not been trained yet.
        failed: whether it diverged.
    """

    number: int
    parameters: Point
    config: RunConfig
    record: Record | None
    failed: bool = False

    @property
    def value(self) -> float:
        """Best validation NDCG@20; minus infinity without a record."""
        return -inf if self.record is None else self.record.validation[SELECTION_METRIC]

    @property
    def done(self) -> bool:
        """Whether the trial is over."""
        return self.failed or self.record is not None


def run_search(study: Study, search: Search, *, prior: Prior = (), done: Done | None = None) -> list[Trial]:
    """All trials of a search, training those that are missing or stale.

    Args:
        study: trains the runs and keeps their records.
        search: what to search.
        prior: points with their values from another search of this space, which TPE learns from as well.
        done: called with the runs that were trained, after each round.

    Returns:
        ``search.size`` trials, in their order.

    Raises:
        InputError: the profile does not train on this data set.
    """
    return run_searches(study, [search], [prior], done=done)[0]


def run_searches(
    study: Study, searches: Sequence[Search], priors: Sequence[Prior], *, done: Done | None = None
) -> list[list[Trial]]:
    """Several searches round by round, the runs of a round in as few stacks as they allow.

    Args:
        study: trains the runs and keeps their records.
        searches: what to search; they know nothing of each other.
        priors: one for each, see :func:`run_search`.
        done: called with the runs that were trained, after each round.

    Returns:
        The trials of each.
    """
    study.store.prepare("search")
    with locks_of(study.store.root).held(search.key for search in searches):
        journals = [_journal(study, search) for search in searches]
        rounds = [_rounds(*each) for each in zip(searches, journals, priors, strict=True)]
        for together in zip_longest(*rounds, fillvalue=()):
            _train(study, [each for of_search in together for each in of_search], done)
    return [found_trials(study, search)[: search.size] for search in searches]


def found_trials(study: Study, search: Search) -> list[Trial]:
    """The trials so far, without training any: this machine's, or the committed ones where those know more."""
    found = _farthest(study, search)
    return [
        Trial(each.number, each.parameters, config, study.find(config), each.failed)
        for each in (found.proposals() if found else ())
        for config in [search.run_of(each.parameters)]
    ]


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the best validation, the earliest of equals. The test metrics have no say.

    Raises:
        InputError: no trial has a record.
    """
    usable = [trial for trial in trials if trial.record is not None]
    if not usable:
        raise InputError("no trial of this search has a record: run it, or widen its space")
    return max(usable, key=lambda trial: (trial.value, -trial.number))


def obtain_alone(
    study: Study, configs: Sequence[RunConfig], *, description: str, done: Done | None = None
) -> list[Record]:
    """The records of runs, while no other process trains any of them.

    Args:
        study: trains what is missing or stale.
        configs: the runs.
        description: the progress bar's title.
        done: called with those that were trained.
    """
    study.store.prepare()
    with locks_of(study.store.root).held(config.key for config in configs):
        before = {config.key: study.find(config) for config in configs}
        records = study.obtain(configs, description=description)
    if done is not None:
        missing = {key for key, record in before.items() if record is None or record.stale}
        done([config for config in configs if config.key in missing])
    return records


@dataclass(frozen=True)
class _Waiting:
    """A proposal whose run needs a fresh record, and the journal to tell."""

    journal: "Journal"
    proposal: "Proposal"
    config: RunConfig

    def tell(self, value: float | None) -> None:
        if not self.proposal.told:
            self.journal.tell(self.proposal.number, value)


def _rounds(search: Search, journal: "Journal", prior: Prior) -> Iterator[list[_Waiting]]:
    """Proposals in the rounds in which they were or will be made; those to come are made when it is their turn."""
    for start in range(0, search.size, search.round_size):
        end = min(start + search.round_size, search.size)
        journal.propose(end, prior)
        proposals = journal.proposals()[start:end]
        yield [_Waiting(journal, each, search.run_of(each.parameters)) for each in proposals if not each.failed]


def _train(study: Study, waiting: Sequence[_Waiting], done: Done | None) -> None:
    """See to it that every proposal has a fresh record and is told; what diverges is told so and left."""
    while waiting:
        losses = dict.fromkeys(each.config.loss for each in waiting)
        try:
            records = obtain_alone(
                study, [each.config for each in waiting], description=f"trials {'+'.join(losses)}", done=done
            )
        except DivergedError as error:
            diverged = {config.key for config in error.configs}
            for each in waiting:
                if each.config.key in diverged:
                    each.tell(None)
            waiting = [each for each in waiting if each.config.key not in diverged]
            continue
        for each, record in zip(waiting, records, strict=True):
            each.tell(record.validation[SELECTION_METRIC])
        return


def _path(root: Path, search: Search) -> Path:
    return root / "search" / f"{search.key}.journal"


def _journal(study: Study, search: Search) -> "Journal":
    """The journal in this machine's store; a committed one that knows more takes its place, so that it can go on."""
    own, committed = _path(study.store.root, search), _path(study.committed.root, search)
    found = _farthest(study, search)
    if found is not None and found.path == own:
        return found
    if found is not None:
        own.parent.mkdir(parents=True, exist_ok=True)
        with replacing(own) as temporary:
            shutil.copyfile(committed, temporary)
    return _open(study.store.root, search, lock_root=study.store.root)


def _farthest(study: Study, search: Search) -> "Journal | None":
    """Of this machine's journal and the committed one, that with more outcomes; ``None`` if there is neither."""
    paths = {root: _path(root, search) for root in (study.store.root, study.committed.root)}
    journals = [
        _open(root, search, lock_root=study.store.root)
        for root, path in paths.items()
        if path.exists() and path.stat().st_size  # an empty file is what a full disk left: nothing is known
    ]
    return max(journals, key=lambda journal: sum(each.told for each in journal.proposals()), default=None)


def _open(root: Path, search: Search, *, lock_root: Path) -> "Journal":
    from dslstudy.study.proposals import Journal  # Optuna is large and most commands do without it

    return Journal(
        _path(root, search),
        lock_root / "in-flight" / "journal-lock",
        search.space,
        sampler=search.sampler,
        seed=search.seed,
        start=search.start,
    )
