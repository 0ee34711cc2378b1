"""The README's figure and table, made from the committed records: ``python -m dslstudy.book.readme``."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from dslstudy import tables
from dslstudy.data.published import published_values
from dslstudy.errors import InputError
from dslstudy.figures.ranking import draw_beside_published
from dslstudy.figures.style import apply_style
from dslstudy.study import experiments, open_study

if TYPE_CHECKING:
    import pandas as pd

DATASET = "amazon2014-health"
ROOT = Path(__file__).parents[2]
FIGURE = "book/_static/health.svg"
BEGIN, END = "<!-- results: written by python -m dslstudy.book.readme -->", "<!-- /results -->"


def main(root: Path = ROOT) -> None:
    """Write the figure and the README's part between its two marks.

    Args:
        root: the repository.

    Raises:
        InputError: the README has lost its marks.
    """
    readme = root / "README.md"
    readme.write_text(with_results(readme.read_text(encoding="utf-8")), encoding="utf-8")
    runs = _records()
    ours = {metric: tables.found_values(runs, metric) for metric in tables.METRICS}
    apply_style()
    with mpl.rc_context({"svg.hashsalt": "dslstudy", "savefig.facecolor": "white"}):  # the same bytes every time
        draw_beside_published(ours, published_values(DATASET, runs)).savefig(root / FIGURE, metadata={"Date": None})


def with_results(text: str) -> str:
    """The README with its results as the committed records have them now."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"README.md must hold the marks {BEGIN} and {END}")
    frame = tables.beside_published(_records(), DATASET).drop(columns="state")
    frame = frame.rename_axis(["loss", "metric"]).reset_index()
    figure = f"![Our runs beside the published values on Amazon Health]({FIGURE})"
    return f"{before}{BEGIN}\n\n{figure}\n\n{markdown(frame)}\n\n{END}{after}"


def markdown(frame: "pd.DataFrame") -> str:
    """A frame as a Markdown table."""
    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _records() -> dict[str, list]:
    study = open_study("paper", progress=False)
    reference = experiments.health_reference_runs()
    return {loss: [study.committed.get(config) for config in configs] for loss, configs in reference.items()}


if __name__ == "__main__":
    main()
