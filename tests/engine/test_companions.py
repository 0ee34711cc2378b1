"""Losses that carry something along, trained by the stack and by a plain loop over examples."""

from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dslstudy.engine import part as part_of_stack
from dslstudy.engine.companions import slatk
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import Stack, TrainedRun, train
from dslstudy.engine.sampler import draw_negatives, epoch_order
from dslstudy.engine.streams import torch_seed

SMALL = {
    "embedding_size": 6,
    "num_negatives": 12,
    "batch_size": 64,
    "epochs": 2,
    "evaluate_every": 1,
    "learning_rate": 0.05,
}


def config_of(loss, **changes):
    return TrainingConfig(**SMALL | {"loss": loss} | changes)


def reference(interactions, config, shares):
    """Matrix factorization with cosines; each of the three losses written out for one example at a time."""
    settings, generator = config.loss_parameters, torch.Generator().manual_seed(torch_seed(config.seed, "start"))
    shapes = [(count, config.embedding_size) for count in (interactions.num_users, interactions.num_items)]
    tables = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    model = torch.optim.Adam(tables, lr=config.learning_rate)
    pairs = sorted(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))
    items_of = {user: [i for u, i in pairs if u == user] for user in range(interactions.num_users)}
    state = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in AREA_START.items()}
    area = torch.optim.Adam(state.values(), lr=config.learning_rate)
    generator = torch.Generator().manual_seed(torch_seed(config.seed, "adversary"))
    adversary = [torch.nn.Parameter(torch.randn(shape, generator=generator) * sqrt(2 / sum(shape))) for shape in shapes]
    against = torch.optim.Adam(adversary, lr=settings.get("adversary_learning_rate", 0.0), maximize=True)
    quantile = {}
    for epoch in range(1, config.epochs + 1):
        if config.loss == "slatk" and (epoch - 1) % settings["quantile_every"] == 0:
            users, items = (normalize(table.detach(), dim=1) for table in tables)
            for first in range(0, len(users), slatk.USERS_AT_ONCE):
                block = range(first, min(first + slatk.USERS_AT_ONCE, len(users)))
                shape, place = (len(block), config.num_negatives), (epoch, first)
                drawn = draw_negatives(len(items), shape, config.seed, place, purpose="quantile")
                for user, negatives in zip(block, drawn.tolist(), strict=True):
                    candidates = sorted({*negatives, *items_of[user]})
                    ordered = sorted((float(users[user] @ items[i]) for i in candidates), reverse=True)
                    quantile[user] = ordered[min(settings["k"], len(ordered)) - 1]
        for step, batch in enumerate(epoch_order(len(pairs), config.seed, epoch).split(config.batch_size)):
            cuts = [len(batch) * share // shares for share in range(shares + 1)]
            if config.negative_sampling == "example":
                drawn = torch.cat(
                    [
                        draw_negatives(
                            interactions.num_items, (b - a, config.num_negatives), config.seed, (epoch, step, a)
                        )
                        for a, b in pairwise(cuts)
                    ]
                )
            else:
                drawn = draw_negatives(
                    interactions.num_items, (config.num_negatives,), config.seed, (epoch, step, 0)
                ).expand(len(batch), -1)
            losses = []
            for place, negatives in zip(batch.tolist(), drawn, strict=True):
                user, item = pairs[place]
                real = [j for j in negatives.tolist() if j not in items_of[user]]
                u = tables[0][user] / tables[0][user].norm()
                positive = u @ (tables[1][item] / tables[1][item].norm())
                scores = torch.stack([u @ (tables[1][j] / tables[1][j].norm()) for j in real])
                if config.loss == "slatk":
                    weight = torch.sigmoid((positive - quantile[user]) / settings["weight_temperature"])
                    losses.append(weight * torch.logsumexp((scores - positive) / settings["temperature"], 0))
                elif config.loss == "advinfonce":
                    logits = torch.stack([adversary[0][user] @ adversary[1][j] for j in real])
                    hard = len(real) * torch.softmax(logits, 0) * settings["negative_weight"]
                    losses.append(
                        torch.log(1 + (hard * torch.exp((scores - positive) / settings["temperature"])).sum())
                    )
                else:
                    losses.append(_area(positive, scores, state, settings))
            for optimizer in (model, area, against):
                optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            model.step()
            if config.loss == "advinfonce" and epoch % settings["adversary_every"] == 0:
                against.step()
            if config.loss == "llpauc":
                for name in ("gamma", "positive_threshold"):
                    state[name].grad.neg_()
                area.step()
                with torch.no_grad():
                    for name, (low, high) in AREA_RANGES.items():
                        state[name].clamp_(low, high)
                    low = max(-float(state["a"]), float(state["b"]) - 1, -1.0)
                    state["gamma"].clamp_(low, 1.0)
    return [normalize(table.detach(), dim=1) for table in tables], state, adversary


AREA_START = {"a": 1.0, "b": 0.0, "gamma": 0.0, "positive_threshold": 0.5, "negative_threshold": 0.5}
AREA_RANGES = {"a": (0, 1), "b": (0, 1), "positive_threshold": (-1, 4), "negative_threshold": (0, 5)}


def _area(positive, scores, state, settings):
    """The lower-left partial area of one example, as the paper writes it."""
    kappa = settings["smoothing"]

    def hinge(x):
        return torch.log1p(torch.exp(kappa * x)) / kappa

    f, g = torch.sigmoid(positive), torch.sigmoid(scores)
    gain = 2 * (1 + state["gamma"]) * f - (f - state["a"]) ** 2
    cost = 2 * (1 + state["gamma"]) * g + (g - state["b"]) ** 2
    top = -state["positive_threshold"] - hinge(gain - state["positive_threshold"]) / settings["alpha"]
    low = state["negative_threshold"] + hinge(cost - state["negative_threshold"]) / settings["beta"]
    return top + low.mean() - state["gamma"] ** 2


LOSSES = [
    ("slatk", {"k": 4, "quantile_every": 1, "weight_temperature": 0.7}),
    ("llpauc", {"alpha": 0.6, "beta": 0.4}),
    ("advinfonce", {"adversary_every": 2, "adversary_learning_rate": 0.3, "negative_weight": 2.0}),
]


@pytest.mark.parametrize(("sampling", "shares"), [("example", 1), ("example", 3), ("batch", 2)])
@pytest.mark.parametrize(("loss", "settings"), LOSSES, ids=[name for name, _ in LOSSES])
def test_training_is_what_a_plain_loop_does(split, loss, settings, sampling, shares, monkeypatch):
    monkeypatch.setattr(part_of_stack, "SHARE_SCORES", 1 if shares > 1 else 2**20)
    monkeypatch.setattr(part_of_stack, "MOST_SHARES", shares)
    monkeypatch.setattr(slatk, "USERS_AT_ONCE", 50)
    part = split.train.select(np.arange(len(split.train)) % 16 == 0)
    config = config_of(loss, loss_parameters=settings, negative_sampling=sampling)
    counter = iter(range(10))
    (run,) = train(part, [config], lambda users, items: [float(next(counter))], progress=False)
    (users, items), _, _ = reference(part, config, shares)
    torch.testing.assert_close(run.user_table, users, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(run.item_table, items, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("loss", ["llpauc", "advinfonce"])
def test_what_is_learnt_besides_the_model_is_what_a_plain_loop_learns(split, loss, monkeypatch):
    monkeypatch.setattr(part_of_stack, "SHARE_SCORES", 1)
    part = split.train.select(np.arange(len(split.train)) % 16 == 0)
    config = config_of(loss, loss_parameters=dict(LOSSES)[loss])
    with Stack(part, [TrainedRun(config)], torch.device("cpu")) as stack:
        for _ in range(config.epochs):
            stack.epoch()
        (companion,) = stack.companions.values()
    _, state, adversary = reference(part, config, part_of_stack.MOST_SHARES)
    expected = list(adversary) if loss == "advinfonce" else [state[name] for name in companion.names]
    for value, other in zip(companion.variables(), expected, strict=True):
        torch.testing.assert_close(value[0], other.detach(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("loss", ["slatk", "advinfonce", "llpauc"])
def test_training_learns(split, validate, loss):
    config = TrainingConfig(loss=loss, embedding_size=16, num_negatives=64, batch_size=256, epochs=12, evaluate_every=1)
    (run,) = train(split.train, [config], validate, progress=False)
    assert run.best > 1.5 * run.history[0]["validation"] or run.best > 0.15


def test_a_strong_adversary_makes_the_loss_larger(split, validate):
    """It maximises what the model minimises: turned round, it would make the loss smaller."""

    def last_loss(rate):
        settings = {"adversary_learning_rate": rate, "adversary_every": 1}
        (run,) = train(
            split.train, [config_of("advinfonce", loss_parameters=settings, epochs=6)], validate, progress=False
        )
        return run.history[-1]["loss"]

    assert last_loss(0.1) > last_loss(1e-9) + 0.05


def test_quantiles_rest_between_their_epochs(split):
    config = config_of("slatk", loss_parameters={"quantile_every": 3})
    with Stack(split.train, [TrainedRun(config)], torch.device("cpu")) as stack:
        (companion,) = stack.companions.values()
        seen = []
        for _ in range(5):
            stack.epoch()
            seen.append(companion.quantiles.clone())
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[3], seen[4])
    assert not torch.equal(seen[2], seen[3])
    # scores are cosines, and the K-th largest of a dozen lies above their middle
    assert seen[0].abs().max() <= 1
    assert seen[3].mean() > seen[0].mean()


@pytest.mark.parametrize("loss", ["slatk", "advinfonce", "llpauc"])
def test_when_the_last_run_of_a_loss_has_left_the_others_go_on(split, validate, loss):
    stays = config_of("softmax", epochs=5, patience=5)
    leaves = config_of(loss, epochs=5, patience=1, learning_rate=1e-30)  # its validation stays what it is
    (alone,) = train(split.train, [stays], validate, progress=False)
    first, second = train(split.train, [leaves, stays], validate, progress=False)
    assert [len(run.history) for run in (first, second)] == [2, 5]
    assert torch.equal(second.user_table, alone.user_table)
