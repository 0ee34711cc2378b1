"""Where a rival has nothing of its own left, it is the softmax loss to the last bit."""

import pytest
import torch
from loss_oracles import random_scores

from dslstudy import losses


@pytest.mark.parametrize(
    ("rival", "name", "nothing"),
    [
        (losses.positive_weight_loss, "weight", 1.0),
        (losses.label_smoothing_loss, "label_smoothing", 0.0),
        (losses.loss_reweighting_loss, "strength", 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1e-3, 0.2, torch.tensor([0.05, 0.2, 1.0])])
def test_it_is_the_softmax_loss(rival, name, nothing, dtype, temperature):
    positive, negatives, _, mask = random_scores(3, 6, 5, dtype=dtype)
    value = torch.full((3,), nothing) if isinstance(temperature, torch.Tensor) else nothing
    expected = losses.softmax_loss(positive, negatives, temperature=temperature, mask=mask)
    assert torch.equal(rival(positive, negatives, temperature=temperature, mask=mask, **{name: value}), expected)
