import pytest
import torch
from loss_oracles import bpr, by_example, random_scores

from dslstudy.losses import bpr_loss


@pytest.mark.parametrize("seed", range(3))
def test_is_the_mean_logistic_loss(seed):
    positive, negatives, _, mask = random_scores(6, 5, seed=seed)
    expected = by_example(bpr, positive, negatives, mask)
    torch.testing.assert_close(bpr_loss(positive, negatives, mask=mask), expected, rtol=1e-13, atol=1e-13)


def test_one_negative_is_the_papers_loss():
    positive, negatives, _, _ = random_scores(6, 1)
    expected = -torch.sigmoid(positive - negatives[:, 0]).log()
    torch.testing.assert_close(bpr_loss(positive, negatives), expected)


def test_large_margins_cost_the_margin():
    losses = bpr_loss(torch.tensor([0.0, 0.0]).double(), torch.tensor([[30.0], [-700.0]]).double())
    assert losses[0].item() == pytest.approx(30 + 9.357622968839737e-14, abs=1e-14)
    assert 0 < losses[1].item() < 1e-300


def test_gradients():
    positive, negatives, _, mask = random_scores(4, 5)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, n: bpr_loss(p, n, mask=mask), inputs)
    assert torch.autograd.gradgradcheck(lambda p, n: bpr_loss(p, n, mask=mask), inputs)
