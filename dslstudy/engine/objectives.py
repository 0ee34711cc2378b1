"""Which losses the ranking trainer can minimise, and which hyperparameters each of them has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from math import inf
from types import SimpleNamespace

import torch
from torch import Tensor

from dslstudy import losses
from dslstudy.engine.companions.advinfonce import Adversary
from dslstudy.engine.companions.companion import Companion
from dslstudy.engine.companions.llpauc import PartialAreaVariables
from dslstudy.engine.companions.slatk import TopKQuantiles
from dslstudy.engine.compiling import compiled
from dslstudy.engine.fused import fused_dsl_loss, fused_softmax_loss
from dslstudy.engine.scores import Batch
from dslstudy.errors import InputError
from dslstudy.losses.dsl import READINGS
from dslstudy.losses.psl import ACTIVATIONS

Hyperparameters = Mapping[str, float | int | str]


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss as the trainer sees it.

    Attributes:
        function: the loss; takes ``positive (P, B)``, ``negatives (P, B, N)``, ``mask`` and the hyperparameters.
        defaults: every hyperparameter with its default. Words (such as an activation's name) are shared by the runs
            computed together; numbers may differ from run to run.
        choices: the values each word may take.
        ranges: of numbers that cannot be just any: above the first, at most the second.
        uses_similarity: whether it also takes ``item_similarity (P, B, N)``.
        per_example: whether the loss of an example depends on that example alone, so that shares of a batch may be
            computed apart.
        fused: the same loss straight from the tables, for GPUs (``dslstudy.engine.fused``), if there is one ...
        fused_words: ... and the words it is for.
        of_log_sum: the same loss from positives (P, b) and ``log Σ_j exp(s_j/temperature)`` (P, b), if it sees no more
            of its negatives than that (``dslstudy.engine.log_sums``).
        companion: what the loss carries along besides the model, if anything ...
        of_companion: ... and the hyperparameters that are the companion's and not the function's. Runs computed
            together agree on those of them that are whole numbers.
    """

    function: Callable[..., Tensor]
    defaults: Hyperparameters
    choices: Mapping[str, Iterable[str]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    uses_similarity: bool = False
    per_example: bool = True
    fused: Callable[..., Tensor] | None = None
    fused_words: tuple[str, ...] = ()
    of_log_sum: Callable[..., Tensor] | None = None
    companion: type[Companion] | None = None
    of_companion: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.per_example or self.companion is None, "a companion sees shares of a batch"

    def complete(self, given: Hyperparameters) -> dict[str, float | int | str]:
        """Fill in defaults.

        Raises:
            InputError: a hyperparameter that this loss does not have, one of the wrong kind, or out of its range.
        """
        unknown = set(given) - set(self.defaults)
        if unknown:
            known = ", ".join(self.defaults) or "none"
            name = self.function.__name__.lstrip("_")
            raise InputError(f"{name} has no hyperparameter {sorted(unknown)[0]!r}; it has: {known}")
        complete = {}
        for name, default in self.defaults.items():
            value = given.get(name, default)
            wanted = (int,) if isinstance(default, int) else (int, float) if isinstance(default, float) else (str,)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise InputError(f"{name} must be {wanted[-1].__name__}, got {value!r}")
            if isinstance(value, str) and value not in self.choices[name]:
                raise InputError(f"{name} must be one of {', '.join(self.choices[name])}, got {value!r}")
            if isinstance(value, int) and isinstance(default, int) and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
            above, at_most = self.ranges.get(name, (-inf, inf))
            if not isinstance(value, str) and not above < value <= at_most:
                upper = "" if at_most == inf else f" and at most {at_most:g}"
                raise InputError(f"{name} must be greater than {above:g}{upper}, got {value}")
            complete[name] = float(value) if isinstance(default, float) else value
        return complete

    def words(self, given: Hyperparameters) -> tuple[str, ...]:
        """The hyperparameters that choose between functions; runs computed together must agree on them."""
        return tuple(value for value in self.complete(given).values() if isinstance(value, str))

    def kind(self, given: Hyperparameters) -> tuple[str | int, ...]:
        """All that runs computed together must agree on: the words, and the companion's whole numbers."""
        return tuple(
            value
            for name, value in self.complete(given).items()
            if isinstance(value, str) or (isinstance(value, int) and name in self.of_companion)
        )

    def numbers(self, runs: Sequence[Hyperparameters], device: torch.device) -> dict[str, Tensor | int]:
        """The function's hyperparameters that may differ from run to run, as (P,) tensors.

        Whole numbers decide shapes: they stay on the CPU, and are one number if all runs agree.
        """
        complete = [self.complete(run) for run in runs]
        numbers: dict[str, Tensor | int] = {}
        for name, value in complete[0].items():
            if name in self.of_companion:
                continue
            values = [run[name] for run in complete]
            if isinstance(value, int):
                numbers[name] = value if len(set(values)) == 1 else torch.tensor(values)
            elif isinstance(value, float):
                numbers[name] = torch.tensor(values, device=device)
        return numbers

    def __call__(
        self,
        batch: Batch,
        numbers: Mapping[str, Tensor | int],
        words: Sequence[str] = (),
        *,
        compile: bool = False,
        carried: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Losses (P, B) of P runs, each with its own numbers.

        Args:
            batch: scores of the runs' examples.
            numbers: as from :meth:`numbers`.
            words: as from :meth:`words`.
            compile: run the compiled loss; the same up to rounding.
            carried: what the companion gives.
        """
        keywords = {**numbers, **(carried or {})}
        if self.uses_similarity:
            keywords["item_similarity"] = batch.similarity
        function = self._bound(tuple(words))
        # a compiled loss must know the shape of its slate
        if compile and not any(isinstance(self.defaults[n], int) and isinstance(v, Tensor) for n, v in numbers.items()):
            function = compiled(function)
        return function(batch.positive, batch.negatives, mask=batch.mask, **keywords)

    @cache  # noqa: B019 - objectives are few and live as long as the process
    def _bound(self, words: tuple[str, ...]) -> Callable[..., Tensor]:
        names = [name for name, value in self.defaults.items() if isinstance(value, str)]
        return partial(self.function, **dict(zip(names, words, strict=True)))


def _softmax(positive: Tensor, log_sum: Tensor, *, temperature: Tensor) -> Tensor:
    return log_sum - positive / temperature


def _bsl(positive: Tensor, log_sum: Tensor, *, positive_temperature: Tensor, temperature: Tensor) -> Tensor:
    return log_sum - positive / positive_temperature


def _slatk(
    positive: Tensor, log_sum: Tensor, *, quantile: Tensor, weight_temperature: Tensor, temperature: Tensor
) -> Tensor:
    return ((positive - quantile) / weight_temperature).sigmoid() * _softmax(positive, log_sum, temperature=temperature)


def _llpauc(
    positive: Tensor,
    negatives: Tensor,
    *,
    alpha: Tensor,
    beta: Tensor,
    smoothing: Tensor,
    mask: Tensor,
    **state: Tensor,
) -> Tensor:
    return losses.llpauc_loss(
        positive, negatives, state=SimpleNamespace(**state), alpha=alpha, beta=beta, smoothing=smoothing, mask=mask
    )


def _advinfonce(
    positive: Tensor, negatives: Tensor, *, logits: Tensor, temperature: Tensor, negative_weight: Tensor, mask: Tensor
) -> Tensor:
    hardness = losses.hardness_from_logits(logits, mask=mask)
    return losses.advinfonce_loss(
        positive, negatives, hardness=hardness, temperature=temperature, negative_weight=negative_weight, mask=mask
    )


OBJECTIVES: dict[str, Objective] = {
    "bpr": Objective(losses.bpr_loss, {}),
    "softmax": Objective(losses.softmax_loss, {"temperature": 0.2}, fused=fused_softmax_loss, of_log_sum=_softmax),
    "bsl": Objective(losses.bsl_loss, {"positive_temperature": 0.2, "temperature": 0.2}, of_log_sum=_bsl),
    "psl": Objective(losses.psl_loss, {"temperature": 0.1, "activation": "relu"}, {"activation": ACTIVATIONS}),
    "slatk": Objective(
        losses.slatk_loss,
        {"temperature": 0.2, "weight_temperature": 2.5, "k": 20, "quantile_every": 5},
        of_log_sum=_slatk,
        companion=TopKQuantiles,
        of_companion=("k", "quantile_every"),
    ),
    "llpauc": Objective(
        _llpauc,
        {"alpha": 0.7, "beta": 0.1, "smoothing": 5.0},
        ranges={"alpha": (0.0, 1.0), "beta": (0.0, 1.0), "smoothing": (0.0, inf)},
        companion=PartialAreaVariables,
    ),
    "advinfonce": Objective(
        _advinfonce,
        {"temperature": 0.2, "negative_weight": 64.0, "adversary_learning_rate": 5e-5, "adversary_every": 5},
        ranges={"negative_weight": (0.0, inf), "adversary_learning_rate": (0.0, inf)},
        companion=Adversary,
        of_companion=("adversary_learning_rate", "adversary_every"),
    ),
    "dsl": Objective(
        losses.dsl_loss,
        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 20, "reading": "R1"},
        {"reading": READINGS},
        uses_similarity=True,
        per_example=False,
        fused=fused_dsl_loss,
        fused_words=("R1",),
    ),
}
