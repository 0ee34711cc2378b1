"""Figures of the chapter *Who gains*: NDCG by groups of items and of users, and what is shown to whom."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from dslstudy.figures.style import (
    BLACK,
    GREY,
    LIGHT_GREY,
    LOSS_COLOURS,
    LOSS_MARKERS,
    SKY,
    WIDTH,
    label_panels,
    loss_colour,
)
from dslstudy.metrics.significance import LEVEL, Interval
from dslstudy.names import display_name

#: a panel's lines and the differences under it
Row = tuple[Mapping[str, NDArray[np.float64]], Sequence[Interval]]
# what is no loss has no colour of its own: colour, line, marker
_STYLES = {
    "ease": (BLACK, ":", "^"),
    "popularity": (GREY, ":", "v"),
    "item-knn": (GREY, "-.", "s"),
    "softmax-matched": (SKY, "--", "P"),
}
# what was learned from and what is asked for, behind the lines
_PART_STYLES: tuple[dict[str, Any], ...] = (
    {"color": LIGHT_GREY, "linewidth": 6},
    {"color": GREY, "linewidth": 2.5, "linestyle": (0, (2, 1)), "alpha": 0.7},
)
_COLUMNS = 6
#: where the scale of shares ends
_LEAST_SHARE = 1e-4


def draw_by_group(
    tables: Mapping[str, Row],
    p_values: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    difference: str = "DSL − SL",
    names: Mapping[str, str] | None = None,
    log: bool = False,
) -> Figure:
    """A metric by group, a row for each table: every label's line, and the difference of two of them beside it.

    Args:
        tables: name -> (label -> one value for each group, a difference with its interval for each group).
        p_values: name -> p-value of each difference; marks are filled where it is small.
        xlabel: what the groups are.
        ylabel: what is measured.
        difference: which one.
        names: label -> what the line is called, if not by its usual name.
        log: the metric on a logarithmic scale, which has no place for a zero.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 2.4 * len(tables)))
    axes = figure.subplots(len(tables), 2, squeeze=False, sharex=True)
    for (left, right), (name, (lines, differences)) in zip(axes, tables.items(), strict=True):
        for label, values in lines.items():
            _line(left, label, values, names)
        if log:
            left.set_yscale("log", nonpositive="mask")
            left.minorticks_off()
        left.set(ylabel=ylabel, title=name)
        _differences(right, differences, p_values[name])
        right.set_title(difference)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes[:, 0])
    label_panels(list(axes.flat))
    return figure


def draw_exposure(
    exposure: Mapping[str, Mapping[str, NDArray[np.float64]]],
    parts: Mapping[str, Mapping[str, NDArray[np.float64]]],
    *,
    names: Mapping[str, str] | None = None,
) -> Figure:
    """Share of the recommended places by popularity decile, beside what train and test would ask for; logarithmic.

    Args:
        exposure: name of a table -> label -> share of the places for each group.
        parts: name of a table -> part of the split -> share of its interactions for each group.
        names: label -> what the line is called, if not by its usual name.
    """
    figure = Figure(figsize=(WIDTH, 3.3))
    axes = figure.subplots(1, len(exposure), sharey=True, squeeze=False)[0]
    for ax, (name, lines) in zip(axes, exposure.items(), strict=True):
        for (part, values), style in zip(parts[name].items(), _PART_STYLES, strict=True):
            ax.plot(np.arange(1, len(values) + 1), values, label=part, zorder=1, **style)
        for label, values in lines.items():
            _line(ax, label, values, names)
        ax.set_yscale("log", nonpositive="mask")
        ax.set_ylim(bottom=_LEAST_SHARE)
        ax.minorticks_off()
        ax.set(xlabel="popularity decile in train, most popular first", title=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes[0].set_ylabel("share of the places")
    _legend(figure, axes)
    label_panels(axes)
    return figure


def _line(ax: Axes, label: str, values: NDArray[np.float64], names: Mapping[str, str] | None) -> None:
    colour, style, marker = _STYLES.get(label, (loss_colour(label), "-", LOSS_MARKERS.get(label, "o")))
    width = 1.8 if label in LOSS_COLOURS else 1.2
    name = (names or {}).get(label, display_name(label))
    places = np.arange(1, len(values) + 1)
    ax.plot(places, values, color=colour, linestyle=style, marker=marker, linewidth=width, label=name, zorder=3)


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One entry for each line that is in any of the panels."""
    found = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower center",
        ncols=len(found) if len(found) <= _COLUMNS else -(-len(found) // 2),
    )


def _differences(ax: Axes, intervals: Sequence[Interval], p_values: Sequence[float]) -> None:
    colour = loss_colour("dsl")
    ax.axhline(0, color=GREY, linewidth=1)
    for place, (each, p_value) in enumerate(zip(intervals, p_values, strict=True), start=1):
        face = colour if p_value < LEVEL else "white"
        ax.errorbar(place, each.estimate, yerr=each.reach, fmt="o", color=colour, markerfacecolor=face)
