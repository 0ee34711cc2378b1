import pytest
import torch
from loss_oracles import by_example, random_scores, slatk

from dslstudy.errors import InputError
from dslstudy.losses import slatk_loss, softmax_loss, topk_quantile


def test_weighs_the_softmax_loss():
    positive, negatives, quantiles, mask = random_scores(6, 5)
    quantile = quantiles[:, 0]
    losses = slatk_loss(positive, negatives, temperature=0.2, weight_temperature=0.7, quantile=quantile, mask=mask)
    for i in range(6):
        expected = by_example(
            lambda s, row, i=i: slatk(s, row, 0.2, 0.7, quantile[i].item()), positive, negatives, mask
        )
        torch.testing.assert_close(losses[i], expected[i], rtol=1e-12, atol=1e-12)


def test_the_gradient_flows_through_the_weight_but_not_to_the_quantile():
    positive, negatives, quantiles, _ = random_scores(6, 5)
    quantile = quantiles[:, 0].requires_grad_()
    positive.requires_grad_()
    slatk_loss(positive, negatives, temperature=0.2, weight_temperature=0.7, quantile=quantile).sum().backward()
    assert quantile.grad is None
    weight = ((positive - quantile) / 0.7).sigmoid().detach()
    loss = softmax_loss(positive, negatives, temperature=0.2).detach()
    torch.testing.assert_close(positive.grad, -weight / 0.2 + weight * (1 - weight) / 0.7 * loss)


def test_gradients():
    positive, negatives, quantiles, mask = random_scores(4, 5)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, n: slatk_loss(p, n, temperature=0.3, weight_temperature=0.5, quantile=quantiles[:, 0], mask=mask),
        inputs,
    )


def test_far_above_the_quantile_it_is_the_softmax_loss():
    positive, negatives, _, _ = random_scores(6, 5)
    losses = slatk_loss(positive, negatives, temperature=0.2, weight_temperature=0.1, quantile=-50.0)
    torch.testing.assert_close(losses, softmax_loss(positive, negatives, temperature=0.2))
    losses = slatk_loss(positive, negatives, temperature=0.2, weight_temperature=0.1, quantile=500.0)
    assert (losses == 0).all()


def test_wrong_quantiles():
    positive, negatives, _, _ = random_scores(6, 5)
    with pytest.raises(InputError, match="quantile must be a number or have the shape of positive"):
        slatk_loss(positive, negatives, temperature=0.2, weight_temperature=1.0, quantile=torch.zeros(5))
    with pytest.raises(InputError, match="quantile has 1 NaN"):
        slatk_loss(positive, negatives, temperature=0.2, weight_temperature=1.0, quantile=torch.tensor([torch.nan]))


@pytest.mark.parametrize("k", [1, 3, 7, 50])
def test_quantile_is_the_kth_largest_score(k):
    _, scores, _, mask = random_scores(6, 9)
    quantile = topk_quantile(scores.requires_grad_(), k, mask=mask)
    assert not quantile.requires_grad
    for row, keep, found in zip(scores, mask, quantile, strict=True):
        ordered = sorted(row[keep].tolist(), reverse=True)
        assert found.item() == (ordered[min(k, len(ordered)) - 1] if ordered else 0)
    with pytest.raises(InputError, match="k must be at least 1"):
        topk_quantile(scores, 0)
    with pytest.raises(InputError, match="no column"):
        topk_quantile(scores[:, :0], 1)
