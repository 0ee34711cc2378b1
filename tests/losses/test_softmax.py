import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import by_example, random_scores, softmax

from dslstudy.losses import Softmax, bpr_loss, softmax_loss


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 0.2, 1.0, 30.0])
def test_is_the_log_of_the_sum_of_exponentials(temperature):
    positive, negatives, _, mask = random_scores(6, 5)
    expected = by_example(lambda s, row: softmax(s, row, temperature), positive, negatives, mask)
    losses = softmax_loss(positive, negatives, temperature=temperature, mask=mask)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8),
    temperature=st.floats(1e-3, 1e3),
)
def test_any_scores(scores, temperature):
    positive, *negatives = scores
    tensors = (torch.tensor(numbers, dtype=torch.float64) for numbers in ([positive], [negatives]))
    loss = softmax_loss(*tensors, temperature=temperature)
    # The scores themselves are rounded: allow a few of their last digits, at this temperature.
    slack = 1e-12 + 4e-16 * max(map(abs, scores)) / temperature
    assert loss.item() == pytest.approx(softmax(positive, negatives, temperature), rel=1e-12, abs=slack)


def test_the_positive_is_not_in_the_denominator_and_the_sum_is_a_sum():
    # One negative: the loss is the margin over the temperature, of any sign. Twice as many negatives cost log 2.
    positive, negative = torch.tensor([0.7]), torch.tensor([[0.2]])
    assert softmax_loss(positive, negative, temperature=0.5).item() == pytest.approx(-1.0)
    twice = softmax_loss(positive, negative.repeat(1, 2), temperature=0.5).item()
    assert twice == pytest.approx(-1.0 + math.log(2))


def test_gradient_is_the_softmax_of_the_negatives():
    positive, negatives, _, mask = random_scores(5, 7)
    positive.requires_grad_(), negatives.requires_grad_()
    softmax_loss(positive, negatives, temperature=0.3, mask=mask).sum().backward()
    weights = (negatives.detach() / 0.3).masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num()
    torch.testing.assert_close(negatives.grad, weights / 0.3)
    torch.testing.assert_close(positive.grad, -weights.sum(-1) / 0.3)


def test_gradients_of_scores_and_of_a_learnt_temperature():
    positive, negatives, _, mask = random_scores(3, 4, 5)
    temperature = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    inputs = positive.requires_grad_(), negatives.requires_grad_(), temperature

    def loss(p, n, t):
        return softmax_loss(p, n, temperature=t, mask=mask)

    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_a_learnt_temperature_has_no_nan_gradient_without_real_negatives():
    positive, negatives, _, mask = random_scores(1, 3, 4)
    temperature = torch.tensor([1e-3], requires_grad=True)
    softmax_loss(positive, negatives * 1e300, temperature=temperature, mask=mask & False).sum().backward()
    assert temperature.grad.item() == 0


def test_cold_limit_is_the_hardest_margin():
    positive, negatives, _, _ = random_scores(5, 7)
    losses = 1e-3 * softmax_loss(positive, negatives, temperature=1e-3)
    torch.testing.assert_close(losses, negatives.amax(-1) - positive, rtol=0, atol=1e-3 * math.log(7))


def test_hot_limit_is_the_mean_margin_as_bprs_slope():
    positive, negatives, _, _ = random_scores(5, 7)
    mean_margin = negatives.mean(-1) - positive
    hot = 1e6 * (softmax_loss(positive, negatives, temperature=1e6) - math.log(7))
    torch.testing.assert_close(hot, mean_margin, rtol=0, atol=1e-5)
    small = bpr_loss(positive * 1e-6, negatives * 1e-6) - math.log(2)
    torch.testing.assert_close(2e6 * small, mean_margin, rtol=0, atol=1e-5)


def test_module_keeps_tensor_temperatures_as_buffers():
    criterion = Softmax(temperature=torch.tensor([0.2, 0.5]))
    assert "temperature" in dict(criterion.named_buffers())
    assert criterion.double().temperature.dtype == torch.float64
