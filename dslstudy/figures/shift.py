"""Figures of the chapter *Popularity shift*: how large a shift is, and what choosing on the test set adds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from dslstudy.figures.data import group_shares
from dslstudy.figures.style import CYCLE, GREY, WIDTH, label_panels, loss_colour, loss_marker
from dslstudy.names import display_name, metric_name
from dslstudy.study.optimism import expected_choice


def concentration(
    train_counts: NDArray[np.int64], test_counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the most popular items hold of train and of test, item by item.

    Args:
        train_counts: training interactions of each item, shape (I,).
        test_counts: test interactions of each item, shape (I,).

    Returns:
        Shares of train and of test, each of shape (I + 1,) from 0 to 1, for the 0, 1, 2, ... items that are most
        popular in train. Where both are drawn alike they are equal up to chance.
    """
    order = np.argsort(-train_counts, kind="stable")
    train, test = (np.concatenate([[0.0], np.cumsum(part[order]) / part.sum()]) for part in (train_counts, test_counts))
    return train, test


def draw_shift(counts: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]], *, groups: int = 10) -> Figure:
    """How far apart the popularity of items in train and in test is.

    Args:
        counts: name of a split -> (training, test) interactions of each item, both of shape (I,).
        groups: how many popularity groups panel (b) has.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    held, ratio = figure.subplots(1, 2)
    held.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for colour, (name, (train, test)) in zip(CYCLE, counts.items(), strict=False):
        held.plot(*concentration(train, test), color=colour, label=name)
        items = np.arange(len(train))
        shares = [group_shares(train, np.repeat(items, part), groups) for part in (train, test)]
        relative = np.divide(shares[1], shares[0], out=np.full(groups, np.nan), where=shares[0] > 0)
        ratio.plot(np.arange(1, groups + 1), relative, "o-", color=colour, label=name)
    held.set(xlabel="share of train, most popular first", ylabel="share of test", title="What the same items hold")
    for axis in (held.xaxis, held.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    held.legend(loc="upper left")
    ratio.axhline(1, color=GREY, linewidth=1, linestyle="--")
    ratio.set(yscale="log", xlabel="popularity decile in train (1 = head)", ylabel="share of test / share of train")
    ratio.set_title("Test against train, by decile")
    _plain_ratios(ratio)
    ratio.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_panels((held, ratio))
    return figure


def _plain_ratios(ax) -> None:  # noqa: ANN001 - matplotlib's axes
    low, high = ax.get_ylim()
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def draw_optimism(
    validation: Mapping[str, Sequence[float]], test: Mapping[str, Sequence[float]], *, metric: str = "ndcg@20"
) -> Figure:
    """What a search reports as it grows, chosen by validation and chosen by test, and the difference.

    Args:
        validation: loss -> validation of each trial that has a record.
        test: the same on the test part.
        metric: what the values are.
    """
    figure = Figure(figsize=(WIDTH, 3.3))
    reports, inflation = figure.subplots(1, 2)
    for loss, shown in test.items():
        counts = np.arange(1, len(shown) + 1)
        honest = np.array([expected_choice(validation[loss], shown, int(count)) for count in counts])
        peeked = np.array([expected_choice(shown, shown, int(count)) for count in counts])
        colour, marker = loss_colour(loss), loss_marker(loss)
        reports.plot(counts, honest, marker + "-", color=colour, label=display_name(loss))
        reports.plot(counts, peeked, marker + "--", color=colour, markerfacecolor="white")
        inflation.plot(counts, 100 * (peeked / honest - 1), marker + "-", color=colour)
    reports.plot([], [], "-", color=GREY, label="chosen by validation")
    reports.plot([], [], "--", color=GREY, label="chosen by test")
    reports.set(ylabel=f"test {metric_name(metric)}", title="What is reported")
    inflation.set(ylabel="inflation in %", title="What choosing by test adds")
    for ax in (reports, inflation):
        ax.set_xlabel("trials")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*reports.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    label_panels((reports, inflation))
    return figure


def draw_scales(
    validation: Mapping[str, Mapping[str, NDArray[np.float64]]],
    test: Mapping[str, Mapping[str, NDArray[np.float64]]],
    *,
    metric: str = "ndcg@20",
) -> Figure:
    """What each scale of DSL does on several splits, to validation and to test: change from having neither.

    Args:
        validation: split -> neither scale first, then each alone and both -> the metric of each seed.
        test: the same on the test part.
        metric: what the values are.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    panels = figure.subplots(1, 2, sharey=True)
    for ax, title, part in zip(panels, ("Validation", "Test"), (validation, test), strict=True):
        ax.axhline(0, color=GREY, linewidth=1)
        for number, (split, corners) in enumerate(part.items()):
            values = np.array(list(corners.values()))
            change = 100 * (values / values[0].mean() - 1)
            colour, marker = CYCLE[number], "os^"[number]
            ax.plot(change.mean(axis=1), marker + "-", color=colour, label=split)
            ax.plot(change, ".", color=colour, alpha=0.4, markersize=4)
            ax.set_xticks(range(len(corners)), [name.replace(" ", "\n", 1) for name in corners])
        ax.set(title=title, xlim=(-0.4, len(corners) - 0.6))
        ax.grid(axis="x", visible=False)
    panels[0].set_ylabel(f"{metric_name(metric)}, change from neither in %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(test))
    label_panels(panels)
    return figure
