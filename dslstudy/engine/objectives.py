"""Which losses the ranking trainer can minimise, and which hyperparameters each of them has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor

from dslstudy import losses
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
        uses_similarity: whether it also takes ``item_similarity (P, B, N)``.
        per_example: whether the loss of an example depends on that example alone, so that shares of a batch may be
            computed apart.
        fused: the same loss straight from the tables, for GPUs (``dslstudy.engine.fused``), if there is one ...
        fused_words: ... and the words it is for.
    """

    function: Callable[..., Tensor]
    defaults: Hyperparameters
    choices: Mapping[str, Iterable[str]] = field(default_factory=dict)
    uses_similarity: bool = False
    per_example: bool = True
    fused: Callable[..., Tensor] | None = None
    fused_words: tuple[str, ...] = ()

    def complete(self, given: Hyperparameters) -> dict[str, float | int | str]:
        """Fill in defaults.

        Raises:
            InputError: a hyperparameter that this loss does not have, or one of the wrong kind.
        """
        unknown = set(given) - set(self.defaults)
        if unknown:
            known = ", ".join(self.defaults) or "none"
            raise InputError(f"{self.function.__name__} has no hyperparameter {sorted(unknown)[0]!r}; it has: {known}")
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
            complete[name] = float(value) if isinstance(default, float) else value
        return complete

    def words(self, given: Hyperparameters) -> tuple[str, ...]:
        """The hyperparameters that runs computed together must agree on."""
        return tuple(value for value in self.complete(given).values() if isinstance(value, str))

    def numbers(self, runs: Sequence[Hyperparameters], device: torch.device) -> dict[str, Tensor | int]:
        """The hyperparameters that may differ from run to run, as (P,) tensors.

        Whole numbers decide shapes: they stay on the CPU, and are one number if all runs agree.
        """
        complete = [self.complete(run) for run in runs]
        numbers: dict[str, Tensor | int] = {}
        for name, value in complete[0].items():
            values = [run[name] for run in complete]
            if isinstance(value, int):
                numbers[name] = value if len(set(values)) == 1 else torch.tensor(values)
            elif isinstance(value, float):
                numbers[name] = torch.tensor(values, device=device)
        return numbers

    def __call__(
        self, batch: Batch, numbers: Mapping[str, Tensor | int], words: Sequence[str] = (), *, compile: bool = False
    ) -> Tensor:
        """Losses (P, B) of P runs, each with its own numbers.

        Args:
            batch: scores of the runs' examples.
            numbers: as from :meth:`numbers`.
            words: as from :meth:`words`.
            compile: run the compiled loss; the same up to rounding.
        """
        keywords = dict(numbers)
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


OBJECTIVES: dict[str, Objective] = {
    "bpr": Objective(losses.bpr_loss, {}),
    "softmax": Objective(losses.softmax_loss, {"temperature": 0.2}, fused=fused_softmax_loss),
    "bsl": Objective(losses.bsl_loss, {"positive_temperature": 0.2, "temperature": 0.2}),
    "psl": Objective(losses.psl_loss, {"temperature": 0.1, "activation": "relu"}, {"activation": ACTIVATIONS}),
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
