"""Out of memory: the part is halved, then the stack; what is trained stays the same."""

import resource
import subprocess
import sys

import pytest
import torch

from dslstudy.engine import ranking
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.memory import free_bytes, is_out_of_memory, runs_that_fit
from dslstudy.engine.ranking import Stack, TrainedRun, train
from dslstudy.errors import InputError

SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 3, "evaluate_every": 1}
CONFIGS = [TrainingConfig(**SMALL | {"seed": seed}) for seed in range(5)]


def same(runs, others, exactly=True):
    for one, other in zip(runs, others, strict=True):
        assert one.config == other.config
        if exactly:
            assert one.history == other.history
            assert torch.equal(one.item_table, other.item_table)
        else:
            torch.testing.assert_close(one.item_table, other.item_table, rtol=1e-3, atol=1e-3)


def test_a_part_that_does_not_fit_is_halved(split, validate, monkeypatch):
    """Several runs in one part, as on a GPU, of which two fit."""
    plain, sizes = Stack._losses_and_gradients, []

    def limited(self, part, *rest):
        sizes.append(part.stop - part.start)
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, part, *rest)

    alone = train(split.train, CONFIGS, validate, progress=False)
    monkeypatch.setattr(Stack, "_losses_and_gradients", limited)
    made = Stack.__init__

    def wide(self, *arguments, **keywords):
        made(self, *arguments, **keywords)
        self.part_size = 5

    monkeypatch.setattr(Stack, "__init__", wide)
    same(train(split.train, CONFIGS, validate, progress=False), alone, exactly=False)
    assert sizes[:4] == [5, 2, 3, 1]  # 5 -> 2 + 3, 3 -> 1 + 2
    assert max(sizes[5:]) <= 2  # remembered


def test_a_stack_that_does_not_fit_is_halved_and_goes_on_from_its_checkpoint(split, validate, tmp_path, monkeypatch):
    whole = train(split.train, CONFIGS, validate, progress=False)
    plain, epochs = Stack.epoch, []

    def limited(self):
        if len(self.active) > 2 and self.epoch_number == 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory")
        epochs.append((len(self.active), self.epoch_number + 1))
        plain(self)

    monkeypatch.setattr(Stack, "epoch", limited)
    monkeypatch.setattr(Checkpoint, "due", True)  # after every epoch, however long writing takes
    checkpoint = Checkpoint(tmp_path / "in-flight.pt", "here", seconds=0)
    same(train(split.train, CONFIGS, validate, progress=False, checkpoint=checkpoint), whole)
    assert epochs[:2] == [(5, 1), (5, 2)]
    assert sorted(epochs[2:]) == [(1, 3), (2, 3), (2, 3)]  # nothing twice
    epochs.clear()
    same(train(split.train, CONFIGS, validate, progress=False), whole)  # without a checkpoint: from the start
    assert (2, 1) in epochs


def test_runs_that_had_ended_stay_as_they_are_when_memory_runs_out(split, validate, tmp_path, monkeypatch):
    """Some left before the last checkpoint; only the others are halved and go on."""
    early = {"patience": 1, "learning_rate": 1e-30}  # their validation stays what it is
    of_five = [TrainingConfig(**SMALL | {"epochs": 5, "patience": 5, "seed": seed}) for seed in range(3)]
    configs = [*(TrainingConfig(**SMALL | {"epochs": 5, "seed": 9 + n} | early) for n in range(2)), *of_five]
    whole = train(split.train, configs, validate, progress=False)
    assert [len(run.history) for run in whole] == [2, 2, 5, 5, 5]
    plain, epochs = Stack.epoch, []

    def limited(self):
        if len(self.active) > 2 and self.epoch_number == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        epochs.append((len(self.active), self.epoch_number + 1))
        plain(self)

    monkeypatch.setattr(Stack, "epoch", limited)
    monkeypatch.setattr(Checkpoint, "due", True)  # after every epoch, however long writing takes
    checkpoint = Checkpoint(tmp_path / "in-flight.pt", "here", seconds=0)
    same(train(split.train, configs, validate, progress=False, checkpoint=checkpoint), whole)
    assert epochs == [(5, 1), (5, 2), (3, 3), (1, 4), (1, 5), (2, 4), (2, 5)]

    def never_four(self):
        if self.epoch_number == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(self)

    monkeypatch.setattr(Stack, "epoch", never_four)
    checkpoint = Checkpoint(tmp_path / "another.pt", "here", seconds=0)
    with pytest.raises(InputError, match="lower batch_size"):
        train(split.train, configs, validate, progress=False, checkpoint=checkpoint)


def test_one_run_too_many_is_an_error_that_says_what_to_do(split, validate, monkeypatch):
    def never(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stack, "_losses_and_gradients", never)
    with pytest.raises(InputError, match="lower batch_size"):
        train(split.train, CONFIGS[:2], validate, progress=False)


def test_other_errors_are_not_taken_for_it(split, validate, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Stack, "_losses_and_gradients", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train(split.train, CONFIGS[:2], validate, progress=False)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_real_allocation_too_large_is_recognised():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)


def test_stacks_are_planned_to_fit(split, validate, monkeypatch):
    cpu = torch.device("cpu")
    assert free_bytes(cpu) > 2**20
    assert runs_that_fit(10**9, 10**9, 10**3, cpu) == 1
    assert runs_that_fit(100, 100, 8, cpu) > 1000
    sizes, plain = [], Stack.__init__

    def counted(self, interactions, runs, *rest, **keywords):
        sizes.append(len(runs))
        plain(self, interactions, runs, *rest, **keywords)

    monkeypatch.setattr(Stack, "__init__", counted)
    monkeypatch.setattr(ranking, "runs_that_fit", lambda *_: 2)
    runs = train(split.train, CONFIGS, validate, progress=False)
    assert sizes == [2, 2, 1]
    assert all(isinstance(run, TrainedRun) and run.history for run in runs)


STARVED = """
import resource, sys
from dslstudy.data import load_split
from dslstudy.engine import ranking
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.memory import _address_space
split = load_split("synthetic-ranking")
settings = dict(embedding_size=4096, num_negatives=8, batch_size=500, epochs=1)
configs = [TrainingConfig(**settings, seed=seed) for seed in range(12)]
validate = lambda users, items: [0.0] * len(users)
ranking.train(split.train, configs[:1], validate, progress=False)
if sys.argv[1] == "unplanned":
    ranking.runs_that_fit = lambda *_: 12
resource.setrlimit(resource.RLIMIT_AS, (_address_space() + 350 * 2**20, resource.RLIM_INFINITY))
runs = ranking.train(split.train, configs, validate, progress=False)
print(sum(len(run.history) for run in runs))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("how", ["planned", "unplanned"])
def test_starved_of_memory_every_run_is_trained_all_the_same(how):
    """Twelve runs need more than the 350 MiB that are left; planned or surprised, all of them are trained."""
    result = subprocess.run([sys.executable, "-c", STARVED, how], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "12"
