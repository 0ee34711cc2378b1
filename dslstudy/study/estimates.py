"""How long runs will take: like those on record, else by what a score costs (book: Protocol and search)."""

from collections.abc import Iterable
from statistics import median

from dslstudy.data.registry import registry
from dslstudy.errors import InputError
from dslstudy.study.config import RunConfig
from dslstudy.study.store import Record
from dslstudy.study.study import Study

#: microseconds of one processor core for one negative of one example, forward and back, and for the example itself;
#: measured on Amazon Health with matrix factorization, 64 entries per vector, one thread
_PER_NEGATIVE = {
    "bpr": 0.04,
    "softmax": 0.04,
    "bsl": 0.04,
    "slatk": 0.04,
    "psl": 0.075,
    "advinfonce": 0.085,
    "llpauc": 0.085,
    "dsl": 0.12,
    "positive_weight": 0.04,
    "label_smoothing": 0.055,
    "loss_reweighting": 0.045,
    "blind_slate": 0.155,
    "own_score": 0.155,
    "dsl_positive_weight": 0.13,
}
_PER_EXAMPLE = 8.0
#: a backbone's share on top: a pass through the graph for every batch
_PER_BACKBONE = {"mf": 1.0, "lightgcn": 1.2, "xsimgcl": 1.7}
#: longer runs stop early, at about this epoch
_EPOCHS = 90
_BASELINE_SECONDS = 1.0


class Estimates:
    """Seconds that runs will take on this machine.

    Args:
        study: whose records are looked at.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._records: dict[str, list[Record]] = {}

    def seconds(self, run: RunConfig) -> float:
        """Seconds of one run: the median of those like it but for hyperparameters and seed, else a rule of thumb."""
        like = [record.cost["seconds"] for record in self._of(run.dataset) if _alike(record, run)]
        return median(like) if like else _rule_of_thumb(run)

    def total(self, runs: Iterable[RunConfig]) -> float:
        """Seconds of several, one after the other."""
        return sum(map(self.seconds, runs))

    def _of(self, dataset: str) -> list[Record]:
        if dataset not in self._records:
            try:
                self._records[dataset] = self._study.records(dataset)
            except InputError:  # a damaged record is for whoever needs it to complain of; a rule of thumb does here
                self._records[dataset] = []
        return self._records[dataset]


def _alike(record: Record, run: RunConfig) -> bool:
    config = record.config
    if config.task != "ranking" or config.is_baseline != run.is_baseline or config.loss != run.loss:
        return False
    return config.backbone == run.backbone if run.is_baseline else config.stack_key() == run.stack_key()


def _rule_of_thumb(run: RunConfig) -> float:
    if run.is_baseline:
        return _BASELINE_SECONDS
    spec = registry(None).get(run.dataset)
    examples = (spec.train or spec.interactions) if spec else 0
    work = _PER_EXAMPLE + _PER_NEGATIVE[run.loss] * run.num_negatives * run.embedding_size / 64
    return 1e-6 * examples * min(run.epochs, _EPOCHS) * work * _PER_BACKBONE[run.backbone]


def in_words(seconds: float) -> str:
    """A length of time for people: ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
