"""Ranking metrics and significance (book: Data and splits; From BPR to the softmax loss)."""

from importlib import import_module

_HOME = {
    "Interval": "significance",
    "RankingEvaluator": "topk",
    "RankingMetrics": "topk",
    "holm": "significance",
    "mean_interval": "significance",
    "paired_bootstrap": "significance",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a part on first use, so that statistics do not pull in torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
