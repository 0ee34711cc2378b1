"""Facts about a click log and its split, for the command line and the book."""

from pathlib import Path
from typing import Any

import numpy as np

from dslstudy.data.click_logs import PARTS, ClickSplit, load_click_split
from dslstudy.data.registry import registry


def describe_clicks(data: str | Path | ClickSplit, split: str = "default", *, seed: int = 0) -> dict[str, Any]:
    """Count what a click log holds and how its axes cut it; everything is JSON-serialisable.

    Args:
        data: name or path as :func:`dslstudy.data.click_logs.load_click_split`, or a split that is loaded already.
        split: "default" or the name of a split, for a name or path.
        seed: of the split, for a name or path.

    Raises:
        InputError: as :func:`dslstudy.data.click_logs.load_click_split`.
    """
    chosen = {} if split == "default" else {"split": split}
    parts = data if isinstance(data, ClickSplit) else load_click_split(data, seed=seed, **chosen)
    spec = registry("clicks").get(parts.dataset)
    known = np.unique(parts.train.users)
    facts: dict[str, Any] = {"name": parts.name, "seed": parts.seed, "fingerprint": parts.fingerprint}
    for name in PARTS:
        log = parts.part(name)
        facts[name] = {
            "rows": len(log),
            "base_rate": log.base_rate,
            "users": len(np.unique(log.users)),
            "unknown_users": float((~np.isin(log.users, known)).mean()),
        }
    return {
        "name": parts.dataset,
        "title": spec.title if spec else parts.dataset,
        "rows": sum(len(parts.part(name)) for name in PARTS),
        "split": facts,
        "features": [
            {
                "name": one.name,
                "ids": one.size,
                "width": 1 if one.values.ndim == 1 else one.values.shape[1],
                "unknown_in_test": float((one.values == 0).sum() / max((one.values >= 0).sum(), 1)),
            }
            for one in parts.test.features
        ],
        "axes": [
            {"name": axis.name, "unit": axis.unit, "bins": _bins(parts, axis.name)} for axis in parts.axes.values()
        ],
        "bayes_ne": parts.truth.bayes_ne("test") if parts.truth else None,
        "sha256": dict(parts.data_sha256),
    }


def _bins(parts: ClickSplit, name: str) -> list[dict[str, Any]]:
    axis = parts.axis(name)
    train, test = axis.counts("train"), axis.counts("test")
    labels = parts.train.labels
    return [
        {
            "label": label,
            "train": int(train[number]),
            "test": int(test[number]),
            "base_rate": float(labels[axis.train == number].mean()) if train[number] else None,
        }
        for number, label in enumerate(axis.labels)
    ]
