"""The ranking trainer against a plain one, and what a stack promises."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from dslstudy.engine import part as part_of_stack
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import Stack, train, training_device
from dslstudy.engine.sampler import draw_negatives, epoch_order
from dslstudy.engine.streams import torch_seed
from dslstudy.errors import InputError

SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 128, "epochs": 6, "evaluate_every": 1, "patience": 6}


def plain_training(interactions, config, shares=1):
    """Softmax-loss matrix factorization as a tutorial would write it, with the trainer's stream of random numbers."""
    generator = torch.Generator().manual_seed(torch_seed(config.seed, "start"))
    users = torch.nn.Parameter(torch.randn(interactions.num_users, config.embedding_size, generator=generator))
    items = torch.nn.Parameter(torch.randn(interactions.num_items, config.embedding_size, generator=generator))
    adam = torch.optim.Adam([users, items], lr=config.learning_rate, weight_decay=config.weight_decay)
    pairs = sorted(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))
    known = set(pairs)
    for epoch in range(1, config.epochs + 1):
        order = epoch_order(len(pairs), config.seed, epoch)
        for step, batch in enumerate(order.split(config.batch_size)):
            if config.negative_sampling == "example":  # a share of the batch at a time
                cuts = [len(batch) * share // shares for share in range(shares + 1)]
                drawn = [
                    draw_negatives(
                        interactions.num_items, (stop - start, config.num_negatives), config.seed, (epoch, step, start)
                    )
                    for start, stop in pairwise(cuts)
                ]
                negatives = torch.cat(drawn)
            else:
                negatives = draw_negatives(
                    interactions.num_items, (config.num_negatives,), config.seed, (epoch, step, 0)
                )
            losses = []
            for row, place in enumerate(batch.tolist()):
                user, item = pairs[place]
                sampled = negatives if negatives.dim() == 1 else negatives[row]
                real = torch.tensor([(user, j) not in known for j in sampled.tolist()])
                u = users[user]
                if config.score == "cosine":
                    positive = torch.cosine_similarity(u, items[item], dim=0)
                    scores = torch.cosine_similarity(u[None], items[sampled], dim=1)
                else:
                    positive, scores = u @ items[item], items[sampled] @ u
                margins = (scores - positive)[real] / config.loss_parameters["temperature"]
                losses.append(torch.logsumexp(margins, 0))
            adam.zero_grad()
            torch.stack(losses).mean().backward()
            adam.step()
    return users.detach(), items.detach()


@pytest.mark.parametrize("score", ["cosine", "inner-product"])
@pytest.mark.parametrize(("sampling", "shares"), [("example", 1), ("example", 4), ("batch", 3)])
def test_training_is_what_a_plain_loop_does(split, score, sampling, shares, monkeypatch):
    monkeypatch.setattr(part_of_stack, "SHARE_SCORES", 1 if shares > 1 else 2**20)
    monkeypatch.setattr(part_of_stack, "MOST_SHARES", shares)
    part = split.train.select(np.arange(len(split.train)) % 8 == 0)
    config = TrainingConfig(
        **SMALL
        | {"score": score, "negative_sampling": sampling, "epochs": 2, "weight_decay": 1e-3, "learning_rate": 0.05}
    )
    (run,) = train(part, [config], lambda users, items: [float(len(users))], progress=False)
    assert run.best_epoch == 1  # a validation that never improves keeps the first
    counter = iter(range(10))
    (run,) = train(part, [config], lambda users, items: [float(next(counter))], progress=False)
    users, items = plain_training(part, config, shares)
    if score == "cosine":
        users, items = (torch.nn.functional.normalize(table, dim=1) for table in (users, items))
    torch.testing.assert_close(run.user_table, users, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(run.item_table, items, rtol=1e-3, atol=1e-4)


def many():
    settings = [
        {"loss": "softmax", "loss_parameters": {"temperature": 0.1}, "seed": 0},
        {"loss": "bpr", "learning_rate": 0.01, "seed": 3},
        {"loss": "softmax", "loss_parameters": {"temperature": 0.5}, "weight_decay": 1e-3, "seed": 1},
        {"loss": "dsl", "loss_parameters": {"gamma": 0.4, "slate_size": 3}, "seed": 1},
        {"loss": "dsl", "loss_parameters": {"gamma": 0.1, "slate_size": 7}, "seed": 2, "patience": 1},
        {"loss": "dsl", "loss_parameters": {"reading": "R5"}, "seed": 2},
        {"loss": "slatk", "loss_parameters": {"k": 5, "quantile_every": 2}, "seed": 1, "patience": 2},
        {"loss": "slatk", "loss_parameters": {"k": 5, "quantile_every": 2, "temperature": 0.1}, "seed": 3},
        {"loss": "slatk", "loss_parameters": {"k": 9, "quantile_every": 2}, "seed": 0},
        {"loss": "advinfonce", "loss_parameters": {"adversary_every": 2, "adversary_learning_rate": 0.1}, "seed": 0},
        {"loss": "advinfonce", "loss_parameters": {"adversary_every": 2, "temperature": 0.1}, "seed": 2},
        {"loss": "blind_slate", "loss_parameters": {"gamma": 0.4, "slate_size": 3}, "seed": 1},
        {"loss": "blind_slate", "loss_parameters": {"slate_size": 7}, "seed": 2},
        {"loss": "own_score", "loss_parameters": {"gamma": 0.4}, "seed": 1},
        {"loss": "label_smoothing", "loss_parameters": {"label_smoothing": 0.3}, "seed": 1},
        {"loss": "loss_reweighting", "seed": 0},
        {"loss": "loss_reweighting", "loss_parameters": {"strength": 0.5}, "seed": 2},
        {"loss": "positive_weight", "loss_parameters": {"weight": 0.8}, "seed": 1},
        {"loss": "llpauc", "seed": 1, "learning_rate": 0.01},
        {"loss": "llpauc", "loss_parameters": {"alpha": 0.3, "beta": 0.5}, "seed": 2, "patience": 1},
    ]
    return [TrainingConfig(**SMALL | setting) for setting in settings]


def test_a_run_does_not_depend_on_its_stack(split, validate):
    together = train(split.train, many(), validate, progress=False)
    for config, run in zip(many(), together, strict=True):
        (alone,) = train(split.train, [config], validate, progress=False)
        assert run.history == alone.history
        assert run.best_epoch == alone.best_epoch
        assert torch.equal(run.user_table, alone.user_table)
        assert torch.equal(run.item_table, alone.item_table)


@pytest.mark.parametrize("backbone", ["lightgcn", "xsimgcl"])
def test_nor_does_it_with_a_graph_backbone_when_runs_leave(split, validate, backbone):
    shared = SMALL | {"backbone": backbone, "learning_rate": 0.05, "epochs": 4}
    configs = [
        TrainingConfig(**shared | {"seed": seed, "patience": patience}) for seed, patience in ((0, 1), (1, 4), (2, 1))
    ]
    epochs = iter(range(100))

    def no_better(users, items):
        return [-float(next(epochs))] * len(users)

    together = train(split.train, configs, no_better, progress=False)
    assert [len(run.history) for run in together] == [2, 4, 2]
    for config, run in zip(configs, together, strict=True):
        epochs = iter(range(100))
        (alone,) = train(split.train, [config], no_better, progress=False)
        assert [entry["loss"] for entry in run.history] == [entry["loss"] for entry in alone.history]
        assert torch.equal(run.user_table, alone.user_table)
    (learned,) = train(split.train, [TrainingConfig(**shared | {"epochs": 12})], validate, progress=False)
    assert learned.best > learned.history[0]["validation"]


def test_runs_computed_together_on_one_part_agree_with_runs_alone(split, validate, monkeypatch):
    """What a GPU does, several runs in one part, on the CPU: the same numbers up to rounding."""

    def one_part(self):
        start, parts = 0, []
        kinds = [
            (run.config.loss, *map(run.config.loss_parameters.get, ("reading", "k", "quantile_every")))
            for run in self.active
        ]
        for stop in range(1, len(kinds) + 1):
            if stop == len(kinds) or kinds[stop] != kinds[start]:
                parts.append(slice(start, stop))
                start = stop
        return parts

    configs = [
        TrainingConfig(**SMALL | {"loss": c.loss, "loss_parameters": c.loss_parameters, "seed": c.seed}) for c in many()
    ]
    apart = train(split.train, configs, validate, progress=False)
    monkeypatch.setattr(Stack, "_parts", one_part)
    together = train(split.train, configs, validate, progress=False)
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_allclose(
            [entry["loss"] for entry in one.history], [entry["loss"] for entry in other.history], rtol=1e-4
        )


def test_same_seed_same_bits_other_seed_other_bits(split, validate):
    config = TrainingConfig(**SMALL)
    first, again = (train(split.train, [config], validate, progress=False)[0] for _ in range(2))
    assert torch.equal(first.user_table, again.user_table)
    assert first.history == again.history
    other = train(split.train, [TrainingConfig(**SMALL | {"seed": 1})], validate, progress=False)[0]
    assert not torch.equal(first.user_table, other.user_table)


def test_training_learns(split, validate):
    config = TrainingConfig(**SMALL | {"epochs": 20, "patience": 20, "evaluate_every": 5})
    (run,) = train(split.train, [config], validate, progress=False)
    start = train(
        split.train, [TrainingConfig(**SMALL | {"epochs": 1, "learning_rate": 1e-9})], validate, progress=False
    )
    assert run.best > 2 * start[0].best
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert [entry["epoch"] for entry in run.history] == [5, 10, 15, 20]


def test_patience_ends_a_run_and_its_best_is_kept(split):
    values = iter([0.1, 0.3, 0.2, 0.25, 0.29, 0.9])
    seen = []

    def validate(users, items):
        seen.append(users[0].clone())
        return [next(values)]

    config = TrainingConfig(**SMALL | {"patience": 3, "epochs": 50})
    (run,) = train(split.train, [config], validate, progress=False)
    assert run.best_epoch == 2
    assert run.best == 0.3
    assert len(run.history) == 5
    assert torch.equal(run.user_table, seen[1])


def test_a_diverging_run_leaves_and_the_others_stay(split, validate):
    good = TrainingConfig(**SMALL)
    bad = TrainingConfig(**SMALL | {"score": "inner-product", "learning_rate": 1e30})
    fine = TrainingConfig(**SMALL | {"score": "inner-product"})
    diverged, stayed = train(split.train, [bad, fine], validate, progress=False)
    assert diverged.diverged == 1
    assert not diverged.history
    assert stayed.diverged is None
    assert len(stayed.history) == SMALL["epochs"]
    with pytest.raises(InputError, match="share backbone"):
        train(split.train, [good, bad], validate, progress=False)


@pytest.mark.parametrize("loss", ["softmax", "psl", "dsl", "bpr", "bsl", "slatk", "llpauc", "advinfonce"])
def test_whatever_the_loss_a_diverging_run_is_seen_and_hurts_nobody(split, validate, loss):
    """It shares its seed, and with it negatives and masks, with a run that is well."""
    settings = SMALL | {"score": "inner-product", "loss": loss}
    fine = TrainingConfig(**settings)
    bad = TrainingConfig(**settings | {"learning_rate": 1e30})
    (alone,) = train(split.train, [fine], validate, progress=False)
    for last in (False, True):
        both = train(split.train, [bad, fine] if last else [fine, bad], validate, progress=False)
        of_fine, of_bad = both[last], both[not last]
        assert of_bad.diverged is not None
        assert of_fine.diverged is None
        assert of_fine.history == alone.history
        assert torch.equal(of_fine.item_table, alone.item_table)


def test_nothing_to_do(split, validate):
    assert train(split.train, [], validate) == []
    with pytest.raises(InputError, match="no training interactions"):
        train(split.train.select(np.zeros(0, dtype=np.int64)), [TrainingConfig(**SMALL)], validate)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(InputError, match="not available"):
        training_device(device)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loss": "softmx"}, "did you mean 'softmax'"),
        ({"backbone": "mff"}, "did you mean 'mf'"),
        ({"score": "cosin"}, "did you mean 'cosine'"),
        ({"negative_sampling": "popular"}, "known: example, batch"),
        ({"learning_rate": 0}, "learning_rate must be greater than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"epochs": 2.5}, "whole number"),
        ({"num_negatives": 0}, "at least 1"),
        ({"weight_decay": -1.0}, "at least 0"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"loss_parameters": {"temprature": 1.0}}, "no hyperparameter 'temprature'; it has: temperature"),
        ({"loss_parameters": {"temperature": 0.0}}, "temperature must be greater than 0"),
        ({"loss_parameters": {"temperature": "hot"}}, "temperature must be"),
        ({"loss": "dsl", "loss_parameters": {"slate_size": 2.5}}, "slate_size must be"),
        ({"loss": "dsl", "loss_parameters": {"slate_size": 0}}, "slate_size must be"),
        ({"loss": "dsl", "loss_parameters": {"reading": "R9"}}, "R9"),
        ({"loss": "llpauc", "loss_parameters": {"alpha": 0.0}}, "alpha must be greater than 0 and at most 1, got 0"),
        ({"loss": "llpauc", "loss_parameters": {"beta": 1.5}}, "beta must be greater than 0 and at most 1, got 1.5"),
        ({"loss": "advinfonce", "loss_parameters": {"negative_weight": -1.0}}, "negative_weight must be greater than"),
        ({"loss": "advinfonce", "loss_parameters": {"adversary_every": 0}}, "adversary_every must be at least 1"),
        ({"loss": "positive_weight", "loss_parameters": {"weight": 0.0}}, "weight must be greater than 0"),
        ({"loss": "label_smoothing", "loss_parameters": {"label_smoothing": 2.0}}, "greater than -1 and at most 1"),
        ({"loss": "slatk", "loss_parameters": {"k": 0}}, "k must be at least 1"),
        ({"loss": "slatk", "loss_parameters": {"weight_temperature": 0}}, "weight_temperature must be greater than 0"),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig(**setting)


def test_one_spelling_per_run():
    assert TrainingConfig(loss_parameters={}) == TrainingConfig(loss_parameters={"temperature": 0.2})
    assert TrainingConfig(learning_rate=1) == TrainingConfig(learning_rate=1.0)
    assert TrainingConfig(loss_parameters={"temperature": 1}).loss_parameters["temperature"] == 1.0
