"""How the tables of the study are made, at each profile: who is compared, on what, with which budget.

Every loss of a table gets the same number of trials in its search space, then the same number of seeds that the search
has not seen (book: Protocol and search).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from dslstudy.engine.config import require_one_of
from dslstudy.models import BACKBONES
from dslstudy.study.config import RunConfig
from dslstudy.study.profiles import PROFILES
from dslstudy.study.spaces import SPACES, Space

#: the data sets of the papers' tables
IID = ("amazon2014-health", "amazon2014-electronic", "amazon2014-cd", "gowalla")
SHIFTED = ("amazon2014-electronic-popularity", "amazon2014-cd-popularity", "gowalla-popularity")
#: beside the tables, made as their lines are: what it is called -> its loss, and the words that the loss has there
VARIATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "dsl-R5": ("dsl", {"reading": "R5"}),
    "positive_weight": ("positive_weight", {}),
}
#: the seed of every trial; the seeds of the tables begin behind it
SEARCH_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """What one profile compares, and how.

    Attributes:
        name: of the profile.
        tables: table -> its data sets.
        backbones: matrix factorization first: the other backbones' searches start from its best.
        losses: in the order of the tables.
        variations: of :data:`VARIATIONS`, made where they are asked for by name.
        trials: of each loss with matrix factorization.
        transfer_trials: of each loss with each other backbone.
        seeds: of the best setting.
        sampler: of the search.
        round_size: trials that are proposed together.
        only: what the search spaces are narrowed to.
        bpr_only: the same for BPR.
        run: fields of every run.
        bpr: other values of them for BPR, which converges slowly and takes one negative.
        trial_epochs: how long a trial is, where that is less than a run with a fresh seed; BPR's are as long as those.
        splits: table -> data set -> its split, where that is not the data set's usual one.
        narrowed: table -> attributes that it has instead, where a profile can afford less of it.
    """

    name: str
    tables: Mapping[str, tuple[str, ...]]
    backbones: tuple[str, ...]
    losses: tuple[str, ...]
    variations: tuple[str, ...] = ()
    trials: int
    transfer_trials: int
    seeds: tuple[int, ...]
    sampler: str = "tpe"
    round_size: int = 5
    only: Space = field(default_factory=dict)
    bpr_only: Space = field(default_factory=dict)
    run: Mapping[str, Any]
    bpr: Mapping[str, Any]
    trial_epochs: int | None = None
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    narrowed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of_table(self, table: str) -> "Protocol":
        """The protocol as one of its tables has it; the same object however often it is asked for.

        Args:
            table: one of ``tables``.

        Raises:
            InputError: there is no such table.
        """
        require_one_of(f"table at profile {self.name}", table, self.tables)
        return _narrowed(self, table)

    def split_of(self, table: str, dataset: str) -> str:
        """How a table splits a data set; ``default`` is the published split where there is one."""
        return self.splits.get(table, {}).get(dataset, "default")

    def base_run(
        self, dataset: str, backbone: str, loss: str, *, split: str = "default", trial: bool = False
    ) -> RunConfig:
        """The run whose hyperparameters are searched: everything but these, as the papers have it.

        BPR is trained in the form in which it is used: inner products, a small start, one negative; all others with
        cosines and sampled negatives.

        Args:
            dataset: name of the data set.
            backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.
            loss: one of :data:`~dslstudy.study.spaces.SPACES` or of :data:`VARIATIONS`.
            split: of the data set.
            trial: of a search, not of the table.

        Raises:
            InputError: unknown backbone or loss.
        """
        require_one_of("backbone", backbone, BACKBONES)
        loss, words = VARIATIONS.get(loss, (loss, {}))
        require_one_of("loss with a search space", loss, SPACES)
        parameters = dict(_BACKBONES[backbone])
        if backbone == "xsimgcl":
            parameters["contrast_weight"] = _CONTRAST_WEIGHT.get(dataset, _CONTRAST_WEIGHT_ELSEWHERE)
        values = dict(self.run) | {"score": "cosine"}
        if loss == "bpr":
            values |= {**self.bpr, "score": "inner-product", "num_negatives": 1}
            parameters["initial_scale"] = 0.1
        elif trial and self.trial_epochs:
            values["epochs"] = self.trial_epochs
        return RunConfig(
            dataset=dataset,
            split=split,
            backbone=backbone,
            backbone_parameters=parameters,
            loss=loss,
            loss_parameters=dict(words),
            seed=SEARCH_SEED,
            **values,
        )


@cache
def _narrowed(protocol: Protocol, table: str) -> Protocol:
    changes = protocol.narrowed.get(table)
    return replace(protocol, **changes) if changes else protocol


# As published: LightGCN has two layers; XSimGCL's InfoNCE has weight 0.2 on Amazon Health and 0.05 on Electronic.
_BACKBONES: dict[str, dict[str, Any]] = {
    "mf": {},
    "lightgcn": {"layers": 2},
    "xsimgcl": {"layers": 3, "noise": 0.1, "contrast_layer": 1, "contrast_temperature": 0.1},
}
_CONTRAST_WEIGHT = {"amazon2014-health": 0.2}
_CONTRAST_WEIGHT_ELSEWHERE = 0.05

# Short trainings get somewhere with these steps only.
_SHORT: Space = {"learning_rate": (0.1,), "weight_decay": (0.0, 1e-5), "quantile_every": (5,)}
_SHORT_BPR: Space = {"learning_rate": (0.1, 0.01), "weight_decay": (0.0, 1e-4)}

# Our own shifted split, which any data set has; those of SHIFTED were published as they are.
_OWN_SHIFT = "popularity-shift"

PROTOCOLS = {
    "smoke": Protocol(
        name="smoke",
        tables={"iid": ("synthetic-ranking",), "popularity-shift": ("synthetic-ranking",)},
        splits={"popularity-shift": {"synthetic-ranking": _OWN_SHIFT}},
        backbones=("mf", "lightgcn"),
        losses=("softmax", "bpr", "dsl"),
        variations=tuple(VARIATIONS),
        trials=3,
        transfer_trials=2,
        seeds=(1, 2),
        sampler="random",
        round_size=3,
        only=_SHORT,
        bpr_only=_SHORT_BPR,
        run={"embedding_size": 16, "num_negatives": 32, "batch_size": 256, "epochs": 3, "evaluate_every": 1},
        bpr={},
        trial_epochs=2,
    ),
    # with so few trials a random search is as good as any
    "quick": Protocol(
        name="quick",
        tables={"iid": ("movielens-100k",), "popularity-shift": ("movielens-100k",)},
        splits={"popularity-shift": {"movielens-100k": _OWN_SHIFT}},
        backbones=("mf",),
        losses=("bpr", "softmax", "bsl", "psl", "slatk", "dsl"),
        trials=4,
        transfer_trials=2,
        seeds=(1, 2, 3),
        sampler="random",
        only=_SHORT,
        bpr_only=_SHORT_BPR,
        run={"embedding_size": 32, "num_negatives": 50, "batch_size": 1024, "epochs": 4, "evaluate_every": 2},
        bpr={"epochs": 8},
        # few trials on few losses, so none goes to a temperature at which a short training gets nowhere
        narrowed={
            "popularity-shift": {
                "losses": ("softmax", "psl", "dsl"),
                "trials": 3,
                "only": {**_SHORT, "temperature": (0.1, 0.2, 0.25)},
            }
        },
    ),
    "paper": Protocol(
        name="paper",
        tables={"iid": IID, "popularity-shift": ("amazon2014-health", "movielens-100k", *SHIFTED)},
        splits={"popularity-shift": {"amazon2014-health": _OWN_SHIFT, "movielens-100k": _OWN_SHIFT}},
        backbones=("mf", "lightgcn", "xsimgcl"),
        losses=("bpr", "llpauc", "softmax", "advinfonce", "bsl", "psl", "slatk", "dsl"),
        variations=tuple(VARIATIONS),
        trials=20,
        transfer_trials=6,
        seeds=(1, 2, 3, 4, 5),
        run={"embedding_size": 64, "num_negatives": 1000, "batch_size": 1024, "epochs": 200, "evaluate_every": 5},
        bpr={"patience": 10},
        # a compromise: after 30 epochs of the softmax loss on Amazon Health validation is within 6 % of its best, but
        # many trials are still rising, and small steps get nowhere; the chapter tells how many
        trial_epochs=30,
    ),
}


def protocol_of(profile: str) -> Protocol:
    """The protocol of a profile.

    Raises:
        InputError: there is no such profile.
    """
    require_one_of("profile", profile, PROFILES)
    return PROTOCOLS[profile]
