import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import loss_reweighting, random_scores, real

from dslstudy.losses import loss_reweighting_loss, softmax_loss


def rows_of(negatives, mask):
    return [real(negatives[i], mask[i]) for i in range(len(mask))]


@given(temperature=st.floats(0.05, 2.0), strength=st.floats(-2.0, 2.0), seed=st.integers(0, 100))
def test_agrees_with_explicit_loops(temperature, strength, seed):
    positive, negatives, _, mask = random_scores(7, 5, seed=seed)
    _, expected = loss_reweighting(positive.tolist(), rows_of(negatives, mask), temperature, strength)
    losses = loss_reweighting_loss(positive, negatives, temperature=temperature, strength=strength, mask=mask)
    wanted = torch.tensor([value or 0.0 for value in expected], dtype=torch.float64)
    torch.testing.assert_close(losses, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strength", [-0.4, 0.4])
def test_weights_are_constants_of_mean_one_that_follow_the_loss(strength):
    positive, negatives, _, mask = random_scores(30, 9)
    positive.requires_grad_(), negatives.requires_grad_()
    plain = softmax_loss(positive, negatives, temperature=0.3, mask=mask)
    (of_plain,) = torch.autograd.grad(plain.sum(), negatives)
    weighted = loss_reweighting_loss(positive, negatives, temperature=0.3, strength=strength, mask=mask)
    (of_weighted,) = torch.autograd.grad(weighted.sum(), negatives)
    live = mask.any(-1)
    weights = (weighted / plain).detach()[live]
    assert weights.mean().item() == pytest.approx(1)
    torch.testing.assert_close(of_weighted[live], weights.unsqueeze(-1) * of_plain[live])
    order = plain.detach()[live].argsort(descending=strength < 0)
    assert (weights[order].diff() >= -1e-12).all()


def test_losses_far_from_the_others_are_clipped():
    # one example in 101 far above the rest: its z-score is 10, clipped to 3
    negatives = torch.zeros(101, 1, dtype=torch.float64)
    negatives[0] = 1.0
    positive = torch.full((101,), -2.0, dtype=torch.float64)
    plain = softmax_loss(positive, negatives, temperature=1.0)
    weights = loss_reweighting_loss(positive, negatives, temperature=1.0, strength=0.5) / plain
    assert (weights[0] / weights[1]).log().item() == pytest.approx(0.5 * (3 + 0.1))


def test_absurd_strengths_stay_finite():
    positive, negatives, _, mask = random_scores(6, 40, dtype=torch.float32)
    for strength in (1e4, -1e4):
        inputs = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
        losses = loss_reweighting_loss(*inputs, temperature=0.2, strength=strength, mask=mask)
        losses.sum().backward()
        assert all(tensor.isfinite().all() for tensor in (losses, *(t.grad for t in inputs)))
