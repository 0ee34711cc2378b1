"""The stacked Adam takes, for each run, the steps of torch.optim.Adam."""

import pytest
import torch

from dslstudy.engine.optimizer import StackedAdam

RATES = [0.1, 0.003, 0.02]
DECAYS = [0.0, 0.1, 0.01]


def reference(run: int, start: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
    parameter = torch.nn.Parameter(start[run].clone())
    adam = torch.optim.Adam([parameter], lr=RATES[run], weight_decay=DECAYS[run])
    for gradient in gradients:
        parameter.grad = gradient[run].clone()
        adam.step()
    return parameter.detach()


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    return start, [torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(7)]


def stacked(start, rates, decays):
    parameter = torch.nn.Parameter(start.clone())
    return parameter, StackedAdam([parameter], rates, decays)


@pytest.mark.parametrize("all_at_once", [False, True])
def test_each_run_takes_torchs_steps(problem, all_at_once, monkeypatch):
    start, gradients = problem
    parameter, adam = stacked(start, RATES, DECAYS)
    if all_at_once:  # what a GPU does
        monkeypatch.setattr(adam, "_rate", torch.tensor(RATES, dtype=start.dtype))
        monkeypatch.setattr(adam, "_decay", torch.tensor(DECAYS, dtype=start.dtype))
        monkeypatch.setattr(StackedAdam, "_step_of_run", lambda self, run: self._step_of_stack() if run == 0 else None)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        adam.step()
        assert parameter.grad is None
    for run in range(3):
        torch.testing.assert_close(parameter[run], reference(run, start, gradients), rtol=1e-12, atol=1e-12)


def test_runs_that_stay_go_on_as_if_nothing_happened(problem):
    start, gradients = problem
    parameter, adam = stacked(start, RATES, DECAYS)
    for i, gradient in enumerate(gradients):
        if i == 3:
            keep = [0, 2]
            parameter.data = parameter.data[keep]
            adam.keep(keep, [parameter])
        parameter.grad = gradient.clone() if i < 3 else gradient[[0, 2]].clone()
        adam.step()
    for place, run in enumerate([0, 2]):
        torch.testing.assert_close(parameter[place], reference(run, start, gradients), rtol=1e-12, atol=1e-12)


def test_a_parameter_without_gradient_is_left_alone(problem):
    start, _ = problem
    parameter, adam = stacked(start, RATES, DECAYS)
    adam.step()
    assert torch.equal(parameter, start)
