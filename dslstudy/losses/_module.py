"""The thin ``nn.Module`` around a loss function: it keeps the hyperparameters and reduces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from dslstudy.errors import InputError

REDUCTIONS = ("mean", "sum", "none")


class RankingLoss(nn.Module, ABC):
    """Base of the loss modules: ``module(positive, negatives, ..., mask=None)`` is the reduced loss.

    Subclasses say how to compute ``losses`` (..., B). Tensor hyperparameters are buffers: they follow ``.to(device)``.
    So is an ``nn.Parameter`` given as one: it is not among ``parameters()``, and an optimiser of those does not train
    it. To learn a temperature, keep it outside the module and call the loss function with it; not that of DSL and of
    the losses made of it, whose per-example temperatures are constants for the gradient.

    Args:
        reduction: "mean" over all examples (those without real negatives count, with loss zero), "sum", or "none".
        hyperparameters: passed to the loss function by name.

    Raises:
        InputError: an unknown reduction.
    """

    def __init__(self, reduction: str = "mean", **hyperparameters: Any) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise InputError(f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}")
        self.reduction = reduction
        self._names = tuple(hyperparameters)
        for name, value in hyperparameters.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The loss function's hyperparameters, by name."""
        return {name: getattr(self, name) for name in self._names}

    @abstractmethod
    def losses(self, positive: Tensor, negatives: Tensor, **inputs: Any) -> Tensor:
        """One loss per example (..., B)."""

    def forward(self, positive: Tensor, negatives: Tensor, **inputs: Any) -> Tensor:
        """The reduced loss of ``losses(positive, negatives, **inputs)``."""
        losses = self.losses(positive, negatives, **inputs)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def extra_repr(self) -> str:
        """Hyperparameters and reduction, for ``print(module)``."""
        settings = [f"{name}={value}" for name, value in self.hyperparameters.items()]
        return ", ".join([*settings, f"reduction={self.reduction!r}"])
