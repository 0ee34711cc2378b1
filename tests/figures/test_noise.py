"""Figures of false negatives: every seed, every mean and every share is where it should be."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures.noise import draw_hidden_weight, draw_noise
from dslstudy.study.noise_experiments import HiddenWeight


def points(ax):
    """All points of all lines of a panel."""
    return {
        (round(float(x), 6), round(float(y), 6))
        for line in ax.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_values_and_changes():
    values = {
        "softmax": {0.0: np.array([0.4, 0.5]), 0.1: np.array([0.3, 0.4])},
        "dsl": {0.1: np.array([0.2, 0.2]), 0.0: np.array([0.8, 0.4])},
    }
    left, right = render(draw_noise(values))
    assert {(0.0, 0.4), (0.0, 0.5), (0.0, 0.45), (0.1, 0.35), (0.0, 0.8), (0.0, 0.4), (0.1, 0.2)} <= points(left)
    assert {(0.1, -50.0), (0.1, -30.0), (0.1, -40.0)} <= points(right)  # -75 and -50 less SL's -25 and -20
    assert {y for x, y in points(right) if x == 0.0} == {0.0}
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["SL", "DSL"]


def weight(share, force, kappa):
    return HiddenWeight(share, kappa, 2 - kappa, force, force, -0.1, -0.2, {0.1: force, 1.0: share})


@pytest.mark.parametrize("probabilities", [(0.0, 0.5), (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)])
def test_weights_and_pushes(probabilities):
    measured = {
        loss: {p: weight(0.1 + p / 2, 0.2 * factor, 0.5 + p) for p in probabilities}
        for loss, factor in (("softmax", 1), ("dsl", 2))
    }
    weights, push, sharp = render(draw_hidden_weight(measured))
    for p in probabilities:
        assert {(p, round(0.5 + p, 6)), (p, round(1.5 - p, 6))} <= points(weights)
        assert {(p, round(factor * 0.2 / (0.1 + p / 2), 6)) for factor in (1, 2)} <= points(push)
        assert (0.1, round(0.2 / (0.1 + p / 2), 6)) in points(sharp)
    assert len(sharp.get_legend().get_texts()) == len(probabilities)
