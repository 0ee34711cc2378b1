import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import by_example, positive_weight, random_scores

from dslstudy.losses import bsl_loss, positive_weight_loss


@given(
    temperature=st.floats(0.05, 2.0),
    weight=st.floats(0.1, 3.0),
    seed=st.integers(0, 100),
)
def test_agrees_with_explicit_loops(temperature, weight, seed):
    positive, negatives, _, mask = random_scores(6, 5, seed=seed)
    expected = by_example(lambda s, row: positive_weight(s, row, temperature, weight), positive, negatives, mask)
    losses = positive_weight_loss(positive, negatives, temperature=temperature, weight=weight, mask=mask)
    torch.testing.assert_close(losses, expected, rtol=1e-11, atol=1e-11)


def test_it_is_the_bilateral_loss_in_other_words():
    positive, negatives, _, mask = random_scores(6, 5)
    losses = positive_weight_loss(positive, negatives, temperature=0.2, weight=0.8, mask=mask)
    assert torch.equal(
        losses, bsl_loss(positive, negatives, temperature=0.2, positive_temperature=0.2 / 0.8, mask=mask)
    )


def test_the_pull_on_the_positive_is_the_weight_over_the_temperature():
    positive, negatives, _, _ = random_scores(6, 5)
    positive.requires_grad_(), negatives.requires_grad_()
    positive_weight_loss(positive, negatives, temperature=0.25, weight=0.8).sum().backward()
    torch.testing.assert_close(positive.grad, torch.full_like(positive, -0.8 / 0.25))
    torch.testing.assert_close(negatives.grad.sum(-1), torch.full_like(positive, 1 / 0.25))
