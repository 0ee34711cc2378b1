"""Rows of small cohorts are drawn more often (book: Against the obvious alternatives)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dslstudy.c2al.method import Context, Method, group_sizes, inverse_frequency, require_weight


@dataclass(frozen=True)
class Oversampling(Method):
    """The plain objective over rows drawn with replacement, in proportion to ``n_c^-exponent``.

    An epoch has as many rows as without. The order of the batches is necessarily another one, so of two runs with equal
    seeds only the initial parameters are the same.

    Attributes:
        exponent: 0 draws every row alike, 1 every cohort of the axis alike.
    """

    exponent: float = 0.5

    needs_axis: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_weight("exponent", self.exponent)

    def sample_weights(self, context: Context) -> Tensor:
        """(n,) weights of the rows."""
        return inverse_frequency(group_sizes(context.cohorts), self.exponent)[context.cohorts.cohort + 1]
