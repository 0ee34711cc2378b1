import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import by_example, psl, random_scores

from dslstudy.errors import InputError
from dslstudy.losses import ACTIVATIONS, psl_loss, softmax_loss

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@every_activation
@pytest.mark.parametrize("temperature", [1e-3, 0.05, 0.2, 1.0])
def test_is_the_log_of_the_sum_of_powers(activation, temperature):
    positive, negatives, _, mask = random_scores(6, 5)
    expected = by_example(lambda s, row: psl(s, row, temperature, activation), positive, negatives, mask)
    losses = psl_loss(positive, negatives, temperature=temperature, activation=activation, mask=mask)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-10)


@every_activation
@given(margins=st.lists(st.floats(-40, 40), min_size=1, max_size=6))
def test_any_margins(activation, margins):
    negatives = torch.tensor([margins], dtype=torch.float64)
    loss = psl_loss(torch.zeros(1).double(), negatives, temperature=0.5, activation=activation)
    # tanh(x) + 1 loses its digits in the oracle, not in the loss: compare where they mean something.
    if activation != "tanh" or max(margins) > -10:
        assert loss.item() == pytest.approx(psl(0.0, margins, 0.5, activation), rel=1e-6, abs=1e-6)


@every_activation
def test_an_example_with_only_clipped_negatives_has_a_finite_loss_and_no_gradient(activation):
    positive = torch.tensor([50.0, 0.5], requires_grad=True)
    negatives = torch.tensor([[-50.0, -60.0], [0.1, -50.0]], requires_grad=True)
    losses = psl_loss(positive, negatives, temperature=1e-3, activation=activation)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert positive.grad[0] == 0
    assert (negatives.grad[0] == 0).all()
    assert negatives.grad[1, 0] > 0
    assert negatives.grad[1, 1] == 0


@every_activation
def test_activations_lie_between_the_step_and_the_exponential(activation):
    # One negative at temperature 1 and positive 0: the loss is log sigma(x) for a score 2x.
    x = torch.linspace(-1 + 1e-9, 1, 101, dtype=torch.float64)
    sigma = psl_loss(torch.zeros(101).double(), 2 * x.unsqueeze(-1), temperature=1.0, activation=activation).exp()
    assert (sigma <= x.exp() + 1e-12).all()
    assert (sigma >= (x >= 0).double() - 1e-12).all()


@every_activation
def test_close_scores_make_it_the_softmax_loss_at_twice_the_temperature(activation):
    # All activations are 1 + x to first order, as exp is.
    positive, negatives, _, _ = random_scores(6, 5)
    positive, negatives = 1e-5 * positive, 1e-5 * negatives
    losses = psl_loss(positive, negatives, temperature=1e-3, activation=activation)
    torch.testing.assert_close(losses, softmax_loss(positive, negatives, temperature=2e-3), rtol=0, atol=1e-6)
    far = psl_loss(positive * 1e5, negatives * 1e5, temperature=1e-1, activation=activation)
    assert not torch.allclose(far, softmax_loss(positive * 1e5, negatives * 1e5, temperature=2e-1), atol=1e-2)


@every_activation
def test_gradients(activation):
    positive, negatives, _, mask = random_scores(4, 5)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, n: psl_loss(p, n, temperature=0.3, activation=activation, mask=mask), inputs
    )


def test_tanh_keeps_its_digits_far_below():
    loss = psl_loss(torch.tensor([30.0]), torch.tensor([[0.0]]), temperature=1.0, activation="tanh")
    assert loss.item() == pytest.approx(math.log(torch.finfo(torch.float32).eps))
    loss = psl_loss(torch.tensor([12.0]), torch.tensor([[0.0]]), temperature=1.0, activation="tanh")
    assert loss.item() == pytest.approx(math.log(2 / (1 + math.exp(12))), rel=1e-6)


def test_unknown_activation():
    with pytest.raises(InputError, match="unknown activation 'gelu' of PSL: choose one of relu, tanh, atan"):
        psl_loss(torch.zeros(1), torch.zeros(1, 1), temperature=1.0, activation="gelu")
