"""Figures of the chapters on DSL's two branches and on the direction of its gradient."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

from dslstudy.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    label_panels,
)
from dslstudy.metrics.significance import mean_interval

_FAMILIES = {
    "alpha": (VERMILION, "D", r"hardness, $\alpha$"),
    "beta": (GREEN, "^", r"similarity, $\beta$"),
    "temperature": (BLUE, "o", r"temperature $\tau$ of SL"),
}


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)


def _band(
    ax: Axes,
    x: ArrayLike,
    values: ArrayLike,
    *,
    colour: str,
    marker: str,
    label: str,
    scale: float = 1,
    alpha: float = 0.2,
) -> None:
    """Mean over the last axis with its 95 % t interval as a band; values (len(x), n)."""
    x, values = _numbers(x), scale * _numbers(values)
    intervals = [mean_interval(row) if len(row) > 1 else None for row in values]
    ax.plot(x, values.mean(1), color=colour, marker=marker, label=label)
    if all(intervals):
        low, high = ([getattr(i, end) for i in intervals] for end in ("low", "high"))
        ax.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)


# The kappa branch


def draw_payoff(margins: ArrayLike, bonuses: Mapping[str, ArrayLike]) -> Figure:
    """What weights add to the margins of one instance.

    Args:
        margins: d_j, (N,).
        bonuses: setting -> tau log kappa_j, (N,); settings named after alpha go to the left panel, others to the right.

    Returns:
        Two panels, hardness and similarity.
    """
    margins = _numbers(margins)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2), sharey=True)
    colours = {0: iter((BLUE, VERMILION)), 1: iter((GREEN, ORANGE))}
    for label, bonus in bonuses.items():
        side = 0 if "alpha" in label else 1
        axes[side].scatter(
            margins, _numbers(bonus), s=6, color=next(colours[side]), label=label, linewidth=0, alpha=0.7
        )
    for ax, title in zip(axes, ("hardness", "similarity"), strict=True):
        ax.axhline(0.0, color=GREY, linewidth=1)
        ax.set(xlabel="margin $d_j$", title=title)
        ax.legend(markerscale=2.5, loc="upper center", ncols=2, handletextpad=0.2)
    axes[0].set_ylabel(r"bonus $\tau \log \kappa_j$")
    bottom, top = axes[0].get_ylim()
    axes[0].set_ylim(bottom, top + 0.2 * (top - bottom))
    label_panels(axes)
    return figure


def draw_movers(settings: Mapping[str, tuple[Sequence[str], ArrayLike]], *, named: int = 4) -> Figure:
    """Which negatives gain and lose share of the gradient.

    Args:
        settings: setting -> titles and factors on their shares, (n,) each.
        named: how many of the largest gains and of the largest losses are named.

    Returns:
        One panel for each setting, bars from the factor 1.
    """
    rows = -(-len(settings) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(WIDTH, 0.4 + 0.27 * rows * (2 * named + 2)), squeeze=False, sharex=True
    )
    for ax, (label, (titles, factors)) in zip(axes.flat, settings.items(), strict=False):
        factors = _numbers(factors)
        order = np.argsort(factors)
        chosen = order if len(order) <= 2 * named else np.concatenate([order[:named], order[-named:]])
        change = np.log2(factors[chosen])
        place = np.arange(len(chosen))
        ax.barh(place, change, color=np.where(change < 0, BLUE, VERMILION), height=0.7)
        ax.axvline(0.0, color=GREY, linewidth=1)
        ax.set_yticks(place, [_short(titles[i]) for i in chosen], fontsize=7.5)
        ax.grid(axis="y", visible=False)
        ax.set_title(label)
    limit = max(abs(end) for ax in axes.flat for end in ax.get_xlim())
    ticks = np.array([0.25, 0.5, 0.67, 1.0, 1.5, 2.0, 4.0])
    for ax in axes.flat:
        ax.set_xlim(-limit, limit)
        ax.set_xticks(
            np.log2(ticks[np.abs(np.log2(ticks)) <= limit]), [f"{t:g}" for t in ticks if abs(np.log2(t)) <= limit]
        )
    for ax in axes[-1]:
        ax.set_xlabel("factor on the share of the gradient")
    return figure


def _short(title: str, length: int = 26) -> str:
    """A film's title without its year, cut to a length."""
    title = title.split(" (")[0]
    return title if len(title) <= length else title[: length - 1].rstrip() + "…"


def draw_held_out(evidence: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Held-out positives against the other negatives.

    Args:
        evidence: name of a z-score -> its values at held-out positives and at the other negatives.

    Returns:
        One panel of two densities for each z-score.
    """
    figure, axes = plt.subplots(1, len(evidence), figsize=(WIDTH, 2.8), squeeze=False)
    for ax, (label, (held_out, others)) in zip(axes[0], evidence.items(), strict=True):
        for values, colour, name in ((others, GREY, "other negatives"), (held_out, VERMILION, "held-out positives")):
            values = _numbers(values)
            ax.hist(values, bins=np.linspace(-3, 5, 49), density=True, color=colour, alpha=0.55, label=name)
            ax.axvline(values.mean(), color=colour, linewidth=1.4, linestyle="--")
        ax.set(xlabel=f"{label} (z-score)", ylabel="density", title=label)
    axes[0, -1].legend(loc="upper right")
    label_panels(axes[0])
    return figure


def draw_gradient_shares(
    grid: ArrayLike, temperatures: ArrayLike, shares: Mapping[str, ArrayLike], uniform: float
) -> Figure:
    """How much of the gradient on negatives held-out positives receive.

    Args:
        grid: values of alpha and of beta, (G,).
        temperatures: of plain SL, (T,).
        shares: ``alpha`` and ``beta`` (G, users), ``temperature`` (T, users).
        uniform: share of the held-out positives among the negatives.

    Returns:
        Two panels that share their vertical axis, bands are 95 % intervals over users.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharey=True)
    for family, x, ax in (("alpha", grid, left), ("beta", grid, left), ("temperature", temperatures, right)):
        colour, marker, label = _FAMILIES[family]
        _band(ax, x, shares[family], colour=colour, marker=marker, label=label, scale=100)
    for ax in (left, right):
        ax.axhline(100 * uniform, color=GREY, linestyle="--", linewidth=1.2, label="uniform")
        ax.set_ylim(bottom=0)
        ax.legend()
    left.set(xlabel=r"$\alpha$ or $\beta$, the other zero", ylabel="gradient on held-out films (%)", title="weights")
    right.set(xlabel=r"temperature $\tau$", title="temperature")
    label_panels([left, right])
    return figure


def draw_tradeoff(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, now: tuple[float, float]) -> Figure:
    """Share of the gradient on held-out positives against how many negatives share the gradient.

    Args:
        curves: family -> perplexities and shares, one point for each setting.
        now: perplexity and share of plain SL.
    """
    figure, ax = plt.subplots(figsize=(0.72 * WIDTH, 3.2))
    for family in ("temperature", "alpha", "beta"):
        colour, marker, label = _FAMILIES[family]
        perplexity, share = (_numbers(values) for values in curves[family])
        ax.plot(perplexity, 100 * share, color=colour, marker=marker, label=label, alpha=0.9)
    ax.plot(now[0], 100 * now[1], marker="*", markersize=14, color=BLACK, linestyle="none", label="SL")
    ax.set_xscale("log")
    _plain_ticks(ax.xaxis)
    ax.set(xlabel=r"perplexity of the worst case (negatives)", ylabel="gradient on held-out films (%)")
    ax.legend()
    return figure


# The competition-aware branch


def draw_temperatures(
    intensity: ArrayLike,
    temperatures: Mapping[float, ArrayLike],
    *,
    tau: float,
    limits: Mapping[float, tuple[float, float]],
) -> Figure:
    """Temperatures of one batch against the intensity of the competition.

    Args:
        intensity: I_i, (B,).
        temperatures: gamma -> tau_i, (B,).
        tau: their mean.
        limits: gamma -> proven smallest and largest temperature.

    Returns:
        Two panels: temperature against intensity, and the temperatures' distribution.
    """
    intensity = _numbers(intensity)
    order = np.argsort(intensity)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    every = np.concatenate([_numbers(values) for values in temperatures.values()])
    bins = np.geomspace(every.min(), every.max(), 50)
    for (gamma, values), colour in zip(temperatures.items(), (BLUE, VERMILION, GREEN), strict=False):
        values = _numbers(values)
        left.plot(intensity[order], values[order], color=colour, label=rf"$\gamma$ = {gamma:g}")
        right.hist(values, bins=bins, histtype="step", color=colour, linewidth=1.6, label=rf"$\gamma$ = {gamma:g}")
        for limit in limits[gamma]:
            if every.min() / 2 < limit < 2 * every.max():
                left.axhline(limit, color=colour, linestyle=":", linewidth=1.2)
    left.axhline(tau, color=GREY, linewidth=1)
    right.axvline(tau, color=GREY, linewidth=1)
    left.set_yscale("log")
    right.set_xscale("log")
    for axis in (left.yaxis, right.xaxis):
        _plain_ticks(axis)
    left.set(xlabel="intensity $I_i$", ylabel=r"temperature $\tau_i$", title="one batch")
    right.set(xlabel=r"temperature $\tau_i$", ylabel="instances", title="distribution")
    left.legend(loc="lower right")
    label_panels([left, right])
    return figure


def _plain_ticks(axis: Axis, digits: Sequence[float] = (1, 2, 3, 5)) -> None:
    """Plain numbers instead of powers of ten on a logarithmic axis, at these leading digits."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_spread(curves: Mapping[str, Mapping[float, ArrayLike]], *, tau: float) -> Figure:
    """Share of the gradient on the k hardest negatives, at the common and at the instance's own temperature.

    Args:
        curves: instance -> temperature -> worst case, sorted from the largest probability, (N,).
        tau: the common temperature.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(WIDTH, 2.8), sharey=True, squeeze=False)
    for ax, (label, of_temperature) in zip(axes[0], curves.items(), strict=True):
        for temperature, worst in of_temperature.items():
            share = np.cumsum(_numbers(worst))
            common = temperature == tau
            name = rf"$\tau$ = {temperature:.2f}" if common else rf"$\tau_i$ = {temperature:.2f}"
            colour, style = (BLUE, "-") if common else (VERMILION, "--")
            ax.plot(np.arange(1, len(share) + 1), share, color=colour, linestyle=style, label=name)
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis, digits=[1])
        ax.set(xlabel="$k$ hardest negatives", title=label, ylim=(0, 1.03))
        ax.legend(loc="upper left")
    axes[0, 0].set_ylabel("share of the gradient")
    label_panels(axes[0])
    return figure


def draw_deciles(panels: Mapping[str, Mapping[int, Sequence[ArrayLike]]]) -> Figure:
    """Relative temperatures by tenths of users and of items.

    Args:
        panels: what is cut into tenths -> size of the slate -> for each tenth, the values of its members.

    Returns:
        One panel each; points with 95 % t intervals.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    for ax, (label, of_size) in zip(axes[0], panels.items(), strict=True):
        for place, (size, tenths) in enumerate(of_size.items()):
            found = [mean_interval(values) for values in tenths]
            estimate = np.array([interval.estimate for interval in found])
            ends = np.array([[interval.low, interval.high] for interval in found]).T
            x = np.arange(1, len(tenths) + 1) + 0.12 * (place - (len(of_size) - 1) / 2)
            colour, marker = ((SKY, "v"), (BLUE, "o"), (GREEN, "^"), (ORANGE, "s"))[place % 4]
            error = np.abs(ends - estimate)
            ax.errorbar(
                x, estimate, yerr=error, color=colour, marker=marker, markersize=4, linewidth=1.2, label=f"$m$ = {size}"
            )
        ax.axhline(1.0, color=GREY, linewidth=1)
        ax.set(xlabel="tenth, from few to many interactions", title=label)
        ax.set_xticks(range(1, 11))
    axes[0, 0].set_ylabel(r"mean of $\tau_i / \tau$")
    axes[0, -1].legend()
    label_panels(axes[0])
    return figure


# The direction of the gradient


def draw_alignment(
    epochs: Sequence[int],
    curves: Mapping[str, Mapping[str, ArrayLike]],
    validation: Mapping[str, ArrayLike],
) -> Figure:
    """Alignment during training, each loss at its own models.

    Args:
        epochs: of the checkpoints, (E,).
        curves: metric -> loss -> cosines, (E, seeds).
        validation: loss -> validation NDCG@20 after every epoch, (epochs, seeds).

    Returns:
        One panel for each metric and one for the validation; bands are 95 % intervals over seeds.
    """
    figure, axes = plt.subplots(1, len(curves) + 1, figsize=(WIDTH, 2.9))
    for ax, (target, of_loss) in zip(axes, curves.items(), strict=False):
        for name, values in of_loss.items():
            colour, marker = _LOSSES[name]
            _band(ax, epochs, values, colour=colour, marker=marker, label=name)
        ax.axhline(0.0, color=GREY, linewidth=1)
        ax.set(xlabel="epoch", title=f"{target} NDCG")
    for name, values in validation.items():
        colour, _ = _LOSSES[name]
        _band(axes[-1], np.arange(1, len(values) + 1), values, colour=colour, marker="", label=name)
    axes[-1].set(xlabel="epoch", title="validation")
    axes[0].set_ylabel("cosine")
    axes[0].legend()
    label_panels(axes)
    return figure


_LOSSES = {
    "SL": (BLUE, "o"),
    "DSL": (VERMILION, "D"),
    "alpha = -0.3": (ORANGE, "v"),
    "alpha = +0.3": (ORANGE, "^"),
    "beta = +0.2": (GREEN, "s"),
    "gamma = +0.2": (PURPLE, "P"),
    "gamma = -0.2": (PURPLE, "X"),
    "force only": (SKY, "<"),
    "spread only": (SKY, "d"),
    "SL, 0.3": (BLACK, ">"),
    "smoothed test NDCG": (GREY, ""),
    "random": (LIGHT_GREY, ""),
}


def _symbols(name: str) -> str:
    """A loss's name with Greek letters."""
    for letter in ("alpha", "beta", "gamma"):
        name = name.replace(f"{letter} = ", rf"$\{letter}$ = ")
    return name.replace("SL, ", r"SL, $\tau$ = ").replace("-0", "−0")


def draw_alignment_plane(
    panels: Mapping[str, Mapping[str, Sequence[ArrayLike]]], *, temperatures: Mapping[str, float]
) -> Figure:
    """Alignment with test NDCG against that with training NDCG.

    Args:
        panels: kind of model -> loss -> alignments with training and with test NDCG, (seeds,) each.
        temperatures: the losses that are SL, with their temperatures; they are joined by a line.

    Returns:
        One panel for each kind of model.
    """
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(WIDTH, 2.7 * rows + 0.5), squeeze=False)
    for ax, (title, of_loss) in zip(axes.flat, panels.items(), strict=False):
        means = {name: tuple(float(np.mean(values)) for values in pair) for name, pair in of_loss.items()}
        line = sorted((tau, *means[name]) for name, tau in temperatures.items())
        ax.plot([x for _, x, _ in line], [y for _, _, y in line], color=BLUE, marker=".", label=r"SL, all $\tau$")
        for (tau, x, y), above in ((line[0], -12), (line[-1], 6)):
            look = {"textcoords": "offset points", "fontsize": 7.5, "ha": "center"}
            ax.annotate(rf"$\tau$ = {tau:g}", (x, y), xytext=(0, above), **look)
        for name, (x, y) in means.items():
            if name in temperatures and name != "SL":
                continue
            colour, marker = _LOSSES[name]
            label = r"SL, $\tau$ = 0.2" if name == "SL" else _symbols(name)
            ax.plot(x, y, color=colour, marker=marker, markersize=7, linestyle="none", label=label)
        ax.axhline(0.0, color=GREY, linewidth=1)
        ax.axvline(0.0, color=GREY, linewidth=1)
        ax.margins(0.1, 0.12)
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel("alignment with training NDCG")
    for ax in axes[:, 0]:
        ax.set_ylabel("with test NDCG")
    label_panels(list(axes.flat))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def draw_above_line(gaps: Mapping[str, Mapping[tuple[str, int], ArrayLike]], *, models: Sequence[str]) -> Figure:
    """Distance of each loss from the line of SL's temperatures.

    Args:
        gaps: loss -> (trained with, epoch) -> distances, (seeds,).
        models: what the models were trained with, in the order of filled and hollow markers.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.0))
    ticks = []
    place = 0.0
    for name, cases in gaps.items():
        start = place
        for (model, epoch), values in cases.items():
            values = _numbers(values)
            estimate = values.mean()
            error = None
            if len(values) > 1:
                found = mean_interval(values)
                error = [[estimate - found.low], [found.high - estimate]]
            colour, marker = _LOSSES[name]
            face = colour if model == models[0] else "white"
            look = {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 5, "elinewidth": 1}
            ax.errorbar(place, estimate, yerr=error, **look)
            text = {"ha": "center", "fontsize": 6.5, "color": GREY, "textcoords": "offset points"}
            ax.annotate(str(epoch), (place, 0), xycoords=("data", "axes fraction"), xytext=(0, 2), **text)
            place += 1
        ticks.append((start + place - 1) / 2)
        place += 1.5
    ax.axhline(0.0, color=GREY, linewidth=1)
    ax.set_xticks(ticks, [_symbols(name) for name in gaps])
    ax.grid(axis="x", visible=False)
    ax.set_ylabel("test alignment above SL's line")
    return figure


def draw_steps(steps: Sequence[float], panels: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Change of NDCG after one step.

    Args:
        steps: relative lengths, (S,).
        panels: metric -> direction -> change for each user, (S, users).

    Returns:
        One panel for each metric; bands are 95 % intervals over users.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4))
    for ax, (target, of_direction) in zip(axes, panels.items(), strict=True):
        reach = [0.0]
        for name, values in of_direction.items():
            colour, marker = _LOSSES[name]
            _band(ax, steps, values, colour=colour, marker=marker, label=_symbols(name), scale=100, alpha=0.1)
            if name != "smoothed test NDCG":
                reach += [100 * float(row.mean()) for row in _numbers(values)]
        ax.axhline(0.0, color=GREY, linewidth=1)
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis, digits=(1, 2, 5))
        span = max(reach) - min(reach)
        ax.set_ylim(min(reach) - 0.25 * span, max(reach) + 0.6 * span)
        ax.set(xlabel="length of the step (relative)", title=f"{target} NDCG@20")
    axes[0].set_ylabel("change (points)")
    label_panels(axes)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
