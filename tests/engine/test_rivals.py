"""The rivals are trained like any other loss, and in their limits they train what they are rivals of."""

import pytest
import torch

from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.ranking import train
from dslstudy.engine.rivals import RIVALS

SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 2, "evaluate_every": 1}
KAPPA_ONLY = {"gamma": 0.0, "slate_size": 5}
NO_SCALES = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}


def test_every_configuration_knows_them():
    assert set(RIVALS) <= set(OBJECTIVES)
    for loss, objective in RIVALS.items():
        assert TrainingConfig(loss=loss).loss_parameters == objective.defaults
        assert objective.function.__name__ == f"{loss}_loss"


@pytest.mark.parametrize(
    ("rival", "parameters", "loss", "same"),
    [
        ("positive_weight", {"weight": 1.0}, "softmax", {}),
        ("label_smoothing", {"label_smoothing": 0.0}, "softmax", {}),
        ("loss_reweighting", {"strength": 0.0}, "softmax", {}),
        ("blind_slate", {"alpha": 0.0, "beta": 0.0}, "dsl", {"alpha": 0.0, "beta": 0.0}),
        ("blind_slate", KAPPA_ONLY, "dsl", KAPPA_ONLY),
        ("own_score", {"gamma": 0.0}, "dsl", {"gamma": 0.0}),
        ("dsl_positive_weight", {"weight": 1.0}, "dsl", {}),
        ("dsl_positive_weight", NO_SCALES | {"weight": 0.8}, "positive_weight", {"weight": 0.8}),
    ],
)
def test_in_its_limit_a_rival_trains_the_loss_it_comes_from(split, validate, rival, parameters, loss, same):
    one = TrainingConfig(**SMALL, loss=rival, loss_parameters=parameters, seed=4)
    other = TrainingConfig(**SMALL, loss=loss, loss_parameters=same, seed=4)
    of_rival, of_loss = (train(split.train, [config], validate, progress=False)[0] for config in (one, other))
    torch.testing.assert_close(of_rival.user_table, of_loss.user_table, rtol=1e-3, atol=1e-3)
    if rival == "positive_weight" or (rival == "blind_slate" and "alpha" in parameters):
        assert torch.equal(of_rival.user_table, of_loss.user_table)
