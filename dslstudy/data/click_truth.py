"""What a controlled world gives out: rows with the probabilities they were drawn from, and the truth of a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, xlogy

from dslstudy.errors import InputError

if TYPE_CHECKING:
    from dslstudy.data.click_world import ClickWorld

#: Cohorts by number.
COHORTS = ("rest", "head", "tail")


@dataclass(frozen=True, eq=False)
class ClickRows:
    """Consecutive rows of a world.

    Attributes:
        labels: uint8 (n,).
        fields: int32 (n, number of features), ids from 1.
        users: int32 (n,).
        cohorts: int8 (n,), numbers of :data:`COHORTS`.
        probabilities: float64 (n,), P(label = 1 | what the features show): no model can do better.
        blind: float64 (n,), P(label = 1 | fields): no model that ignores cohorts can do better.
    """

    labels: NDArray[np.uint8]
    fields: NDArray[np.int32]
    users: NDArray[np.int32]
    cohorts: NDArray[np.int8]
    probabilities: NDArray[np.float64]
    blind: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "ClickRows":
        """Return some of the rows."""
        return ClickRows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def joined(parts: "list[ClickRows]") -> "ClickRows":
        """Put rows one after another."""
        return ClickRows(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ClickRows.__dataclass_fields__)
        )


@dataclass(frozen=True, eq=False)
class ClickTruth:
    """What a generated split was drawn from.

    Attributes:
        world: its dials.
        probabilities: part -> P(label = 1 | what the features show), float64 (n_part,).
        blind: part -> P(label = 1 | fields), float64 (n_part,): the best predictor that ignores cohorts.
        cohorts: part -> number of the cohort of each row, int8 (n_part,); see :data:`COHORTS`.
        weights: expected share of the rows of each cohort, by name.
        labels: part -> uint8 (n_part,).
    """

    world: "ClickWorld"
    probabilities: Mapping[str, NDArray[np.float64]]
    blind: Mapping[str, NDArray[np.float64]]
    cohorts: Mapping[str, NDArray[np.int8]]
    weights: Mapping[str, float]
    labels: Mapping[str, NDArray[np.uint8]]

    def bayes_ne(self, part: str = "test", cohort: str | None = None) -> float:
        """Normalized entropy of the Bayes predictor, on all rows or on those of a cohort.

        Mean binary cross-entropy of the true probabilities over the entropy of the base rate of the same rows, as
        :func:`dslstudy.metrics.normalized_entropy.normalized_entropy` measures a model. It is what the best predictor
        scores on these very labels, so a model can fall below it only by luck, less and less with more rows.

        Raises:
            InputError: an unknown cohort, or rows without both labels.
        """
        return self._ne(self.probabilities[part], part, cohort)

    def blind_ne(self, part: str = "test", cohort: str | None = None) -> float:
        """Normalized entropy of the best predictor that ignores cohorts; :meth:`bayes_ne` lies below it.

        Raises:
            InputError: as :meth:`bayes_ne`.
        """
        return self._ne(self.blind[part], part, cohort)

    def _ne(self, p: NDArray[np.float64], part: str, cohort: str | None) -> float:
        labels = self.labels[part].astype(float)
        if cohort is not None:
            if cohort not in COHORTS:
                raise InputError(f"there is no cohort {cohort!r}; choose one of {', '.join(COHORTS)}")
            rows = self.cohorts[part] == COHORTS.index(cohort)
            labels, p = labels[rows], p[rows]
        if not len(labels) or labels.min() == labels.max():
            raise InputError("normalized entropy needs rows with both labels; draw more rows")
        return float(
            -(xlogy(labels, p) + xlogy(1 - labels, 1 - p)).mean() / entr([labels.mean(), 1 - labels.mean()]).sum()
        )
