"""Figures of the ranking chapters: curves of training, sweeps of one hyperparameter, comparisons with intervals."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dslstudy.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    LIGHT_GREY,
    WIDTH,
    label_panels,
    loss_colour,
    loss_marker,
)
from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.names import display_name, metric_name

History = Sequence[Mapping[str, float]]


def draw_training_curves(histories: Mapping[str, Sequence[History]], *, metric: str = "ndcg@20") -> Figure:
    """Training loss of each loss on a scale of its own, and validation of all of them on one; a line for each seed.

    Args:
        histories: loss -> for each seed, entries with ``epoch``, ``loss`` and ``validation``.
        metric: what ``validation`` is.
    """
    figure = Figure(figsize=(WIDTH, 2.1 + 0.45 * len(histories)))
    grid = figure.add_gridspec(len(histories), 2, width_ratios=(1, 1.5))
    validation = figure.add_subplot(grid[:, 1])
    own = []
    for row, (loss, of_seeds) in enumerate(histories.items()):
        colour = loss_colour(loss)
        own.append(figure.add_subplot(grid[row, 0], sharex=own[0] if own else None))
        for i, history in enumerate(of_seeds):
            epochs = [entry["epoch"] for entry in history]
            values = [entry["validation"] for entry in history]
            best = int(np.argmax(values))
            own[-1].plot(epochs, [entry["loss"] for entry in history], color=colour, linewidth=1.2, alpha=0.8)
            label = display_name(loss) if i == 0 else None
            validation.plot(epochs, values, color=colour, linewidth=1.2, alpha=0.8, label=label)
            validation.plot(epochs[best], values[best], loss_marker(loss), color=colour, markersize=6)
        own[-1].set(ylabel="loss", title=f"Training, {display_name(loss)}")
    for ax in own[:-1]:
        ax.tick_params(labelbottom=False)
    own[-1].set_xlabel("epoch")
    for ax in (own[-1], validation):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(own)
    validation.set(xlabel="epoch", ylabel=metric_name(metric), title="Validation; marks: epochs selected")
    validation.legend(loc="lower right")
    label_panels([*own, validation])
    return figure


def draw_sweep(ax: Axes, values: Mapping[float, NDArray[np.float64]], *, loss: str, label: str | None = None) -> None:
    """A metric over one hyperparameter: every seed a dot, their means joined, 95 % t intervals around them.

    Args:
        ax: where to draw; scales and labels are the caller's.
        values: setting -> the metric for each seed.
        loss: whose colour and marker to use.
        label: for the legend; the loss's name by default.
    """
    settings = sorted(values)
    intervals = [mean_interval(values[setting]) for setting in settings]
    means = np.array([interval.estimate for interval in intervals])
    below = means - [interval.low for interval in intervals]
    above = [interval.high for interval in intervals] - means
    colour = loss_colour(loss)
    for setting in settings:
        of_seeds = np.asarray(values[setting])
        ax.plot(np.full(len(of_seeds), setting), of_seeds, ".", color=colour, alpha=0.5, zorder=1)
    ax.errorbar(
        settings, means, yerr=[below, above], color=colour, marker=loss_marker(loss), label=label or display_name(loss)
    )


def draw_two_sweeps(
    temperature: Mapping[float, NDArray[np.float64]],
    negatives: Mapping[str, Mapping[float, NDArray[np.float64]]],
    *,
    metric: str = "ndcg@20",
) -> Figure:
    """What the temperature of SL does, and what more negatives do for each loss.

    Args:
        temperature: temperature -> SL's metric for each seed.
        negatives: loss -> number of negatives -> metric for each seed.
        metric: which one.
    """
    figure = Figure(figsize=(WIDTH, 3.1))
    left, right = figure.subplots(1, 2, sharey=True)
    draw_sweep(left, temperature, loss="softmax")
    _ticks_at(left, sorted(temperature))
    left.set(xlabel="temperature τ", ylabel=f"test {metric_name(metric)}", title="Temperature")
    for loss, values in negatives.items():
        draw_sweep(right, values, loss=loss)
    _ticks_at(right, sorted({n for values in negatives.values() for n in values}))
    right.set(xlabel="negatives per positive, N", title="Number of negatives")
    right.legend()
    label_panels((left, right))
    return figure


def _ticks_at(ax: Axes, values: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def draw_comparisons(
    intervals: Mapping[str, Interval], *, xlabel: str, colours: Mapping[str, str] | None = None
) -> Figure:
    """Means or differences with their intervals, one line each, the first on top.

    Args:
        intervals: label -> mean with its interval.
        xlabel: what is compared.
        colours: label -> colour; blue by default.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(intervals)))
    ax = figure.subplots()
    for place, (label, interval) in enumerate(intervals.items()):
        colour = (colours or {}).get(label, BLUE)
        ax.errorbar(interval.estimate, -place, xerr=interval.reach, fmt="o", color=colour)
    if min(interval.low for interval in intervals.values()) <= 0:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks([-place for place in range(len(intervals))], list(intervals))
    ax.set(xlabel=xlabel, ylim=(-len(intervals) + 0.5, 0.5))
    ax.grid(axis="y", visible=False)
    return figure


def draw_gains(
    panels: Mapping[str, Mapping[str, Interval]],
    *,
    xlabel: str,
    names: Mapping[str, str] | None = None,
) -> Figure:
    """The same lines under several conditions: differences with their intervals, a panel for each condition.

    Args:
        panels: title -> label -> difference with its interval; a panel may lack lines that others have.
        xlabel: what is compared.
        names: label -> what the line is called, if not by the loss's usual name.
    """
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * len(labels)))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        for place, label in enumerate(labels):
            if (interval := lines.get(label)) is None:
                continue
            look = {"color": loss_colour(label), "marker": loss_marker(label)}
            ax.errorbar(interval.estimate, -place, xerr=interval.reach, **look)
        ax.axvline(0, color=GREY, linewidth=1, zorder=0)
        ax.set(title=title, ylim=(-len(labels) + 0.5, 0.5))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(
        [-place for place in range(len(labels))], [(names or {}).get(label, display_name(label)) for label in labels]
    )
    figure.supxlabel(xlabel, fontsize=10)
    if len(axes) > 1:
        label_panels(axes)
    return figure


def draw_beside_published(
    ours: Mapping[str, Mapping[str, NDArray[np.float64]]], published: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Our results over seeds beside the published values, a panel for each metric, a line for each loss.

    Args:
        ours: metric -> loss -> one value for each seed; losses without runs have no values.
        published: metric -> loss -> the printed value.
    """
    losses = list(next(iter(published.values())))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(losses)))
    axes = figure.subplots(1, len(published), sharey=True, squeeze=False)[0]
    for ax, (metric, printed) in zip(axes, published.items(), strict=True):
        for place, loss in enumerate(losses):
            ax.plot(printed[loss], -place, "D", color="white", markeredgecolor=GREY, markersize=8, zorder=2)
            values = np.asarray(ours[metric][loss])
            ax.plot(values, np.full(len(values), -place), ".", color=loss_colour(loss), alpha=0.4, zorder=3)
            if len(values) > 1:
                mean = mean_interval(values)
                colour, marker = loss_colour(loss), loss_marker(loss)
                ax.errorbar(mean.estimate, -place, xerr=mean.reach, color=colour, marker=marker, zorder=4)
        ax.set_yticks([-place for place in range(len(losses))], [display_name(loss) for loss in losses])
        ax.set(title=metric_name(metric), ylim=(-len(losses) + 0.4, 0.6))
        ax.grid(axis="y", visible=False)
    axes[0].plot([], [], "D", color="white", markeredgecolor=GREY, markersize=8, label="published")
    axes[0].plot([], [], "o", color=GREY, label="here, 95 % interval over seeds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_pull(
    margins: NDArray[np.float64],
    shares: Mapping[str, NDArray[np.float64]],
    *,
    shown: Sequence[int],
    titles: Sequence[str],
) -> Figure:
    """How each loss shares out its pull over the negatives of one instance.

    Args:
        margins: margin d_j of each negative, shape (N,).
        shares: label -> share of the pull on each negative, shape (N,), adding up to one.
        shown: the negatives that panel (b) names.
        titles: their names, in the same order.
    """
    figure = Figure(figsize=(WIDTH, 3.5))
    curve, table = figure.subplots(1, 2, width_ratios=(1, 1.25))
    order = np.argsort(margins)
    for colour, (label, values) in zip(CYCLE, shares.items(), strict=False):
        curve.plot(margins[order], values[order] * len(margins), color=colour, label=label)
    curve.axvline(0, color=GREY, linewidth=1, linestyle="--")
    curve.set(yscale="log", xlabel="margin $d_j$", ylabel="pull, relative to equal shares", title="By margin")
    curve.set_ylim(bottom=1e-3)
    curve.legend(fontsize=8)
    percent = 100 * np.array([values[list(shown)] for values in shares.values()]).T
    table.imshow(np.log10(np.maximum(percent, 1e-2)), aspect="auto", cmap="Blues", vmin=-2, vmax=2)
    for (row, column), value in np.ndenumerate(percent):
        text = f"{value:.1f}" if value >= 0.1 else "<0.1"
        table.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if value > 8 else "black")
    table.set_xticks(range(len(shares)), [label.replace(" ", "\n", 1) for label in shares], fontsize=8)
    table.set_yticks(range(len(shown)), [_short(title) for title in titles], fontsize=8)
    table.set_title("Share of the pull in %")
    table.grid(visible=False)
    table.spines[:].set_visible(False)
    table.tick_params(length=0)
    label_panels((curve, table))
    return figure


def _short(title: str, most: int = 27) -> str:
    """A title that fits beside a panel: without its year if it is long, cut off if it is still too long."""
    if len(title) > most:
        title = re.sub(r" \(\d{4}\)$", "", title)
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"


def draw_bound(log_rank: NDArray[np.float64], bounds: Mapping[str, NDArray[np.float64]]) -> Figure:
    """An upper bound of the log-rank against the log-rank itself, one panel for each way of computing it.

    Args:
        log_rank: natural logarithm of the rank of each positive, shape (n,).
        bounds: label -> bound for each positive, shape (n,).
    """
    figure = Figure(figsize=(WIDTH, 2.6))
    axes = figure.subplots(1, len(bounds), sharey=True, sharex=True, squeeze=False)[0]
    top = float(log_rank.max())
    for ax, (label, bound) in zip(axes, bounds.items(), strict=True):
        ax.plot(log_rank, bound, ".", color=BLUE, markersize=2, alpha=0.4, rasterized=True)
        ax.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle="--")
        ax.text(0.04, 0.95, f"mean gap {np.mean(bound - log_rank):.2f}", transform=ax.transAxes, va="top", fontsize=9)
        ax.set(xlabel="log rank", title=label)
    axes[0].set_ylabel("bound")
    label_panels(axes)
    return figure


def draw_two_losses(margin: NDArray[np.float64], curves: Mapping[str, tuple[NDArray, NDArray]]) -> Figure:
    """Losses of a single margin, and their slopes.

    Args:
        margin: margins, shape (n,).
        curves: label -> (loss, slope), each of shape (n,).
    """
    figure = Figure(figsize=(WIDTH, 2.7))
    value, slope = figure.subplots(1, 2)
    for colour, (label, (losses, slopes)) in zip(CYCLE, curves.items(), strict=False):
        value.plot(margin, losses, color=colour, label=label)
        slope.plot(margin, slopes, color=colour, label=label)
    value.plot(margin, margin > 0, color=GREY, linewidth=1, linestyle="--", label="ranking error")
    value.set(xlabel="margin d", ylabel="loss", title="Loss of one pair", ylim=(-0.1, 2.6))
    slope.set(xlabel="margin d", ylabel="slope", title="Pull on the pair")
    value.legend()
    for ax in (value, slope):
        ax.axvline(0, color=LIGHT_GREY, linewidth=1)
    label_panels((value, slope))
    return figure
