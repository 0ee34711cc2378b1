"""The figures of the chapters on cohorts draw what they are given."""

import numpy as np
import pytest
from drawing import render

from dslstudy.c2al.attention import EDGES, AttentionRecord, attention_statistics
from dslstudy.c2al.cohorts import discover
from dslstudy.c2al.gradients import EVERYONE, SHARED, GradientParts
from dslstudy.data.click_logs import Axis
from dslstudy.figures import c2al as figures
from dslstudy.figures.style import BLUE, GREY, VERMILION
from dslstudy.metrics.calibration import ReliabilityCurve
from dslstudy.metrics.significance import Interval, mean_interval


def found(divergence="js", *, cohorts=4, empty=None, seed=0):
    """A discovery along an axis whose first and last bin are farthest apart."""
    rng = np.random.default_rng(seed)
    bins = np.repeat(np.arange(cohorts), 600)
    predictions = np.clip(rng.normal(0.3 + 0.05 * bins, 0.1), 0, 1)
    if empty is not None:
        bins = np.where(bins == empty, -1, bins)
    axis = Axis("value", "user", tuple(f"bin {k}" for k in range(cohorts)), bins, bins[:0], bins[:0])
    users = np.arange(len(bins)) // 10
    return discover(axis, predictions, users, divergence=divergence, resamples=10, permutations=2, seed=seed)


def frames(ax):
    return {tuple(round(end + 0.5) for end in patch.get_xy()[::-1]) for patch in ax.patches}


def test_matrices_frame_the_chosen_pair_both_ways():
    discoveries = [found("js"), found("wasserstein", cohorts=8), found("kl", empty=1)]
    axes = render(figures.draw_divergence_matrices(discoveries))
    panels, bars = axes[:3], axes[3:]
    assert len(bars) == 3
    for ax, each in zip(panels, discoveries, strict=True):
        (head,), (tail,) = each.pair.head, each.pair.tail
        assert frames(ax) == {(head, tail), (tail, head)}
        assert np.ma.filled(ax.images[0].get_array(), np.nan) == pytest.approx(each.matrix, nan_ok=True)
        assert [text.get_text() for text in ax.get_xticklabels()] == list(each.labels)
    assert [ax.get_title(loc="left") for ax in panels] == ["(a) JS", "(b) Wasserstein", "(c) KL"]
    # numbers stand in the cells of small matrices only, and none in those of an empty bin
    assert [len(ax.texts) for ax in panels] == [16, 0, 9]
    greys = [text.get_color() for text in panels[2].get_yticklabels()]
    assert [colour != "#000000" for colour in greys] == [False, True, False, False]


def test_a_cohort_too_small_to_be_chosen_does_not_take_the_colours():
    rng = np.random.default_rng(0)
    bins = np.repeat([0, 1, 2], [600, 600, 30])
    predictions = np.clip(rng.normal(np.array([0.2, 0.25, 0.9])[bins], 0.05), 0, 1)
    axis = Axis("value", "user", ("a", "b", "c"), bins, bins[:0], bins[:0])
    each = discover(axis, predictions, np.arange(len(bins)), resamples=2, permutations=1)
    ax, _bar = render(figures.draw_divergence_matrices([each]))
    assert ax.images[0].norm.vmax == pytest.approx(each.value)
    assert each.matrix[0, 2] > each.value


def test_stability_counts_the_seeds():
    discoveries = {name: [found(name, seed=seed) for seed in range(3)] for name in ("js", "energy")}
    (ax,) = render(figures.draw_pair_stability(discoveries))
    pairs = [text.get_text() for text in ax.get_yticklabels()]
    table = np.asarray(ax.images[0].get_array())
    assert table.shape == (len(pairs), 2)
    assert table.sum(0) == pytest.approx([100, 100])
    for place, of_seeds in enumerate(discoveries.values()):
        for pair, share in zip(pairs, table[:, place], strict=True):
            times = sum(f"bin {each.pair.head[0]} / bin {each.pair.tail[0]}" == pair for each in of_seeds)
            assert share == pytest.approx(100 * times / 3)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["JS", "energy"]


def bar_ends(container, side):
    """(n, 2) ends of the error bars of a container."""
    return np.array([segment[:, side] for segment in container.lines[2][0].get_segments()])


def test_forest_has_a_panel_for_each_cohort_and_colours_what_is_sure():
    differences = {
        "c2al": {"overall": Interval(-0.3, -0.5, -0.1), "tail": Interval(-0.2, -0.9, 0.5)},
        "random_pair": {"overall": Interval(0.4, 0.1, 0.7)},
    }
    figure = figures.draw_ne_differences(differences)
    overall, tail = render(figure)
    assert [text.get_text() for text in overall.get_yticklabels()] == ["C2AL", "random pair"]
    assert [container.lines[0].get_color() for container in overall.containers] == [BLUE, VERMILION]
    assert bar_ends(overall.containers[0], 0) == pytest.approx(np.array([[-0.5, -0.1]]))
    assert overall.containers[1].lines[0].get_xydata().tolist() == [[0.4, 1.0]]
    assert [container.lines[0].get_color() for container in tail.containers] == [GREY]
    assert "better" in figure.get_supxlabel()
    assert overall.yaxis_inverted()


def test_forest_of_several_places_names_each_above_its_methods():
    lower, open_ = Interval(-0.3, -0.5, -0.1), Interval(-0.2, -0.9, 0.5)
    places = {
        "here": {"c2al": {"overall": lower, "tail": open_}, "membership": {"overall": open_}},
        "there": {"c2al": {"overall": open_}},
    }
    overall, tail = render(figures.draw_ne_by_place(places))
    labels = [text.get_text() for text in overall.get_yticklabels()]
    assert labels == ["", "C2AL", "membership only", "", "C2AL"]
    assert [(text.get_text(), text.get_position()[1]) for text in overall.texts] == [("here", 0), ("there", 3)]
    assert [container.lines[0].get_xydata().tolist() for container in overall.containers] == [
        [[-0.3, 1.0]],
        [[-0.2, 2.0]],
        [[-0.2, 4.0]],
    ]
    assert [container.lines[0].get_color() for container in overall.containers] == [BLUE, GREY, GREY]
    assert len(tail.containers) == 1


def test_attention_effects_stand_side_by_side_for_each_model():
    rng = np.random.default_rng(0)
    names = ("entropy", "effective_rank", "kurtosis", "near_zero")

    def measured():
        return {name: mean_interval(rng.normal(size=3)) for name in names}

    effects = {"small": {"c2al": measured(), "random_pair": measured()}, "deep": {"c2al": measured()}}
    axes = render(figures.draw_attention_effects(effects))
    assert len(axes) == len(names)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["small", "deep"]
    titles = [ax.get_title(loc="left") for ax in axes]
    ax = axes[next(place for place, title in enumerate(titles) if "rank" in title)]
    ends = np.concatenate([bar_ends(container, 0) for container in ax.containers])
    intervals = [effects["small"]["c2al"], effects["deep"]["c2al"], effects["small"]["random_pair"]]
    assert ends == pytest.approx(np.array([[i["effective_rank"].low, i["effective_rank"].high] for i in intervals]))
    places = [container.lines[0].get_ydata()[0] for container in ax.containers]
    assert places[0] < 0 < places[2] < places[1] < 1
    colours = [container.lines[0].get_color() for container in ax.containers]
    assert colours[0] == colours[1] != colours[2]


def test_buckets_lie_at_their_percentiles():
    intervals = [Interval(0.1 * k, 0.1 * k - 0.2, 0.1 * k + 0.3) for k in range(20)]
    (ax,) = render(figures.draw_ne_by_bucket({"c2al": intervals}, statistic="activity"))
    points = ax.containers[0].lines[0].get_xydata()
    assert points[:, 0] == pytest.approx(np.arange(2.5, 100, 5))
    assert points[:, 1] == pytest.approx(0.1 * np.arange(20))
    assert bar_ends(ax.containers[0], 1)[3] == pytest.approx([0.1, 0.6])
    assert "activity" in ax.get_xlabel()
    level, difference = render(
        figures.draw_ne_by_bucket(
            {"c2al": intervals, "mmoe": intervals}, statistic="activity", entropies={"plain": np.linspace(0.8, 0.9, 20)}
        )
    )
    assert level.lines[0].get_ydata() == pytest.approx(np.linspace(0.8, 0.9, 20))
    assert [text.get_text() for text in difference.get_legend().get_texts()] == ["C2AL", "MMoE"]


def test_sensitivity_draws_t_intervals_in_the_order_of_the_settings():
    rng = np.random.default_rng(0)
    weights = {cohort: {setting: rng.normal(size=4) for setting in (1.0, 0.1, 0.0)} for cohort in ("overall", "tail")}
    quantiles = {"overall": {0.05: rng.normal(size=4), 0.2: rng.normal(size=4)}}
    left, right = render(figures.draw_sensitivity(weights, quantiles))
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "0.1", "1"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["5", "20"]
    for container, of_setting in zip(left.containers, weights.values(), strict=True):
        ends = bar_ends(container, 1)
        for row, setting in enumerate((0.0, 0.1, 1.0)):
            interval = mean_interval(of_setting[setting])
            assert ends[row] == pytest.approx([interval.low, interval.high])


def test_reliability_draws_the_gap():
    curve = ReliabilityCurve(np.array([0.1, 0.4]), np.array([0.15, 0.3]), np.array([10, 10]))
    left, right = render(figures.draw_reliability({"plain": curve}))
    assert left.lines[1].get_xydata() == pytest.approx(np.array([[0.1, 0.15], [0.4, 0.3]]))
    assert right.lines[1].get_ydata() == pytest.approx([5, -10])
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["plain"]


def test_gradient_parts_by_layer_and_cohort():
    records = [
        GradientParts(2.0, 1.0, 0.1 * step, np.sqrt(1 - 0.01 * step**2), step, cohort, layer, 0.05 * step)
        for step in range(4)
        for cohort in (EVERYONE, "head", "tail")
        for layer in (SHARED, "top", "attention 1", "embedding")
    ]
    lengths, transfer, shares = render(figures.draw_gradient_parts(records))
    curves = {line.get_label(): line for line in lengths.lines}
    assert curves["parallel"].get_ydata() == pytest.approx([0, 0.05, 0.1, 0.15])
    assert curves["orthogonal"].get_ydata()[0] == pytest.approx(0.5)
    assert {line.get_label(): line for line in transfer.lines}["tail"].get_ydata() == pytest.approx(
        [0, 0.05, 0.1, 0.15]
    )
    assert [text.get_text() for text in shares.get_legend().get_texts()] == [SHARED, "embedding", "attention 1", "top"]
    assert shares.lines[0].get_ydata() == pytest.approx(100 * (1 - 0.01 * np.arange(4) ** 2))


def test_attention_statistics_over_training():
    rng = np.random.default_rng(0)
    records = {
        method: [
            AttentionRecord(step, tensor, attention_statistics(rng.normal(size=(20, 6))), 0.1 * step)
            for step in (0, 5)
            for tensor in ("embedding", "attention 1")
        ]
        for method in ("plain", "c2al")
    }
    figure = figures.draw_attention_statistics(records)
    axes = render(figure)
    last = records["c2al"][-1].statistics
    for ax, name in zip(axes, ("entropy", "effective_rank", "kurtosis", "near_zero"), strict=False):
        assert ax.lines[1].get_xdata().tolist() == [0, 5]
        assert ax.lines[1].get_ydata()[-1] == getattr(last, name)
    assert axes[4].lines[1].get_ydata() == pytest.approx([0, 0.5])
    values, edges, _ = axes[5].patches[1].get_data()
    assert values == pytest.approx(last.histogram)
    assert edges == pytest.approx(EDGES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "C2AL"]


def test_mechanism_draws_a_band_for_each_cohort():
    values = {"head": [[1.0, 2.0, 3.0], [2.0, 2.5, 3.0]], "tail": [[0.0, 1.0, 2.0], [1.0, 1.1, 1.2]]}
    (ax,) = render(figures.draw_mechanism([0.1, 0.2], values, label="share", ylabel="NE", log=True))
    assert ax.lines[0].get_ydata() == pytest.approx([2.0, 2.5])
    interval = mean_interval(values["tail"][0])
    heights = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(interval.low)
    assert heights.max() == pytest.approx(interval.high)
    assert ax.get_xscale() == "log"


def test_attention_by_dial_has_a_row_for_each_dial():
    names = ("entropy", "effective_rank", "kurtosis", "near_zero")
    rng = np.random.default_rng(0)
    dials = {"contrast": (2.0, 0.0, 1.0), "share (%)": (20.0, 75.0)}
    statistics = {
        dial: {setting: {name: rng.normal(size=3) for name in names} for setting in settings}
        for dial, settings in dials.items()
    }
    axes = np.reshape(render(figures.draw_attention_by_dial(statistics)), (2, 4))
    for row, (dial, settings) in zip(axes, dials.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            points = ax.containers[0].lines[0].get_xydata()
            intervals = [mean_interval(statistics[dial][setting][name]) for setting in sorted(settings)]
            assert points[:, 0].tolist() == sorted(settings)
            assert points[:, 1] == pytest.approx([each.estimate for each in intervals])
            assert bar_ends(ax.containers[0], 1)[:, 1] == pytest.approx([each.high for each in intervals])
            assert ax.get_xlabel() == dial


def test_methods_in_one_figure_have_colours_of_their_own():
    methods = ["plain", "c2al", "mmoe", "random_pair", "ple", "membership"]
    colours = figures._method_colours(methods)
    assert len(set(colours.values())) == len(methods)
    assert colours["c2al"] == VERMILION
