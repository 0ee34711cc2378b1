"""Figures of the chapter on speed: contenders side by side, ratios with their spread, how cost grows."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from dslstudy.errors import InputError
from dslstudy.figures.style import BLACK, CYCLE, GREY, LIGHT_GREY, ORANGE, VERMILION, WIDTH, label_panels
from dslstudy.names import metric_name
from dslstudy.study.benchmarks import BenchmarkRecord, Comparison, Contender, Spread

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
AXIS_NAMES = {
    "num_users": "users",
    "num_items": "items",
    "num_negatives": "negatives per example",
    "runs": "runs R in the stack",
}


def draw_contenders(record: BenchmarkRecord, measure: str, *, label: str, log: bool = True) -> Figure:
    """One measure of every contender: the median as a point, the range over repeats as a line.

    Args:
        record: of one suite.
        measure: which one.
        label: of the axis.
        log: whether the axis is logarithmic.

    Raises:
        InputError: nobody has that measure.
    """
    rows = [(contender.title, spread) for contender in record.contenders if (spread := _spread(contender, measure))]
    if not rows:
        raise InputError(f"no contender of suite {record.suite} has a measure {measure!r}")
    figure = Figure(figsize=(WIDTH, 0.7 + 0.36 * len(rows)))
    ax = figure.add_subplot()
    ours = {contender.title for contender in record.contenders if contender.script == "engine.py"}
    colours = [CYCLE[0] if title in ours else GREY for title, _ in rows]
    _dot_rows(ax, rows, colours, _short)
    ax.set(xlabel=label)
    _scale_of_numbers(ax, [spread for _, spread in rows], log=log)
    return figure


def draw_ratios(records: Sequence[BenchmarkRecord]) -> Figure:
    """Every ratio of some suites with its range over repeats, and a bar where it was wanted to be.

    Args:
        records: of suites; ratios whose sides were not both measured are left out.

    Raises:
        InputError: there is no ratio at all.
    """
    rows: list[tuple[str, Spread]] = []
    wanted: list[Comparison] = []
    for record in records:
        for comparison in filter(record.has, record.ratios):
            rows.append((ratio_title(record, comparison), record.ratio(comparison)))
            wanted.append(comparison)
    if not rows:
        raise InputError("none of these suites has a ratio to draw")
    figure = Figure(figsize=(WIDTH, 0.8 + 0.42 * len(rows)))
    ax = figure.add_subplot()
    met = [comparison.met(spread.median) for comparison, (_, spread) in zip(wanted, rows, strict=True)]
    _dot_rows(ax, rows, [VERMILION if ok is False else CYCLE[0] for ok in met], lambda value: f"{_short(value)}×")
    for row, comparison in enumerate(wanted):
        bound = comparison.at_most if comparison.at_least is None else comparison.at_least
        if bound is not None:
            ax.plot([bound, bound], [row - 0.36, row + 0.36], color=ORANGE, linewidth=2.4, solid_capstyle="butt")
    ax.axvline(1, color=GREY, linewidth=0.8)
    ax.set(xlabel="ratio (orange bars: what was wanted)")
    _scale_of_numbers(ax, [spread for _, spread in rows], log=True)
    return figure


def ratio_title(record: BenchmarkRecord, comparison: Comparison) -> str:
    """Which ratio, in two lines."""
    of, over = (record.contender(side).title for side in (comparison.of, comparison.over))
    return f"{comparison.measure.replace('_', ' ')}: {of}\nover {over}"


def draw_growth(record: BenchmarkRecord) -> Figure:
    """Seconds per update along each axis of a sweep, one panel for each axis, and a line of proportional growth.

    Args:
        record: of a suite whose contenders were swept.

    Raises:
        InputError: it has no sweep.
    """
    axes_of = list(dict.fromkeys(contender.axis for contender in record.contenders if contender.axis))
    if not axes_of:
        raise InputError(f"suite {record.suite} has no sweep to draw")
    columns = min(2, len(axes_of))
    rows = -(-len(axes_of) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.3 * rows))
    panels = [figure.add_subplot(rows, columns, place + 1) for place in range(len(axes_of))]
    for panel, axis in zip(panels, axes_of, strict=True):
        lines = sweep(record, axis)
        for place, (title, (values, spreads)) in enumerate(lines.items()):
            _range_line(panel, values, [_scaled(s, 1000) for s in spreads], place, title)
        values, spreads = next(iter(lines.values()))
        start = min(spreads[0].median for _, spreads in lines.values()) * 1000
        panel.plot(values, [start * value / values[0] for value in values], ":", color=GREY, linewidth=1.2, zorder=1)
        panel.set(xlabel=AXIS_NAMES.get(axis, axis), ylabel="ms per update", title=AXIS_NAMES.get(axis, axis))
        _loglog(panel, values)
    panels[0].legend(loc="upper left")
    if len(panels) > 1:
        label_panels(panels)
    return figure


def sweep(record: BenchmarkRecord, axis: str) -> dict[str, tuple[list[float], list[Spread]]]:
    """Title of each swept contender -> values along an axis, ascending, and its seconds per update there."""
    lines: dict[str, list[tuple[float, Spread]]] = {}
    for contender in record.contenders:
        if contender.axis == axis:
            point = (contender.settings[axis], contender.spread("seconds_per_update"))
            lines.setdefault(contender.title, []).append(point)
    return {title: tuple(map(list, zip(*sorted(points), strict=True))) for title, points in lines.items()}


def draw_crossover(record: BenchmarkRecord, limit: float) -> Figure:
    """Seconds per update of both ways to score, over items per negative, and the limit the engine chooses by.

    Args:
        record: of the suite ``crossover``.
        limit: items per negative up to which the engine multiplies.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    ax = figure.add_subplot()
    negatives = record.contenders[0].settings["num_negatives"]
    lines = sweep(record, "num_items")
    ratios: list[float] = []
    for place, (title, (values, spreads)) in enumerate(lines.items()):
        ratios = [value / negatives for value in values]
        _range_line(ax, ratios, [_scaled(s, 1000) for s in spreads], place, title)
    ax.axvline(limit, color=BLACK, linewidth=1.2, linestyle="--", label="limit in use")
    ax.set(xlabel="items per negative, I / N", ylabel="ms per update")
    _loglog(ax, sorted({*ratios, limit}))
    ax.legend(loc="upper left")
    return figure


def draw_time_to_quality(record: BenchmarkRecord) -> Figure:
    """Validation NDCG@20 over seconds of training, a line for each repeat, and the target.

    Args:
        record: of a suite of trainings.
    """
    figure = Figure(figsize=(WIDTH, 4.4))
    ax = figure.add_subplot()
    for place, contender in enumerate(record.contenders):
        colour = CYCLE[place % len(CYCLE)]
        for number, trial in enumerate(contender.trials):
            seconds = [entry["seconds"] for entry in trial["history"]]
            values = [entry["validation_ndcg"] for entry in trial["history"]]
            style = "-" if place < len(CYCLE) else "--"
            label = contender.title if number == 0 else None
            ax.plot(seconds, values, style, color=colour, linewidth=1.2, alpha=0.85, label=label)
    target = record.protocol.get("target")
    if target:
        ax.axhline(target, color=GREY, linewidth=1, linestyle=":")
        ax.annotate("target", (0.995, target), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY)
    ax.set(xscale="log", xlabel="seconds of training", ylabel="validation NDCG@20")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
    return figure


def draw_differences(records: Sequence[BenchmarkRecord]) -> Figure:
    """Differences in final quality, paired over seeds, with 95 % t intervals and the differences themselves.

    Args:
        records: of suites of trainings.

    Raises:
        InputError: there is no difference to draw.
    """
    rows = [(record, c) for record in records for c in record.differences if record.has(c)]
    rows = [(record, c) for record, c in rows if len(record.contender(c.of).trials) > 1]
    if not rows:
        raise InputError("none of these suites has a difference over at least two seeds")
    figure = Figure(figsize=(WIDTH, 0.9 + 0.5 * len(rows)))
    ax = figure.add_subplot()
    for place, (record, c) in enumerate(rows):
        interval = record.difference(c)
        pairs = zip(record.contender(c.of).values(c.measure), record.contender(c.over).values(c.measure), strict=True)
        single = [a - b for a, b in pairs]
        ax.plot(single, np.full(len(single), place + 0.22), "|", color=GREY, markersize=7)
        ax.plot([interval.low, interval.high], [place, place], color=CYCLE[0], linewidth=2)
        ax.plot(interval.estimate, place, "o", color=CYCLE[0])
    ax.axvline(0, color=BLACK, linewidth=0.8)
    names = [f"{record.data['name']}: {c.of}\nminus {c.over}" for record, c in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=8.5)
    ax.set(xlabel="difference in test NDCG@20 (grey: each seed)", ylim=(len(rows) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    return figure


def draw_trainings(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    final: Mapping[str, Sequence[float]],
    *,
    metric: str = "ndcg@20",
) -> Figure:
    """Ways of training the same model: validation over epochs, and the test metric seed by seed.

    Args:
        histories: what a way is called -> for each seed its entries with ``epoch`` and ``validation``.
        final: the same -> the test metric of each seed, the seeds in one order for all.
        metric: what both are of.
    """
    figure = Figure(figsize=(WIDTH, 3.1))
    curves, ends = figure.subplots(1, 2, width_ratios=(3, 2))
    for (name, of_seeds), colour, marker in zip(histories.items(), CYCLE, MARKERS, strict=False):
        for seed, history in enumerate(of_seeds):
            epochs, values = zip(*((entry["epoch"], entry["validation"]) for entry in history), strict=True)
            curves.plot(epochs, values, color=colour, linewidth=1, alpha=0.6, label=None if seed else name)
            best = int(np.argmax(values))
            curves.plot(epochs[best], values[best], marker, color=colour, markersize=5)
    table = np.array(list(final.values()))
    ends.plot(range(len(table)), table, color=LIGHT_GREY, linewidth=1.2, zorder=1)
    for place, (values, colour, marker) in enumerate(zip(table, CYCLE, MARKERS, strict=False)):
        ends.plot(np.full(len(values), place), values, marker, color=colour, markersize=5)
        ends.plot([place - 0.15, place + 0.15], [values.mean()] * 2, color=BLACK, linewidth=2)
    curves.set(xlabel="epoch", ylabel=f"validation {metric_name(metric)}", title="Validation, best epoch marked")
    ends.set(ylabel=f"test {metric_name(metric)}", title="Test, seed by seed", xlim=(-0.4, len(table) - 0.6))
    ends.set_xticks(range(len(table)), list(final))
    ends.grid(axis="x", visible=False)
    curves.legend()
    label_panels((curves, ends))
    return figure


def _spread(contender: Contender, measure: str) -> Spread | None:
    has = contender.trials and all(measure in trial for trial in contender.trials)
    return contender.spread(measure) if has else None


def _scaled(spread: Spread, factor: float) -> Spread:
    return Spread(spread.median * factor, spread.low * factor, spread.high * factor, spread.count)


def _dot_rows(
    ax: Axes, rows: Sequence[tuple[str, Spread]], colours: Sequence[str], text: Callable[[float], str]
) -> None:
    for row, ((_, spread), colour) in enumerate(zip(rows, colours, strict=True)):
        ax.plot([spread.low, spread.high], [row, row], color=colour, linewidth=2)
        ax.plot(spread.median, row, "o", color=colour)
        ax.annotate(
            text(spread.median),
            (spread.high, row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    ax.set_yticks(range(len(rows)), [title for title, _ in rows], fontsize=8.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def _scale_of_numbers(ax: Axes, spreads: Sequence[Spread], *, log: bool) -> None:
    low, high = min(s.low for s in spreads), max(s.high for s in spreads)
    if log and low > 0:
        ax.set_xscale("log")
        ax.set_xlim(min(low, ax.get_xlim()[0]) / 1.3, max(high, ax.get_xlim()[1]) * 2)  # room for the numbers
        if high < 30 * low:
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        ax.set_xlim(0, high * 1.2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _range_line(ax: Axes, x: Sequence[float], spreads: Sequence[Spread], place: int, label: str) -> None:
    colour = CYCLE[place % len(CYCLE)]
    middle = [s.median for s in spreads]
    reach = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    marker = MARKERS[place % len(MARKERS)]
    ax.errorbar(x, middle, yerr=reach, color=colour, marker=marker, label=label, elinewidth=1)


def _loglog(ax: Axes, ticks: Sequence[float]) -> None:
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(list(ticks), [_short(tick) for tick in ticks])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def _short(value: float) -> str:
    """A number in as few characters as three digits need: 0.123, 12.3, 1230, 12.3k, 1.2M."""
    if value == 0:
        return "0"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
