"""Figures of the chapter "Sensitivity"."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dslstudy.figures.style import BLACK, WIDTH, label_panels, loss_colour, loss_marker
from dslstudy.names import display_name

_COLUMNS = 3
_TITLES = {
    "gamma": ("Competition", "strength γ"),
    "slate_size": ("Slate", "slate size m"),
    "temperature": ("Temperature", "temperature τ"),
    "num_negatives": ("Negatives", "negatives N"),
    "batch_size": ("Batch", "examples B"),
    "embedding_size": ("Embedding", "size of a vector"),
}
#: dials whose values are far apart
_LOGARITHMIC = ("slate_size", "temperature", "num_negatives", "batch_size", "embedding_size")


def draw_heat_map(
    values: Mapping[tuple[float, float], float], *, centre: tuple[float, float], noise: float, label: str
) -> Figure:
    """A metric over alpha and beta: the centre framed, the best cell starred, a ring where the best may be chance.

    Args:
        values: (alpha, beta) -> the metric, for every pair.
        centre: the chosen pair.
        noise: how far below the best chance alone may put a setting.
        label: of the colour bar.
    """
    alphas, betas = (sorted({pair[axis] for pair in values}) for axis in (0, 1))
    table = np.array([[values[alpha, beta] for alpha in alphas] for beta in betas])
    figure = Figure(figsize=(0.8 * WIDTH, 1.3 + 0.55 * len(betas)))
    ax = figure.subplots()
    image = ax.imshow(table, origin="lower", aspect="auto")
    dark = (table.min() + table.max()) / 2
    for (row, column), value in np.ndenumerate(table):
        marks = " ★" if value == table.max() else " ○" if value >= table.max() - noise else ""
        ax.text(column, row, f"{value:.4f}{marks}", ha="center", va="center", color="white" if value < dark else BLACK)
    place = alphas.index(centre[0]), betas.index(centre[1])
    frame = Rectangle((place[0] - 0.48, place[1] - 0.46), 0.96, 0.92, fill=False, edgecolor=BLACK, linewidth=2)
    ax.add_patch(frame)
    ax.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    ax.set_yticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    ax.set(xlabel="weight of hardness α", ylabel="weight of similarity β")
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label=label)
    return figure


def draw_dials(
    lines: Mapping[str, Mapping[str, Mapping[float, float]]],
    *,
    centres: Mapping[str, Mapping[str, float]],
    noise: Mapping[str, float],
    label: str,
) -> Figure:
    """One panel for each dial, one curve for each loss that has it; the band is what seeds alone do at the centre.

    Args:
        lines: dial -> loss -> value -> the metric.
        centres: dial -> loss -> the value that was chosen, ringed.
        noise: loss -> half the height of its band.
        label: of the vertical axis.
    """
    rows = -(-len(lines) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.15 * rows))
    axes = figure.subplots(rows, min(_COLUMNS, len(lines)), sharey=True, squeeze=False)
    for ax, (dial, of_losses) in zip(axes.flat, lines.items(), strict=False):
        for loss, line in of_losses.items():
            values = sorted(line)
            colour, middle = loss_colour(loss), line[centres[dial][loss]]
            ax.axhspan(middle - noise[loss], middle + noise[loss], color=colour, alpha=0.1, linewidth=0)
            ax.plot(
                values,
                [line[value] for value in values],
                loss_marker(loss) + "-",
                color=colour,
                label=display_name(loss),
            )
            ax.plot(centres[dial][loss], middle, "o", markersize=11, markerfacecolor="none", markeredgecolor=BLACK)
        title, name = _TITLES.get(dial, (dial, dial))
        _place_ticks(ax, sorted({value for line in of_losses.values() for value in line}), dial in _LOGARITHMIC)
        ax.set(title=title, xlabel=name)
    for ax in list(axes.flat)[len(lines) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    most = max(axes.flat, key=lambda ax: len(ax.get_legend_handles_labels()[0]))
    figure.legend(*most.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    label_panels(list(axes.flat)[: len(lines)])
    return figure


def _place_ticks(ax: Axes, values: Sequence[float], logarithmic: bool) -> None:
    if logarithmic:
        ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def draw_signs(values: Mapping[float, NDArray[np.float64]], *, label: str) -> Figure:
    """A metric over alpha on several seeds, a thin line for each seed.

    Args:
        values: alpha -> the metric of each seed, the same seeds in the same order.
        label: of the vertical axis.
    """
    figure = Figure(figsize=(0.62 * WIDTH, 2.7))
    ax = figure.subplots()
    alphas = sorted(values)
    table = np.array([values[alpha] for alpha in alphas])
    ax.plot(alphas, table, color=loss_colour("dsl"), linewidth=0.9, alpha=0.45)
    ax.plot(alphas, table.mean(axis=1), loss_marker("dsl") + "-", color=loss_colour("dsl"))
    ax.set_xticks(alphas, [f"{alpha:+g}" if alpha else "0" for alpha in alphas])
    ax.set(xlabel="weight of hardness α", ylabel=label)
    return figure
