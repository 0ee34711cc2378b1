"""The fused losses: their values, their compilation, and that nobody without a GPU needs Triton."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dslstudy.engine import fused
from dslstudy.errors import InputError

HERE = Path(__file__).parent
# where the `test` extra brings Triton: it publishes no wheel for other machines
TRITON_IS_HERE = sys.platform == "linux" and platform.machine() == "x86_64"

TRAINS_A_LITTLE = """
from dslstudy.data.synthetic import synthetic_ranking
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.fused import fused_available
from dslstudy.engine.ranking import train

interactions = synthetic_ranking().interactions
common = {"epochs": 1, "num_negatives": 8, "embedding_size": 4}
for loss in ("softmax", "dsl"):
    train(interactions, [TrainingConfig(loss=loss, **common)], lambda users, items: [0.0] * len(users), device="cpu")
assert not fused_available("cpu")
assert "dslstudy.engine._kernels" not in sys.modules
print("trained")
"""


def run(*arguments, **environment):
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


if TRITON_IS_HERE:

    def test_values_and_gradients_in_the_interpreter():
        file = str(HERE / "fused_interpreter.py")
        output = run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", file, TRITON_INTERPRET="1")
        assert " passed" in output

    if torch.cuda.is_available():

        def test_values_and_gradients_on_the_gpu():
            file = str(HERE / "fused_interpreter.py")
            output = run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", file, TRITON_INTERPRET="0")
            assert " passed" in output

    def test_the_real_compiler_accepts_every_kernel(tmp_path):
        lines = run(str(HERE / "fused_compiler.py"), TRITON_CACHE_DIR=str(tmp_path)).splitlines()
        compiled = {tuple(line.split()[:2]) for line in lines if int(line.split()[2]) > 0}
        assert compiled == {
            (kernel, gpu) for kernel in ("forward", "score", "finish", "backward") for gpu in ("sm_80", "sm_90")
        }

    def test_where_the_fused_losses_run(monkeypatch):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        assert fused.fused_available("cuda")
        assert not fused.fused_available("cpu")


def test_without_triton_there_is_no_fused_loss(monkeypatch):
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not fused.fused_available("cuda")
    assert not fused.fused_available("cpu")
    table, ids = torch.ones(1, 3, 2), torch.zeros(1, 3, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=r"need CUDA and Triton; compute scores and use dslstudy\.losses"):
        fused.fused_softmax_loss(table, table, ids[..., 0], ids, temperature=0.2)


def test_sizes_that_fit():
    assert fused.fused_fits(4096, 256)
    assert not fused.fused_fits(4097, 256)
    assert not fused.fused_fits(4096, 257)
    assert not fused.fused_fits(1000, 64, torch.float64)


def test_training_on_a_cpu_needs_no_triton():
    no_triton = (
        "import sys\nclass Refuse:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'triton':\n            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    assert run("-c", no_triton + TRAINS_A_LITTLE).strip() == "trained"
