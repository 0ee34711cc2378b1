"""Worker threads: same results as without them, errors come through, torch's threads are given back."""

import threading

import pytest
import torch

from dslstudy.engine import part
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import train
from dslstudy.engine.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_work_is_spread_in_order(two_threads):
    meeting = threading.Barrier(2, timeout=30)  # passes only if two workers are there at the same time

    def work(x):
        meeting.wait()
        assert torch.get_num_threads() == 1
        return x * x, threading.current_thread().name

    with Workers(CPU) as workers:
        assert torch.get_num_threads() == 1
        results = workers.spread(work, [1, 2, 3, 4])
        assert [square for square, _ in results] == [1, 4, 9, 16]
        assert len({name for _, name in results}) == 2
        nested = workers.spread(lambda x: workers.spread(lambda y: threading.current_thread().name, [x, x]), [1, 2])
        assert all(first == second for first, second in nested)  # a worker does not wait for other workers
        with workers.all_threads():
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            workers.spread(lambda x: 1 / x, [1, 0])
    assert torch.get_num_threads() == 2


def test_one_thread_needs_no_workers():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with Workers(CPU) as workers:
        assert workers.spread(lambda x: threading.current_thread(), [1, 2]) == [threading.main_thread()] * 2
    torch.set_num_threads(before)


@pytest.mark.parametrize("backbone", ["mf", "lightgcn", "xsimgcl"])
def test_the_number_of_threads_changes_no_bit(split, validate, backbone, monkeypatch):
    monkeypatch.setattr(part, "SHARE_SCORES", 1000)
    small = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 2, "evaluate_every": 1}
    configs = [
        TrainingConfig(**small | {"backbone": backbone, "loss": loss, "seed": seed})
        for loss, seed in (("softmax", 0), ("dsl", 1), ("softmax", 2), ("advinfonce", 0), ("llpauc", 0), ("slatk", 1))
    ]
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(train(split.train, configs, validate, progress=False))
        results.append(train(split.train, configs[1:2], validate, progress=False))
    torch.set_num_threads(before)
    for together, alone in zip(results[0::2], results[1::2], strict=True):
        for run, first in zip(together, results[0], strict=True):
            assert run.history == first.history
            assert torch.equal(run.user_table, first.user_table)
        assert torch.equal(alone[0].item_table, results[0][1].item_table)
