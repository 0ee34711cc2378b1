"""Figures of searches and cells: every trial, every seed and every published value is where it should be."""

from math import inf

import numpy as np
import pytest
from drawing import render
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.figures.search import draw_cells, draw_searches, draw_selection

NUMBERS = st.floats(0, 1)


def points(ax):
    """All points of all lines of a panel."""
    return {(float(x), float(y)) for line in ax.lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(1, 5))
def test_every_trial_is_in_its_panel(values, losses):
    names = ["softmax", "bpr", "dsl", "psl", "bsl"][:losses]
    searches = {loss: [value * (1 + n) / 5 for value in values] for n, loss in enumerate(names)}
    axes = [ax for ax in draw_searches(searches).axes if ax.get_visible()]
    assert len(axes) == losses
    for ax, of_loss in zip(axes, searches.values(), strict=True):
        wanted = {(float(n), value) for n, value in enumerate(of_loss, start=1)}
        assert wanted <= points(ax)
        assert max(searches["softmax"]) in {float(line.get_ydata()[0]) for line in ax.lines}


def test_searches_are_drawn_even_with_diverged_trials():
    render(draw_searches({"softmax": [0.1, 0.3, 0.2], "dsl": [-inf, 0.2, 0.4], "bpr": [0.1], "psl": [0.2, 0.1]}))


def test_the_chosen_trial_is_ringed():
    (ax,) = draw_selection({"softmax": [0.1, 0.3, 0.2]}, {"softmax": [0.5, 0.4, 0.6]}).axes
    rings = [line for line in ax.lines if line.get_markersize() == 12]
    assert [(ring.get_xdata()[0], ring.get_ydata()[0]) for ring in rings] == [(0.3, 0.4)]
    render(ax.figure)


def test_cells_show_seeds_means_published_values_and_gaps():
    ours = {
        "recall@20": {"softmax": np.array([0.2, 0.3]), "ease": np.array([0.25]), "dsl": np.array([])},
        "ndcg@20": {"softmax": np.array([0.1, 0.2]), "ease": np.array([0.15]), "dsl": np.array([])},
    }
    figure = draw_cells(ours, published={"ndcg@20": {"softmax": 0.12, "dsl": 0.3}}, names={"ease": "a linear model"})
    recall, ndcg = render(figure)
    assert {(0.2, 0.0), (0.3, 0.0), (0.25, -1.0)} <= points(recall)
    assert {(0.1, 0.0), (0.2, 0.0), (0.15, -1.0), (0.12, 0.0), (0.3, -2.0)} <= points(ndcg)
    assert not {point for point in points(recall) if point[1] == -2.0 and 0 < point[0] < 1}
    assert [label.get_text() for label in recall.get_yticklabels()] == ["SL", "a linear model", "DSL"]
    middle = [line.get_xdata()[0] for line in ndcg.lines if line.get_linestyle() == "--"]
    assert middle == [pytest.approx(0.15)]
