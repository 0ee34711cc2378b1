import pytest
import torch
from loss_oracles import bsl, by_example, random_scores

from dslstudy.losses import bsl_loss, softmax_loss


@pytest.mark.parametrize(("first", "second"), [(0.2, 0.2), (0.5, 0.1), (1e-3, 1.0), (2.0, 1e-3)])
def test_has_a_temperature_for_either_side(first, second):
    positive, negatives, _, mask = random_scores(6, 5)
    expected = by_example(lambda s, row: bsl(s, row, first, second), positive, negatives, mask)
    losses = bsl_loss(positive, negatives, positive_temperature=first, temperature=second, mask=mask)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1e-3, 0.2, torch.tensor([0.05, 0.2, 1.0])])
def test_equal_temperatures_are_the_softmax_loss_to_the_bit(dtype, temperature):
    positive, negatives, _, mask = random_scores(3, 6, 5, dtype=dtype)
    losses = bsl_loss(positive, negatives, positive_temperature=temperature, temperature=temperature, mask=mask)
    assert torch.equal(losses, softmax_loss(positive, negatives, temperature=temperature, mask=mask))


def test_it_is_the_softmax_loss_with_a_weight_on_the_positive():
    positive, negatives, _, _ = random_scores(6, 5)
    weight, temperature = 0.8, 0.2
    losses = bsl_loss(positive, negatives, positive_temperature=temperature / weight, temperature=temperature)
    expected = (negatives / temperature).logsumexp(-1) - weight * positive / temperature
    torch.testing.assert_close(losses, expected)


def test_the_published_scalings():
    positive, negatives, _, _ = random_scores(6, 5)
    first, second = 0.5, 0.2
    # The formula with one positive: only a rescaled softmax loss.
    formula = -first * (positive / first) + second * (negatives / second).logsumexp(-1)
    rescaled = second / first * softmax_loss(positive, negatives, temperature=second)
    torch.testing.assert_close(formula / first, rescaled)
    # The authors' repository: the negatives' sum to the power c.
    t, c = 0.11, 1.1
    repository = -((positive / t).exp() / (negatives / t).exp().sum(-1).pow(c)).log()
    ours = bsl_loss(positive, negatives, positive_temperature=c * t, temperature=t)
    torch.testing.assert_close(repository, c * ours)


def test_gradients():
    positive, negatives, _, mask = random_scores(4, 5)
    temperatures = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (positive, negatives, *temperatures)]
    assert torch.autograd.gradcheck(
        lambda p, n, t1, t2: bsl_loss(p, n, positive_temperature=t1, temperature=t2, mask=mask), inputs
    )
