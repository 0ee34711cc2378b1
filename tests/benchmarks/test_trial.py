"""What is measured: updates over time, in whole chunks, the warm-up left out; memory; the files of tables."""

import json

import numpy as np
import pytest
import trial
from trial import forget_peak, memory_mb


class Clock:
    """Time that passes only when a contender works."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Worker:
    """A contender whose first chunk costs ten seconds and every update a quarter of one."""

    def __init__(self, clock, chunk=1, runs=1):
        self.clock, self.chunk, self.runs = clock, chunk, runs
        self.calls, self.closed = [], False

    def run(self, updates):
        self.clock.now += 0.25 * updates + (0 if self.calls else 10)
        self.calls.append(updates)

    def tables(self):
        self.clock.now += 100  # the clock must stand still meanwhile
        return np.full((1, 2, 3), len(self.calls)), np.zeros((1, 4, 3))

    def evaluate(self):
        self.clock.now += 2 if self.calls else 50
        self.calls.append(1)
        return 7

    def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trial, "time", clock)
    return clock


def test_rate_counts_what_follows_the_warm_up(clock, make_task):
    task, worker = make_task(seconds=30.0, warmup=3), Worker(clock, runs=2)
    measured = trial.measure_rate(worker, task)
    assert measured["warmup_seconds"] == 10 + 3 * 0.25
    assert measured["updates_per_second"] == pytest.approx(4)
    assert measured["seconds_per_update"] == pytest.approx(0.25)
    assert measured["seconds"] >= 30
    assert measured["updates"] == sum(worker.calls[1:])
    per_update = len(task.train) / task.updates_per_epoch
    assert measured["interactions_per_second"] == pytest.approx(2 * 4 * per_update)


def test_rate_keeps_to_whole_chunks_and_least_updates(clock, make_task):
    worker = Worker(clock, chunk=11)
    measured = trial.measure_rate(worker, make_task(seconds=0.1, warmup=12, least_updates=30))
    assert worker.calls[0] == 22
    assert all(updates % 11 == 0 for updates in worker.calls)
    assert measured["updates"] == 33


def test_training_keeps_tables_after_each_look_and_leaves_them_out_of_the_time(clock, make_task, tmp_path):
    workers = []

    def build(_):
        workers.append(Worker(clock))
        return workers[-1]

    task = make_task(mode="train", epochs=4, evaluate_every=2, seconds=1e9, warmup=1)
    measured = trial.measure_training(build, task, tmp_path / "result.json")
    epoch = task.updates_per_epoch * 0.25
    assert [entry["epoch"] for entry in measured["history"]] == [2, 4]
    assert [entry["seconds"] for entry in measured["history"]] == pytest.approx([10 + 2 * epoch, 10 + 4 * epoch])
    with np.load(tmp_path / measured["history"][1]["tables"]) as arrays:
        assert arrays["users"].shape == (1, 2, 3)
        assert (arrays["users"] == 4).all()
    throwaway, trained = workers
    assert throwaway.calls == [1]
    assert measured["warmup_seconds"] == 10.25
    assert throwaway.closed
    assert trained.closed


def test_training_ends_when_the_time_is_over(clock, make_task, tmp_path):
    task = make_task(mode="train", epochs=1000, seconds=11.0)
    measured = trial.measure_training(lambda _: Worker(clock), task, tmp_path / "result.json")
    assert len(measured["history"]) == 1


def test_evaluation_leaves_the_first_one_out_of_the_time(clock, make_task):
    measured = trial.measure_evaluation(Worker(clock), make_task(mode="evaluate", seconds=5.0))
    assert measured["warmup_seconds"] == 50
    assert measured["users_per_second"] == pytest.approx(7 / 2)
    assert measured["users"] == 21


def test_peak_of_memory_sees_what_is_gone_again():
    forget_peak()
    before = memory_mb(peak=True)
    np.ones(2**24).sum()  # 128 MiB
    assert memory_mb(peak=True) > before + 100
    assert memory_mb(peak=False) < memory_mb(peak=True)


def test_main_writes_everything_it_measured(make_task, tmp_path, monkeypatch, clock):
    spec = tmp_path / "task.json"
    worker = Worker(clock)
    for mode, measure in (("rate", "updates_per_second"), ("evaluate", "users_per_second"), ("train", "history")):
        spec.write_text(json.dumps(make_task(mode=mode).spec))
        monkeypatch.setattr("sys.argv", ["contender", str(spec), str(tmp_path / "result.json")])
        trial.main(lambda _: worker)
        measured = json.loads((tmp_path / "result.json").read_text())
        assert measured[measure]
        assert measured["peak_memory_mb"] > 10
        assert worker.closed
