"""The contenders are scripts that find each other in the folder `benchmarks`."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from trial import Task

from dslstudy.data import load_split

SETTINGS = {"embedding_size": 8, "batch_size": 256, "num_negatives": 12, "temperature": 0.2, "learning_rate": 0.1}


@pytest.fixture(scope="session")
def split():
    return load_split("synthetic-ranking")


@pytest.fixture(scope="session")
def make_task(split, tmp_path_factory):
    """A task on generated data; keywords change its settings or, where it has a field of that name, itself."""
    data = tmp_path_factory.mktemp("data") / "data.npz"
    pairs = {name: np.stack([p.users, p.items], axis=1) for name, p in vars(split).items() if name in DATA}
    np.savez(data, **pairs, num_users=split.train.num_users, num_items=split.train.num_items)

    def make(**changes):
        spec = {"mode": "rate", "seed": 0, "threads": 1, "device": "cpu", "data": str(data), "seconds": 0.02}
        spec |= {"warmup": 1, "least_updates": 1, "epochs": 2, "evaluate_every": 1}
        of_spec = {name: changes.pop(name) for name in list(changes) if name in spec}
        return Task(spec | of_spec | {"settings": SETTINGS | changes})

    return make


DATA = ("train", "validation")
