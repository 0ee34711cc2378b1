"""Adam for a stack of runs: torch's optimizers know one learning rate per tensor, a stack needs one per run."""

from collections.abc import Iterable

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class StackedAdam:
    """Adam with an L2 penalty (Kingma & Ba, 2015), one learning rate and one weight decay per run.

    For each run it takes the steps that ``torch.optim.Adam`` takes with the same settings.

    Args:
        parameters: tensors with a leading run axis (R, ...).
        learning_rate: (R,) step sizes.
        weight_decay: (R,) L2 coefficients, added to the gradient as in ``torch.optim.Adam``.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: Tensor, weight_decay: Tensor) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.decays = bool((weight_decay != 0).any())  # asked once: asking the device in each step would wait for it
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Apply the gradients and clear them."""
        self.steps += 1
        correction1, correction2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        for parameter, mean, square in zip(self.parameters, self.mean, self.square, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            per_run = (-1,) + (1,) * (parameter.dim() - 1)
            if self.decays:
                gradient = gradient.addcmul(parameter, self.weight_decay.view(per_run))
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            step = (square.sqrt() / correction2**0.5).add_(EPSILON)
            torch.div(mean, step, out=step)
            parameter.addcmul_(step, (-self.learning_rate / correction1).view(per_run))
            parameter.grad = None

    def keep(self, runs: Tensor, parameters: Iterable[Tensor]) -> None:
        """Go on with some runs only.

        Args:
            runs: (R',) indices of the runs that stay.
            parameters: their parameters, already cut to (R', ...).
        """
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = self.learning_rate[runs], self.weight_decay[runs]
        self.mean = [state[runs] for state in self.mean]
        self.square = [state[runs] for state in self.square]
