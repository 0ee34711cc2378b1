"""Losses that the study holds against DSL: its ablations, and rivals that cost less (book: Ablations and readings)."""

from math import inf

from torch import Tensor

from dslstudy import losses
from dslstudy.engine.objectives import OBJECTIVES, Objective


def _positive_weight(positive: Tensor, log_sum: Tensor, *, weight: Tensor, temperature: Tensor) -> Tensor:
    return log_sum - weight * positive / temperature


RIVALS: dict[str, Objective] = {
    "blind_slate": Objective(
        losses.blind_slate_loss,
        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 20},
        uses_similarity=True,
        per_example=False,
    ),
    "own_score": Objective(
        losses.own_score_loss,
        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2},
        uses_similarity=True,
        per_example=False,
    ),
    "positive_weight": Objective(
        losses.positive_weight_loss,
        {"temperature": 0.2, "weight": 0.9},
        ranges={"weight": (0.0, inf)},
        of_log_sum=_positive_weight,
    ),
    "dsl_positive_weight": Objective(
        losses.dsl_positive_weight_loss,
        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 20, "weight": 0.9},
        ranges={"weight": (0.0, inf)},
        uses_similarity=True,
        per_example=False,
    ),
    "label_smoothing": Objective(
        losses.label_smoothing_loss,
        {"temperature": 0.2, "label_smoothing": 0.1},
        ranges={"label_smoothing": (-1.0, 1.0)},
    ),
    "loss_reweighting": Objective(
        losses.loss_reweighting_loss, {"temperature": 0.2, "strength": -0.2}, per_example=False
    ),
}
OBJECTIVES.update(RIVALS)
