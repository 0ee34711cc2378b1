import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import by_example, label_smoothing, random_scores

from dslstudy.errors import InputError
from dslstudy.losses import label_smoothing_loss


@given(temperature=st.floats(0.05, 2.0), share=st.floats(-0.9, 1.0), seed=st.integers(0, 100))
def test_is_the_cross_entropy_of_smoothed_labels(temperature, share, seed):
    positive, negatives, _, mask = random_scores(6, 5, seed=seed)
    expected = by_example(lambda s, row: label_smoothing(s, row, temperature, share), positive, negatives, mask)
    losses = label_smoothing_loss(positive, negatives, temperature=temperature, label_smoothing=share, mask=mask)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-10)


def test_it_is_the_usual_smoothing_over_all_classes_with_a_rescaled_share():
    """torch's own smoothed cross-entropy, with the positive among the classes of the label but not of the sum."""
    positive, negatives, _, _ = random_scores(6, 5)
    share, temperature, count = 0.24, 0.3, negatives.shape[-1]
    scores = torch.cat([positive.unsqueeze(-1), negatives], -1) / temperature
    usual = torch.nn.functional.cross_entropy(
        scores, torch.zeros(6, dtype=torch.long), label_smoothing=share, reduction="none"
    )
    without_positive = usual - scores.logsumexp(-1) + (negatives / temperature).logsumexp(-1)
    ours = label_smoothing_loss(
        positive, negatives, temperature=temperature, label_smoothing=share * count / (count + 1)
    )
    torch.testing.assert_close(ours, without_positive)


def test_the_pull_of_the_labels_does_not_depend_on_the_scores():
    positive, negatives, _, _ = random_scores(6, 5)
    slopes = []
    for share in (0.0, 0.2):
        inputs = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
        label_smoothing_loss(*inputs, temperature=0.25, label_smoothing=share).sum().backward()
        slopes.append([tensor.grad for tensor in inputs])
    (of_positive, of_negatives), (less_of_positive, less_of_negatives) = slopes
    torch.testing.assert_close(less_of_positive - of_positive, torch.full_like(positive, 0.2 / 0.25))
    torch.testing.assert_close(less_of_negatives - of_negatives, torch.full_like(negatives, -0.2 / 0.25 / 5))


def test_gradients():
    positive, negatives, _, mask = random_scores(4, 5)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, n: label_smoothing_loss(p, n, temperature=0.3, label_smoothing=0.2, mask=mask), inputs
    )


@pytest.mark.parametrize("share", [-1.0, 1.5])
def test_shares_that_cannot_be(share):
    with pytest.raises(InputError, match="label_smoothing must be"):
        label_smoothing_loss(torch.zeros(2), torch.zeros(2, 3), temperature=0.2, label_smoothing=share)
