"""What every method promises, and the small methods against scalar formulas."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_worlds import make_batch, make_encoder, make_model, size, steps

from dslstudy.c2al.method import Cohorts, Context, group_sizes, inverse_frequency, prior_logit, random_stream
from dslstudy.c2al.methods import METHODS, make_method, method_class
from dslstudy.c2al.methods.c2al import C2AL
from dslstudy.c2al.methods.cohort_feature import CohortFeature
from dslstudy.c2al.methods.groupdro import GroupDRO
from dslstudy.c2al.methods.membership import Membership
from dslstudy.c2al.methods.multi_cohort import MultiCohort, cohort_labels
from dslstudy.c2al.methods.one_head import OneHead
from dslstudy.c2al.methods.oversampling import Oversampling
from dslstudy.c2al.methods.plain import Plain
from dslstudy.c2al.methods.reweighting import Reweighting
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention

#: methods whose exported model needs more than the baseline's parameters
LARGER = {"cohort_feature", "mmoe", "ple"}


def cross_entropies(scores, labels):
    return [
        -math.log(1 / (1 + math.exp(-s))) if y else -math.log(1 - 1 / (1 + math.exp(-s)))
        for s, y in zip(scores, labels, strict=True)
    ]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_from_the_plain_encoder(name):
    batch, plain = make_batch(), make_encoder().double()
    model = make_model(make_method(name), batch)
    exported = make_method(name).export(model)
    mine = {key.removeprefix("encoder."): value for key, value in exported.named_parameters()}
    for key, value in plain.named_parameters():
        if name == "cohort_feature" and key not in ("embedding.weight", "head.weight", "head.bias"):
            continue
        assert torch.equal(mine[key][: len(value)], value), key


@pytest.mark.parametrize("name", METHODS)
def test_every_method_lowers_its_loss_and_exports_a_model_of_the_inputs_alone(name):
    batch, method = make_batch(), make_method(name)
    losses, model = steps(method, batch, number=12)
    assert losses[-1] < losses[0]
    exported = method.export(model)
    unlabelled = replace(batch, labels=torch.full_like(batch.labels, float("nan")))
    assert torch.isfinite(exported(method.inputs(unlabelled))).all()
    assert (size(exported) == size(make_encoder())) == (name not in LARGER)
    if name not in LARGER:
        assert type(exported) is FMAttention
        assert exported.architecture() == make_encoder().architecture()


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_pure_and_the_step_takes_its_gradient(name):
    batch, method = make_batch(), make_method(name)
    model = make_model(method, batch)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(method.loss(model, batch), method.loss(model, batch))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    if name in ("pcgrad", "groupdro"):  # these change the step on purpose, as tests of their own show
        return
    method.backward(model, batch)
    parameters = list(model.parameters())
    expected = torch.autograd.grad(method.loss(model, batch), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize(
    "method",
    [
        C2AL(lambda_head=0.0, lambda_tail=0.0),
        OneHead(weight=0.0),
        Membership(lambda_head=0.0, lambda_tail=0.0),
        MultiCohort(weight=0.0),
    ],
)
def test_the_null_arm_trains_the_plain_model_bit_for_bit(method):
    batch = make_batch()
    plain_losses, plain = steps(Plain(), batch)
    losses, model = steps(method, batch)
    assert losses == plain_losses
    for (key, value), (_, null) in zip(plain.named_parameters(), model.encoder.named_parameters(), strict=True):
        assert torch.equal(value, null), key


def test_reweighting_by_nothing_is_plain():
    batch = make_batch()
    assert steps(Reweighting(exponent=0.0), batch)[0] == pytest.approx(steps(Plain(), batch)[0], rel=1e-9)


def test_membership_heads_never_see_the_labels():
    batch = make_batch()
    model = make_model(Membership(), batch)
    logits, others = (each.tolist() for each in model(batch.features))
    found = Membership(lambda_head=0.5, lambda_tail=2.0).loss(model, batch).item()
    expected = mean(cross_entropies(logits, batch.labels.tolist()))
    expected += 0.5 * mean(cross_entropies([row[0] for row in others], batch.head.tolist()))
    expected += 2.0 * mean(cross_entropies([row[1] for row in others], batch.tail.tolist()))
    assert found == pytest.approx(expected, rel=1e-9)
    flipped = replace(batch, labels=1 - batch.labels)
    auxiliary = [
        Membership(lambda_head=1.0, lambda_tail=1.0).loss(model, each)
        - Membership(lambda_head=0.0, lambda_tail=0.0).loss(model, each)
        for each in (batch, flipped)
    ]
    assert auxiliary[0].item() == pytest.approx(auxiliary[1].item(), abs=1e-12)


def test_heads_start_at_the_rates_of_their_labels():
    batch = make_batch(60)
    rate = mean((batch.labels * batch.head).tolist())
    torch.testing.assert_close(make_model(C2AL(), batch).heads.bias[0].sigmoid().item(), rate, atol=1e-6, rtol=0)
    share = mean(batch.tail.double().tolist())
    torch.testing.assert_close(make_model(Membership(), batch).heads.bias[1].sigmoid().item(), share, atol=1e-6, rtol=0)
    assert [prior_logit(0.0), -prior_logit(1.0)] == pytest.approx([math.log(0.001 / 0.999)] * 2)


@pytest.mark.parametrize("side", ["head", "tail"])
def test_one_head_is_c2al_without_the_other(side):
    batch = make_batch()
    model = make_model(OneHead(side=side, weight=0.7), batch)
    pair = C2AL(lambda_head=0.7 if side == "head" else 0.0, lambda_tail=0.7 if side == "tail" else 0.0)
    loss = OneHead(side=side, weight=0.7).loss(model, batch)
    assert torch.equal(loss, pair.loss(model, batch))
    loss.backward()
    idle = 1 if side == "head" else 0
    assert model.heads.weight.grad[idle].abs().max() == 0
    assert model.heads.weight.grad[1 - idle].abs().max() > 0


def test_multi_cohort_adds_up_the_losses_of_all_heads():
    batch = make_batch(30, cohorts=3)
    batch = replace(batch, cohort=torch.where(torch.arange(30) < 6, -1, batch.cohort))
    model = make_model(MultiCohort(), batch)
    logits, others = (each.tolist() for each in model(batch.features))
    expected = mean(cross_entropies(logits, batch.labels.tolist()))
    for c in range(3):
        own = [y * (at == c) for y, at in zip(batch.labels.tolist(), batch.cohort.tolist(), strict=True)]
        expected += 0.4 * mean(cross_entropies([row[c] for row in others], own))
    assert MultiCohort(weight=0.4).loss(model, batch).item() == pytest.approx(expected, rel=1e-9)
    assert cohort_labels(torch.tensor([1.0]), torch.tensor([-1]), 3).tolist() == [[0, 0, 0]]


def test_two_cohorts_with_a_head_each_are_c2al():
    batch = make_batch(30, cohorts=2)
    context = Context(batch.labels, Cohorts(batch.head, batch.tail, batch.cohort, 2))
    built = [
        method.build(make_encoder(), context, torch.Generator().manual_seed(5)).double()
        for method in (C2AL(), MultiCohort())
    ]
    losses = [method.loss(model, batch) for method, model in zip((C2AL(), MultiCohort()), built, strict=True)]
    torch.testing.assert_close(*losses)


def test_the_cohort_feature_matters_and_rows_without_a_cohort_have_an_id():
    batch = make_batch()
    _, model = steps(CohortFeature(), batch)
    inputs = CohortFeature().inputs(replace(batch, cohort=torch.full_like(batch.cohort, -1)))
    assert inputs[-1].tolist() == [0] * 40
    assert model.sizes[-1] == 4
    assert not torch.equal(model(inputs), model(CohortFeature().inputs(batch)))


@given(
    sizes=st.lists(st.integers(0, 1000), min_size=2, max_size=6).filter(any),
    exponent=st.floats(0, 2),
)
def test_inverse_frequency_weights(sizes, exponent):
    weights = inverse_frequency(torch.tensor(sizes), exponent).tolist()
    raw = [n**-exponent if n else 0.0 for n in sizes]
    scale = sum(sizes) / sum(w * n for w, n in zip(raw, sizes, strict=True))
    assert weights == pytest.approx([w * scale for w in raw], rel=1e-5)
    assert sum(w * n for w, n in zip(weights, sizes, strict=True)) / sum(sizes) == pytest.approx(1, rel=1e-5)


def test_reweighting_is_a_weighted_mean():
    batch = replace(make_batch(), cohort=torch.tensor([0] * 30 + [1] * 8 + [-1] * 2))
    model = make_model(Reweighting(exponent=1.0), batch)
    losses = cross_entropies(model(batch.features).tolist(), batch.labels.tolist())
    # three groups with rows, so each has a third of the say
    groups = [losses[:30], losses[30:38], losses[38:]]
    expected = mean(mean(group) for group in groups)
    assert Reweighting(exponent=1.0).loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


def test_oversampling_draws_cohorts_alike():
    batch = replace(make_batch(), cohort=torch.tensor([0] * 30 + [1] * 8 + [-1] * 2))
    context = Context(batch.labels, Cohorts(batch.head, batch.tail, batch.cohort, 3))
    weights = Oversampling(exponent=1.0).sample_weights(context)
    totals = [weights[:30].sum().item(), weights[30:38].sum().item(), weights[38:].sum().item()]
    assert totals == pytest.approx([40 / 3] * 3, rel=1e-5)
    assert Oversampling(exponent=0.0).sample_weights(context).tolist() == [1.0] * 40


def test_groupdro_weights_follow_the_losses():
    batch = replace(make_batch(6), cohort=torch.tensor([0, 0, 1, 1, 1, -1]))
    method = GroupDRO(step_size=0.5)
    model = make_model(method, batch)
    assert model.weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])  # no row is in the third cohort
    expected = [1 / 3, 1 / 3, 1 / 3]
    # the second batch has no row without a cohort: that group's loss counts as zero
    for each in (batch, replace(batch, cohort=torch.tensor([1, 0, 1, 0, 1, 0]))):
        losses = cross_entropies(model(each.features).tolist(), each.labels.tolist())
        groups = {c: [v for v, at in zip(losses, each.cohort.tolist(), strict=True) if at == c] for c in (-1, 0, 1)}
        means = [mean(groups[c]) if groups[c] else 0.0 for c in (-1, 0, 1)]
        grown = [q * math.exp(0.5 * loss) for q, loss in zip(expected, means, strict=True)]
        expected = [q / sum(grown) for q in grown]
        loss = method.backward(model, each).item()
        assert loss == pytest.approx(sum(q * of for q, of in zip(expected, means, strict=True)), rel=1e-6)
        assert model.weights.tolist() == pytest.approx([*expected, 0], rel=1e-6)
        parameters = list(model.parameters())
        expected_gradients = torch.autograd.grad(method.loss(model, each), parameters)
        for parameter, gradient in zip(parameters, expected_gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
            parameter.grad = None


def test_groupdro_turns_to_the_group_that_does_badly():
    # the first cohort's labels follow a feature, the second's are coin flips
    stream = torch.Generator().manual_seed(0)
    batch = make_batch(400)
    cohort = torch.arange(400) % 2
    noise = torch.randint(0, 2, (400,), generator=stream)
    labels = torch.where(cohort == 0, (batch.features[0] > 3).long(), noise).double()
    batch = replace(batch, labels=labels, cohort=cohort, features=(batch.features[0], cohort, batch.features[2]))
    _, model = steps(GroupDRO(step_size=0.1), batch, number=60)
    weights = model.weights.tolist()
    assert weights[2] > 0.8 > weights[1]


def test_group_sizes_count_rows_without_a_cohort_first():
    nobody = torch.zeros(5, dtype=torch.bool)
    assert group_sizes(Cohorts(nobody, nobody, torch.tensor([2, -1, 0, 2, 2]), 4)).tolist() == [1, 1, 0, 3, 0]


def test_streams_are_reproducible_and_apart():
    def draw(seed, name):
        return torch.randn(4, generator=random_stream(seed, name)).tolist()

    assert draw(3, "heads") == draw(3, "heads")
    assert len({tuple(draw(seed, name)) for seed in (0, 1, 2**62) for name in ("encoder", "heads", "order")}) == 9


def test_names_and_hyperparameters_are_checked():
    assert make_method("c2al", {"lambda_head": 1}) == C2AL(lambda_head=1.0)
    assert method_class("groupdro") is GroupDRO
    for name, parameters, message in (
        ("cal", {}, "unknown method 'cal'; did you mean 'c2al'"),
        ("plain", {"weight": 1.0}, "no hyperparameter 'weight'; it has: none"),
        ("c2al", {"lambda": 1.0}, "it has: lambda_head, lambda_tail"),
        ("c2al", {"lambda_head": "much"}, "lambda_head must be"),
        ("c2al", {"lambda_head": -0.1}, "lambda_head must be a finite number of at least 0"),
        ("c2al", {"lambda_tail": float("nan")}, "lambda_tail must be a finite number"),
        ("membership", {"lambda_tail": float("inf")}, "lambda_tail must be a finite number"),
        ("one_head", {"side": "middle"}, "side must be one of head, tail"),
        ("one_head", {"weight": True}, "weight must be"),
        ("multi_cohort", {"weight": -1.0}, "weight must be"),
        ("reweighting", {"exponent": -1.0}, "exponent must be"),
        ("oversampling", {"exponent": -1.0}, "exponent must be"),
        ("groupdro", {"step_size": -1.0}, "step_size must be"),
    ):
        with pytest.raises(InputError, match=message):
            make_method(name, parameters)
