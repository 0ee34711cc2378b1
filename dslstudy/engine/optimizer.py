"""Adam for a stack of runs: torch's optimizers know one learning rate per tensor, a stack needs one per run."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class StackedAdam:
    """Adam with an L2 penalty (Kingma & Ba, 2015), one learning rate and one weight decay per run.

    For each run it takes the steps that ``torch.optim.Adam`` takes with the same settings: on a CPU run by run, with
    torch's own fused step, elsewhere for all runs at once.

    Args:
        parameters: tensors with a leading run axis (R, ...).
        learning_rate: (R,) step sizes.
        weight_decay: (R,) L2 coefficients, added to the gradient as in ``torch.optim.Adam``.
    """

    def __init__(
        self, parameters: Iterable[Tensor], learning_rate: Sequence[float], weight_decay: Sequence[float]
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = list(learning_rate), list(weight_decay)
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0
        self._settings()

    def _settings(self) -> None:
        """The settings as (R,) tensors on the device, made once: a step must not wait for them."""
        device = self.parameters[0].device
        self._rate = torch.tensor(self.learning_rate, device=device)
        self._decay = torch.tensor(self.weight_decay, device=device) if any(self.weight_decay) else None

    @torch.no_grad()
    def step(self, spread: Callable[[Callable[[int], None], Iterable[int]], object] = map) -> None:
        """Apply the gradients and clear them.

        Args:
            spread: calls a function for each run; runs may be updated at the same time.
        """
        self.steps += 1
        if self.parameters[0].device.type == "cpu":
            list(spread(self._step_of_run, range(len(self.learning_rate))))
        else:
            self._step_of_stack()
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _step_of_run(self, run: int) -> None:
        moved = [p for p in range(len(self.parameters)) if self.parameters[p].grad is not None]
        adam(
            [self.parameters[p][run] for p in moved],
            [self.parameters[p].grad[run] for p in moved],
            [self.mean[p][run] for p in moved],
            [self.square[p][run] for p in moved],
            [],
            [torch.tensor(self.steps - 1.0) for _ in moved],  # the function counts on by itself
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=self.learning_rate[run],
            weight_decay=self.weight_decay[run],
            eps=EPSILON,
            maximize=False,
        )

    def _step_of_stack(self) -> None:
        correction1, correction2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        for parameter, mean, square in zip(self.parameters, self.mean, self.square, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            per_run = (-1,) + (1,) * (parameter.dim() - 1)
            if self._decay is not None:
                gradient = gradient.addcmul(parameter, self._decay.view(per_run))
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            step = (square.sqrt() / correction2**0.5).add_(EPSILON)
            torch.div(mean, step, out=step)
            parameter.addcmul_(step, (-self._rate / correction1).view(per_run))

    def keep(self, runs: Sequence[int], parameters: Iterable[Tensor]) -> None:
        """Go on with some runs only.

        Args:
            runs: indices of the runs that stay.
            parameters: their parameters, already cut to (R', ...).
        """
        runs = list(runs)
        self.parameters = list(parameters)
        self.learning_rate = [self.learning_rate[run] for run in runs]
        self.weight_decay = [self.weight_decay[run] for run in runs]
        self.mean = [state[runs] for state in self.mean]
        self.square = [state[runs] for state in self.square]
        self._settings()
