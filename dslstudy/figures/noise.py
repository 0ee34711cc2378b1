"""Figures of the chapter on false negatives."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dslstudy.figures.style import BLACK, BLUE, CYCLE, GREY, WIDTH, label_panels, loss_colour, loss_marker
from dslstudy.names import display_name, metric_name
from dslstudy.study.noise_experiments import HiddenWeight

#: what the others are compared with
_REFERENCE = "softmax"


def draw_noise(values: Mapping[str, Mapping[float, NDArray[np.float64]]], *, metric: str = "ndcg@20") -> Figure:
    """A metric over the probability of false negatives, and how much more than SL each loss keeps of its own value.

    Args:
        values: loss -> probability -> one value for each seed, the same seeds for all, probability zero among them.
        metric: what the values are.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    left, right = figure.subplots(1, 2)
    for loss, of_loss in values.items():
        probabilities = sorted(of_loss)
        shared = [p for p in probabilities if p in values[_REFERENCE]]
        _draw_seeds(left, {p: of_loss[p] for p in probabilities}, loss)
        if loss != _REFERENCE:
            _draw_seeds(right, {p: 100 * (_change(of_loss, p) - _change(values[_REFERENCE], p)) for p in shared}, loss)
    right.axhline(0, color=loss_colour(_REFERENCE), linewidth=1)
    for ax in (left, right):
        ax.set_xlabel("probability of a false negative, p")
        _ticks(ax, sorted({p for of_loss in values.values() for p in of_loss}))
    left.set(ylabel=f"test {metric_name(metric)}", title="Value")
    right.set(ylabel="change from p = 0, less SL's, points", title="Kept, beside SL")
    left.legend()
    label_panels((left, right))
    return figure


def _change(values: Mapping[float, NDArray[np.float64]], probability: float) -> NDArray[np.float64]:
    return values[probability] / values[0.0] - 1


def _ticks(ax: Axes, values: Sequence[float]) -> None:
    ax.set_xticks(values, [f"{value:g}" for value in values])


def _draw_seeds(ax: Axes, values: Mapping[float, NDArray[np.float64]], loss: str) -> None:
    colour, marker = loss_colour(loss), loss_marker(loss)
    for probability, of_seeds in values.items():
        ax.plot(np.full(len(of_seeds), probability), of_seeds, ".", color=colour, alpha=0.5, zorder=1)
    means = [np.mean(of_seeds) for of_seeds in values.values()]
    ax.plot(list(values), means, color=colour, marker=marker, label=display_name(loss))


def draw_hidden_weight(measured: Mapping[str, Mapping[float, HiddenWeight]]) -> Figure:
    """What the loss of a trained model does to hidden items among its negatives.

    Args:
        measured: ``softmax`` and ``dsl`` -> probability -> what was measured.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    weights, push, sharp = figure.subplots(1, 3)
    of_dsl = measured["dsl"]
    for name, style in (("kappa_hidden", "-"), ("kappa_others", "--")):
        label = "hidden items" if name == "kappa_hidden" else "other negatives"
        line = [getattr(of_dsl[p], name) for p in sorted(of_dsl)]
        weights.plot(sorted(of_dsl), line, style, color=loss_colour("dsl"), marker=loss_marker("dsl"), label=label)
    weights.axhline(1, color=GREY, linewidth=1)
    weights.set(title="Weight κ in DSL", ylabel="mean κ")
    figure.legend(*weights.get_legend_handles_labels(), loc="outside lower left", ncols=2, handlelength=3.2)
    for loss, of_loss in measured.items():
        ratio = [of_loss[p].force / of_loss[p].share for p in sorted(of_loss)]
        push.plot(sorted(of_loss), ratio, color=loss_colour(loss), marker=loss_marker(loss), label=display_name(loss))
    push.axhline(1, color=GREY, linewidth=1)
    push.set(title="Push", ylabel="share of the push\nover share of the negatives")
    push.legend()
    for ax in (weights, push):
        ax.set_xlabel("p")
        _ticks(ax, sorted(of_dsl))
    colours = dict(zip(sorted(measured["softmax"]), (BLACK, BLUE, *CYCLE[1:]), strict=False))
    for probability, colour in colours.items():
        found = measured["softmax"][probability]
        ratio = [force / found.share for force in found.force_at.values()]
        sharp.plot(list(found.force_at), ratio, ".-", color=colour, label=f"p = {probability:g}")
    sharp.axhline(1, color=GREY, linewidth=1)
    sharp.set(title="Models of SL", xlabel="temperature", ylabel="as in (b)", xscale="log")
    _ticks(sharp, list(found.force_at))
    sharp.minorticks_off()
    sharp.legend()
    label_panels((weights, push, sharp))
    return figure
