"""Figures of the dials: every cell, curve and centre shows the number that was given."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures.sensitivity import draw_dials, draw_heat_map, draw_signs


def test_the_heat_map_says_every_value_and_marks_the_best_and_its_equals():
    values = {(a, b): 0.2 + a / 10 + b / 100 for a in (-0.3, 0.0, 0.3) for b in (0.0, 0.2)}
    figure = draw_heat_map(values, centre=(-0.3, 0.2), noise=0.003, label="validation NDCG@20")
    ax, bar = render(figure)
    places = {text.get_position(): text.get_text() for text in ax.texts}
    assert len(places) == 6
    for column, alpha in enumerate((-0.3, 0.0, 0.3)):
        for row, beta in enumerate((0.0, 0.2)):
            mark = {(0.3, 0.2): " ★", (0.3, 0.0): " ○"}.get((alpha, beta), "")
            assert places[column, row] == f"{values[alpha, beta]:.4f}{mark}"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["-0.3", "0", "0.3"]
    (frame,) = ax.patches
    x, y = frame.get_center()
    assert (x, y) == pytest.approx((0, 1))
    assert bar.get_ylabel() == "validation NDCG@20"


def test_dials_draw_a_curve_for_each_loss_and_ring_the_centre():
    lines = {
        "gamma": {"dsl": {0.4: 0.15, 0.0: 0.25}},
        "temperature": {"dsl": {0.1: 0.2, 0.2: 0.3}, "softmax": {0.1: 0.1, 0.2: 0.25}},
        "batch_size": {"dsl": {512: 0.2}},
        "another": {"softmax": {1: 0.2, 2: 0.3}},
    }
    centres = {
        "gamma": {"dsl": 0.4},
        "temperature": {"dsl": 0.2, "softmax": 0.1},
        "batch_size": {"dsl": 512},
        "another": {"softmax": 1},
    }
    figure = draw_dials(lines, centres=centres, noise={"dsl": 0.01, "softmax": 0.02}, label="validation")
    axes = [ax for ax in render(figure) if ax.get_visible()]
    assert len(axes) == len(lines)
    for ax, (dial, of_losses) in zip(axes, lines.items(), strict=True):
        curves = [line for line in ax.lines if line.get_linestyle() == "-"]
        assert len(curves) == len(of_losses)
        for curve, line in zip(curves, of_losses.values(), strict=True):
            assert list(map(tuple, curve.get_xydata())) == sorted(line.items())
        rings = [line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 11]
        assert [tuple(ring) for ring in rings] == [
            (centres[dial][loss], line[centres[dial][loss]]) for loss, line in of_losses.items()
        ]
    assert axes[1].get_xscale() == "log"
    assert axes[0].get_xscale() == "linear"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["DSL", "SL"]


def test_signs_draw_every_seed_and_their_mean():
    values = {0.3: np.array([0.1, 0.2]), -0.3: np.array([0.3, 0.5]), 0.0: np.array([0.2, 0.4])}
    (ax,) = render(draw_signs(values, label="validation"))
    seeds, mean = ax.lines[:2], ax.lines[2]
    assert [list(line.get_ydata()) for line in seeds] == [[0.3, 0.2, 0.1], [0.5, 0.4, 0.2]]
    assert list(mean.get_ydata()) == pytest.approx([0.4, 0.3, 0.15])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["-0.3", "0", "+0.3"]
