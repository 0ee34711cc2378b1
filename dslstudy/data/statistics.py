"""Facts about a data set and one of its splits, for the command line and the book."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.load import Dataset, load_dataset, load_split
from dslstudy.data.splits import Split

#: "The head": the most popular fifth of the items.
HEAD = 0.2


def head_items(item_counts: NDArray[np.int64], share: float = HEAD) -> NDArray[np.bool_]:
    """Mark the most popular items: ``share`` of those that occur, at least one; ties go to the smaller id.

    Args:
        item_counts: interactions of each item, shape (num_items,).
        share: share of the items that occur.
    """
    size = max(1, round(share * np.count_nonzero(item_counts)))
    head = np.zeros(len(item_counts), bool)
    head[np.argsort(-item_counts, kind="stable")[:size]] = True
    return head


def gini(counts: NDArray[np.int64]) -> float:
    """Gini coefficient of counts: 0 when all are equal, near 1 when one has all."""
    counts = np.sort(counts)
    n, total = len(counts), counts.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * total)) if total else 0.0


def describe(
    data: str | Path | Dataset, split: str = "default", *, seed: int = 0, validation_fraction: float = 0.1
) -> dict[str, Any]:
    """Count what a data set holds and how a split divides it; everything is JSON-serialisable.

    The head is the most popular 20 % of the items, of all interactions for ``head_share`` and of train for the split's.

    Raises:
        InputError: as :func:`dslstudy.data.load.load_split`.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    every = dataset.interactions
    parts = load_split(dataset, split, seed=seed, validation_fraction=validation_fraction)
    counts = every.item_counts()
    return {
        "name": dataset.name,
        "title": dataset.spec.title if dataset.spec else str(dataset.name),
        "users": every.num_users,
        "items": every.num_items,
        "interactions": len(every),
        "density": every.density,
        "interactions_per_user": _spread(every.user_counts()),
        "interactions_per_item": _spread(counts),
        "head_share": float(counts[head_items(counts)].sum() / max(len(every), 1)),
        "item_gini": gini(counts),
        "split": _describe_split(parts),
        "sha256": dict(dataset.sha256),
    }


def _describe_split(split: Split) -> dict[str, Any]:
    head = head_items(split.train.item_counts())
    facts: dict[str, Any] = {"name": split.name, "seed": split.seed, "fingerprint": split.fingerprint}
    for name in ("train", "validation", "test"):
        part = getattr(split, name)
        facts[name] = {
            "interactions": len(part),
            "users": int(np.count_nonzero(part.user_counts())),
            "items": int(np.count_nonzero(part.item_counts())),
            "head_share": float(head[part.items].mean()) if len(part) else None,
        }
    return facts


def _spread(counts: NDArray[np.int64]) -> dict[str, float]:
    return {
        "min": int(counts.min()) if len(counts) else 0,
        "median": float(np.median(counts)) if len(counts) else 0.0,
        "mean": float(counts.mean()) if len(counts) else 0.0,
        "max": int(counts.max(initial=0)),
    }
