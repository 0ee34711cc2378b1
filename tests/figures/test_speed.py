"""The figures of the chapter on speed draw what the records hold."""

import pytest
from drawing import render

from dslstudy.errors import InputError
from dslstudy.figures import speed as figures
from dslstudy.figures.style import VERMILION
from dslstudy.study.benchmarks import BenchmarkRecord, Comparison, Contender


def contender(name, rates, **more):
    trials = [{"updates_per_second": rate, "seconds_per_update": 1 / rate} for rate in rates]
    return Contender(**{"name": name, "title": name.title(), "script": "engine.py", "trials": trials} | more)


def a_record(contenders, **more):
    values = {"suite": "s", "title": "t", "mode": "rate", "command": "", "data": {"name": "d"}, "protocol": {}}
    values |= {"environment": {}, "code": {}, "finished": "", "contenders": contenders}
    return BenchmarkRecord(**values | more)


def swept(axis, values, cost):
    return [
        contender(
            f"one, {axis} {value}",
            [1 / cost(value)],
            axis=axis,
            title="One",
            settings={axis: value, "num_negatives": 10},
        )
        for value in values
    ]


def test_contenders_show_the_median_and_the_range():
    record = a_record([contender("dslstudy", [10, 30, 20]), contender("other", [1, 1, 2]), contender("empty", [])])
    (ax,) = render(figures.draw_contenders(record, "updates_per_second", label="updates per second"))
    lines = [line.get_xdata() for line in ax.lines]
    assert [list(map(float, line)) for line in lines] == [[10, 30], [20], [1, 2], [1]]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["Dslstudy", "Other"]
    with pytest.raises(InputError, match="no contender"):
        figures.draw_contenders(record, "speed", label="")


def test_ratios_stand_beside_what_was_wanted():
    record = a_record(
        [contender("a", [10, 30]), contender("b", [1, 2])],
        ratios=[
            Comparison(of="a", over="b", measure="updates_per_second", at_least=11),
            Comparison(of="a", over="b", measure="updates_per_second", at_least=20),
            Comparison(of="a", over="nobody", measure="updates_per_second"),
        ],
    )
    (ax,) = render(figures.draw_ratios([record]))
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in points] == [12.5, 12.5]
    assert [line.get_color() == VERMILION for line in points] == [False, True]  # missed
    bounds = [float(line.get_xdata()[0]) for line in ax.lines if line.get_linewidth() > 2.2]
    assert bounds == [11, 20]
    with pytest.raises(InputError, match="has a ratio to draw"):
        figures.draw_ratios([a_record([])])


def test_growth_has_a_panel_for_each_axis_and_a_proportional_guide():
    contenders = swept("num_users", [100, 400], lambda u: 0.001 * u) + swept("runs", [1, 4], lambda r: 0.5)
    users, runs = render(figures.draw_growth(a_record(contenders)))
    line, guide = users.lines[0], users.lines[-1]
    assert line.get_ydata() == pytest.approx([100, 400])
    assert guide.get_ydata() == pytest.approx([100, 400])
    assert runs.lines[0].get_ydata() == pytest.approx([500, 500])
    assert runs.lines[-1].get_ydata() == pytest.approx([500, 2000])
    with pytest.raises(InputError, match="no sweep"):
        figures.draw_growth(a_record([contender("a", [1])]))


def test_a_sweep_is_sorted():
    lines = figures.sweep(a_record(swept("runs", [16, 1, 4], float)), "runs")
    assert lines["One"][0] == [1, 4, 16]
    assert [spread.median for spread in lines["One"][1]] == pytest.approx([1, 4, 16])


def test_crossover_marks_the_limit():
    record = a_record(swept("num_items", [50, 500], lambda i: 0.01 * i))
    (ax,) = render(figures.draw_crossover(record, limit=20.0))
    assert list(ax.lines[0].get_xdata()) == [5, 50]
    assert "limit in use" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert [20.0, 20.0] in [list(line.get_xdata()) for line in ax.lines]


def test_time_to_quality_draws_every_repeat_and_the_target():
    history = [{"seconds": 1.0, "validation_ndcg": 0.1}, {"seconds": 2.0, "validation_ndcg": 0.2}]
    runs = [contender(name, [], trials=[{"history": history}] * 2) for name in "abcdefgh"]
    (ax,) = render(figures.draw_time_to_quality(a_record(runs, protocol={"target": 0.15})))
    curves = [line for line in ax.lines if list(line.get_ydata()) == [0.1, 0.2]]
    assert len(curves) == 16
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == 8
    assert [0.15, 0.15] in [list(line.get_ydata()) for line in ax.lines]


def test_differences_show_interval_and_seeds():
    wanted = [Comparison(of="a", over="b", measure="updates_per_second")]
    record = a_record([contender("a", [3, 4, 5]), contender("b", [1, 1, 1])], differences=wanted)
    lone = a_record([contender("a", [3]), contender("b", [1])], differences=wanted)
    (ax,) = render(figures.draw_differences([record, lone]))
    single, interval, middle = ax.lines[:3]
    assert list(single.get_xdata()) == [2, 3, 4]
    assert middle.get_xdata() == pytest.approx([3])
    assert sum(interval.get_xdata()) / 2 == pytest.approx(3)
    with pytest.raises(InputError, match="two seeds"):
        figures.draw_differences([lone])


def test_trainings_show_curves_best_epochs_and_paired_seeds():
    history = [{"epoch": 5, "validation": 0.1}, {"epoch": 10, "validation": 0.3}, {"epoch": 15, "validation": 0.2}]
    final = {"one each": [0.25, 1.25], "shared": [0.5, 1.0]}
    curves, ends = render(figures.draw_trainings({name: [history, history] for name in final}, final))
    assert [list(line.get_ydata()) for line in curves.lines[::2]] == [[0.1, 0.3, 0.2]] * 4
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in curves.lines[1::2]] == [(10, 0.3)] * 4
    assert [list(line.get_ydata()) for line in ends.lines[:2]] == [[0.25, 0.5], [1.25, 1.0]]
    assert [list(line.get_ydata()) for line in ends.lines[3::2]] == [[0.75, 0.75]] * 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234, "1234"),
        (12340, "12.3k"),
        (1234567, "1.23M"),
    ],
)
def test_short_numbers(value, text):
    assert figures._short(value) == text
