"""The figures of the chapters on DSL's branches draw what they are given."""

import numpy as np
import pytest
from drawing import render

from dslstudy.figures import dsl as figures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def points(collection):
    return np.asarray(collection.get_offsets())


def lines(ax):
    """Label -> (x, y) of the labelled lines."""
    return {line.get_label(): np.asarray(line.get_data()) for line in ax.get_lines() if line.get_label()[0] != "_"}


def test_payoff_puts_hardness_left_and_similarity_right(rng):
    margins = rng.normal(size=20)
    bonuses = {r"$\alpha = 1$": 2 * margins, r"$\beta = 1$": rng.normal(size=20), r"$\beta = 2$": rng.normal(size=20)}
    left, right = render(figures.draw_payoff(margins, bonuses))
    assert len(left.collections) == 1
    assert len(right.collections) == 2
    assert points(left.collections[0]) == pytest.approx(np.column_stack([margins, 2 * margins]))


def test_movers_names_the_extremes_of_each_setting():
    titles = [f"Film {i} (1990)" for i in range(20)]
    factors = np.linspace(0.5, 2.0, 20)
    axes = render(figures.draw_movers({"a": (titles, factors), "b": (titles, factors[::-1])}, named=2))
    named = [[label.get_text() for label in ax.get_yticklabels()] for ax in axes]
    assert named[0] == ["Film 0", "Film 1", "Film 18", "Film 19"]
    assert named[1] == ["Film 19", "Film 18", "Film 1", "Film 0"]
    assert [bar.get_width() for bar in axes[0].patches] == pytest.approx(np.log2(factors[[0, 1, 18, 19]]))


def test_movers_with_few_films_shows_each_once():
    (ax, *_) = render(figures.draw_movers({"a": (["A", "B", "C"], [0.5, 1.0, 2.0])}, named=4))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B", "C"]


def test_held_out_marks_the_means(rng):
    evidence = {"hardness": (rng.normal(2, 1, 50), rng.normal(0, 1, 500))}
    (ax,) = render(figures.draw_held_out(evidence))
    means = sorted(line.get_xdata()[0] for line in ax.get_lines())
    assert means == pytest.approx(sorted(values.mean() for values in evidence["hardness"]))


def test_gradient_shares_are_percent(rng):
    grid, temperatures = np.array([-0.3, 0.0, 0.3]), np.array([0.1, 0.2])
    shares = {"alpha": rng.random((3, 9)), "beta": rng.random((3, 9)), "temperature": rng.random((2, 9))}
    left, right = render(figures.draw_gradient_shares(grid, temperatures, shares, 0.02))
    (x, y) = lines(left)[r"hardness, $\alpha$"]
    assert x == pytest.approx(grid)
    assert y == pytest.approx(100 * shares["alpha"].mean(1))
    assert lines(right)["uniform"][1] == pytest.approx([2.0, 2.0])


def test_tradeoff_marks_the_softmax_loss():
    curves = {name: ([100, 200, 400], [0.2, 0.1, 0.05]) for name in ("alpha", "beta", "temperature")}
    (ax,) = render(figures.draw_tradeoff(curves, now=(200, 0.1)))
    assert lines(ax)["SL"].ravel() == pytest.approx([200, 10])


def test_temperatures_are_drawn_in_the_order_of_the_intensity(rng):
    intensity = rng.normal(size=30)
    temperatures = {0.2: 0.2 * np.exp(0.2 * intensity)}
    left, right = render(figures.draw_temperatures(intensity, temperatures, tau=0.2, limits={0.2: (0.1, 0.4)}))
    x, y = lines(left)[r"$\gamma$ = 0.2"]
    assert (np.diff(x) > 0).all()
    assert y == pytest.approx(0.2 * np.exp(0.2 * x))
    assert sum(patch.get_xy()[:, 1].max() for patch in right.patches) > 0


def test_spread_accumulates():
    (ax,) = render(figures.draw_spread({"easy": {0.2: [0.7, 0.2, 0.1], 0.3: [0.5, 0.3, 0.2]}}, tau=0.2))
    drawn = lines(ax)
    assert drawn[r"$\tau$ = 0.20"][1] == pytest.approx([0.7, 0.9, 1.0])
    assert drawn[r"$\tau_i$ = 0.30"][1] == pytest.approx([0.5, 0.8, 1.0])


def test_deciles_have_a_point_for_each_tenth(rng):
    panels = {name: {m: [rng.random(5) + k for k in range(10)] for m in (1, 20)} for name in ("users", "items")}
    left, right = render(figures.draw_deciles(panels))
    for ax, of_size in zip((left, right), panels.values(), strict=True):
        for container, tenths in zip(ax.containers, of_size.values(), strict=True):
            assert container.lines[0].get_ydata() == pytest.approx([values.mean() for values in tenths])


@pytest.mark.parametrize("seeds", [1, 3])
def test_alignment_curves_are_means_over_seeds(rng, seeds):
    curves = {target: {name: rng.random((2, seeds)) for name in ("SL", "DSL")} for target in ("training", "test")}
    axes = render(figures.draw_alignment([1, 3], curves, {"SL": rng.random((3, seeds)), "DSL": rng.random((3, seeds))}))
    assert lines(axes[1])["DSL"][1] == pytest.approx(curves["test"]["DSL"].mean(1))
    assert len(lines(axes[2])["SL"][0]) == 3


def test_alignment_plane_joins_the_temperatures_in_order(rng):
    names = ("SL", "SL, 0.1", "SL, 0.4", "DSL", "gamma = +0.2")
    of_loss = {name: [rng.random(2), rng.random(2)] for name in names}
    panels = {f"panel {i}": of_loss for i in range(3)}
    temperatures = {"SL": 0.2, "SL, 0.1": 0.1, "SL, 0.4": 0.4}
    axes = render(figures.draw_alignment_plane(panels, temperatures=temperatures))
    x, y = lines(axes[0])[r"SL, all $\tau$"]
    expected = np.array([[np.mean(part) for part in of_loss[name]] for name in ("SL, 0.1", "SL", "SL, 0.4")])
    assert np.column_stack([x, y]) == pytest.approx(expected)
    assert set(lines(axes[0])) == {r"SL, all $\tau$", r"SL, $\tau$ = 0.2", "DSL", r"$\gamma$ = +0.2"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_above_line_draws_every_case(rng, seeds):
    cases = {(model, epoch): rng.random(seeds) for model in ("SL", "DSL") for epoch in (1, 6)}
    (ax,) = render(figures.draw_above_line({"DSL": cases, "beta = +0.2": cases}, models=["SL", "DSL"]))
    assert len(ax.containers) == 8
    assert [label.get_text() for label in ax.get_xticklabels()] == ["DSL", r"$\beta$ = +0.2"]


def test_steps_are_points_of_ndcg(rng):
    panels = {target: {"SL": rng.normal(size=(3, 9)), "random": rng.normal(size=(3, 9))} for target in ("a", "b")}
    left, _ = render(figures.draw_steps([0.01, 0.02, 0.05], panels))
    assert lines(left)["SL"][1] == pytest.approx(100 * panels["a"]["SL"].mean(1))
