"""Metrics of rankings and of click models, and significance (book: Data and splits; Does it help?)."""

from importlib import import_module

# The function normalized_entropy is imported from the module of the same name, which would stand in for it here.
_HOME = {
    "GroupEntropy": "normalized_entropy",
    "Interval": "significance",
    "RankingEvaluator": "topk",
    "RankingMetrics": "topk",
    "ReliabilityCurve": "calibration",
    "auc": "normalized_entropy",
    "expected_calibration_error": "calibration",
    "holm": "significance",
    "log_loss": "normalized_entropy",
    "mean_interval": "significance",
    "ne_by_bucket": "normalized_entropy",
    "ne_by_group": "normalized_entropy",
    "ne_diff": "normalized_entropy",
    "paired_bootstrap": "significance",
    "paired_ne_bootstrap": "normalized_entropy",
    "reliability_curve": "calibration",
    "rows_needed": "normalized_entropy",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a part on first use, so that statistics do not pull in torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
