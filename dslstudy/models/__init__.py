"""Backbones, which make user and item tables for a stack of runs, and baselines, which score without training."""

from importlib import import_module
from inspect import signature
from typing import Any

#: name in configurations -> where the class lives; imported only when it is used
BACKBONES = {
    "mf": "dslstudy.models.matrix_factorization:MatrixFactorization",
    "lightgcn": "dslstudy.models.lightgcn:LightGCN",
    "xsimgcl": "dslstudy.models.xsimgcl:XSimGCL",
}
BASELINES = {
    "popularity": "dslstudy.models.popularity:Popularity",
    "item-knn": "dslstudy.models.item_knn:ItemKNN",
    "ease": "dslstudy.models.ease:EASE",
}


def model_class(name: str) -> Any:
    """The class of a backbone or baseline by its name in configurations."""
    module, _, attribute = (BACKBONES | BASELINES)[name].partition(":")
    return getattr(import_module(module), attribute)


def backbone_options(name: str) -> set[str]:
    """Hyperparameters of a backbone or baseline: the keyword arguments of its class that the trainer does not give."""
    given = {"num_users", "num_items", "embedding_size", "generators", "interactions"}
    return set(signature(model_class(name)).parameters) - given
