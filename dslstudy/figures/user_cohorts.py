"""Figures of the chapters *Finding cohorts* and *Where the two papers meet*."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dslstudy.figures.style import BLACK, BLUE, CYCLE, GREY, ORANGE, VERMILION, WIDTH, label_panels
from dslstudy.metrics.significance import Interval
from dslstudy.study.user_cohorts import CohortDifference

_COHORT_COLOURS = {"rest": GREY, "head": BLUE, "tail": VERMILION}
_COHORT_DASHES = {"rest": "-", "head": "-", "tail": "--"}

# Finding cohorts


def draw_chance_divergences(
    by_chance: Mapping[int, ArrayLike], found: Mapping[str, float], *, divergence: str, unit: str
) -> Figure:
    """How far apart two random cohorts of one size are, beside pairs that were found.

    Args:
        by_chance: users (or items) in each cohort -> divergences of random pairs of that size.
        found: what was found -> its divergence.
        divergence: its name.
        unit: what is drawn at random, such as "users".
    """
    figure = Figure(figsize=(0.8 * WIDTH, 3.2))
    ax = figure.subplots()
    sizes = sorted(by_chance)
    middle, low, high = (
        np.array([np.quantile(by_chance[size], share) for size in sizes]) for share in (0.5, 0.05, 0.95)
    )
    ax.fill_between(sizes, low, high, color=GREY, alpha=0.25, linewidth=0, label="90 % of random pairs")
    ax.plot(sizes, middle, color=GREY, marker="o", label="median random pair")
    for place, (name, value) in enumerate(found.items()):
        ax.axhline(value, color=CYCLE[place % len(CYCLE)], linewidth=1.3, linestyle="--", label=name)
    ax.set(xscale="log", yscale="log", xlabel=f"{unit} in each cohort", ylabel=f"{divergence} divergence")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def draw_prediction_distributions(panels: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Distribution functions of the predictions for each cohort, a panel for each world.

    Args:
        panels: title -> cohort (``rest``, ``head``, ``tail``) -> predicted probabilities.
    """
    figure = Figure(figsize=(WIDTH, 3.1))
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
    shares = np.linspace(0, 1, 201)
    for ax, (title, cohorts) in zip(axes, panels.items(), strict=True):
        for cohort, predictions in cohorts.items():
            ax.plot(
                np.quantile(predictions, shares),
                100 * shares,
                color=_COHORT_COLOURS.get(cohort, BLACK),
                linestyle=_COHORT_DASHES.get(cohort, "-"),
                label=cohort,
            )
        ax.set(title=title, xlabel="predicted probability", xlim=(0, 1))
    axes[0].set_ylabel("rows predicted lower (%)")
    axes[-1].legend(loc="lower right")
    label_panels(axes)
    return figure


def draw_found_shares(
    shares: Mapping[str, Mapping[str, float]], *, rows: str, title: str = "Worlds in which the true pair is found (%)"
) -> Figure:
    """How often the true pair is found, as a table in colours.

    Args:
        shares: column (a divergence) -> row -> share, from 0 to 1.
        rows: what stands in the rows.
        title: of the panel.
    """
    columns, names = list(shares), list(next(iter(shares.values())))
    table = 100 * np.array([[shares[column][name] for column in columns] for name in names])
    figure = Figure(figsize=(0.8 * WIDTH, 1.2 + 0.34 * len(names)))
    ax = figure.subplots()
    ax.imshow(table, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        ax.text(
            column,
            row,
            f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if value < 50 else BLACK,
        )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False)
    ax.set(ylabel=rows, title=title)
    return figure


# Where the two papers meet


def draw_cohort_temperatures(panels: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> Figure:
    """Mean relative temperature by cohort of users, a panel for each axis.

    Args:
        panels: axis -> kind (``all positives``, ``popularity taken out``) -> cohort -> mean with its interval.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, (axis, kinds) in zip(axes, panels.items(), strict=True):
        ax.axhline(1.0, color=GREY, linewidth=1)
        for place, (kind, cohorts) in enumerate(kinds.items()):
            _with_ends(
                ax,
                np.arange(len(cohorts)) + 0.16 * (place - (len(kinds) - 1) / 2),
                list(cohorts.values()),
                color=(BLUE, ORANGE)[place % 2],
                marker="oD"[place % 2],
                label=kind,
            )
        ax.set_xticks(range(len(cohorts)), list(cohorts), rotation=30, ha="right", rotation_mode="anchor")
        ax.set(title=axis)
    axes[0].set_ylabel(r"mean $\tau_i / \tau$")
    axes[0].legend()
    label_panels(axes)
    return figure


def draw_cohort_differences(
    panels: Mapping[str, Mapping[str, Mapping[str, CohortDifference]]], *, baseline: str, metric: str = "NDCG@20"
) -> Figure:
    """Difference from a baseline by cohort of users; a panel for each axis, a colour for each arm.

    Args:
        panels: title -> arm -> cohort -> difference.
        baseline: how the baseline is called.
        metric: what differs; drawn in points, that is times 100.

    Returns:
        Large marks with 95 % intervals over users, small grey dots for single pairs of runs.
    """
    figure = Figure(figsize=(WIDTH, 0.5 + 2.9 * len(panels)))
    axes = np.atleast_1d(figure.subplots(len(panels), 1))
    for ax, (title, arms) in zip(axes, panels.items(), strict=True):
        ax.axhline(0.0, color=GREY, linewidth=1)
        for place, (arm, cohorts) in enumerate(arms.items()):
            x = np.arange(len(cohorts)) + 0.72 / len(arms) * (place - (len(arms) - 1) / 2)
            for at, each in zip(x, cohorts.values(), strict=True):
                ax.plot(np.full(len(each.per_run), at), 100 * each.per_run, ".", color=GREY, markersize=3, zorder=1)
            _with_ends(
                ax,
                x,
                [each.over_users for each in cohorts.values()],
                scale=100,
                color=CYCLE[place % len(CYCLE)],
                marker="osD^vPX"[place % 7],
                label=arm,
            )
        ax.set_xticks(range(len(cohorts)), list(cohorts))
        ax.set(title=title, ylabel=f"{metric} less {baseline}'s\n(points)")
        ax.grid(axis="x", visible=False)
    # below the panels: inside, six arms would cover their own bars
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    if len(panels) > 1:
        label_panels(axes)
    return figure


def _with_ends(ax: Axes, x: ArrayLike, intervals: Sequence[Interval], *, scale: float = 1.0, **style: Any) -> None:
    estimate, low, high = (
        scale * np.array([getattr(each, end) for each in intervals]) for end in ("estimate", "low", "high")
    )
    ax.errorbar(x, estimate, yerr=[estimate - low, high - estimate], linestyle="none", zorder=2, **style)
