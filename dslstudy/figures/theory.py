"""Figures of the theory chapters: the adversary of the softmax loss, and what DSL changes for it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dslstudy.figures.style import (
    BLUE,
    GREY,
    LIGHT_GREY,
    ORANGE,
    SKY,
    VERMILION,
    WIDTH,
    label_panels,
    loss_colour,
    loss_marker,
)

#: from cold to hot
_HEAT = "cividis"


def draw_worst_case(margins: ArrayLike, temperatures: ArrayLike, worst_cases: ArrayLike) -> Figure:
    """One instance's worst-case distribution at several temperatures.

    Args:
        margins: d_j of the negatives, (N,).
        temperatures: from low to high, (T,).
        worst_cases: Q* at each temperature, (T, N).

    Returns:
        Two panels: how much each negative gains over uniform sampling as a function of its margin, above a histogram of
        the margins; and the share of probability on the k hardest negatives.
    """
    margins, temperatures, worst_cases = (np.asarray(a, dtype=float) for a in (margins, temperatures, worst_cases))
    order = np.argsort(margins)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    counts = left.twinx()
    counts.hist(margins, bins=30, color=LIGHT_GREY, zorder=0)
    counts.set_ylim(0, 3.2 * counts.get_ylim()[1])
    counts.set_axis_off()
    left.set_zorder(counts.get_zorder() + 1)
    left.patch.set_visible(False)
    ranks = np.arange(1, len(margins) + 1)
    colours = plt.get_cmap(_HEAT)(np.linspace(0.0, 0.9, len(temperatures)))
    for temperature, worst_case, colour in zip(temperatures, worst_cases, colours, strict=True):
        label = rf"$\tau$ = {temperature:g}"
        left.plot(margins[order], len(margins) * worst_case[order], color=colour, label=label)
        right.plot(ranks, np.cumsum(np.sort(worst_case)[::-1]), color=colour, label=label)
    right.plot(ranks, ranks / len(margins), color=GREY, linestyle="--", linewidth=1.2, label="uniform")
    left.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    left.set_yscale("log")
    left.set_ylim(1e-4, 30 * left.get_ylim()[1])
    left.set(xlabel="margin $d_j$ of the negative", ylabel=r"$Q^*_j \,/\, P_j$", title="weight of a negative")
    right.set_xscale("log")
    right.set(xlabel="$k$ hardest negatives", ylabel="probability", title="share of the $k$ hardest", ylim=(0, 1.03))
    left.legend(*right.get_legend_handles_labels(), loc="upper left", ncols=2, columnspacing=1.2)
    label_panels([left, right])
    return figure


def draw_radius(
    temperatures: ArrayLike, radii: Mapping[str, ArrayLike], maximum: float, spread: ArrayLike, temperature: float
) -> Figure:
    """The radius as a function of the temperature, and how it differs between instances at one temperature.

    Args:
        temperatures: grid, (T,).
        radii: radius of some named instances on the grid, each (T,).
        maximum: the largest radius, log N.
        spread: radii of many instances at ``temperature``, any shape.
        temperature: the one of the right panel.

    Returns:
        Two panels.
    """
    temperatures, spread = np.asarray(temperatures, dtype=float), np.asarray(spread, dtype=float).ravel()
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), width_ratios=(1.25, 1))
    for (name, radius), colour in zip(radii.items(), (SKY, BLUE, VERMILION, ORANGE), strict=False):
        left.plot(temperatures, np.asarray(radius), color=colour, label=name)
    left.axhline(maximum, color=GREY, linestyle="--", linewidth=1.2)
    left.text(temperatures[-1], maximum, r"$\log N$", ha="right", va="bottom", color=GREY)
    left.axvline(temperature, color=LIGHT_GREY, zorder=0)
    left.set_xscale("log")
    left.set(xlabel=r"temperature $\tau$", ylabel=r"radius $\rho(\tau)$ in nats", ylim=(0, 1.12 * maximum))
    left.set_title("one instance, all temperatures")
    left.legend()
    right.hist(spread, bins=40, color=BLUE)
    right.set(xlabel=rf"radius at $\tau$ = {temperature:g}", ylabel="instances", title="one temperature, all instances")
    label_panels([left, right])
    return figure


def draw_expansion(
    temperatures: ArrayLike, value: ArrayLike, expansion: ArrayLike, error: ArrayLike, mean: float, top: float
) -> Figure:
    """The robust value between mean and maximum, with its second-order expansion and the bound of the error.

    Args:
        temperatures: grid, (T,).
        value: the robust value, (T,).
        expansion: mean plus variance over twice the temperature, (T,).
        error: the proven bound, (T,).
        mean: nominal mean of the payoff.
        top: its maximum.

    Returns:
        Two panels: values; the error and its bound on logarithmic axes.
    """
    temperatures, value, expansion, error = (
        np.asarray(a, dtype=float) for a in (temperatures, value, expansion, error)
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    left.fill_between(temperatures, expansion - error, expansion + error, color=LIGHT_GREY, label="proven band")
    left.plot(temperatures, value, color=BLUE, label=r"robust value $V(\tau)$")
    left.plot(temperatures, expansion, color=VERMILION, linestyle="--", label="mean + variance / 2τ")
    for level, name in ((mean, "mean"), (top, "maximum")):
        left.axhline(level, color=GREY, linewidth=1.0, linestyle=":")
        left.text(temperatures[0], level, name, color=GREY, va="bottom")
    height = top - mean
    left.set_xscale("log")
    left.set(ylim=(mean - 0.25 * height, top + 0.25 * height), xlabel=r"temperature $\tau$", ylabel="margin")
    left.set_title("the value and its expansion")
    left.legend(loc="upper right")
    right.loglog(temperatures, np.abs(value - expansion), color=BLUE, label="error")
    right.loglog(temperatures, error, color=VERMILION, linestyle="--", label="proven bound")
    right.set(xlabel=r"temperature $\tau$", ylabel="margin", title="the error and its bound")
    right.legend()
    label_panels([left, right])
    return figure


def draw_treatment(
    intensity: ArrayLike, quantities: Mapping[str, Mapping[str, ArrayLike]], *, groups: int = 10
) -> Figure:
    """How variants of a loss treat instances from easy to ambiguous.

    Args:
        intensity: competition intensity of each instance, standardised, (B,).
        quantities: title of a panel -> name of a variant -> one number per instance, (B,).
        groups: instances are averaged in this many groups of equal size, ordered by intensity.

    Returns:
        One panel per quantity; the mean in each group against the mean intensity of the group.
    """
    intensity = np.asarray(intensity, dtype=float)
    cells = np.array_split(np.argsort(intensity), groups)
    centres = [intensity[cell].mean() for cell in cells]
    figure, axes = plt.subplots(1, len(quantities), figsize=(WIDTH, 2.9), squeeze=False)
    styles = [(BLUE, "o", "-"), (ORANGE, "s", "--"), (SKY, "^", "--"), (VERMILION, "D", "-")]
    for ax, (title, variants) in zip(axes[0], quantities.items(), strict=True):
        for (name, values), (colour, marker, line) in zip(variants.items(), styles, strict=False):
            values = np.asarray(values, dtype=float)
            heights = [values[cell].mean() for cell in cells]
            ax.plot(centres, heights, color=colour, marker=marker, linestyle=line, markersize=4, label=name)
        ax.set(title=title, xlabel="intensity $z_i$")
    axes[0][0].annotate("easy", (0.02, -0.3), xycoords="axes fraction", color=GREY)
    axes[0][0].annotate("ambiguous", (0.98, -0.3), xycoords="axes fraction", color=GREY, ha="right")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    label_panels(list(axes[0]))
    return figure


def draw_dcg_bound(ranks: ArrayLike, bounds: Mapping[str, ArrayLike]) -> Figure:
    """Surrogate bounds of -log DCG on real instances.

    Args:
        ranks: rank of the positive among its negatives, (B,).
        bounds: name of a loss -> its bound of -log DCG per instance, (B,).

    Returns:
        One panel per loss: every instance's bound against its rank, above the curve that it bounds.
    """
    ranks = np.asarray(ranks, dtype=float)
    grid = np.geomspace(1, max(ranks.max(), 2), 200)
    figure, axes = plt.subplots(1, len(bounds), figsize=(WIDTH, 3.1), sharey=True, squeeze=False)
    for ax, (name, bound), colour in zip(axes[0], bounds.items(), (BLUE, VERMILION), strict=False):
        ax.scatter(ranks, np.asarray(bound), s=5, alpha=0.25, color=colour, linewidths=0, rasterized=True)
        ax.plot(grid, np.log(np.log2(1 + grid)), color="black", label=r"$-\log\,\mathrm{DCG}$")
        ax.plot(grid, np.log(grid), color=GREY, linestyle="--", label=r"$\log\,\mathrm{rank}$")
        ax.set_xscale("log")
        ax.set(title=name, xlabel="rank of the positive")
    axes[0][0].set_ylabel("nats")
    axes[0][0].legend(loc="upper left")
    label_panels(list(axes[0]))
    return figure


def draw_readings(
    names: Sequence[str],
    values: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    points: Sequence[ArrayLike],
    *,
    label: str,
) -> Figure:
    """Differences from the softmax loss, one row per reading of DSL.

    Args:
        names: of the rows, top to bottom, (R,); those that begin with SL take the colour of the softmax loss.
        values: mean difference, (R,).
        lows: lower ends of the intervals, (R,).
        highs: upper ends, (R,).
        points: the single differences behind each row, (R,) of (seeds,).
        label: of the horizontal axis.

    Returns:
        A dot with its interval per row, the single differences as small rings.
    """
    values, lows, highs = (np.asarray(a, dtype=float) for a in (values, lows, highs))
    rows = np.arange(len(names))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.42 * len(names)))
    ax.axvline(0.0, color=BLUE, linewidth=1.4)
    for row, single in zip(rows, points, strict=True):
        ax.plot(np.asarray(single), np.full(len(np.asarray(single)), row + 0.22), "o", mfc="none", mec=GREY, ms=4)
    for row, name in zip(rows, names, strict=True):
        loss = "softmax" if name.startswith("SL") else "dsl"
        spread = [[values[row] - lows[row]], [highs[row] - values[row]]]
        ax.errorbar(values[row], row, xerr=spread, fmt=loss_marker(loss), color=loss_colour(loss))
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(label)
    ax.grid(axis="y", visible=False)
    return figure
