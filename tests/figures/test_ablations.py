"""Figures of the ablation: every interval, every seed and the sum of the parts are where they should be."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures.ablations import draw_differences, draw_pulls, draw_two_scales, draw_weights
from dslstudy.metrics.significance import Interval

GROUPS = {"Parts": ["no kappa", "full DSL"], "Rivals": ["positive weight"]}


def bars(ax):
    """(middle, height) -> (low, high) of every interval of a panel."""
    found = {}
    for container in ax.containers:
        middle, height = container.lines[0].get_xydata()[0]
        (segment,) = container.lines[2][0].get_segments()
        found[float(middle), float(height)] = segment[0][0], segment[-1][0]
    return found


def test_both_intervals_of_every_line_are_in_its_panel():
    users, seeds = Interval(-0.02, -0.03, -0.01), Interval(-0.025, -0.05, 0.0)
    against = {
        "full DSL": {"no kappa": (users, seeds), "positive weight": (users, seeds)},
        "tuned SL": dict.fromkeys(["no kappa", "full DSL", "positive weight"], (seeds, users)),
    }
    left, right = render(draw_differences(GROUPS, against))
    heights = dict(zip([t.get_text() for t in left.get_yticklabels()], left.get_yticks(), strict=True))
    assert set(heights) == {*GROUPS, "no kappa", "full DSL", "positive weight"}
    assert heights["Parts"] > heights["no kappa"] > heights["full DSL"] > heights["Rivals"]
    assert len(bars(left)) == 4
    assert len(bars(right)) == 6
    for (middle, height), (low, high) in bars(left).items():
        name = min(heights, key=lambda name: abs(heights[name] - height))
        assert name in against["full DSL"]
        wanted = users if height > heights[name] else seeds
        assert (low, middle, high) == pytest.approx([100 * each for each in (wanted.low, wanted.estimate, wanted.high)])


def test_two_scales_show_the_seeds_and_the_sum_of_the_parts():
    values = {
        "neither": np.array([0.1, 0.2]),
        "kappa only": np.array([0.2, 0.3]),
        "temperature only": np.array([0.3, 0.4]),
        "both": np.array([0.5, 0.6]),
    }
    (ax,) = render(draw_two_scales(values, metric="NDCG@20"))
    dots = {(float(x), float(y)) for line in ax.lines for x, y in zip(*line.get_data(), strict=True)}
    assert {(place, value) for place, of in enumerate(values.values()) for value in of} <= dots
    (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed.get_ydata() == pytest.approx([0.25 + 0.35 - 0.15] * 2)
    means = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert [tuple(mean) for mean in means] == [(n, pytest.approx(v)) for n, v in enumerate((0.15, 0.25, 0.35, 0.55))]
    render(draw_two_scales({name: of[:1] for name, of in values.items()}, metric="NDCG@20"))


def test_pulls_show_the_middle_and_the_ends_of_the_examples():
    (ax,) = render(draw_pulls({"SL": [1.0] * 5, "SL@K": [0.62, 0.7, 0.8, 0.9, 0.98]}))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["SL", "SL@K"]
    drawn = [tuple(map(float, line.get_xdata())) for line in ax.lines if set(line.get_ydata()) == {-1}]
    assert drawn == [pytest.approx((0.62, 0.98)), pytest.approx((0.7, 0.9)), pytest.approx((0.8,))]


def test_weights_show_every_seed_the_means_and_the_levels():
    curves = {"softmax": {1.0: np.array([0.1, 0.3]), 0.8: np.array([0.4])}, "dsl": {1.0: np.array([0.3])}}
    (ax,) = render(draw_weights(curves, {"slatk": np.array([0.5, 0.7])}, metric="NDCG@20"))
    dots = {tuple(map(float, xy)) for line in ax.lines if line.get_marker() == "." for xy in line.get_xydata()}
    assert dots == {(1.0, 0.1), (1.0, 0.3), (0.8, 0.4), (1.0, 0.3)}
    (mean,) = [line for line in ax.lines if line.get_label() == "SL"]
    assert mean.get_xydata().ravel() == pytest.approx([0.8, 0.4, 1.0, 0.2])
    (level,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert level.get_ydata() == pytest.approx([0.6, 0.6])
    assert level.get_label() == "SL@K"
