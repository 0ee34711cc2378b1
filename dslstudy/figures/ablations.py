"""Figures of the chapter "Ablations and readings"."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dslstudy.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    LIGHT_GREY,
    VERMILION,
    WIDTH,
    label_panels,
    loss_colour,
    loss_marker,
)
from dslstudy.metrics.significance import Interval
from dslstudy.names import display_name

#: half the distance between the two intervals of a line
_APART = 0.17


def draw_differences(
    groups: Mapping[str, Sequence[str]], against: Mapping[str, Mapping[str, tuple[Interval, Interval]]]
) -> Figure:
    """Relative differences in percent, a panel for each reference, lines in groups; over users and over seeds.

    Args:
        groups: title -> the lines below it.
        against: what the lines are compared with -> line -> (interval over users, interval over seeds), as shares; a
            line that is missing is the reference itself.
    """
    places, titles, place = {}, {}, 0.0
    for title, names in groups.items():
        titles[title] = place
        for step, name in enumerate(names, start=1):
            places[name] = place - 0.85 * step
        place -= 0.85 * len(names) + 1.05
    figure = Figure(figsize=(WIDTH, 0.9 + 0.25 * -place))
    axes = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    colours = {name: colour for colour, names in zip(CYCLE, groups.values(), strict=False) for name in names}
    for ax, (reference, lines) in zip(axes, against.items(), strict=True):
        for name, height in places.items():
            if name in lines:
                users, seeds = lines[name]
                _draw_interval(ax, users, height + _APART, colours[name], "o")
                _draw_interval(ax, seeds, height - _APART, GREY, "D")
            else:
                ax.plot(0, height, "|", color=BLACK, markersize=10, markeredgewidth=2)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=f"Against {reference}", xlabel="difference in %", ylim=(place + 0.6, 0.6))
        ax.grid(axis="y", visible=False)
    names = [*places, *titles]
    axes[0].set_yticks([*places.values(), *titles.values()], names)
    for label in axes[0].get_yticklabels()[len(places) :]:
        label.set_fontweight("bold")
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    axes[0].plot([], [], "o-", color=BLACK, label="95 % over users")
    axes[0].plot([], [], "D-", color=GREY, markersize=3.5, linewidth=1, label="95 % over seeds, paired")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    label_panels(axes)
    return figure


def _draw_interval(ax: Axes, interval: Interval, height: float, colour: str, marker: str) -> None:
    percent = interval.scaled(100)
    small = {"markersize": 3.5, "linewidth": 1.0, "capsize": 1.5} if marker == "D" else {}
    ax.errorbar(percent.estimate, height, xerr=percent.reach, color=colour, marker=marker, **small)


def draw_two_scales(values: Mapping[str, NDArray[np.float64]], *, metric: str) -> Figure:
    """Neither scale, each alone, both, and where both would be if the parts added up; a thin line for each seed.

    Args:
        values: the four settings in this order -> the metric of each seed, the same seeds in the same order.
        metric: its name.
    """
    figure = Figure(figsize=(0.62 * WIDTH, 2.9))
    ax = figure.subplots()
    table = np.array(list(values.values()))
    means = table.mean(axis=1)
    ax.plot(range(len(table)), table, color=LIGHT_GREY, linewidth=1, marker=".", markeredgecolor=GREY)
    for place, (colour, mean) in enumerate(zip((BLUE, *CYCLE[1:3], VERMILION), means, strict=True)):
        ax.plot(place, mean, "o", color=colour, markersize=7)
    added = means[1] + means[2] - means[0]
    (dashed,) = ax.plot([2.7, 3.3], [added, added], color=BLACK, linestyle="--", linewidth=1.2)
    ax.set_xticks(range(len(values)), [name.replace(" ", "\n", 1) for name in values])
    ax.set(ylabel=metric, xlim=(-0.4, 3.4))
    ax.grid(axis="x", visible=False)
    figure.legend([dashed], ["if the parts added up"], loc="outside upper right")
    return figure


def draw_pulls(shares: Mapping[str, Sequence[float]]) -> Figure:
    """Pull on the positive as a share of the push: where the examples of each loss lie.

    Args:
        shares: line -> five quantiles over the examples: the ends of the middle nine tenths and of the middle half, and
            the median between them.
    """
    figure = Figure(figsize=(0.75 * WIDTH, 0.8 + 0.36 * len(shares)))
    ax = figure.subplots()
    ax.axvline(1, color=GREY, linewidth=1)
    for place, (far_low, low, middle, high, far_high) in enumerate(shares.values()):
        ax.plot([far_low, far_high], [-place, -place], color=BLUE, linewidth=1)
        ax.plot([low, high], [-place, -place], color=BLUE, linewidth=4, solid_capstyle="butt")
        ax.plot(middle, -place, "o", color=BLUE, markeredgecolor="white", markersize=7)
    ax.set_yticks([-place for place in range(len(shares))], list(shares))
    ax.set(xlabel="pull on the positive / push on the negatives", ylim=(-len(shares) + 0.5, 0.5))
    ax.grid(axis="y", visible=False)
    return figure


def draw_weights(
    curves: Mapping[str, Mapping[float, NDArray[np.float64]]],
    levels: Mapping[str, NDArray[np.float64]],
    *,
    metric: str,
) -> Figure:
    """A metric against the weight c of the positive, a line for each loss, and other losses as levels beside it.

    Args:
        curves: loss -> weight -> one value for each seed.
        levels: loss -> one value for each seed.
        metric: its name.
    """
    figure = Figure(figsize=(0.75 * WIDTH, 3.2))
    ax = figure.subplots()
    for loss, of_weights in curves.items():
        weights = sorted(of_weights)
        for weight in weights:
            dots = of_weights[weight]
            ax.plot(np.full(len(dots), weight), dots, ".", color=loss_colour(loss), alpha=0.4)
        means = [np.mean(of_weights[weight]) for weight in weights]
        ax.plot(weights, means, color=loss_colour(loss), marker=loss_marker(loss), label=display_name(loss))
    for loss, values in levels.items():
        ax.axhline(np.mean(values), color=loss_colour(loss), linestyle="--", linewidth=1.2, label=display_name(loss))
    ax.set_xticks(sorted({weight for of_weights in curves.values() for weight in of_weights}))
    ax.set(xlabel="weight c of the positive", ylabel=metric)
    figure.legend(loc="outside right center")
    return figure
