"""Figures of the chapter on backbones: what a graph does to vectors, and what that costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dslstudy.figures.style import BLACK, BLUE, CYCLE, GREEN, GREY, LIGHT_GREY, ORANGE, PURPLE, WIDTH, label_panels
from dslstudy.names import display_name, metric_name

BACKBONE_COLOURS = {"mf": BLUE, "lightgcn": GREEN, "xsimgcl": PURPLE}
BACKBONE_MARKERS = {"mf": "o", "lightgcn": "^", "xsimgcl": "D"}


def draw_reach(edges: NDArray[np.bool_], reach: Mapping[str, NDArray[np.float64]]) -> Figure:
    """How far one node's vector has travelled: a small graph for each panel, users left, items right.

    Args:
        edges: (U, I), True where a user has an item.
        reach: title -> (U + I,) the weight of the starting node's vector in each node, users first.
    """
    users, items = edges.shape
    places = [(0.0, (users - 1) / 2 - u) for u in range(users)] + [(1.0, (items - 1) / 2 - i) for i in range(items)]
    names = [f"u{u}" for u in range(users)] + [f"i{i}" for i in range(items)]
    largest = max(float(np.abs(values).max()) for values in reach.values())
    figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * max(users, items)))
    axes = figure.subplots(1, len(reach), squeeze=False)[0]
    for ax, (title, values) in zip(axes, reach.items(), strict=True):
        for u, i in zip(*np.nonzero(edges), strict=True):
            ax.plot(*zip(places[u], places[users + i], strict=True), color=LIGHT_GREY, zorder=1)
        x, y = zip(*places, strict=True)
        dots = ax.scatter(
            x, y, c=values, s=330, cmap="Blues", vmin=0, vmax=largest, edgecolors=GREY, linewidths=0.8, zorder=2
        )
        for (at_x, at_y), name, value in zip(places, names, values, strict=True):
            ax.annotate(
                name, (at_x, at_y), xytext=(-20 if at_x == 0 else 20, 0), textcoords="offset points",
                ha="center", va="center", color=GREY, fontsize=8.5,
            )  # fmt: skip
            if value != 0:
                dark = value > 0.6 * largest
                ax.annotate(
                    f"{value:.2f}".lstrip("0") if value < 1 else "1", (at_x, at_y), ha="center", va="center",
                    color="white" if dark else BLACK, fontsize=7.5,
                )  # fmt: skip
        ax.set(title=title, xlim=(-0.5, 1.5), ylim=(min(y) - 0.6, max(y) + 0.6), xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    figure.colorbar(dots, ax=axes, label="weight of u0's vector", shrink=0.8)
    label_panels(axes)
    return figure


def draw_smoothing(
    eigenvalues: NDArray[np.float64],
    responses: Mapping[str, NDArray[np.float64]],
    cosines: Mapping[str, NDArray[np.float64]],
) -> Figure:
    """What averaging over layers keeps of each component of the graph, and what it does to vectors.

    Args:
        eigenvalues: (n,) where the responses were computed.
        responses: label -> (n,) factor of the component with that eigenvalue.
        cosines: label -> (layers + 1,) mean cosine between two users, layer by layer from 0.
    """
    figure = Figure(figsize=(WIDTH, 3.1))
    left, right = figure.subplots(1, 2)
    for label, values in responses.items():
        left.plot(eigenvalues, values, label=label)
    left.axhline(0, color=GREY, linewidth=0.8)
    left.set(xlabel="eigenvalue of the graph", ylabel="factor", title="What is kept of a component")
    left.legend()
    for (label, values), marker in zip(cosines.items(), "os^D", strict=False):
        right.plot(np.arange(len(values)), values, marker=marker, label=label)
    right.set(xlabel="layers", ylabel="mean cosine of two users", title="Vectors grow alike")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    label_panels((left, right))
    return figure


def draw_noise(before: NDArray[np.float64], after: NDArray[np.float64], radius: float) -> Figure:
    """Vectors in the plane and where noise has moved them: onto a circle, never out of their quadrant.

    Args:
        before: (n, 2).
        after: (k, n, 2), k draws for each.
        radius: length of the move.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    ax = figure.subplots()
    turn = np.linspace(0, 2 * np.pi, 200)
    for place, (point, colour) in enumerate(zip(before, CYCLE * len(before), strict=False)):
        ax.plot(*(point[:, None] + radius * np.stack([np.cos(turn), np.sin(turn)])), color=LIGHT_GREY, linewidth=1)
        ax.plot(*after[:, place].T, ".", color=colour, markersize=3)
        ax.annotate("", xy=point, xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkB": 0})
    for line in (ax.axhline, ax.axvline):
        line(0, color=GREY, linewidth=0.8)
    seen = np.vstack([before - 1.3 * radius, before + 1.3 * radius, [[-radius, -radius], [radius, radius]]])
    (left, bottom), (right, top) = seen.min(axis=0), seen.max(axis=0)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", title="Noise in a vector's own quadrant")
    return figure


def draw_pair_cosines(cosines: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """How alike the vectors of a trained model are: the distribution of cosines of random pairs.

    Args:
        cosines: kind of pair (one panel) -> backbone -> (n,) cosines.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(1, len(cosines), sharex=True, squeeze=False)[0]
    for ax, (kind, of_backbones) in zip(axes, cosines.items(), strict=True):
        for backbone, values in of_backbones.items():
            height, edges = np.histogram(values, bins=np.linspace(-1, 1, 61), density=True)
            ax.stairs(height, edges, color=_colour(backbone), linewidth=1.6, label=display_name(backbone))
        ax.set(xlabel="cosine", title=kind)
    axes[0].set_ylabel("density")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    label_panels(axes)
    return figure


def draw_learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    seconds: Mapping[str, float],
    *,
    metric: str = "ndcg@20",
) -> Figure:
    """Validation of each backbone over epochs and over time.

    Args:
        histories: backbone -> entries with ``epoch`` and ``validation``.
        seconds: backbone -> seconds per epoch.
        metric: what ``validation`` is.
    """
    figure = Figure(figsize=(WIDTH, 3.1))
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for backbone, history in histories.items():
        epochs = np.array([entry["epoch"] for entry in history])
        values = [entry["validation"] for entry in history]
        look = {"color": _colour(backbone), "marker": BACKBONE_MARKERS.get(backbone, "s")}
        by_epoch.plot(epochs, values, label=display_name(backbone), **look)
        by_time.plot(epochs * seconds[backbone], values, **look)
    by_epoch.set(xlabel="epoch", ylabel=f"validation {metric_name(metric)}", title="Over epochs")
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_time.set(xlabel="seconds of training", title="Over time")
    by_time.set_xlim(left=0)
    by_epoch.legend()
    label_panels((by_epoch, by_time))
    return figure


def draw_cost(tables: Mapping[str, float], epochs: Mapping[str, float]) -> Figure:
    """What a backbone costs: making its tables once, forward and backward, and a whole epoch.

    Args:
        tables: backbone -> milliseconds for one forward and backward pass through it.
        epochs: backbone -> seconds per epoch of training.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.4 * len(epochs)))
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, tables, "ms", "Tables, forward and backward")
    _bars(right, epochs, "s", "An epoch")
    left.invert_yaxis()
    label_panels((left, right))
    return figure


def _bars(ax: Axes, values: Mapping[str, float], unit: str, title: str) -> None:
    bars = ax.barh(
        [display_name(backbone) for backbone in values], list(values.values()), color=[_colour(b) for b in values]
    )
    ax.bar_label(bars, labels=[f"{value:.2g} {unit}" for value in values.values()], padding=3, fontsize=9)
    ax.set(xlabel=unit, title=title)
    ax.margins(x=0.2)
    ax.grid(visible=False, axis="y")


def _colour(backbone: str) -> str:
    return BACKBONE_COLOURS.get(backbone, ORANGE)
