"""The figures of the chapters on finding cohorts and on cohorts in ranking draw what they are given."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures import user_cohorts as figures
from dslstudy.metrics.significance import Interval
from dslstudy.study.user_cohorts import compare_cohorts


def test_chance_shows_medians_and_what_was_found():
    by_chance = {10: [0.1, 0.2, 0.3], 100: [0.01, 0.02, 0.03]}
    figure = figures.draw_chance_divergences(by_chance, {"age": 0.05}, divergence="JS", unit="users")
    (ax,) = render(figure)
    assert ax.lines[0].get_xydata().tolist() == [[10, 0.2], [100, 0.02]]
    assert ax.lines[1].get_ydata()[0] == 0.05
    assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "100"]


def test_distribution_functions_are_quantiles():
    predictions = np.linspace(0.2, 0.6, 401)
    panels = {"equal": {"rest": predictions, "head": predictions + 0.1}, "unequal": {"tail": predictions}}
    axes = render(figures.draw_prediction_distributions(panels))
    assert [ax.get_title(loc="left") for ax in axes] == ["(a) equal", "(b) unequal"]
    line = axes[0].lines[1]
    middle = np.flatnonzero(line.get_ydata() == 50)
    assert line.get_xdata()[middle] == pytest.approx(0.5)


def test_found_shares_are_written_into_their_cells():
    shares = {"JS": {"0": 0.0, "0.1": 1.0}, "KL": {"0": 0.25, "0.1": 0.5}}
    (ax,) = render(figures.draw_found_shares(shares, rows="gap"))
    assert np.asarray(ax.images[0].get_array()).tolist() == [[0, 25], [100, 50]]
    assert [text.get_text() for text in ax.texts] == ["0", "25", "100", "50"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.1"]


def test_temperatures_stand_beside_each_other():
    kinds = {
        "all positives": {"a": Interval(1.1, 1.0, 1.2), "b": Interval(0.9, 0.8, 1.0)},
        "popularity taken out": {"a": Interval(1.0, 0.9, 1.1), "b": Interval(1.0, 0.9, 1.1)},
    }
    axes = render(figures.draw_cohort_temperatures({"activity": kinds, "age": kinds}))
    assert len(axes) == 2
    first, second = axes[0].containers
    assert first.lines[0].get_ydata().tolist() == [1.1, 0.9]
    assert (first.lines[0].get_xdata() < second.lines[0].get_xdata()).all()


def test_differences_are_in_points():
    rng = np.random.default_rng(0)
    base = rng.random((3, 40))
    arms = {"up": base + 0.02, "down": base - 0.01}
    found = compare_cohorts(arms, base, {"everyone": np.ones(40, bool), "half": np.arange(40) < 20}, samples=20)
    axes = render(figures.draw_cohort_differences({"one": found, "two": found}, baseline="plain"))
    assert len(axes) == 2
    up, down = axes[0].containers
    assert up.lines[0].get_ydata() == pytest.approx([2.0, 2.0])
    assert down.lines[0].get_ydata() == pytest.approx([-1.0, -1.0])
    dots = [line for line in axes[0].lines if line.get_marker() == "."]
    assert len(dots) == 4
    assert dots[0].get_ydata() == pytest.approx([2.0] * 3)
