"""One look for every figure: sizes, fonts and the colour of each loss.

The colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any kind of colour vision can
tell apart; losses that share a figure also differ in their marker.
"""

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

#: width of a figure in inches: the width of the book's text column, so that letters have one size on every page
WIDTH = 7.2

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, LIGHT_GREY = "#6E6E6E", "#D9D9D9"

#: order in which series without a colour of their own take theirs (yellow is too pale for lines)
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)

LOSS_COLOURS = {
    "bpr": ORANGE,
    "softmax": BLUE,
    "dsl": VERMILION,
    "bsl": GREEN,
    "psl": PURPLE,
    "slatk": SKY,
    "advinfonce": "#8C6D31",
    "llpauc": BLACK,
    "blind_slate": "#9E3D22",
    "dsl_positive_weight": "#6B0F2A",
    "dsl-R5": "#F08A5D",
    "label_smoothing": "#004D40",
    "loss_reweighting": "#7E57C2",
    "own_score": "#C98A1B",
    "positive_weight": "#1B2A6B",
    "none": GREY,
}
LOSS_MARKERS = {
    "bpr": "s",
    "softmax": "o",
    "dsl": "D",
    "bsl": "^",
    "psl": "v",
    "slatk": "P",
    "advinfonce": "X",
    "llpauc": "*",
    "blind_slate": "d",
    "dsl_positive_weight": "H",
    "dsl-R5": "8",
    "label_smoothing": "<",
    "loss_reweighting": ">",
    "own_score": "h",
    "positive_weight": "p",
    "none": ".",
}
_SETTINGS: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.4),
    "figure.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LIGHT_GREY,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "image.cmap": "cividis",
    "svg.hashsalt": "dslstudy",
}


def apply_style() -> None:
    """Give every later figure the look of the book; call it once, in the first cell of a chapter.

    In a notebook it also sees to it that a figure is shown as it is drawn: at its full width, with nothing trimmed.
    """
    mpl.rcParams.update(_SETTINGS)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"}, bbox_inches=None)


def loss_colour(loss: str) -> str:
    """The colour of a loss, black for one that has none of its own."""
    return LOSS_COLOURS.get(loss, BLACK)


def loss_marker(loss: str) -> str:
    """The marker of a loss, a dot for one that has none of its own."""
    return LOSS_MARKERS.get(loss, "o")


def label_panels(axes: Sequence[Axes]) -> None:
    """Put (a), (b), ... before the titles of panels that the text refers to."""
    for letter, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"({letter}) {ax.get_title(loc='left')}", loc="left")
