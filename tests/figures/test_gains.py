"""Figures of who gains: every value, every difference, filled where it is sure."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures.gains import draw_by_group, draw_exposure
from dslstudy.metrics.significance import Interval

LINES = {"softmax": np.array([0.1, 0.2, 0.3]), "dsl": np.array([0.2, 0.1, 0.3]), "ease": np.array([0.3, 0.3, 0.1])}
DIFFERENCES = [Interval(0.1, 0.05, 0.2), Interval(-0.1, -0.3, 0.1), Interval(0.0, -0.1, 0.1)]


def test_lines_differences_and_how_sure_they_are():
    figure = draw_by_group(
        {"IID": (LINES, DIFFERENCES), "Shifted": (LINES, DIFFERENCES)},
        {"IID": [0.01, 0.2, 0.9], "Shifted": [0.5, 0.01, 0.9]},
        xlabel="decile",
        ylabel="NDCG@20",
    )
    left, right, _, below = render(figure)
    assert [list(line.get_ydata()) for line in left.lines] == [list(values) for values in LINES.values()]
    marks = [line for line in right.lines if line.get_marker() == "o"]
    assert [line.get_ydata()[0] for line in marks] == [each.estimate for each in DIFFERENCES]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, True, True]
    marks = [line for line in below.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [True, False, True]
    ends = [container.get_segments()[0][:, 1] for container in right.collections]
    assert np.allclose(ends, [(each.low, each.high) for each in DIFFERENCES])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SL", "DSL", "EASE"]


def test_a_line_of_one_table_alone_is_in_the_legend_under_its_name():
    more = LINES | {"softmax-matched": np.array([0.1, 0.0, 0.2])}
    figure = draw_by_group(
        {"IID": (LINES, DIFFERENCES), "Shifted": (more, DIFFERENCES)},
        {"IID": [1.0] * 3, "Shifted": [1.0] * 3},
        xlabel="decile",
        ylabel="NDCG@20",
        names={"softmax-matched": "the control"},
        log=True,
    )
    render(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SL", "DSL", "EASE", "the control"]
    assert [ax.get_yscale() for ax in figure.axes] == ["log", "linear", "log", "linear"]


def test_exposure_beside_the_parts_of_the_split():
    parts = {"train": np.array([0.6, 0.3, 0.1]), "test": np.array([0.3, 0.3, 0.4])}
    figure = draw_exposure({"IID": LINES, "Shifted": LINES}, {"IID": parts, "Shifted": parts})
    for ax in render(figure):
        drawn = [list(line.get_ydata()) for line in ax.lines]
        assert drawn == [list(values) for values in (*parts.values(), *LINES.values())]
    assert figure.axes[0].lines[0].get_label() == "train"
    with pytest.raises(ValueError, match="zip"):
        draw_exposure({"IID": LINES}, {"IID": {"train": parts["train"]}})
