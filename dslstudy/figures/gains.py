"""Figures of the chapter *Who gains*: NDCG by groups of items and of users, and what is shown to whom."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from dslstudy.figures.style import (
    BLACK,
    GREY,
    LIGHT_GREY,
    LOSS_COLOURS,
    LOSS_MARKERS,
    WIDTH,
    label_panels,
    loss_colour,
)
from dslstudy.metrics.significance import Interval
from dslstudy.names import display_name

#: a panel's lines and the differences under it
Row = tuple[Mapping[str, NDArray[np.float64]], Sequence[Interval]]
# what needs no training has no colour of its own
_BASELINE_STYLES = {"ease": (BLACK, ":", "^"), "popularity": (GREY, ":", "v"), "item-knn": (GREY, "-.", "s")}
# what was learned from and what is asked for, behind the lines
_PART_STYLES: tuple[dict[str, Any], ...] = (
    {"color": LIGHT_GREY, "linewidth": 6},
    {"color": GREY, "linewidth": 2.5, "linestyle": (0, (2, 1)), "alpha": 0.7},
)
#: how sure a difference must be after Holm's correction for its mark to be filled
_LEVEL = 0.05


def draw_by_group(
    tables: Mapping[str, Row],
    p_values: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    difference: str = "DSL − SL",
) -> Figure:
    """A metric by group, a row for each table: every label's line, and the difference of two of them beside it.

    Args:
        tables: name -> (label -> one value for each group, a difference with its interval for each group).
        p_values: name -> p-value of each difference; marks are filled where it is small.
        xlabel: what the groups are.
        ylabel: what is measured.
        difference: which one.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 2.4 * len(tables)))
    axes = figure.subplots(len(tables), 2, squeeze=False, sharex=True)
    for (left, right), (name, (lines, differences)) in zip(axes, tables.items(), strict=True):
        for label, values in lines.items():
            _line(left, label, values)
        left.set(ylabel=ylabel, title=name)
        _differences(right, differences, p_values[name])
        right.set_title(f"{difference}, {name}")
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    label_panels(list(axes.flat))
    return figure


def draw_exposure(
    exposure: Mapping[str, Mapping[str, NDArray[np.float64]]],
    parts: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> Figure:
    """Share of the recommended places by popularity decile, beside what train and test would ask for.

    Args:
        exposure: name of a table -> label -> share of the places for each group.
        parts: name of a table -> part of the split -> share of its interactions for each group.
    """
    figure = Figure(figsize=(WIDTH, 3.3))
    axes = figure.subplots(1, len(exposure), sharey=True, squeeze=False)[0]
    for ax, (name, lines) in zip(axes, exposure.items(), strict=True):
        for (part, values), style in zip(parts[name].items(), _PART_STYLES, strict=True):
            ax.plot(np.arange(1, len(values) + 1), values, label=part, zorder=1, **style)
        for label, values in lines.items():
            _line(ax, label, values)
        ax.set(xlabel="popularity decile in train (1 = head)", title=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylabel("share of the places")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    label_panels(axes)
    return figure


def _line(ax: Axes, label: str, values: NDArray[np.float64]) -> None:
    colour, style, marker = _BASELINE_STYLES.get(label, (loss_colour(label), "-", LOSS_MARKERS.get(label, "o")))
    width = 1.8 if label in LOSS_COLOURS else 1.2
    places = np.arange(1, len(values) + 1)
    ax.plot(
        places,
        values,
        color=colour,
        linestyle=style,
        marker=marker,
        linewidth=width,
        label=display_name(label),
        zorder=3,
    )


def _differences(ax: Axes, intervals: Sequence[Interval], p_values: Sequence[float]) -> None:
    colour = loss_colour("dsl")
    ax.axhline(0, color=GREY, linewidth=1)
    for place, (each, p_value) in enumerate(zip(intervals, p_values, strict=True), start=1):
        around = [[each.estimate - each.low], [each.high - each.estimate]]
        face = colour if p_value < _LEVEL else "white"
        ax.errorbar(place, each.estimate, yerr=around, fmt="o", color=colour, markerfacecolor=face)
