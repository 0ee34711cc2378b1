"""Data sets: registry, download, interactions, splits.

from dslstudy.data import load_split

split = load_split("movielens-100k", "iid", seed=0)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dslstudy.data.click_logs import Axis, ClickLog, ClickSplit, Feature, load_click_split
    from dslstudy.data.click_world import ClickWorld
    from dslstudy.data.interactions import Interactions
    from dslstudy.data.load import Dataset, load_dataset, load_split
    from dslstudy.data.registry import dataset_names
    from dslstudy.data.splits import Split
    from dslstudy.data.statistics import describe

__all__ = [
    "Axis",
    "ClickLog",
    "ClickSplit",
    "ClickWorld",
    "Dataset",
    "Feature",
    "Interactions",
    "Split",
    "dataset_names",
    "describe",
    "load_click_split",
    "load_dataset",
    "load_split",
]

_HOME = {
    "Axis": "click_logs",
    "ClickLog": "click_logs",
    "ClickSplit": "click_logs",
    "ClickWorld": "click_world",
    "Dataset": "load",
    "Feature": "click_logs",
    "Interactions": "interactions",
    "Split": "splits",
    "dataset_names": "registry",
    "describe": "statistics",
    "load_click_split": "click_logs",
    "load_dataset": "load",
    "load_split": "load",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names along with what is loaded."""
    return sorted({*globals(), *__all__})
