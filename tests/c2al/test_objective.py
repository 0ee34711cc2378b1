"""Labels and objective of C2AL against scalar formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.c2al.labels import auxiliary_labels
from dslstudy.c2al.objective import c2al_objective
from dslstudy.errors import InputError

ROWS = st.lists(
    st.tuples(*[st.floats(-6, 6)] * 3, st.booleans(), st.sampled_from(["head", "tail", "neither"])),
    min_size=1,
    max_size=12,
)


def tensors(rows):
    logits, head_logits, tail_logits, clicks, where = zip(*rows, strict=True)
    scores = [torch.tensor(each, dtype=torch.float64) for each in (logits, head_logits, tail_logits)]
    labels = torch.tensor(clicks, dtype=torch.float64)
    return *scores, labels, torch.tensor([w == "head" for w in where]), torch.tensor([w == "tail" for w in where])


def entropy(score, label):
    probability = 1 / (1 + math.exp(-score))
    return -math.log(probability) if label else -math.log(1 - probability)


@given(rows=ROWS, lambda_head=st.floats(0, 3), lambda_tail=st.floats(0, 3))
def test_objective_is_the_scalar_formula(rows, lambda_head, lambda_tail):
    expected = 0.0
    for score, head_score, tail_score, click, where in rows:
        expected += entropy(score, click)
        expected += lambda_head * entropy(head_score, click and where == "head")
        expected += lambda_tail * entropy(tail_score, click and where == "tail")
    found = c2al_objective(*tensors(rows), lambda_head=lambda_head, lambda_tail=lambda_tail)
    assert found.item() == pytest.approx(expected / len(rows), rel=1e-9)


@given(rows=ROWS)
def test_zero_weights_leave_the_primary_loss_bit_for_bit(rows):
    primary = torch.nn.functional.binary_cross_entropy_with_logits(*[tensors(rows)[i] for i in (0, 3)])
    assert torch.equal(c2al_objective(*tensors(rows), lambda_head=0.0, lambda_tail=0.0), primary)


def test_a_head_of_weight_zero_is_never_asked():
    logits, head_logits, tail_logits, *rest = tensors([(0.3, 0.0, 0.0, True, "head"), (-1.0, 0.0, 0.0, False, "tail")])
    broken = torch.full_like(head_logits, float("nan"))
    assert torch.isfinite(c2al_objective(logits, broken, broken, *rest, lambda_head=0.0, lambda_tail=0.0))
    assert torch.isfinite(c2al_objective(logits, broken, tail_logits, *rest, lambda_head=0.0, lambda_tail=0.5))
    assert torch.isfinite(c2al_objective(logits, head_logits, broken, *rest, lambda_head=0.5, lambda_tail=0.0))


def test_a_click_of_the_majority_is_no_click_for_either_head():
    labels = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    head = torch.tensor([True, False, False, True, False])
    tail = torch.tensor([False, True, False, False, True])
    y_head, y_tail = auxiliary_labels(labels, head, tail)
    assert y_head.tolist() == [1, 0, 0, 0, 0]
    assert y_tail.tolist() == [0, 1, 0, 0, 0]
    assert y_head.dtype == labels.dtype


def test_the_gradient_at_each_logit_is_probability_minus_label():
    rows = [(0.3, -1.0, 2.0, True, "head"), (-0.4, 0.5, 0.1, True, "neither"), (1.2, 0.0, -2.0, False, "tail")]
    scores = [each.requires_grad_() for each in tensors(rows)[:3]]
    loss = c2al_objective(*scores, *tensors(rows)[3:], lambda_head=0.5, lambda_tail=2.0)
    gradients = torch.autograd.grad(loss, scores)
    labels = ([1, 1, 0], [1, 0, 0], [0, 0, 0])
    for gradient, score, label, weight in zip(gradients, scores, labels, (1, 0.5, 2.0), strict=True):
        torch.testing.assert_close(gradient, weight * (score.detach().sigmoid() - torch.tensor(label)) / 3)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"labels \(3,\), head \(2,\)"):
        auxiliary_labels(torch.zeros(3), torch.zeros(2, dtype=torch.bool), torch.zeros(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3, 1)}, r"shape \(3,\) of labels; got \(3, 1\), \(3,\), \(3,\)"),
        ({"tail_logits": torch.zeros(2)}, "of labels; got"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels must be floats"),
        ({"lambda_head": -0.1}, "lambda_head must be a finite number of at least 0"),
        ({"lambda_tail": math.nan}, "lambda_tail must be a finite number of at least 0"),
        ({"head": torch.zeros(2, dtype=torch.bool)}, "must have one shape"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    scores = {name: torch.zeros(3) for name in ("logits", "head_logits", "tail_logits", "labels")}
    sides = {name: torch.zeros(3, dtype=torch.bool) for name in ("head", "tail")}
    with pytest.raises(InputError, match=message):
        c2al_objective(**scores | sides | {"lambda_head": 0.1, "lambda_tail": 0.1} | change)


def test_a_batch_without_rows_is_refused():
    none = torch.zeros(0)
    with pytest.raises(InputError, match="at least one"):
        c2al_objective(none, none, none, none, none.bool(), none.bool(), lambda_head=0.1, lambda_tail=0.1)
