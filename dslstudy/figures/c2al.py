"""Figures of the chapters on cohorts: how they are found, what auxiliary heads do, and whether it helps."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from dslstudy.c2al.attention import EDGES, AttentionRecord
from dslstudy.c2al.cohorts import Discovery
from dslstudy.c2al.gradients import EVERYONE, SHARED, GradientParts
from dslstudy.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    label_panels,
)
from dslstudy.metrics.calibration import ReliabilityCurve
from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.names import display_name

METHOD_COLOURS = {
    "plain": GREY,
    "c2al": VERMILION,
    "random_pair": ORANGE,
    "membership": GREEN,
    "one_head": SKY,
    "multi_cohort": PURPLE,
    "pcgrad": BLUE,
}
_COHORT_COLOURS = {"overall": BLACK, EVERYONE: BLACK, "head": BLUE, "tail": VERMILION, "others": GREY, "rest": GREY}
_COHORT_MARKERS = {"overall": "o", EVERYONE: "o", "head": "s", "tail": "D", "others": "^", "rest": "^"}
_LAYER_ORDER = (SHARED, "embedding", "attention", "interaction", "deep", "norms", "top")
_DIVERGENCE_NAMES = {"kl": "KL", "js": "JS", "wasserstein": "Wasserstein", "cosine": "cosine", "energy": "energy"}
_DIFFERENCE = "NE difference to plain (%)"


def _method_colours(methods: Sequence[str]) -> dict[str, str]:
    """A method's own colour, or one that no other method in the figure has."""
    taken = {METHOD_COLOURS[method] for method in methods if method in METHOD_COLOURS}
    free = iter([*(colour for colour in CYCLE if colour not in taken), *CYCLE])
    return {method: METHOD_COLOURS.get(method) or next(free) for method in methods}


def _cohort_colour(cohort: str) -> str:
    return _COHORT_COLOURS.get(cohort, PURPLE)


# Finding cohorts


def draw_divergence_matrices(discoveries: Sequence[Discovery]) -> Figure:
    """Divergence of every bin of an axis from every other; the chosen pair is framed.

    Args:
        discoveries: one per panel, of the same or of different axes. Bins that are too small to be chosen have grey
            labels.
    """
    columns = min(2, len(discoveries))
    rows = -(-len(discoveries) // columns)
    figure = Figure(figsize=(WIDTH if columns == 2 else 0.62 * WIDTH, 0.2 + 3.1 * rows))
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    several = len({found.axis for found in discoveries}) > 1
    for ax, found in zip(axes, discoveries, strict=False):
        # cohorts too small to be chosen would use up the colours
        usable = found.matrix[np.ix_(found.admissible, found.admissible)]
        largest = np.nanmax(usable)
        image = ax.imshow(found.matrix, vmin=0, vmax=largest)
        places = np.arange(len(found.labels))
        many = len(found.labels) > 12
        ax.set_xticks(
            places,
            found.labels,
            rotation=90 if many else 45,
            ha="center" if many else "right",
            va="top",
            rotation_mode="default" if many else "anchor",
            fontsize=6 if many else 7.5,
        )
        ax.set_yticks(places, found.labels, fontsize=6 if many else 7.5)
        for axis in (ax.xaxis, ax.yaxis):
            for text, fits in zip(axis.get_ticklabels(), found.admissible, strict=True):
                text.set_color(BLACK if fits else "#A0A0A0")
        ax.grid(visible=False)
        (head,), (tail,) = found.pair.head, found.pair.tail
        for row, column in ((head, tail), (tail, head)):
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
        if len(found.labels) <= 6:
            digits = max(0, 1 - math.floor(math.log10(largest))) if largest > 0 else 0
            _write_cells(ax, found.matrix, image.norm, form=f"{{:.{digits}f}}")
        name = _DIVERGENCE_NAMES.get(found.divergence, found.divergence)
        ax.set_title(f"{found.axis}, {name}" if several else name)
        beyond = (found.matrix > largest).any()
        figure.colorbar(image, ax=ax, shrink=0.8, extend="max" if beyond else "neither")
    for ax in axes[len(discoveries) :]:
        ax.remove()
    if len(discoveries) > 1:
        label_panels(axes[: len(discoveries)])
    return figure


def _write_cells(ax: Axes, values: NDArray, norm: Callable, *, form: str, size: float = 7) -> None:
    """Write every finite value into its cell, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ax.text(
                column,
                row,
                form.format(value),
                ha="center",
                va="center",
                fontsize=size,
                color="white" if norm(value) < 0.5 else BLACK,
            )


def draw_pair_stability(discoveries: Mapping[str, Sequence[Discovery]]) -> Figure:
    """How often each pair is chosen, by divergence.

    Args:
        discoveries: name of a divergence -> discoveries along one axis with different seeds.

    Returns:
        One panel: the pairs that were ever chosen, those that most agree on first.
    """
    chosen = {
        name: [f"{found.labels[found.pair.head[0]]} / {found.labels[found.pair.tail[0]]}" for found in of_seeds]
        for name, of_seeds in discoveries.items()
    }
    shares = {
        pair: [of_seeds.count(pair) / len(of_seeds) for of_seeds in chosen.values()]
        for pair in sorted({pair for of_seeds in chosen.values() for pair in of_seeds})
    }
    pairs = sorted(shares, key=lambda pair: -sum(shares[pair]))
    table = np.array([shares[pair] for pair in pairs])
    figure = Figure(figsize=(0.8 * WIDTH, 1.1 + 0.32 * len(pairs)))
    ax = figure.subplots()
    image = ax.imshow(100 * table, vmin=0, vmax=100, aspect="auto")
    _write_cells(ax, 100 * table, image.norm, form="{:.0f}", size=8)
    ax.set_xticks(range(len(chosen)), [_DIVERGENCE_NAMES.get(name, name) for name in chosen])
    ax.set_yticks(range(len(pairs)), pairs)
    ax.grid(visible=False)
    ax.set(ylabel="head / tail", title="Pair chosen (% of the seeds)")
    return figure


# Does it help?


def draw_ne_differences(differences: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """Difference in normalized entropy of each method from the plain one, with intervals; left of zero is better.

    Args:
        differences: method -> cohort (such as ``overall``, ``head``, ``tail``) -> difference in per cent.

    Returns:
        One panel per cohort, methods in the order given from top to bottom. An interval that lies on one side of zero
        is drawn in colour.
    """
    return _forest([(display_name(method), of_method) for method, of_method in differences.items()])


def draw_ne_by_place(places: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> Figure:
    """The same for several data sets, one below the other.

    Args:
        places: data set -> method -> cohort -> difference in per cent.

    Returns:
        As :func:`draw_ne_differences`; the name of a data set stands above its methods.
    """
    rows: list[tuple[str, Mapping[str, Interval]]] = []
    titles = {}
    for place, differences in places.items():
        titles[len(rows)] = place
        rows.append(("", {}))
        rows += [(display_name(method), of_method) for method, of_method in differences.items()]
    figure = _forest(rows)
    figure.axes[0].set_zorder(1)  # a long name goes on over the next panel, whose line is empty, too
    for row, place in titles.items():
        figure.axes[0].text(
            0.02,
            row,
            place,
            transform=figure.axes[0].get_yaxis_transform(),
            va="center",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=5,
        ).set_in_layout(False)
    return figure


def _forest(rows: Sequence[tuple[str, Mapping[str, Interval]]]) -> Figure:
    """A panel for each cohort, a line for each label, from top to bottom."""
    cohorts = list(dict.fromkeys(cohort for _, intervals in rows for cohort in intervals))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.28 * len(rows)))
    axes = np.atleast_1d(figure.subplots(1, len(cohorts), sharex=True, sharey=True))
    for ax, cohort in zip(axes, cohorts, strict=True):
        ax.axvline(0.0, color=GREY, linewidth=1)
        for place, (_, intervals) in enumerate(rows):
            if cohort not in intervals:
                continue
            interval = intervals[cohort]
            sign = (interval.low > 0) - (interval.high < 0)
            _errorbar(ax, interval, place, color={-1: BLUE, 0: GREY, 1: VERMILION}[sign], marker="o")
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set(title=cohort, ylim=(len(rows) - 0.5, -0.5))
    axes[0].set_yticks(range(len(rows)), [label for label, _ in rows])
    figure.supxlabel(f"{_DIFFERENCE}; below zero is better", fontsize=10)
    return figure


def _errorbar(ax: Axes, interval: Interval, place: float, *, color: str, marker: str) -> None:
    ax.errorbar(interval.estimate, place, xerr=interval.reach, fmt=marker, color=color)


def draw_ne_by_bucket(
    differences: Mapping[str, Sequence[Interval]], *, statistic: str, entropies: Mapping[str, ArrayLike] | None = None
) -> Figure:
    """Difference in normalized entropy by five-percentile buckets of a statistic.

    Args:
        differences: method -> one difference in per cent per bucket, with its interval.
        statistic: what the buckets are of, such as "activity of the user".
        entropies: method -> normalized entropy per bucket, for a panel of their own above.
    """
    panels = 1 + (entropies is not None)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.3 * panels))
    axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
    colours = _method_colours(list(dict.fromkeys([*(entropies or {}), *differences])))
    if entropies is not None:
        for method, values in entropies.items():
            centres = _bucket_centres(len(np.asarray(values)))
            axes[0].plot(centres, values, marker="o", color=colours[method], label=display_name(method))
        axes[0].set(ylabel="normalized entropy", title="Level")
        axes[0].legend(ncols=len(entropies))
    ax = axes[-1]
    ax.axhline(0.0, color=GREY, linewidth=1)
    for place, (method, intervals) in enumerate(differences.items()):
        centres = _bucket_centres(len(intervals))
        estimate, low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("estimate", "low", "high"))
        shift = (place - (len(differences) - 1) / 2) * 0.2 * 100 / len(intervals)
        ax.errorbar(
            centres + shift,
            estimate,
            yerr=[estimate - low, high - estimate],
            fmt="o",
            markersize=4,
            linewidth=1.2,
            color=colours[method],
            label=display_name(method),
        )
    ax.set(ylabel=_DIFFERENCE, title="Difference, with intervals", xlim=(0, 100))
    ax.set_xlabel(f"percentile of {statistic}")
    ax.legend(ncols=len(differences))
    if panels > 1:
        label_panels(axes)
    return figure


def _bucket_centres(buckets: int) -> NDArray[np.float64]:
    return 100 * (np.arange(buckets) + 0.5) / buckets


def draw_sensitivity(
    weights: Mapping[str, Mapping[float, ArrayLike]], quantiles: Mapping[str, Mapping[float, ArrayLike]]
) -> Figure:
    """How the difference depends on the weight of the auxiliary losses and on how much of the axis a cohort takes.

    Args:
        weights: cohort -> weight λ -> difference in per cent, one per seed.
        quantiles: cohort -> share of the axis in head and in tail, from 0 to 1 -> difference in per cent per seed.

    Returns:
        Two panels; bars are 95 % t intervals over seeds. Settings stand side by side at equal distances.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(1, 2, sharey=True)
    panels = (
        (axes[0], weights, r"weight $\lambda$", "Weight", "{:g}".format),
        (axes[1], quantiles, "axis in head and in tail, each (%)", "Cohort size", lambda share: f"{100 * share:g}"),
    )
    for ax, curves, label, title, write in panels:
        ax.axhline(0.0, color=GREY, linewidth=1)
        settings = sorted({setting for of_cohort in curves.values() for setting in of_cohort})
        for place, (cohort, of_setting) in enumerate(curves.items()):
            shift = 0.12 * (place - (len(curves) - 1) / 2)
            x = [settings.index(setting) + shift for setting in sorted(of_setting)]
            intervals = [mean_interval(of_setting[setting]) for setting in sorted(of_setting)]
            estimate, low, high = (
                np.array([getattr(i, end) for i in intervals]) for end in ("estimate", "low", "high")
            )
            ax.errorbar(
                x,
                estimate,
                yerr=[estimate - low, high - estimate],
                color=_cohort_colour(cohort),
                marker=_COHORT_MARKERS.get(cohort, "v"),
                label=cohort,
            )
        ax.set_xticks(range(len(settings)), [write(setting) for setting in settings])
        ax.set(xlabel=label, title=title)
    axes[0].set_ylabel(_DIFFERENCE)
    axes[0].legend()
    label_panels(axes)
    return figure


def draw_reliability(curves: Mapping[str, ReliabilityCurve]) -> Figure:
    """Predicted against observed frequency of clicks, and the gap between both.

    Args:
        curves: method -> its curve.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    left, right = figure.subplots(1, 2)
    largest = max(max(curve.predicted.max(), curve.observed.max()) for curve in curves.values())
    left.plot([0, largest], [0, largest], color=GREY, linewidth=1, linestyle="--")
    right.axhline(0.0, color=GREY, linewidth=1, linestyle="--")
    colours = _method_colours(list(curves))
    for method, curve in curves.items():
        style = {"marker": "o", "markersize": 4, "linewidth": 1.3, "color": colours[method]}
        left.plot(curve.predicted, curve.observed, label=display_name(method), **style)
        right.plot(curve.predicted, 100 * (curve.observed - curve.predicted), **style)
    left.set(xlabel="predicted", ylabel="observed", title="Share of clicks")
    right.set(xlabel="predicted", ylabel="percentage points", title="Observed less predicted")
    left.legend()
    label_panels([left, right])
    return figure


# What the heads do


def draw_gradient_parts(records: Sequence[GradientParts]) -> Figure:
    """The auxiliary gradient over training: its parts along and across the primary one, by layer and by cohort.

    Args:
        records: of one run, as ``GradientProbe`` leaves them.

    Returns:
        Three panels: length of both parts relative to the primary gradient (all shared parameters), share of the
        squared length that is across for each layer, and whom a step along it helps.
    """
    figure = Figure(figsize=(WIDTH, 5.4))
    grid = figure.add_gridspec(2, 2)
    lengths, transfer = (figure.add_subplot(grid[0, column]) for column in (0, 1))
    shares = figure.add_subplot(grid[1, :])
    whole = [parts for parts in records if (parts.cohort, parts.layer) == (EVERYONE, SHARED)]
    steps = [parts.step for parts in whole]
    lengths.axhline(0.0, color=GREY, linewidth=1)
    for name, colour, marker in (("parallel", BLUE, "o"), ("orthogonal", VERMILION, "D")):
        relative = [getattr(parts, name) / parts.primary for parts in whole]
        lengths.plot(steps, relative, color=colour, marker=marker, markersize=3, label=name)
    lengths.set(xlabel="steps", ylabel="length / primary gradient's", title="Parts, all shared parameters")
    _legend_on_top(lengths)

    transfer.axhline(0.0, color=GREY, linewidth=1)
    for cohort in dict.fromkeys(parts.cohort for parts in records):
        mine = [parts for parts in records if (parts.cohort, parts.layer) == (cohort, SHARED)]
        transfer.plot(
            [parts.step for parts in mine],
            [parts.transfer for parts in mine],
            color=_cohort_colour(cohort),
            marker=_COHORT_MARKERS.get(cohort, "v"),
            markersize=3,
            label=cohort,
        )
    transfer.set(xlabel="steps", ylabel="cosine", title="With cohorts' primary gradients")
    _legend_on_top(transfer)

    layers = sorted({parts.layer for parts in records}, key=_layer_rank)
    colours = dict(zip(layers, (BLACK, *CYCLE, *CYCLE), strict=False))
    for layer in layers:
        mine = [parts for parts in records if (parts.cohort, parts.layer) == (EVERYONE, layer)]
        shares.plot(
            [parts.step for parts in mine],
            [100 * parts.orthogonal_share for parts in mine],
            color=colours[layer],
            linewidth=2.4 if layer == SHARED else 1.4,
            linestyle="-" if layers.index(layer) < len(CYCLE) else "--",
            label=layer,
        )
    shares.set(xlabel="steps", ylabel="% of squared length", title="Share across the primary gradient, by layer")
    shares.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    label_panels([lengths, transfer, shares])
    return figure


def _legend_on_top(ax: Axes) -> None:
    """Make room above the lines for a legend of two columns."""
    entries = len(ax.get_legend_handles_labels()[1])
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top + (0.06 + 0.1 * -(-entries // 2)) * (top - bottom))
    ax.legend(ncols=2, loc="upper left", borderaxespad=0.2)


def _layer_rank(layer: str) -> tuple[int, str]:
    part = layer if layer in _LAYER_ORDER else layer.rsplit(" ", 1)[0]
    return (_LAYER_ORDER.index(part) if part in _LAYER_ORDER else len(_LAYER_ORDER), layer)


_STATISTICS = (
    ("entropy", "Entropy (1 = dense)"),
    ("effective_rank", "Effective rank"),
    ("kurtosis", "Excess kurtosis"),
    ("near_zero", "Share near zero"),
)


def draw_attention_statistics(
    records: Mapping[str, Sequence[AttentionRecord]], *, tensor: str = "attention 1"
) -> Figure:
    """Attention statistics over training, and the histogram at its end.

    Args:
        records: method -> records of one run, as ``AttentionProbe`` leaves them.
        tensor: which of the recorded tensors.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(2, 3).ravel()
    colours = _method_colours(list(records))
    for method, of_run in records.items():
        mine = [record for record in of_run if record.tensor == tensor]
        steps = [record.step for record in mine]
        style = {"color": colours[method], "linewidth": 1.5}
        for ax, (name, _) in zip(axes, _STATISTICS, strict=False):
            ax.plot(steps, [getattr(record.statistics, name) for record in mine], **style)
        axes[4].plot(steps, [record.change for record in mine], **style)
        axes[5].stairs(mine[-1].statistics.histogram, EDGES, **style, label=display_name(method))
    titles = [*(title for _, title in _STATISTICS), "Relative change", "Histogram, end"]
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xlabel="steps")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[5].set(xlabel="value / root mean square", yscale="log")
    figure.legend(*axes[5].get_legend_handles_labels(), loc="outside lower center", ncols=len(records))
    label_panels(axes)
    return figure


def draw_attention_by_dial(statistics: Mapping[str, Mapping[float, Mapping[str, ArrayLike]]]) -> Figure:
    """Attention statistics of trained models against the dials of the controlled world.

    Args:
        statistics: dial -> its setting -> statistic (such as ``entropy``) -> values, one per seed.

    Returns:
        A row of panels for each dial and a column for each statistic; bars are 95 % t intervals over seeds.
    """
    figure = Figure(figsize=(WIDTH, 0.4 + 1.9 * len(statistics)))
    axes = figure.subplots(len(statistics), len(_STATISTICS), sharey="col", squeeze=False)
    for row, (dial, of_setting) in zip(axes, statistics.items(), strict=True):
        settings = sorted(of_setting)
        for ax, (name, _) in zip(row, _STATISTICS, strict=True):
            intervals = [mean_interval(of_setting[setting][name]) for setting in settings]
            estimate, low, high = (
                np.array([getattr(i, end) for i in intervals]) for end in ("estimate", "low", "high")
            )
            ax.errorbar(settings, estimate, yerr=[estimate - low, high - estimate], color=BLACK, marker="o")
            ax.set_xlabel(dial)
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.margins(x=0.1)
    for ax, (_, title) in zip(axes[0], _STATISTICS, strict=True):
        ax.set_title(title, fontsize=9)
    return figure


def draw_attention_effects(effects: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> Figure:
    """What auxiliary heads do to the attention of several models, less the plain model of the same seeds.

    Args:
        effects: model -> method (such as ``c2al`` and its control ``random_pair``) -> statistic -> difference.

    Returns:
        A panel for each statistic, a line for each model from top to bottom, its methods side by side.
    """
    methods = list(dict.fromkeys(method for of_model in effects.values() for method in of_model))
    colours = _method_colours(methods)
    figure = Figure(figsize=(WIDTH, 1.4 + 0.42 * len(effects)))
    axes = figure.subplots(1, len(_STATISTICS), sharey=True)
    for ax, (name, title) in zip(axes, _STATISTICS, strict=True):
        ax.axvline(0.0, color=GREY, linewidth=1)
        for number, method in enumerate(methods):
            style = {"color": colours[method], "marker": "osD^"[number % 4]}
            beside = 0.3 * (number - (len(methods) - 1) / 2)
            for place, of_model in enumerate(effects.values()):
                if method in of_model:
                    _errorbar(ax, of_model[method][name], place + beside, **style)
            ax.plot([], [], linestyle="none", label=display_name(method), **style)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set_title(title.partition(" (")[0], fontsize=9)
    axes[0].set(ylim=(len(effects) - 0.5, -0.5))
    axes[0].set_yticks(range(len(effects)), list(effects), fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(methods))
    figure.supxlabel("difference to plain, paired", fontsize=10)
    return figure


def draw_mechanism(
    x: ArrayLike, cohorts: Mapping[str, Sequence[ArrayLike]], *, label: str, ylabel: str, log: bool = False
) -> Figure:
    """One quantity of each cohort against a dial of the controlled world.

    Args:
        x: settings of the dial, (n,).
        cohorts: cohort -> values for each setting, one per seed.
        label: of the dial.
        ylabel: of the quantity.
        log: the dial is on a logarithmic scale.

    Returns:
        One panel; bands are 95 % t intervals over seeds.
    """
    x = np.asarray(x, dtype=float)
    figure = Figure(figsize=(0.75 * WIDTH, 3.2))
    ax = figure.subplots()
    for cohort, values in cohorts.items():
        intervals = [mean_interval(of_seeds) for of_seeds in values]
        colour = _cohort_colour(cohort)
        ax.plot(
            x,
            [i.estimate for i in intervals],
            color=colour,
            marker=_COHORT_MARKERS.get(cohort, "v"),
            label=cohort,
        )
        ax.fill_between(x, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.18, lw=0)
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=label, ylabel=ylabel)
    ax.legend()
    return figure
