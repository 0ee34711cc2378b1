"""The nn.Module wrappers: reductions, printing, and the examples in the docstrings."""

import doctest
import importlib

import pytest
import torch
from loss_oracles import CASES, random_scores

from dslstudy import losses
from dslstudy.errors import InputError

MODULES = {
    "bpr": losses.BPR,
    "softmax": losses.Softmax,
    "bsl": losses.BSL,
    "psl-relu": losses.PSL,
    "slatk": losses.SLatK,
    "advinfonce": losses.AdvInfoNCE,
    "dsl-R1": losses.DSL,
    "blind_slate": losses.BlindSlate,
    "dsl_positive_weight": losses.DSLPositiveWeight,
    "label_smoothing": losses.LabelSmoothing,
    "loss_reweighting": losses.LossReweighting,
    "own_score": losses.OwnScore,
    "positive_weight": losses.PositiveWeight,
}


@pytest.mark.parametrize(("name", "module"), MODULES.items(), ids=MODULES)
def test_modules_reduce_their_function(name, module):
    case = CASES[name]
    positive, negatives, companion, mask = random_scores(6, 9)
    inputs = {case.companion: companion} if case.companion else {}
    settings = dict(case.settings[0])
    if "quantile" in settings:
        inputs["quantile"] = settings.pop("quantile")
    expected = case(positive, negatives, companion, mask)
    for reduction, want in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        criterion = module(**settings, reduction=reduction)
        assert torch.equal(criterion(positive, negatives, mask=mask, **inputs), want)
        assert f"reduction={reduction!r}" in repr(criterion)
    with pytest.raises(InputError, match="reduction must be one of mean, sum, none; got 'max'"):
        module(reduction="max")


def test_llpauc_module_owns_its_state():
    positive, negatives, _, mask = random_scores(6, 9)
    criterion = losses.LLPAUC(alpha=0.7, beta=0.1, reduction="none")
    expected = losses.llpauc_loss(positive, negatives, state=criterion.state, alpha=0.7, beta=0.1, mask=mask)
    assert torch.equal(criterion(positive, negatives, mask=mask), expected)
    assert len(list(criterion.parameters())) == 5


WITH_EXAMPLES = ["_checks", "advinfonce", "bpr", "bsl", "dsl", "llpauc", "psl", "slatk", "softmax"]
RIVALS = ["blind_slate", "dsl_positive_weight", "label_smoothing", "loss_reweighting", "own_score", "positive_weight"]


@pytest.mark.parametrize("name", WITH_EXAMPLES + RIVALS)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(f"dslstudy.losses.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
