"""What a search tries, and in which order: proposed by Optuna, kept in its journal (book: Protocol and search).

A proposal is one line of the journal, written whole. It depends on the search's seed, its own number and what the
rounds before its own found, so a search that was killed goes on with the proposals it would have made.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from dslstudy.errors import InputError
from dslstudy.study.spaces import Point, Space

#: proposals before the tree-structured Parzen estimator has something to learn from (Optuna's own number)
RANDOM_FIRST = 10
_TRIES = 50
_NAME = "search"


@dataclass(frozen=True)
class Proposal:
    """One proposal.

    Attributes:
        number: from 0.
        parameters: what is to be tried.
        told: whether its outcome is in the journal.
        failed: whether its run diverged before its first validation.
    """

    number: int
    parameters: Point
    told: bool
    failed: bool


class _FileLock:
    """A lock that the system frees when its process is killed, which a lock by a file's mere presence is not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def acquire(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._file)


class Journal:
    """The proposals of one search.

    Args:
        path: the journal's file; it need not exist yet.
        lock_path: the file whose lock its writers hold.
        space: where proposals come from.
        sampler: ``tpe``, ``random`` or ``grid``, which goes through the space in random order.
        seed: of the proposals.
        start: the first proposal, if it is given.

    Raises:
        InputError: the file is damaged.
    """

    def __init__(
        self, path: Path, lock_path: Path, space: Space, *, sampler: str, seed: int, start: Point | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _FileLock(lock_path)
        _drop_torn_line(path, lock)
        self._space = {name: CategoricalDistribution(list(values)) for name, values in space.items()}
        self._sampler, self._seed, self._start = sampler, seed, dict(start or {})
        self.path = path
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
            if _NAME in optuna.get_all_study_names(storage):  # asking Optuna to create it if need be would write a line
                self._study = optuna.load_study(study_name=_NAME, storage=storage)
            elif path.stat().st_size:  # Optuna takes a last line that it cannot read for one that is being written
                raise ValueError("it holds no search")
            else:
                self._study = optuna.create_study(study_name=_NAME, storage=storage, direction="maximize")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"the journal {path} is damaged ({error}); delete it and search again") from error

    def proposals(self) -> list[Proposal]:
        """All proposals so far, in their order."""
        return [
            Proposal(trial.number, trial.params, trial.state.is_finished(), trial.state == TrialState.FAIL)
            for trial in self._trials()
        ]

    def propose(self, up_to: int, prior: Sequence[tuple[Point, float]] = ()) -> None:
        """Make proposals until there are ``up_to``, each a point that was not proposed before.

        Args:
            up_to: how many there shall be in all; no more than the space has points.
            prior: points with their values from another search of this space, which TPE learns from as well.
        """
        trials = self._trials()
        for number in range(len(trials), up_to):
            point = self._point(number, trials, prior)
            self._study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(point), distributions=self._space))
            trials = self._trials()

    def tell(self, number: int, value: float | None) -> None:
        """Write down what came of a proposal; ``None`` says that its run diverged."""
        if value is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _point(self, number: int, trials: Sequence[FrozenTrial], prior: Sequence[tuple[Point, float]]) -> Point:
        if number == 0 and self._start:
            return self._start
        seen = {_spelled(trial.params) for trial in trials}
        if self._sampler == "grid":
            return next(point for point in self._shuffled() if _spelled(point) not in seen)
        for attempt in range(_TRIES):
            point = self._ask(number, attempt, trials, prior)
            if _spelled(point) not in seen:
                return point
        # nearly everything has been tried: any of the points that are left
        return next(point for point in self._shuffled() if _spelled(point) not in seen)

    def _ask(
        self, number: int, attempt: int, trials: Sequence[FrozenTrial], prior: Sequence[tuple[Point, float]]
    ) -> Point:
        """Ask a sampler that is seeded for this number alone, with all that is known before it."""
        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
        if self._sampler == "tpe":
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=RANDOM_FIRST, multivariate=True, constant_liar=True
            )
        memory = optuna.create_study(sampler=sampler, direction="maximize")
        for point, value in prior:
            memory.add_trial(create_trial(params=dict(point), distributions=self._space, value=value))
        memory.add_trials(trials)
        return memory.ask(self._space).params

    def _shuffled(self) -> list[Point]:
        points = list(product(*(distribution.choices for distribution in self._space.values())))
        order = np.random.default_rng(self._seed).permutation(len(points))
        return [dict(zip(self._space, points[place], strict=True)) for place in order]


def _spelled(point: Point) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(value)) for name, value in point.items()))


def _drop_torn_line(path: Path, lock: _FileLock) -> None:
    """Take away the beginning of a line that a power failure left without its end."""
    if not _torn(path):
        return
    lock.acquire()  # what was being written a moment ago is whole now
    try:
        if _torn(path):
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def _torn(path: Path) -> bool:
    content = path.read_bytes() if path.exists() else b""
    return bool(content) and not content.endswith(b"\n")
