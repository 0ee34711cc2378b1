"""What the papers printed: facts with their sources, beside which the book puts its own numbers.

Each table is a CSV file in this folder; the column ``source`` says which table of which paper a row was read from.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("ranking", "hyperparameters", "dsl_claims", "c2al_claims")

#: a data set of the registry -> what the papers' tables call it: (setting, data set)
PRINTED_AS = {
    "amazon2014-health": ("iid", "amazon-health"),
    "amazon2014-electronic": ("iid", "amazon-electronic"),
    "gowalla": ("iid", "gowalla"),
    "amazon2014-electronic-popularity": ("ood-popularity", "amazon-electronic"),
    "amazon2014-cd-popularity": ("ood-popularity", "amazon-cd"),
    "gowalla-popularity": ("ood-popularity", "gowalla"),
}
#: a loss or backbone of this package -> what the papers' tables call it
NAMES_IN_PRINT = {
    "bpr": "BPR",
    "softmax": "SL",
    "bsl": "BSL",
    "psl": "PSL",
    "slatk": "SL@20",
    "advinfonce": "AdvInfoNCE",
    "llpauc": "LLPAUC",
    "mf": "MF",
    "lightgcn": "LightGCN",
    "xsimgcl": "XSimGCL",
}
#: what stands for a loss where its own name is not printed: the variant that is the package's default
_VARIANTS = {"psl": "PSL-relu"}


def published(table: str) -> "pd.DataFrame":
    """One of the tables as it is in its file.

    Args:
        table: ``ranking`` (recall@20 and ndcg@20 by setting, data set, backbone and loss), ``hyperparameters`` (those
            the papers chose), ``dsl_claims`` or ``c2al_claims``.

    Raises:
        InputError: there is no such table.
    """
    import pandas as pd

    if table not in TABLES:
        raise InputError(f"there is no published table {table!r}; choose from {', '.join(TABLES)}")
    # "None" and "NA" are not missing values here: nothing but an empty field is
    return pd.read_csv(Path(__file__).with_name(f"{table}.csv"), keep_default_na=False, na_values=[""])


def published_ranking(dataset: str, *, backbone: str = "mf") -> "pd.DataFrame":
    """Published ranking results on one data set of the registry.

    Args:
        dataset: a name of the registry.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.

    Returns:
        Columns ``loss`` (as printed), ``recall@20``, ``ndcg@20``, ``source``; no rows where nothing was printed.

    Raises:
        InputError: unknown backbone.
    """
    if backbone not in ("mf", "lightgcn", "xsimgcl"):
        raise InputError(f"nothing is published for backbone {backbone!r}; choose mf, lightgcn or xsimgcl")
    rows = published("ranking")
    setting, name = PRINTED_AS.get(dataset, ("", ""))
    chosen = (rows.setting == setting) & (rows.dataset == name) & (rows.backbone == NAMES_IN_PRINT[backbone])
    return rows.loc[chosen, ["loss", "recall@20", "ndcg@20", "source"]].reset_index(drop=True)


def published_value(dataset: str, loss: str, metric: str, *, backbone: str = "mf") -> float | None:
    """One published number, or None where none was printed; where two papers print it, the later row of the file.

    Args:
        dataset: a name of the registry.
        loss: a loss of this package, e.g. ``softmax``.
        metric: ``recall@20`` or ``ndcg@20``.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.

    Raises:
        InputError: unknown backbone, or a metric that is not in the tables.
    """
    if metric not in ("recall@20", "ndcg@20"):
        raise InputError(f"the published tables have recall@20 and ndcg@20, not {metric!r}")
    rows = published_rows(dataset, loss, backbone=backbone)
    return None if rows.empty else float(rows[metric].iloc[-1])


def published_rows(dataset: str, loss: str, *, backbone: str = "mf") -> "pd.DataFrame":
    """The rows of :func:`published_ranking` for one loss; PSL is PSL-relu where its variants are printed apart.

    Args:
        dataset: a name of the registry.
        loss: a loss of this package, e.g. ``softmax``.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.

    Raises:
        InputError: unknown backbone.
    """
    rows = published_ranking(dataset, backbone=backbone)
    found = rows[rows.loss == NAMES_IN_PRINT.get(loss, loss)]
    return rows[rows.loss == _VARIANTS.get(loss)] if found.empty else found


def published_values(dataset: str, losses: Iterable[str], *, backbone: str = "mf") -> dict[str, dict[str, float]]:
    """Published numbers of several losses: metric -> loss -> value; losses that were not printed are left out.

    Args:
        dataset: a name of the registry.
        losses: losses of this package.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.

    Raises:
        InputError: unknown backbone.
    """
    found = {
        metric: {loss: published_value(dataset, loss, metric, backbone=backbone) for loss in losses}
        for metric in ("recall@20", "ndcg@20")
    }
    return {metric: {loss: v for loss, v in values.items() if v is not None} for metric, values in found.items()}
