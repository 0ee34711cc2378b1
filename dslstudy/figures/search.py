"""Figures of searches and of the tables that they lead to."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dslstudy.figures.style import (
    BLACK,
    GREY,
    LIGHT_GREY,
    LOSS_COLOURS,
    WIDTH,
    label_panels,
    loss_colour,
    loss_marker,
)
from dslstudy.metrics.significance import mean_interval
from dslstudy.names import display_name, metric_name
from dslstudy.study.trials import best_of_some, best_so_far

_COLUMNS = 3


def draw_searches(
    values: Mapping[str, Sequence[float]], *, reference: str = "softmax", metric: str = "ndcg@20"
) -> Figure:
    """Each loss's search, a panel each: every trial, the best so far, and what other orders would have given.

    Args:
        values: loss -> validation of each trial in the order of the trials, minus infinity where it diverged.
        reference: the loss whose best is the dashed line.
        metric: what the values are.
    """
    rows = -(-len(values) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.4 + 2.0 * rows))
    axes = figure.subplots(rows, min(_COLUMNS, len(values)), sharex=True, sharey=True, squeeze=False)
    target = max(values[reference])
    for ax, (loss, of_trials) in zip(axes.flat, values.items(), strict=False):
        counts = np.arange(1, len(of_trials) + 1)
        colour = loss_colour(loss)
        spread = [best_of_some(of_trials, int(count)) for count in counts]
        low, mean, high = (np.array([getattr(each, end) for each in spread]) for end in ("low", "estimate", "high"))
        ax.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(counts, mean, color=colour, linewidth=1, linestyle=":")
        ax.step(counts, best_so_far(of_trials), where="post", color=colour)
        ax.plot(counts, of_trials, loss_marker(loss), color=colour, alpha=0.6)
        ax.axhline(target, color=GREY, linewidth=1, linestyle="--")
        ax.set_title(display_name(loss))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in list(axes.flat)[len(values) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("trials")
    for ax in axes[:, 0]:
        ax.set_ylabel(f"validation\n{metric_name(metric)}")
    label_panels(list(axes.flat)[: len(values)])
    return figure


def draw_selection(
    validation: Mapping[str, Sequence[float]], test: Mapping[str, Sequence[float]], *, metric: str = "ndcg@20"
) -> Figure:
    """Validation and test of every trial, the one that validation chooses ringed.

    Args:
        validation: loss -> value of each trial that has a record.
        test: the same on the test part.
        metric: what the values are.
    """
    figure = Figure(figsize=(0.62 * WIDTH, 3.3))
    ax = figure.subplots()
    for loss, chosen_by in validation.items():
        colour, marker = loss_colour(loss), loss_marker(loss)
        ax.plot(chosen_by, test[loss], marker, color=colour, alpha=0.7, label=display_name(loss))
        best = int(np.argmax(chosen_by))
        ax.plot(chosen_by[best], test[loss][best], "o", markersize=12, markerfacecolor="none", markeredgecolor=BLACK)
    ax.set(xlabel=f"validation {metric_name(metric)}", ylabel=f"test {metric_name(metric)}")
    figure.legend(loc="outside right center")
    return figure


def draw_cells(
    ours: Mapping[str, Mapping[str, NDArray[np.float64]]],
    *,
    published: Mapping[str, Mapping[str, float]] | None = None,
    reference: str = "softmax",
    names: Mapping[str, str] | None = None,
) -> Figure:
    """A table as a figure: a panel for each metric, a line for each loss, seeds and their mean.

    Args:
        ours: metric -> label -> one value for each seed; none where nothing was run.
        published: metric -> label -> the printed value, where there is one.
        reference: the label whose mean is the dashed line.
        names: label -> what the line is called, if not by the loss's usual name.
    """
    labels = list(next(iter(ours.values())))
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * len(labels)))
    axes = figure.subplots(1, len(ours), sharey=True, squeeze=False)[0]
    for ax, (metric, of_label) in zip(axes, ours.items(), strict=True):
        if len(of_label.get(reference, ())):
            ax.axvline(np.mean(of_label[reference]), color=GREY, linewidth=1, linestyle="--")
        for place, label in enumerate(labels):
            printed = (published or {}).get(metric, {}).get(label)
            if printed is not None:
                ax.plot(printed, -place, "D", color="white", markeredgecolor=GREY, markersize=8, zorder=2)
            _draw_seeds(ax, np.asarray(of_label[label], dtype=np.float64), -place, label)
        ax.set(title=metric_name(metric), ylim=(-len(labels) + 0.4, 0.6))
        ax.grid(axis="y", visible=False)
    lines = [(names or {}).get(label, display_name(label)) for label in labels]
    axes[0].set_yticks([-place for place in range(len(labels))], lines)
    if published:
        axes[0].plot([], [], "D", color="white", markeredgecolor=GREY, markersize=8, label="published")
        axes[0].plot([], [], "o", color=GREY, label="here, 95 % interval over seeds")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    label_panels(axes)
    return figure


def _draw_seeds(ax: Axes, values: NDArray[np.float64], height: float, label: str) -> None:
    colour, marker = LOSS_COLOURS.get(label, GREY), loss_marker(label)
    if not len(values):
        ax.axhline(height, color=LIGHT_GREY, linewidth=1, zorder=0)
        return
    ax.plot(values, np.full(len(values), height), ".", color=colour, alpha=0.4, zorder=3)
    if len(values) == 1:
        ax.plot(values, [height], marker, color=colour, zorder=4)
        return
    mean = mean_interval(values)
    ax.errorbar(mean.estimate, height, xerr=mean.reach, color=colour, marker=marker, zorder=4)
