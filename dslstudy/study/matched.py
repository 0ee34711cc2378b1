"""The temperature at which a softmax loss acts like a tuned DSL: the control of the tables (book: IID results).

Without item-item similarity DSL is a softmax loss with one temperature and one weight per instance (theorem "The
effective temperature" of chapter DSL). So a gain must be compared with a softmax loss at that temperature.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dslstudy.errors import InputError
from dslstudy.study import measured
from dslstudy.study.config import RunConfig
from dslstudy.study.measured import Measured
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.study import Study
from dslstudy.study.user_cohorts import example_temperatures

#: hyperparameters of DSL that say how an instance is treated
_SETTINGS = ("temperature", "alpha", "beta", "gamma", "slate_size")


@dataclass(frozen=True, kw_only=True)
class Matched(Measured):
    """What was measured on a trained model.

    Attributes:
        temperature: median effective temperature of the training examples, to two significant digits.
        low: the temperature below which a twentieth of them lies.
        high: the temperature above which a twentieth of them lies.
        share: of the examples that have an effective temperature.
        fingerprint: of the code that trained the model.
    """

    suffix: ClassVar[str] = "matched"
    temperature: float
    low: float
    high: float
    share: float


def measure_temperature(study: Study, run: RunConfig) -> Matched:
    """Train a run of DSL if need be, measure and keep its effective temperature.

    Args:
        study: trains the run and keeps its tables.
        run: of the loss ``dsl``.

    Raises:
        InputError: another loss, or no example has an effective temperature.
    """
    if run.loss != "dsl":
        raise InputError(f"only DSL has an effective temperature, not {run.loss}")
    model = study.train(run)
    found = example_temperatures(
        model.split.train,
        model.user_table,
        model.item_table,
        settings={name: run.loss_parameters[name] for name in _SETTINGS},
        num_negatives=run.num_negatives,
        batch_size=run.batch_size,
        seed=run.seed,
    )
    effective = found.effective[np.isfinite(found.effective)]
    if not effective.size:
        raise InputError(f"no example has an effective temperature under {run.title}: alpha is too negative")
    low, middle, high = np.quantile(effective, [0.05, 0.5, 0.95])
    matched = Matched(
        temperature=float(f"{middle:.2g}"),
        low=float(low),
        high=float(high),
        share=effective.size / found.effective.size,
        fingerprint=code_fingerprint(run),
    )
    measured.keep(study, run, matched)
    return matched


def kept(study: Study, run: RunConfig) -> Matched | None:
    """What was measured on a run: a fresh measurement if there is one, else a stale one, else ``None``."""
    return measured.kept(study, run, Matched)
