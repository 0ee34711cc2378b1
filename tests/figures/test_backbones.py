"""The figures of the chapter on backbones draw what they are given."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures import backbones as figures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def lines(ax):
    """Label -> (x, y) of the labelled lines."""
    return {line.get_label(): np.asarray(line.get_data()) for line in ax.get_lines() if line.get_label()[0] != "_"}


def test_reach_shows_each_node_its_weight_and_each_edge_once():
    edges = np.array([[True, True, False], [False, True, True]])
    reach = {"layer 0": np.array([1.0, 0, 0, 0, 0]), "layer 1": np.array([0, 0, 0.7, 0.25, 0])}
    first, second, bar = render(figures.draw_reach(edges, reach))
    assert first.get_title(loc="left") == "(a) layer 0"
    for ax, values in ((first, reach["layer 0"]), (second, reach["layer 1"])):
        assert len(ax.get_lines()) == edges.sum()
        (dots,) = ax.collections
        assert np.array_equal(dots.get_array(), values)
        places = dots.get_offsets()
        assert (places[:2, 0] == 0).all()
        assert (places[2:, 0] == 1).all()
        assert dots.get_clim() == (0, 1)
    assert {"u0", "i2", ".70", ".25"} <= {text.get_text() for text in second.texts}
    assert bar.get_ylabel()


def test_smoothing_draws_responses_and_cosines(rng):
    eigenvalues = np.linspace(-1, 1, 5)
    cosines = {"alone": rng.random(4), "mean": rng.random(4)}
    left, right = render(figures.draw_smoothing(eigenvalues, {"K = 1": (1 + eigenvalues) / 2}, cosines))
    np.testing.assert_array_equal(lines(left)["K = 1"], [eigenvalues, (1 + eigenvalues) / 2])
    for label, values in cosines.items():
        np.testing.assert_array_equal(lines(right)[label], [range(4), values])


def test_noise_stays_in_view_and_in_place(rng):
    before = rng.normal(size=(3, 2))
    after = before + 0.2 * np.sign(before) * np.array([0.6, 0.8])
    (ax,) = render(figures.draw_noise(before, np.stack([after, after]), 0.2))
    dots = [line for line in ax.get_lines() if line.get_marker() == "."]
    for line, point in zip(dots, after, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [point, point])
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y in [*before, *after, (0, 0)]:
        assert left < x < right
        assert bottom < y < top


def test_pair_cosines_are_densities(rng):
    values = rng.uniform(-1, 1, 500)
    figure = figures.draw_pair_cosines({"users": {"mf": values, "own": values}, "items": {"mf": values}})
    users, items = render(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["MF", "own"]
    assert len(items.patches) == 1
    for patch in [*users.patches, *items.patches]:
        height, edges, _ = patch.get_data()
        assert np.sum(height * np.diff(edges)) == pytest.approx(1)


def test_learning_curves_run_over_epochs_and_over_seconds():
    history = [{"epoch": 2, "validation": 0.1}, {"epoch": 4, "validation": 0.3}]
    by_epoch, by_time = render(figures.draw_learning_curves({"lightgcn": history}, {"lightgcn": 1.5}))
    np.testing.assert_array_equal(lines(by_epoch)["LightGCN"], [[2, 4], [0.1, 0.3]])
    np.testing.assert_array_equal(by_time.get_lines()[0].get_xdata(), [3, 6])
    assert by_epoch.get_ylabel() == "validation NDCG@20"


def test_costs_are_bars_from_the_top():
    tables, epochs = {"mf": 0.5, "lightgcn": 12.0}, {"mf": 2.0, "lightgcn": 3.25}
    for ax, values in zip(render(figures.draw_cost(tables, epochs)), (tables, epochs), strict=True):
        assert [bar.get_width() for bar in ax.patches] == list(values.values())
        assert ax.yaxis_inverted()
    assert {"12 ms"} <= {text.get_text() for text in figures.draw_cost(tables, epochs).axes[0].texts}
