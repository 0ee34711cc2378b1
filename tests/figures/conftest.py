"""Every figure is tested in the book's style; the tests import what they share from the file beside them."""

import sys
from pathlib import Path

import matplotlib as mpl
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _book_style():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from dslstudy.figures.style import apply_style

    with mpl.rc_context():
        apply_style()
        yield
    plt.close("all")
