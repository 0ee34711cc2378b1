"""Tables of the chapters that take DSL apart: arms of the ablation, dials of the sensitivity study."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dslstudy.metrics.significance import LEVEL, mean_interval, paired_bootstrap
from dslstudy.names import display_name, metric_name
from dslstudy.sortable import Sortable
from dslstudy.study.dsl_experiments import Chosen, two_scales
from dslstudy.study.protocol import Protocol
from dslstudy.study.store import Record
from dslstudy.study.study import Study
from dslstudy.study_tables import ALIKE, BETTER, WORSE, Comparison, beside
from dslstudy.tables import NOT_RUN, between, mean_over_seeds, plus_minus

#: how dials are called in text
DIALS = {
    "gamma": "strength γ of the temperatures",
    "slate_size": "size of the slate",
    "temperature": "temperature",
    "num_negatives": "number of negatives",
    "batch_size": "size of a batch",
    "embedding_size": "size of a vector",
}
#: what stands behind an interval for its verdict: words would make each row many lines high
_MARKS = {BETTER: " ▲", WORSE: " ▼", ALIKE: ""}


def arms(
    records: Mapping[str, Sequence[Record]],
    changes: Mapping[str, str],
    against: Mapping[str, Mapping[str, Comparison]],
    *,
    metric: str = "ndcg@20",
) -> Sortable:
    """Every arm with its metric over seeds and its differences over users; every row names its records.

    A difference is followed by ▲ if the arm is better than what it is compared with, by ▼ if it is worse, and by
    nothing if the two are not told apart.

    Args:
        records: arm -> its seeds; none where it was not run.
        changes: arm -> what is different about it.
        against: what the arms are compared with -> arm -> the comparison.
        metric: a test metric.
    """
    name, rows = metric_name(metric), []
    for label, of_seeds in records.items():
        row = {
            "arm": label,
            "change": changes.get(label, "–"),
            "validation": float(np.mean([r.validation[metric] for r in of_seeds])) if of_seeds else None,
            f"test {name}": plus_minus([r.test[metric] for r in of_seeds]) if of_seeds else NOT_RUN,
        }
        for reference, found in against.items():
            each = found.get(label)
            row[f"against {reference}"] = (
                "–" if each is None else between(each.relative, percent=True) + _MARKS[each.verdict]
            )
        rows.append(row | {"records": list(of_seeds) or "–"})
    return Sortable(rows)


def pulls(found: Mapping[tuple[float, float], Record | None], *, metric: str = "ndcg@20") -> Sortable:
    """Temperature by weight on the positive: the validation that each run reached.

    Args:
        found: (temperature, weight) -> the run; ``None`` where it was not run.
        metric: of validation.
    """
    temperatures, weights = (list(dict.fromkeys(pair[place] for pair in found)) for place in (0, 1))
    rows = []
    for temperature in temperatures:
        of = {weight: found.get((temperature, weight)) for weight in weights}
        row: dict[str, object] = {"validation " + metric_name(metric): f"τ = {temperature:g}"}
        row |= {f"c = {w:g}": NOT_RUN if r is None else float(r.validation[metric]) for w, r in of.items()}
        rows.append(row | {"records": [record for record in of.values() if record is not None] or "–"})
    return Sortable(rows)


@dataclass(frozen=True)
class WeightCurves:
    """Losses with weights c on their positives (book: Ablations and readings).

    Attributes:
        of: loss -> weight -> its seeds; a weight of one is the loss itself.
        metric: a metric of validation and test.
    """

    of: Mapping[str, Mapping[float, Sequence[Record]]]
    metric: str = "ndcg@20"

    def test(self) -> dict[str, dict[float, NDArray[np.float64]]]:
        """Loss -> weight -> the test metric of each seed."""
        return {
            loss: {weight: np.array([record.test[self.metric] for record in seeds]) for weight, seeds in line.items()}
            for loss, line in self.of.items()
        }

    def best(self, loss: str) -> float:
        """The weight that validation takes for a loss, by the mean over seeds."""
        line = self.of[loss]
        return max(line, key=lambda weight: np.mean([record.validation[self.metric] for record in line[weight]]))

    def step(self, loss: str) -> float:
        """The largest relative change of the test metric from a weight to the next smaller one; 0 for one weight."""
        means = [values.mean() for _, values in sorted(self.test()[loss].items(), reverse=True)]
        return max((abs(below / above - 1) for above, below in pairwise(means)), default=0.0)

    def at_equal(self, loss: str, other: str) -> dict[float, Comparison]:
        """One loss beside another at every weight that both have, the largest first; each test by itself.

        Args:
            loss: the one.
            other: the reference.
        """
        shared = sorted(set(self.of[loss]) & set(self.of[other]), reverse=True)
        return {weight: self.beside(self.of[loss][weight], self.of[other][weight]) for weight in shared}

    def at_best(self, loss: str, other: str) -> Comparison:
        """One loss beside another, each with the weight that validation takes for it; uncorrected."""
        return self.beside(self.of[loss][self.best(loss)], self.of[other][self.best(other)])

    def beside(self, seeds: Sequence[Record], reference: Sequence[Record]) -> Comparison:
        """Seeds of one setting beside those of another, over users, uncorrected."""
        return beside(seeds, reference, metric=self.metric)


@dataclass(frozen=True)
class TwoScales:
    """DSL with neither of its scales, with each alone, and with both (book: Ablations and readings).

    Attributes:
        neither: the seeds of SL at the mean of DSL's temperatures; the other three have the same seeds in this order.
        weights: those of DSL with the weights kappa and one temperature.
        temperatures: those of DSL with a temperature for each example and no weights.
        both: those of the full DSL.
        metric: a test metric.
    """

    neither: Sequence[Record]
    weights: Sequence[Record]
    temperatures: Sequence[Record]
    both: Sequence[Record]
    metric: str = "ndcg@20"

    @classmethod
    def on_record(cls, study: Study, chosen: Chosen, protocol: Protocol) -> "TwoScales | None":
        """The square around chosen settings; ``None`` while a search goes on or any of its runs has no record.

        Args:
            study: whose stores are read; nothing is trained.
            chosen: the settings to start from.
            protocol: of the profile.
        """
        corners = two_scales(chosen, protocol) if chosen.searched else {}
        found = {corner: [study.find(run) for run in runs] for corner, runs in corners.items()}
        return cls(**found) if found and not any(None in seeds for seeds in found.values()) else None

    def test(self) -> dict[str, NDArray[np.float64]]:
        """The square's corners -> the test metric of each seed."""
        return {corner: _of_seeds(record.test[self.metric] for record in at) for corner, at in self._corners().items()}

    def validation(self) -> dict[str, NDArray[np.float64]]:
        """The square's corners -> the same metric on the validation part, of each seed."""
        return {
            corner: _of_seeds(record.validation[self.metric] for record in at) for corner, at in self._corners().items()
        }

    def _corners(self) -> dict[str, Sequence[Record]]:
        return {
            "neither": self.neither,
            "weights only": self.weights,
            "temperatures only": self.temperatures,
            "both scales": self.both,
        }

    def interaction(self) -> str:
        """What both bring beyond the sum of what each brings, over users and over seeds, in words; uncorrected."""
        users = {corner: mean_over_seeds(seeds, self.metric) for corner, seeds in self._corners().items()}
        over_users = paired_bootstrap(
            users["both scales"] + users["neither"], users["weights only"] + users["temperatures only"]
        )
        test = self.test()
        over_seeds = mean_interval(
            test["both scales"] + test["neither"] - test["weights only"] - test["temperatures only"]
        )
        word = "neither more nor less than their sum, as far as this test can tell"
        if over_users.p_value < LEVEL:
            word = "more than their sum" if over_users.estimate > 0 else "less than their sum"
        return (
            f"The interaction is {between(over_users)} in {metric_name(self.metric)} over users and"
            f" {between(over_seeds)} over seeds: together the scales give {word} (one test over users, uncorrected)."
        )

    def alone(self) -> str:
        """What each scale and both have over neither, over users, in words; uncorrected."""
        first, *others = self._corners().items()
        over = {corner: beside(seeds, first[1], metric=self.metric).relative for corner, seeds in others}
        return ", ".join(f"{corner} {between(gain, percent=True)}" for corner, gain in over.items())

    def on_validation(self) -> str:
        """What each scale and both have over neither on the validation part, over seeds, in words."""
        first, *others = self.validation().items()
        over = {corner: mean_interval(of_seeds / first[1] - 1) for corner, of_seeds in others}
        return ", ".join(f"{corner} {between(gain, percent=True)}" for corner, gain in over.items())

    def verdicts(self) -> str:
        """A word for each scale alone beside neither, on test over users; uncorrected."""
        alone = {"the weights": self.weights, "the temperatures": self.temperatures}
        words = {scale: beside(seeds, self.neither, metric=self.metric).verdict for scale, seeds in alone.items()}
        return ", ".join(f"{scale} alone are {word} neither" for scale, word in words.items())

    def removals(self, without_weights: Comparison, without_temperatures: Comparison) -> str:
        """What taking one scale away does, and which of the two matters more, in words.

        Args:
            without_weights: the temperatures alone beside the full loss, corrected for the family it is read in.
            without_temperatures: the weights alone beside the full loss, likewise.
        """
        costs = {"the weights": without_weights, "the temperatures": without_temperatures}
        left = {"the weights": self.temperatures, "the temperatures": self.weights}
        said = "; ".join(
            f"without {scale} {metric_name(self.metric)} changes by {between(each.relative, percent=True)},"
            f" {each.verdict} the full loss"
            for scale, each in costs.items()
        )
        if all(each.verdict != WORSE for each in costs.values()):
            return f"{said}. Neither removal is seen to hurt, so nothing is said of which scale matters more."
        first, second = sorted(costs, key=lambda scale: costs[scale].relative.estimate)
        difference = beside(left[first], left[second], metric=self.metric)
        words = (
            f"{metric_name(self.metric)} without {first} is {between(difference.relative, percent=True)} from that"
            f" without {second}"
        )
        if difference.p_value < LEVEL and costs[first].verdict == WORSE:
            return f"{said}. Of the two {first} matter more here: {words} (uncorrected)."
        return f"{said}. Which of the two matters more is not decided: {words}, {difference.verdict} it (uncorrected)."


def dials(
    lines: Mapping[str, Mapping[str, Mapping[float, Sequence[Record]]]],
    *,
    centres: Mapping[str, Mapping[str, float]],
    noise: Mapping[str, float],
    metric: str = "ndcg@20",
) -> Sortable:
    """Each dial of each loss: its best value on validation, and what the chosen one gives up.

    Args:
        lines: dial -> loss -> value -> the records of its seeds.
        centres: dial -> loss -> the value that was chosen.
        noise: loss -> the difference that chance alone may make.
        metric: a validation metric.
    """
    rows = []
    for dial, of_losses in lines.items():
        for loss, line in of_losses.items():
            means = {value: float(np.mean([r.validation[metric] for r in of])) for value, of in line.items()}
            best = max(means, key=lambda value: means[value])
            reach = max(means.values()) - min(means.values())
            given_up = means[best] - means[centres[dial][loss]]
            rows.append(
                {
                    "dial": DIALS.get(dial, dial),
                    "loss": display_name(loss),
                    "chosen": f"{centres[dial][loss]:g}",
                    "best here": f"{best:g}",
                    "at the edge": "yes" if best in (min(means), max(means)) else "no",
                    "given up": given_up,
                    "given up > Δ": "yes" if given_up > noise[loss] else "no",
                    "from worst to best": reach,
                    "range > Δ": "yes" if reach > noise[loss] else "no",
                    "records": [record for value in sorted(line) for record in line[value]],
                }
            )
    return Sortable(rows)


def _of_seeds(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array([*values], dtype=np.float64)
