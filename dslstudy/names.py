"""How losses, backbones, baselines, training methods and metrics are called in text."""

_NAMES = {
    "bpr": "BPR",
    "softmax": "SL",
    "dsl": "DSL",
    "bsl": "BSL",
    "psl": "PSL",
    "slatk": "SL@K",
    "advinfonce": "AdvInfoNCE",
    "llpauc": "LLPAUC",
    "blind_slate": "kappa-blind slate",
    "dsl_positive_weight": "DSL with positive weight",
    "label_smoothing": "label smoothing",
    "loss_reweighting": "loss-value reweighting",
    "own_score": "temperature from own score",
    "positive_weight": "positive weight",
    "dsl-R5": "DSL, reading R5",
    "mf": "MF",
    "lightgcn": "LightGCN",
    "xsimgcl": "XSimGCL",
    "popularity": "Popularity",
    "item-knn": "Item-kNN",
    "ease": "EASE",
    "c2al": "C2AL",
    "cohort_feature": "cohort as feature",
    "groupdro": "GroupDRO",
    "head_only": "head's head only",
    "membership": "membership only",
    "mmoe": "MMoE",
    "multi_cohort": "all cohorts",
    "null": "weightless heads",
    "one_head": "one head",
    "oversampling": "over-sampling",
    "pcgrad": "PCGrad",
    "ple": "PLE",
    "random_pair": "random pair",
    "reweighting": "re-weighting",
    "tail_only": "tail's head only",
}
_METRICS = {
    "ndcg": "NDCG",
    "recall": "Recall",
    "precision": "Precision",
    "mrr": "MRR",
    "hit_rate": "Hit rate",
    "ne": "NE",
    "auc": "AUC",
    "log_loss": "Log loss",
    "ece": "ECE",
}


def display_name(name: str) -> str:
    """How a loss, backbone, baseline or training method is called in text; unknown names stay as they are.

    >>> display_name("softmax")
    'SL'
    """
    return _NAMES.get(name, name)


def metric_name(metric: str) -> str:
    """How a metric is called in text.

    >>> metric_name("ndcg@20")
    'NDCG@20'
    """
    kind, at, cutoff = metric.partition("@")
    return _METRICS.get(kind, kind) + at + cutoff
