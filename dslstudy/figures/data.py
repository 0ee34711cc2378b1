"""Figures of the chapter *Data and splits*: the long tail, the splits, what a metric sees."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from dslstudy.figures.style import BLUE, CYCLE, GREY, ORANGE, WIDTH, label_panels

#: one colour for each part of a split, the same in every figure
PART_COLOURS = {"train": "#B5B5B5", "validation": ORANGE, "test": BLUE}


def lorenz(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the interactions held by the most popular items.

    Args:
        counts: interactions of each item, shape (I,).

    Returns:
        Shares of the items, from 0 to 1, and the share of all interactions that so many of the most popular items
        hold together, each of shape (I + 1,).
    """
    ordered = np.sort(counts)[::-1]
    held = np.concatenate([[0.0], np.cumsum(ordered) / max(ordered.sum(), 1)])
    return np.linspace(0, 1, len(held)), held


def draw_long_tail(counts: Mapping[str, NDArray[np.int64]], *, head: float = 0.2) -> Figure:
    """Popularity by rank, and the share of the interactions that the most popular items hold.

    Args:
        counts: name of a data set -> interactions of each item.
        head: the share of items that panel (b) marks.
    """
    figure = Figure(figsize=(WIDTH, 3.3))
    ranks, shares = figure.subplots(1, 2)
    for colour, (name, of_items) in zip(CYCLE, counts.items(), strict=False):
        ranks.plot(np.arange(1, len(of_items) + 1), np.sort(of_items)[::-1], color=colour, label=name)
        items, held = lorenz(of_items)
        shares.plot(items, held, color=colour, label=name)
        marked = float(np.interp(head, items, held))
        shares.plot(head, marked, "o", color=colour)
        if len(counts) == 1:
            shares.annotate(f"{marked:.0%}", (head, marked), xytext=(8, -4), textcoords="offset points", color=colour)
    ranks.set(xscale="log", yscale="log", xlabel="rank of the item", ylabel="interactions", title="Popularity by rank")
    shares.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    shares.axvline(head, color=GREY, linewidth=1, linestyle=":")
    shares.set(
        xlabel="share of the items, most popular first", ylabel="share of the interactions", title="What the head holds"
    )
    shares.text(0.62, 0.55, "all items alike", color=GREY, fontsize=9, rotation=0)
    for axis in (shares.xaxis, shares.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    if len(counts) > 1:
        ranks.legend(loc="lower left")
    label_panels((ranks, shares))
    return figure


def popularity_groups(train_counts: NDArray[np.int64], groups: int = 10) -> NDArray[np.int64]:
    """Sort items into groups of equal size by their popularity in train, 0 the most popular.

    Args:
        train_counts: training interactions of each item, shape (I,).
        groups: how many groups.

    Returns:
        Each item's group, shape (I,); equal counts are told apart by the smaller id.
    """
    place = np.empty(len(train_counts), np.int64)
    place[np.argsort(-train_counts, kind="stable")] = np.arange(len(train_counts))
    return place * groups // len(train_counts)


def group_shares(train_counts: NDArray[np.int64], items: NDArray[np.integer], groups: int = 10) -> NDArray[np.float64]:
    """Share of some interactions that falls on each popularity group.

    Args:
        train_counts: training interactions of each item, shape (I,); they define the groups.
        items: item of each interaction whose share is asked, shape (n,).
        groups: how many groups.

    Returns:
        Shares that add up to one, shape (groups,), the most popular group first.
    """
    counts = np.bincount(popularity_groups(train_counts, groups)[items], minlength=groups)
    return counts / max(counts.sum(), 1)


def draw_popularity_shift(shares: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """What popularity groups the training and the test interactions of several splits fall on.

    Args:
        shares: name of a split -> part ("train", "test") -> shares (groups,), the most popular group first.
    """
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for ax, (name, parts) in zip(axes, shares.items(), strict=True):
        width = 0.8 / len(parts)
        for i, (part, values) in enumerate(parts.items()):
            places = np.arange(1, len(values) + 1) + (i - (len(parts) - 1) / 2) * width
            ax.bar(places, values, width, label=part, color=PART_COLOURS[part], edgecolor="white", linewidth=0.5)
        ax.axhline(1 / len(values), color=GREY, linewidth=1, linestyle="--")
        ax.set(title=name, xlabel="popularity decile in train (1 = head)")
        ax.set_xticks(np.arange(1, len(values) + 1))
        ax.grid(axis="x", visible=False)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylabel("share of interactions")
    axes[0].legend()
    label_panels(axes)
    return figure


def draw_in_time(parts: Mapping[str, Mapping[str, NDArray[np.int64]]], *, bins: int = 40) -> Figure:
    """When the interactions of each part of each split happened.

    Args:
        parts: name of a split -> part -> timestamps in seconds since 1970.
        bins: how many intervals the time axis is cut into.
    """
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots(1, len(parts), sharey=True, sharex=True, squeeze=False)[0]
    for ax, (name, of_split) in zip(axes, parts.items(), strict=True):
        dates = {part: times.astype("datetime64[s]") for part, times in of_split.items()}
        every = np.concatenate(list(of_split.values()))
        edges = np.linspace(every.min(), every.max(), bins + 1).astype(np.int64).astype("datetime64[s]")
        ax.hist(
            list(dates.values()), bins=edges, stacked=True, label=list(dates), color=[PART_COLOURS[p] for p in dates]
        )
        ax.set_title(name)
        _date_axis(ax)
    axes[0].set_ylabel("interactions")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    label_panels(axes)
    return figure


def _date_axis(ax: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=6)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=True))
    ax.grid(axis="x", visible=False)


def draw_head_dependence(
    metrics: Mapping[str, tuple[float, float]], *, splits: tuple[str, str] = ("iid", "popularity-shift"), metric: str
) -> Figure:
    """One metric of several recommenders on two splits, joined by a line each.

    Args:
        metrics: name of a recommender -> its value on each of the two splits.
        splits: the splits' names.
        metric: how the metric is called.
    """
    figure = Figure(figsize=(WIDTH, 2.8))
    ax = figure.subplots()
    values = np.array(list(metrics.values()))
    heights = np.stack([_apart(column, 0.075 * values.max()) for column in values.T], axis=1)
    for colour, (name, ends), (left, right) in zip(CYCLE, metrics.items(), heights, strict=False):
        ax.plot([0, 1], ends, "o-", color=colour)
        ax.text(-0.03, left, f"{ends[0]:.3f}", color=colour, ha="right", va="center")
        ax.text(1.03, right, f"{ends[1]:.3f}  {name}", color=colour, ha="left", va="center")
    ax.set_xticks([0, 1], splits)
    ax.set(ylabel=metric, xlim=(-0.5, 1.7))
    ax.set_ylim(bottom=0)
    ax.grid(axis="x", visible=False)
    return figure


def _apart(values: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Heights for labels of these values, moved up where they would come closer to each other than ``least``."""
    heights = values.astype(np.float64)
    order = np.argsort(values, kind="stable")
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + least)
    return heights
