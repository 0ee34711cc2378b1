"""Checkpoints: stopped anywhere and started again, the same bits; damaged or foreign files do no harm."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dslstudy.engine import checkpoint
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import Stack, train

SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 6, "evaluate_every": 2, "patience": 9}
CONFIGS = [
    TrainingConfig(**SMALL | {"seed": 0}),
    TrainingConfig(**SMALL | {"seed": 1, "patience": 1, "learning_rate": 3.0}),  # leaves early
    TrainingConfig(**SMALL | {"seed": 2, "loss": "dsl", "weight_decay": 1e-3}),
    TrainingConfig(**SMALL | {"seed": 1, "loss": "llpauc", "learning_rate": 0.01}),
    TrainingConfig(**SMALL | {"seed": 1, "loss": "slatk", "loss_parameters": {"quantile_every": 3}}),
    TrainingConfig(
        **SMALL
        | {"seed": 1, "loss": "advinfonce", "loss_parameters": {"adversary_every": 2, "adversary_learning_rate": 0.1}}
    ),
]


def same(runs, others):
    for one, other in zip(runs, others, strict=True):
        assert one.config == other.config
        assert one.history == other.history
        assert one.best_epoch == other.best_epoch
        assert torch.equal(one.user_table, other.user_table)
        assert torch.equal(one.item_table, other.item_table)


@pytest.mark.parametrize(("backbone", "stop_at"), [("mf", 1), ("mf", 4), ("xsimgcl", 3)])
def test_a_stopped_stack_goes_on_where_it_was(split, validate, tmp_path, monkeypatch, backbone, stop_at):
    configs = CONFIGS
    if backbone != "mf":
        configs = [TrainingConfig(**SMALL | {"backbone": backbone, "seed": seed}) for seed in (0, 1)]
    whole = train(split.train, configs, validate, progress=False)
    epochs, plain_epoch = [], Stack.epoch
    monkeypatch.setattr(checkpoint, "WRITING_SHARE", 1e9)  # write after every epoch, however long it takes

    def epoch(self):
        epochs.append(self.epoch_number + 1)
        if len(epochs) == stop_at + 1:
            raise KeyboardInterrupt
        plain_epoch(self)

    monkeypatch.setattr(Stack, "epoch", epoch)
    path = tmp_path / "in-flight.pt"
    with pytest.raises(KeyboardInterrupt):
        train(split.train, configs, validate, progress=False, checkpoint=Checkpoint(path, "here", seconds=0))
    again = Checkpoint(path, "here", seconds=0)
    same(train(split.train, configs, validate, progress=False, checkpoint=again), whole)
    # stopped before epoch stop_at + 1, and from there on to the end: no epoch twice
    assert epochs == [*range(1, stop_at + 2), *range(stop_at + 1, SMALL["epochs"] + 1)]
    # what is finished is not trained again
    count = len(epochs)
    same(train(split.train, configs, validate, progress=False, checkpoint=Checkpoint(path, "here")), whole)
    assert len(epochs) == count
    again.remove()
    assert not path.exists()


SCRIPT = """
import sys
from dslstudy.data import load_split
from dslstudy.engine import checkpoint
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import train
split = load_split("synthetic-ranking")
settings = dict(embedding_size=8, num_negatives=16, batch_size=64, epochs=400, evaluate_every=1, patience=400)
configs = [TrainingConfig(**settings, seed=seed) for seed in (0, 1)]
train(split.train, configs, lambda users, items: [0.0, 0.0], progress=False,
      checkpoint=Checkpoint(sys.argv[1], "here", seconds=0))
"""


def test_killed_by_force_it_leaves_a_file_that_can_be_read(tmp_path):
    path = tmp_path / "in-flight.pt"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not path.exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = Checkpoint(path, "here").runs
    assert len(states) == 2
    assert all(0 < state["epoch"] < 400 for state in states.values())
    assert [entry["epoch"] for entry in next(iter(states.values()))["history"]] == list(
        range(1, next(iter(states.values()))["epoch"] + 1)
    )


def test_a_file_of_other_code_or_data_is_not_used(tmp_path):
    path = tmp_path / "in-flight.pt"
    Checkpoint(path, "one").write({"run": {"finished": True}})
    assert Checkpoint(path, "one").runs == {"run": {"finished": True}}
    assert Checkpoint(path, "other").runs == {}


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_file_is_said_and_not_used(tmp_path, damage):
    path = tmp_path / "in-flight.pt"
    path.write_bytes(damage)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Checkpoint(path, "here").runs == {}
    Checkpoint(path, "new").write({"run": {"epoch": 1}})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(RuntimeWarning, match="start anew"):
        assert Checkpoint(path, "new").runs == {}


def test_writing_takes_a_small_share_of_the_time(tmp_path):
    checkpoint = Checkpoint(tmp_path / "in-flight.pt", "here", seconds=0)
    assert checkpoint.due
    checkpoint._took = 1e6
    assert not checkpoint.due
    assert not list(Path(tmp_path).iterdir())
