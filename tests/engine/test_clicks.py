"""The click trainer against a plain loop, and what pairing promises."""

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.c2al.cohorts import CohortPair
from dslstudy.c2al.method import Cohorts, prior_logit, random_stream
from dslstudy.c2al.methods import METHODS
from dslstudy.data.click_logs import ClickLog, ClickSplit, Feature
from dslstudy.data.click_world import ClickWorld
from dslstudy.engine.clicks import ClickTrainingConfig, train_clicks
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention

SMALL = {"embedding_size": 4, "attention_size": 2, "hidden": 8, "batch_size": 128, "epochs": 2}
#: methods that wrap the plain encoder and meet the batches in the plain order
PAIRED = [name for name in METHODS if name not in ("oversampling", "cohort_feature")]


@pytest.fixture(scope="module")
def split():
    return ClickWorld(rows=1500, fields=3, field_size=8, users=60, contrast=2.0).split(0)


@pytest.fixture(scope="module")
def cohorts(split):
    return CohortPair("cohort", head=(1,), tail=(2,)).cohorts(split)


def train(split, *configs, **options):
    made = [ClickTrainingConfig(**SMALL | config) for config in configs]
    return train_clicks(split, made, progress=False, **options)


def plain_training(split, config):
    """The plain objective as a tutorial would write it, with the trainer's streams of random numbers."""
    labels = torch.from_numpy(split.train.labels.astype(np.float32))
    features = [torch.from_numpy(feature.values.astype(np.int64)) for feature in split.train.features]
    generator = random_stream(config.seed, "encoder")
    model = FMAttention(split.sizes, embedding_size=4, attention_size=2, hidden=8, generator=generator)
    model.head.bias.data.fill_(prior_logit(labels.double().mean().item()))
    adam = torch.optim.Adam(model.parameters())
    order = random_stream(config.seed, "order")
    steps = config.epochs * -(-len(labels) // config.batch_size)
    done = 0
    for _ in range(config.epochs):
        for rows in torch.randperm(len(labels), generator=order).split(config.batch_size):
            rising = (done + 1) / (0.1 * steps + 1)
            falling = (steps - done) / (0.9 * steps)
            adam.param_groups[0]["lr"] = config.learning_rate * (rising if done < 0.1 * steps else falling)
            penalty = sum(p.square().sum() for p in model.parameters() if p.dim() == 2) * config.weight_decay / 2
            probability = model([feature[rows] for feature in features]).sigmoid()
            y = labels[rows]
            loss = -(y * probability.log() + (1 - y) * (1 - probability).log()).mean()
            adam.zero_grad()
            (loss + penalty).backward()
            adam.step()
            done += 1
    return model


def test_training_is_what_a_plain_loop_does(split):
    settings = {"seed": 3, "weight_decay": 1e-2, "batch_size": 200}
    (run,) = train(split, settings)
    expected = plain_training(split, ClickTrainingConfig(**SMALL | settings))
    for (name, value), (_, of_loop) in zip(run.model.named_parameters(), expected.named_parameters(), strict=True):
        torch.testing.assert_close(value, of_loop, rtol=1e-3, atol=2e-4, msg=name)
    features = [torch.from_numpy(feature.values.astype(np.int64)) for feature in split.test.features]
    torch.testing.assert_close(torch.from_numpy(run.test), expected(features).sigmoid(), rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(split, cohorts):
    first, again, other = train(
        split, {"method": "c2al"}, {"method": "c2al"}, {"method": "c2al", "seed": 1}, cohorts=cohorts
    )
    assert np.array_equal(first.test, again.test)
    assert first.history == again.history
    assert not np.array_equal(first.test, other.test)


def test_paired_seeds_share_initial_parameters_and_every_batch(split, cohorts):
    def trace(method, seed):
        """Shared parameters before the first step, and the rows of every batch."""
        rows, initial = [], {}

        def probe(model, batch, step):
            rows.append(batch.rows.tolist())
            if step == 0:
                encoder = getattr(getattr(model, "primary", model), "encoder", model)
                initial.update({name: value.detach().clone() for name, value in encoder.named_parameters()})

        train(split, {"method": method, "seed": seed}, cohorts=cohorts, probe=probe)
        return initial, rows

    initial, rows = trace("plain", 7)
    assert len(rows) == 2 * -(-len(split.train) // 128)
    assert sorted(chain.from_iterable(rows[: len(rows) // 2])) == list(range(len(split.train)))
    for method in PAIRED:
        of_method, order = trace(method, 7)
        assert order == rows, method
        for name, value in initial.items():
            assert torch.equal(of_method[name], value), (method, name)
    other, order = trace("plain", 8)
    assert order != rows
    assert not torch.equal(other["embedding.weight"], initial["embedding.weight"])
    of_method, order = trace("oversampling", 7)
    assert order != rows
    assert torch.equal(of_method["embedding.weight"], initial["embedding.weight"])


@pytest.mark.parametrize("method", ["c2al", "membership"])
def test_the_null_arm_is_plain_bit_for_bit(split, cohorts, method):
    nothing = {"method": method, "method_parameters": {"lambda_head": 0.0, "lambda_tail": 0.0}}
    plain, null = train(split, {}, nothing, cohorts=cohorts)
    assert np.array_equal(plain.test, null.test)
    assert np.array_equal(plain.validation, null.validation)
    assert plain.history == null.history
    for (name, a), (_, b) in zip(plain.model.named_parameters(), null.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_every_method_trains_and_a_run_does_not_depend_on_those_beside_it(split, cohorts):
    together = train(split, *({"method": name} for name in METHODS), cohorts=cohorts)
    for name, run in zip(METHODS, together, strict=True):
        assert run.config.method == name
        assert run.test.shape == (len(split.test),)
        assert run.test.dtype == run.validation.dtype == np.float32
        assert ((run.test > 0) & (run.test < 1)).all()
        assert [entry["epoch"] for entry in run.history] == [1, 2]
        assert run.seconds > 0
    (alone,) = train(split, {"method": "groupdro"}, cohorts=cohorts)
    assert np.array_equal(alone.test, together[list(METHODS).index("groupdro")].test)


def test_it_learns_and_the_history_is_of_the_validation_rows(split):
    asked = []

    def validate(labels, probabilities):
        asked.append((labels, probabilities))
        return 10.0 + len(asked)

    (run,) = train(split, {"epochs": 12, "learning_rate": 0.02}, validate=validate)
    assert run.history[-1]["loss"] < run.history[0]["loss"] - 0.02
    assert [entry["validation"] for entry in run.history] == [11.0 + i for i in range(12)]
    labels, probabilities = asked[-1]
    assert np.array_equal(labels, split.validation.labels)
    assert np.array_equal(probabilities, run.validation)
    y, p = labels.astype(float), probabilities.astype(float)
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert run.history[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert "validation" not in train(split, {"epochs": 1})[0].history[0]


def test_a_probe_sees_chosen_steps_and_changes_nothing(split, cohorts):
    seen = []

    def probe(model, batch, step):
        seen.append(step)
        torch.randn(3)  # the global stream is not the trainer's
        model(batch.features)[0].sum().backward()

    (probed,) = train(split, {"method": "c2al"}, cohorts=cohorts, probe=probe, probe_steps={0, 5, 11})
    (free,) = train(split, {"method": "c2al"}, cohorts=cohorts)
    assert seen == [0, 5, 11]
    assert np.array_equal(probed.test, free.test)


@given(decay=st.sampled_from(["linear", "cosine", "constant"]), steps=st.integers(1, 300), rate=st.floats(1e-4, 1))
def test_step_sizes_rise_then_fall(decay, steps, rate):
    config = ClickTrainingConfig(decay=decay, learning_rate=rate)
    sizes = [config.step_size(step, steps) for step in range(steps)]
    assert all(0 < size <= rate for size in sizes)
    top = int(np.argmax(sizes))
    assert top <= 0.1 * steps + 1
    assert all(a <= b for a, b in pairwise(sizes[: top + 1]))
    assert all(a >= b for a, b in pairwise(sizes[top:]))
    if decay == "linear" and steps > 20:
        assert sizes[-1] < 2 * rate / (0.9 * steps)
    assert config.num_steps(1025) == 2 * config.epochs


def log(labels, ids):
    return ClickLog(np.array(labels), (Feature("a", 3, np.array(ids)),), np.zeros(len(labels), np.int32))


def split_of(train, validation=((0, 1), (0, 1)), test=((0, 1), (0, 1))):
    return ClickSplit("random", log(*train), log(*validation), log(*test), {}, 0)


@pytest.mark.parametrize(
    ("train_rows", "message"),
    [(((), ()), "no training rows"), (((0, 0), (1, 2)), "0 of 2 training rows"), (((1, 1), (1, 2)), "2 of 2 training")],
)
def test_labels_without_both_kinds_are_refused(train_rows, message):
    with pytest.raises(InputError, match=message):
        train(split_of(train_rows), {})


def test_multi_valued_features_and_empty_parts():
    def part(labels, single, several):
        features = (Feature("a", 3, np.array(single)), Feature("b", 4, np.array(several)))
        return ClickLog(np.array(labels), features, np.zeros(len(labels), np.int32))

    train_rows = part([0, 1, 1, 0], [0, 1, 2, 1], [[3, -1], [0, 2], [-1, -1], [1, -1]])
    nothing = part([], np.zeros(0, int), np.zeros((0, 2), int))
    (run,) = train(ClickSplit("random", train_rows, nothing, train_rows, {}, 0), {"epochs": 1})
    assert run.test.shape == (4,)
    assert run.validation.shape == (0,)
    assert set(run.history[0]) == {"epoch", "loss"}


def test_cohorts_that_are_missing_or_empty_are_refused(split, cohorts):
    with pytest.raises(InputError, match="c2al needs a head cohort, and no training row is in it"):
        train(split, {"method": "c2al"})
    empty = cohorts["train"]
    without = {**cohorts, "train": Cohorts(empty.head, torch.zeros_like(empty.tail), empty.cohort, 3)}
    with pytest.raises(InputError, match="membership needs a tail cohort, and no training row is in it"):
        train(split, {"method": "membership"}, cohorts=without)
    with pytest.raises(InputError, match="groupdro needs the cohorts of an axis"):
        train(split, {"method": "groupdro"})
    with pytest.raises(InputError, match=r"cohorts are of \d+ rows, the part has"):
        train(split, {}, cohorts={**cohorts, "train": cohorts["test"]})


def test_a_loss_that_is_not_finite_names_the_learning_rate(split):
    with pytest.raises(InputError, match=r"not finite in epoch 1; take a learning rate below 1e\+30"):
        train(split, {"learning_rate": 1e30})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "c2a"}, "unknown method 'c2a'; did you mean 'c2al'"),
        ({"method_parameters": {"lambda_head": 1.0}}, "plain has no hyperparameter"),
        ({"form": "field"}, "did you mean 'fields'"),
        ({"decay": "step"}, "unknown decay"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be greater than 0"),
        ({"weight_decay": -1}, "weight_decay must be at least 0"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_configurations_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        ClickTrainingConfig(**options)


def test_one_spelling_per_configuration():
    spelled = {"method_parameters": {"lambda_head": 0.1, "lambda_tail": 0.1}, "weight_decay": 0.001}
    assert ClickTrainingConfig(method="c2al") == ClickTrainingConfig(method="c2al", **spelled)
    assert ClickTrainingConfig(method="c2al").method_parameters == {"lambda_head": 0.1, "lambda_tail": 0.1}


def test_an_unknown_device_is_refused(split):
    with pytest.raises(InputError, match="not available here"):
        train(split, {}, device="abacus")
