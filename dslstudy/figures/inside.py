"""Figures of the chapter on what goes on inside training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dslstudy.figures.style import GREY, WIDTH, label_panels, loss_colour, loss_marker
from dslstudy.names import display_name
from dslstudy.study.inside import LEVELS, Inside, curves

_LOW, _MIDDLE, _HIGH = 0, LEVELS.index(0.5), len(LEVELS) - 1


def draw_competition(seen: Mapping[str, Sequence[Inside]]) -> Figure:
    """Entropy of kappa, what it is made of, and radii over epochs: the median example and the middle nine tenths.

    Args:
        seen: ``softmax`` and ``dsl`` -> a run for each seed.
    """
    figure = Figure(figsize=(WIDTH, 5.6))
    (entropy, coupling), (radius, uniform) = figure.subplots(2, 2, sharex=True)
    _draw_fan(entropy, seen["dsl"], "kappa_entropy", "dsl")
    for loss, runs in seen.items():
        _draw_fan(coupling, runs, "coupling", loss)
        _draw_fan(radius, runs, "radius", loss)
        _draw_fan(uniform, runs, "radius_from_uniform", loss)
    entropy.axhline(1, color=GREY, linewidth=1)
    entropy.set(title="Entropy of κ in DSL", ylabel="share of log N")
    coupling.set(title="Hardness with similarity", ylabel="correlation ρ")
    radius.set(title="Worst case from its nominal", ylabel="KL divergence, nats")
    uniform.set(title="Worst case from uniform")
    coupling.legend(loc="lower right")
    for ax in (radius, uniform):
        ax.set_ylim(bottom=0)
    _epochs((radius, uniform))
    label_panels((entropy, coupling, radius, uniform))
    return figure


def draw_gradients(seen: Mapping[str, Sequence[Inside]]) -> Figure:
    """Norms of the loss's gradient and its alignment with NDCG over epochs: every seed and their mean.

    Args:
        seen: loss -> a run for each seed.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    norm, training, test = figure.subplots(1, 3)
    for loss, runs in seen.items():
        for part, style in (("users", "-"), ("items", "--")):
            name = f"{display_name(loss)}, {part}"
            _draw_means(norm, runs, curves(runs, "gradient", part), loss, style=style, label=name)
        for ax, target in ((training, "training"), (test, "test")):
            _draw_means(ax, runs, curves(runs, "alignment", target), loss, label=display_name(loss))
    for ax in (training, test):
        ax.axhline(0, color=GREY, linewidth=1)
    norm.set(title="Gradient norm", ylabel="norm")
    norm.set_ylim(0, 1.05 * norm.get_ylim()[1])
    training.set(title="Training NDCG", ylabel="cosine with its gradient")
    test.set(title="Test NDCG")
    norm.legend(loc="lower left", handlelength=3.2)
    training.legend()
    _epochs((norm, training, test))
    label_panels((norm, training, test))
    return figure


def _draw_fan(ax: Axes, runs: Sequence[Inside], name: str, loss: str) -> None:
    low, middle, high = (curves(runs, name, level).mean(axis=0) for level in (_LOW, _MIDDLE, _HIGH))
    epochs = curves(runs, "epoch")[0]
    ax.fill_between(epochs, low, high, color=loss_colour(loss), alpha=0.2, linewidth=0)
    ax.plot(epochs, middle, color=loss_colour(loss), marker=loss_marker(loss), label=display_name(loss))


def _draw_means(
    ax: Axes, runs: Sequence[Inside], values: NDArray[np.float64], loss: str, *, label: str, style: str = "-"
) -> None:
    epochs, colour = curves(runs, "epoch")[0], loss_colour(loss)
    for of_seed in values:
        ax.plot(epochs, of_seed, style, color=colour, linewidth=0.8, alpha=0.5)
    ax.plot(epochs, values.mean(axis=0), style, color=colour, marker=loss_marker(loss), label=label)


def _epochs(axes: Sequence[Axes]) -> None:
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
