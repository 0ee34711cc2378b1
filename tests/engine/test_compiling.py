"""Compiled losses give what plain ones give; without a compiler everything still runs."""

import numpy as np
import pytest
import torch

from dslstudy.engine import compiling
from dslstudy.engine.compiling import Compiled, compiler_available, decide
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import train
from dslstudy.errors import InputError

CPU = torch.device("cpu")
SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 2, "evaluate_every": 1}


@pytest.mark.parametrize("loss", ["psl", "dsl"])
def test_compiled_training_is_plain_training(split, validate, loss, monkeypatch):
    config = TrainingConfig(**SMALL | {"loss": loss})
    (plain,) = train(split.train, [config], validate, compile="never", progress=False)
    if not compiler_available(CPU):
        with pytest.raises(InputError, match="C\\+\\+ compiler"):
            train(split.train, [config], validate, compile="always", progress=False)
        return
    calls = []
    call = Compiled.__call__
    monkeypatch.setattr(Compiled, "__call__", lambda self, *a, **k: calls.append(self) or call(self, *a, **k))
    (fast,) = train(split.train, [config], validate, compile="always", progress=False)
    assert calls
    assert not any(one._failed for one in calls)
    np.testing.assert_allclose([e["loss"] for e in fast.history], [e["loss"] for e in plain.history], rtol=1e-4)
    torch.testing.assert_close(fast.item_table, plain.item_table, rtol=1e-3, atol=2e-3)


def test_short_runs_are_not_compiled(monkeypatch):
    assert not decide("auto", 10**6, CPU)
    assert not decide("never", 10**12, CPU)
    monkeypatch.setattr(compiling, "compiler_available", lambda device: True)
    assert decide("auto", 10**12, CPU)
    assert decide("always", 1, CPU)
    with pytest.raises(InputError, match="auto, always, never"):
        decide("sometimes", 1, CPU)


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not compiler_available(CPU)
    assert not decide("auto", 10**12, CPU)
    with pytest.raises(InputError, match="install it"):
        decide("always", 10**12, CPU)


def test_what_cannot_be_compiled_runs_as_it_is():
    def uncompilable(x):
        return x.exp()

    function = Compiled(uncompilable)

    def fails(*_):
        raise RuntimeError("no compiler today")

    function._compiled = fails
    x = torch.ones(3)
    with pytest.warns(RuntimeWarning, match="uncompilable could not be compiled"):
        assert torch.equal(function(x), x.exp())
    assert torch.equal(function(x), x.exp())  # and says so only once
