"""Figures: what is drawn are the numbers that were given, and every colour can be told apart."""

import matplotlib as mpl
import numpy as np
import pytest
from drawing import render
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.figures import data, ranking, style
from dslstudy.metrics.significance import Interval, mean_interval

COUNTS = st.lists(st.integers(1, 50), min_size=2, max_size=60).map(np.array)


def test_style_sets_the_width_of_the_text_column():
    assert mpl.rcParams["figure.figsize"][0] == style.WIDTH
    assert mpl.rcParams["figure.constrained_layout.use"]


def test_every_loss_has_a_colour_and_a_marker_of_its_own():
    for table in (style.LOSS_COLOURS, style.LOSS_MARKERS):
        assert set(OBJECTIVES) <= set(table)
        assert len(set(table.values())) == len(table)
    assert style.loss_colour("dsl") != style.loss_colour("softmax")
    assert style.loss_colour("my own") == style.BLACK


def test_panels_get_letters():
    figure = data.draw_long_tail({"one": np.array([5, 3, 1])})
    assert [ax.get_title(loc="left")[:3] for ax in render(figure)] == ["(a)", "(b)"]


@given(COUNTS)
def test_lorenz_is_what_the_most_popular_hold(counts):
    items, held = data.lorenz(counts)
    ordered = sorted(counts.tolist(), reverse=True)
    for place in range(len(counts) + 1):
        assert items[place] == pytest.approx(place / len(counts))
        assert held[place] == pytest.approx(sum(ordered[:place]) / sum(ordered))
    assert (held >= items - 1e-12).all()


@given(COUNTS, st.integers(1, 10))
def test_popularity_groups_are_equal_in_size_and_ordered(counts, groups):
    of_item = data.popularity_groups(counts, groups)
    sizes = np.bincount(of_item, minlength=groups)
    assert sizes.sum() == len(counts)
    assert sizes.max() - sizes.min() <= 1
    for group in range(groups - 1):
        here, next_one = counts[of_item == group], counts[of_item == group + 1]
        if len(here) and len(next_one):
            assert here.min() >= next_one.max()


def test_group_shares_by_hand():
    train = np.array([10, 1, 5, 2])  # groups of two: items 0 and 2, then 3 and 1
    shares = data.group_shares(train, np.array([0, 2, 2, 1]), groups=2)
    assert shares.tolist() == [0.75, 0.25]


def test_long_tail_marks_the_share_of_the_head():
    ranks, shares = render(data.draw_long_tail({"one": np.array([50, 20, 10, 10, 10])}, head=0.2))
    assert ranks.lines[0].get_ydata().tolist() == [50, 20, 10, 10, 10]
    assert "50%" in [text.get_text() for text in shares.texts]


def test_popularity_shift_draws_a_bar_for_each_decile():
    shares = {"iid": {"train": np.full(10, 0.1), "test": np.linspace(0.19, 0.01, 10)}}
    (ax,) = render(data.draw_popularity_shift(shares))
    assert [bar.get_height() for bar in ax.containers[1]] == pytest.approx(list(shares["iid"]["test"]))


def test_in_time_counts_every_interaction():
    times = {"train": np.arange(0, 8_000_000, 100_000), "test": np.arange(8_000_000, 9_000_000, 100_000)}
    ax, _ = render(data.draw_in_time({"temporal": times, "iid": times}, bins=9))
    heights = [sum(bar.get_height() for bar in container) for container in ax.containers]
    assert sum(heights) == 90


def test_head_dependence_joins_the_two_splits_and_keeps_its_labels_apart():
    (ax,) = render(data.draw_head_dependence({"EASE": (0.4, 0.1), "kNN": (0.3, 0.099)}, metric="NDCG@20"))
    assert list(ax.lines[0].get_ydata()) == [0.4, 0.1]
    height = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert height["0.099  kNN"] == 0.099
    assert height["0.100  EASE"] > 0.099 + 0.02


def test_training_curves_mark_the_epoch_selected():
    history = [{"epoch": e, "loss": 1 / e, "validation": v} for e, v in ((1, 0.1), (2, 0.3), (3, 0.2))]
    axes = render(ranking.draw_training_curves({"bpr": [history], "softmax": [history, history]}))
    marks = [line for line in axes[0].lines if len(line.get_xdata()) == 1]
    assert [mark.get_xdata()[0] for mark in marks] == [2, 2, 2]
    assert len(axes) == 3


def test_sweep_draws_means_with_their_t_intervals():
    values = {0.1: np.array([0.2, 0.3, 0.25]), 0.2: np.array([0.4, 0.41, 0.45])}
    left, right = render(ranking.draw_two_sweeps(values, {"bpr": values, "softmax": values}))
    bars = left.containers[0]
    line, _, (segments,) = bars
    assert list(line.get_xdata()) == [0.1, 0.2]
    for segment, of_seeds in zip(segments.get_segments(), values.values(), strict=True):
        interval = mean_interval(of_seeds)
        assert segment[:, 1] == pytest.approx([interval.low, interval.high])
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["BPR", "SL"]


def test_comparisons_stand_in_the_order_given():
    (ax,) = render(
        ranking.draw_comparisons({"a": Interval(0.1, 0.05, 0.2), "b": Interval(-0.1, -0.2, 0.1)}, xlabel="difference")
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [container.lines[0].get_ydata()[0] for container in ax.containers] == [0, -1]


def test_gains_leave_the_place_of_a_missing_line_empty():
    gain = Interval(0.1, 0.05, 0.2)
    left, right = render(
        ranking.draw_gains(
            {"MF": {"bpr": gain, "dsl": gain}, "LightGCN": {"dsl": gain}}, xlabel="gain", names={"dsl": "the method"}
        )
    )
    assert [label.get_text() for label in left.get_yticklabels()] == ["BPR", "the method"]
    heights = [[bar.lines[0].get_ydata()[0] for bar in ax.containers] for ax in (left, right)]
    assert heights == [[0, -1], [-1]]
    (segment,) = right.containers[0].lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([0.05, 0.2])


def test_beside_published_draws_both_and_leaves_out_what_was_not_run():
    ours = {"ndcg@20": {"softmax": np.array([0.125, 0.127]), "bpr": np.array([])}}
    (ax,) = render(ranking.draw_beside_published(ours, {"ndcg@20": {"softmax": 0.1261, "bpr": 0.1234}}))
    diamonds = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D" and len(line.get_xdata()) == 1]
    assert diamonds == [0.1261, 0.1234]
    assert [container.lines[0].get_xdata()[0] for container in ax.containers] == [pytest.approx(0.126)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["SL", "BPR"]


def test_pull_prints_the_shares_of_the_named_negatives():
    margins = np.array([0.5, -1.0, -0.2])
    shares = {"BPR": np.array([0.5, 0.2, 0.3]), "SL τ=0.1": np.array([0.9991, 0.0001, 0.0008])}
    titles = ["A Title That Is Too Long (1996)", "B" * 50]
    _, table = render(ranking.draw_pull(margins, shares, shown=[0, 1], titles=titles))
    assert [text.get_text() for text in table.texts] == ["50.0", "99.9", "20.0", "<0.1"]
    assert [label.get_text() for label in table.get_yticklabels()] == ["A Title That Is Too Long", "B" * 26 + "…"]


def test_bound_prints_the_gap():
    log_rank = np.log(np.arange(1, 50))
    (ax,) = render(ranking.draw_bound(log_rank, {"τ = 1": log_rank + 0.5}))
    assert "mean gap 0.50" in [text.get_text() for text in ax.texts]


def test_two_losses_draws_value_and_slope():
    margin = np.linspace(-1, 1, 5)
    value, slope = render(ranking.draw_two_losses(margin, {"BPR": (margin**2, 2 * margin)}))
    assert list(value.lines[0].get_ydata()) == list(margin**2)
    assert list(slope.lines[0].get_ydata()) == list(2 * margin)
