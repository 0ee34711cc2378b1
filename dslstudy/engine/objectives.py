"""Which losses the ranking trainer can minimise, and which hyperparameters each of them has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dslstudy import losses
from dslstudy.engine.scores import Batch
from dslstudy.errors import InputError
from dslstudy.losses.dsl import READINGS
from dslstudy.losses.psl import ACTIVATIONS

Hyperparameters = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Objective:
    """A loss as the trainer sees it.

    Attributes:
        function: the loss; takes ``positive (P, B)``, ``negatives (P, B, N)``, ``mask`` and the hyperparameters.
        defaults: every hyperparameter with its default. Words (such as an activation's name) are shared by the runs
            computed together; numbers may differ from run to run.
        choices: the values each word may take.
        uses_similarity: whether it also takes ``item_similarity (P, B, N)``.
    """

    function: Callable[..., Tensor]
    defaults: Hyperparameters
    choices: Mapping[str, Iterable[str]] = field(default_factory=dict)
    uses_similarity: bool = False

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

    def __call__(self, batch: Batch, runs: Sequence[Hyperparameters]) -> Tensor:
        """Losses (P, B) of P runs, each with its own numbers."""
        complete = [self.complete(run) for run in runs]
        keywords = {
            name: value
            if isinstance(value, str)
            else torch.tensor([run[name] for run in complete], device=batch.positive.device)
            for name, value in complete[0].items()
        }
        if self.uses_similarity:
            keywords["item_similarity"] = batch.item_similarity()
        return self.function(batch.positive, batch.negatives, mask=batch.mask, **keywords)


OBJECTIVES: dict[str, Objective] = {
    "bpr": Objective(losses.bpr_loss, {}),
    "softmax": Objective(losses.softmax_loss, {"temperature": 0.2}),
    "bsl": Objective(losses.bsl_loss, {"positive_temperature": 0.2, "temperature": 0.2}),
    "psl": Objective(losses.psl_loss, {"temperature": 0.1, "activation": "relu"}, {"activation": ACTIVATIONS}),
    "dsl": Objective(
        losses.dsl_loss,
        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 20, "reading": "R1"},
        {"reading": READINGS},
        uses_similarity=True,
    ),
}
