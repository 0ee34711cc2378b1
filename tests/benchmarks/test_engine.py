"""The engine as a contender: exactly the updates that were asked for, the runs of a search, the path it is told."""

import ceilings
import numpy as np
import pytest
import torch
from engine import Engine, configurations

from dslstudy.engine import scores


def test_several_runs_are_a_grid_of_different_settings():
    settings = {"embedding_size": 8, "learning_rate": 0.1, "temperature": 0.2, "runs": 16}
    configs = configurations(settings, seed=5)
    assert len({(c.learning_rate, c.loss_parameters["temperature"]) for c in configs}) == 16
    assert {c.seed for c in configs} == {5}
    assert len({c.stack_key() for c in configs}) == 1
    assert (configs[0].learning_rate, configs[0].loss_parameters["temperature"]) == (0.1, 0.2)
    assert configurations(settings | {"runs": 1}, 5) == configs[:1]


@pytest.mark.parametrize("sampling", ["example", "batch"])
def test_it_takes_as_many_steps_as_it_is_told(sampling, make_task, monkeypatch):
    engine = Engine(make_task(negative_sampling=sampling, runs=2))
    try:
        assert engine.runs == 2
        engine.run(3)
        engine.run(12)  # more than an epoch
        assert engine.stack.optimizer.steps == 15
        users, items = engine.tables()
        assert users.shape == (2, engine.task.num_users, 8)
        assert np.linalg.norm(items, axis=-1) == pytest.approx(1, abs=1e-5)
    finally:
        engine.close()


def test_inner_products_need_no_unit_vectors(make_task):
    engine = Engine(make_task(score="inner-product"))
    try:
        users, _ = engine.tables()
    finally:
        engine.close()
    assert np.linalg.norm(users, axis=-1).std() > 0.1


def test_it_evaluates_every_run(make_task, split):
    engine = Engine(make_task(mode="evaluate", runs=3))
    try:
        assert engine.evaluate() == 3 * len(np.unique(split.validation.users))
    finally:
        engine.close()


@pytest.mark.parametrize(("path", "by_product"), [("product", True), ("gather", False)])
def test_a_path_can_be_forced(path, by_product, make_task, monkeypatch):
    monkeypatch.setattr(scores, "PRODUCT_LIMIT", dict(scores.PRODUCT_LIMIT))
    engine = Engine(make_task(path=path))
    try:
        assert scores.scores_by_product(10**6, 1, "cpu") is by_product
        facts = engine.facts()
    finally:
        engine.close()
    width = engine.task.num_items if by_product else 12
    assert facts["path"] == path
    assert facts["gigaflops_per_update"] == pytest.approx(6e-9 * 256 * width * 8)
    assert facts["least_gigabytes_per_update"] == pytest.approx(28e-9 * (200 + 150) * 8)


def test_ceilings_by_hand(monkeypatch):
    monkeypatch.setattr(ceilings, "best_seconds", lambda operation, *_, **__: operation() is None or 0.5)
    found = ceilings.ceilings(torch.device("cpu"), seconds=1)
    assert found == {"gigabytes_per_second": 4e-9 * 2**26, "gigaflops_per_second": 4e-9 * 2048**3}


def test_the_fastest_call_counts_after_two_that_do_not(monkeypatch):
    times = iter([0, 9, 9, 10, 10, 15, 15, 17, 17, 20, 20, 30])
    monkeypatch.setattr(ceilings.time, "perf_counter", lambda: float(next(times)))
    calls = []
    assert ceilings.best_seconds(lambda: calls.append(1), torch.device("cpu"), seconds=8) == 2
    assert len(calls) == 5
