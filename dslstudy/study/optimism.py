"""What choosing on the test set would report, and what that adds (book: Popularity shift).

The published popularity-shift protocol has no validation set: of all trials, the best on test is reported. The same
trials, chosen by validation, say how much of that number is due to the choice. Whatever is said of some of the
trials is exact: the mean over all sets of so many, each as likely as any other, so no resampling is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from dslstudy.errors import InputError
from dslstudy.study.search import Trial, best_trial


@dataclass(frozen=True)
class Optimism:
    """One search, reported in two ways.

    Attributes:
        honest: the trial with the best validation.
        peeked: the trial with the best test metric.
        metric: which one.
    """

    honest: Trial
    peeked: Trial
    metric: str

    @property
    def reported(self) -> float:
        """What the protocol without validation reports."""
        return self.peeked.record.test[self.metric]

    @property
    def supported(self) -> float:
        """The test metric of the trial that validation chose."""
        return self.honest.record.test[self.metric]

    @property
    def inflation(self) -> float:
        """The first over the second, less one; never negative."""
        return self.reported / self.supported - 1


def optimism(trials: Sequence[Trial], *, metric: str = "ndcg@20") -> Optimism:
    """A search as it is reported with and without a validation set; nothing is trained.

    Args:
        trials: of one search; those without a record are passed over.
        metric: of the test part.

    Raises:
        InputError: no trial has a record.
    """
    honest = best_trial(trials)
    usable = [trial for trial in trials if trial.record is not None]
    peeked = max(usable, key=lambda trial: (trial.record.test[metric], -trial.number))
    return Optimism(honest, peeked, metric)


def expected_choice(choose_by: Sequence[float], shown: Sequence[float], count: int) -> float:
    """Mean of what is shown of the chosen one, over all sets of ``count`` trials.

    The one at place k of the order by ``choose_by`` is chosen if it is in the set and the others are below it:
    ``C(k - 1, count - 1)`` of ``C(n, count)`` sets. Of equals the earlier is chosen, as in a search.

    Args:
        choose_by: (n,) what the choice looks at, one for each trial.
        shown: (n,) what is reported of the chosen trial.
        count: trials in a set, from 1 to n.

    Raises:
        InputError: lengths differ, or there are no sets of this size.
    """
    if len(choose_by) != len(shown):
        raise InputError(f"{len(choose_by)} values choose among {len(shown)}; give one of each for every trial")
    if not 1 <= count <= len(shown):
        raise InputError(f"count must lie between 1 and {len(shown)}, not {count}")
    order = sorted(range(len(shown)), key=lambda place: (choose_by[place], -place))
    sets = comb(len(shown), count)
    return sum(comb(below, count - 1) / sets * shown[place] for below, place in enumerate(order))
