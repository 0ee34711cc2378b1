"""Cohorts of users in ranking: against loops, against the library's own trainer, and paired to the last bit."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from dslstudy.data import load_split
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.ranking import train
from dslstudy.engine.sampler import draw_negatives, epoch_order
from dslstudy.errors import InputError
from dslstudy.losses import dsl_terms
from dslstudy.study import user_cohorts
from dslstudy.study.user_cohorts import (
    HEADS,
    TwoTowerConfig,
    UserPair,
    compare_cohorts,
    edged_axis,
    example_temperatures,
    mean_by_user,
    quantile_axis,
    random_user_pair,
    train_two_towers,
    within_strata,
)

TINY = TwoTowerConfig(embedding_size=8, num_negatives=16, batch_size=256, epochs=2)


@pytest.fixture(scope="module")
def interactions():
    return load_split("synthetic-ranking").train


@pytest.fixture(scope="module")
def pair(interactions):
    return quantile_axis("id", np.arange(interactions.num_users)).ends()


def test_quantiles_hold_equally_many_users_in_order():
    values = np.array([5, 1, 1, 9, 3, 3, 3, 7, 2, 8])
    axis = quantile_axis("activity", values, 5)
    assert np.bincount(axis.bins).tolist() == [2] * 5
    assert axis.labels == ("1 to 1", "2 to 3", "3 to 3", "5 to 7", "8 to 9")
    for low, high in zip(axis.labels, axis.labels[1:], strict=False):
        assert values[axis.masks()[low]].max() <= values[axis.masks()[high]].min()
    ends = axis.ends()
    assert ends.head.nonzero()[0].tolist() == [3, 9]
    assert ends.tail.nonzero()[0].tolist() == [1, 2]
    with pytest.raises(InputError, match="2 to 10 bins"):
        quantile_axis("activity", values, 11)


def test_an_edge_begins_the_bin_above_it():
    axis = edged_axis("age", [17, 25, 24, 50, 99], (25, 50))
    assert axis.labels == ("under 25", "25 to 49", "50 and over")
    assert axis.bins.tolist() == [0, 1, 0, 2, 2]
    with pytest.raises(InputError, match="increase"):
        edged_axis("age", [1], (25, 25))


def test_a_pair_needs_two_cohorts_apart():
    some = np.array([True, False])
    for head, tail in ((some, some), (some, ~some & some), (~some & some, some)):
        with pytest.raises(InputError, match="share none"):
            UserPair(head, tail)


def test_a_random_pair_has_as_many_interactions(interactions):
    counts = np.random.default_rng(0).integers(1, 60, size=400)
    pair = quantile_axis("activity", counts).ends()
    drawn = [random_user_pair(pair, counts, seed=seed) for seed in range(3)]
    for each in drawn:
        assert not (each.head & each.tail).any()
        for side in ("head", "tail"):
            wanted = counts[getattr(pair, side)].sum()
            assert wanted - 5 <= counts[getattr(each, side)].sum() <= wanted
    assert not np.array_equal(drawn[0].head, drawn[1].head)
    assert np.array_equal(drawn[0].head, random_user_pair(pair, counts, seed=0).head)
    # chance: about as many of the truly active among them as among everybody
    assert abs((drawn[0].head & pair.head).sum() / drawn[0].head.sum() - 0.2) < 0.12


def test_temperatures_are_those_of_the_loss(interactions):
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(n, 6)).astype(np.float32) for n in (interactions.num_users, interactions.num_items)]
    users, items = (table / np.linalg.norm(table, axis=1, keepdims=True) for table in tables)
    settings = {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 5}
    found = example_temperatures(
        interactions, users, items, settings=settings, num_negatives=20, batch_size=500, seed=3
    )
    known = set(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))
    assert set(zip(found.users.tolist(), found.items.tolist(), strict=True)) == known
    assert len(found.users) == len(interactions)
    # the first batch, pair by pair
    size = len(epoch_order(len(interactions), 3, 1).tensor_split(-(-len(interactions) // 500))[0])
    drawn = draw_negatives(interactions.num_items, (size, 20), 3, (1, 0, 0)).numpy()
    positive, negatives, likeness, mask = np.empty(size), *(np.empty((size, 20)) for _ in range(3))
    for row, column in product(range(size), range(20)):
        u, i, j = found.users[row], found.items[row], drawn[row, column]
        positive[row], negatives[row, column] = users[u] @ items[i], users[u] @ items[j]
        likeness[row, column], mask[row, column] = items[i] @ items[j], (u, j) not in known
    mask = torch.from_numpy(mask > 0)
    terms = dsl_terms(
        torch.from_numpy(positive),
        torch.from_numpy(negatives),
        item_similarity=torch.from_numpy(likeness),
        mask=mask,
        **settings,
    )
    assert found.relative[:size] == pytest.approx(terms.tau.numpy() / 0.2, rel=1e-4)
    assert found.relative[:size].mean() == pytest.approx(1, rel=1e-5)
    spread = np.array([negatives[row][mask[row].numpy()].std() for row in range(size)])
    inverse = 1 / terms.tau.numpy() - 0.3 / spread
    assert (inverse > 0).any()
    assert found.effective[:size][inverse > 0] == pytest.approx(1 / inverse[inverse > 0], rel=1e-2)
    assert np.isnan(found.effective[:size][inverse < 0]).all()


def test_strata_and_users():
    values, strata = np.array([1.0, 3.0, 10.0, 20.0]), np.array([0, 0, 2, 2])
    assert within_strata(values, strata) == pytest.approx(8.5 + np.array([-1, 1, -5, 5]))
    means = mean_by_user([0, 2, 2, 0], values, 4)
    assert means[[0, 2]] == pytest.approx([10.5, 6.5])
    assert np.isnan(means[[1, 3]]).all()


def test_without_heads_it_is_the_librarys_trainer(interactions):
    ours = train_two_towers(interactions, replace(TINY, decay="constant", seed=2))
    same = TrainingConfig(
        embedding_size=8,
        loss="softmax",
        loss_parameters={"temperature": 0.2},
        num_negatives=16,
        negative_sampling="batch",
        batch_size=256,
        epochs=2,
        evaluate_every=2,
        learning_rate=0.1,
        seed=2,
    )
    tables = []

    def keep(users, items):
        tables.append((users[0].clone(), items[0].clone()))
        return [0.0]

    train(interactions, [same], keep, progress=False)
    for mine, theirs in zip((ours.user_table, ours.item_table), tables[-1], strict=True):
        assert torch.allclose(mine, theirs, atol=2e-4)


@pytest.mark.parametrize("heads", [kind for kind in HEADS if kind != "none"])
def test_weightless_heads_change_no_bit_and_heavy_ones_do(interactions, pair, heads):
    plain = train_two_towers(interactions, replace(TINY, seed=1))
    weightless = train_two_towers(interactions, replace(TINY, heads=heads, weight=0.0, seed=1), pair)
    assert torch.equal(plain.user_table, weightless.user_table)
    assert torch.equal(plain.item_table, weightless.item_table)
    assert plain.losses == weightless.losses
    heavy = train_two_towers(interactions, replace(TINY, heads=heads, weight=1.0, seed=1), pair)
    assert not torch.allclose(plain.item_table, heavy.item_table, atol=1e-3)
    assert plain.user_table.shape == heavy.user_table.shape  # nothing of the heads is left


def test_the_loss_falls_and_seeds_differ(interactions):
    run = train_two_towers(interactions, replace(TINY, epochs=4))
    assert run.losses[-1] < run.losses[0]
    assert run.user_table.norm(dim=1) == pytest.approx(torch.ones(interactions.num_users), abs=1e-5)
    assert not torch.equal(run.item_table, train_two_towers(interactions, replace(TINY, epochs=4, seed=1)).item_table)


def examples_by_hand(seed=0, B=9, N=5, size=4):
    rng = np.random.default_rng(seed)
    drawn = (torch.from_numpy(rng.normal(size=(n, size))).float() for n in (B, B, N))
    users, positives, negatives = (torch.nn.functional.normalize(table, dim=-1) for table in drawn)
    mask = torch.from_numpy(rng.random((B, N)) < 0.8)
    mask[:, 0] = True
    sides = torch.zeros(2, B, dtype=torch.bool)
    sides[0, :3], sides[1, 4:6] = True, True
    return user_cohorts._Examples(users, positives, negatives, mask, 0.3), sides


@pytest.mark.parametrize("heads", ["maps", "contrastive", "identity", "membership"])
def test_heads_against_loops(heads):
    examples, sides = examples_by_hand()
    module = user_cohorts._Heads(heads, 4, torch.Generator().manual_seed(0))
    maps = module.maps.detach().numpy() if heads != "identity" else None
    expected = 0.0
    for side, row in product(range(2), range(9)):
        u, q, inside = examples.users[row].numpy(), examples.positives[row].numpy(), bool(sides[side, row])
        if heads == "membership":
            probability = 1 / (1 + np.exp(-(u @ maps[side])))
            expected -= np.log(probability if inside else 1 - probability) / 9
            continue
        if maps is not None:
            u = u @ maps[side]
            u = u / np.linalg.norm(u)
        real = examples.negatives.numpy()[examples.mask[row].numpy()]
        right, wrong = u @ q / 0.3, real @ u / 0.3
        if heads == "contrastive":
            logits = np.concatenate([[0.0, right], wrong])
            expected += (np.log(np.exp(logits).sum()) - (right if inside else 0.0)) / 9
        elif inside:
            expected += np.log(np.exp(wrong - right).sum()) / 9
    assert module(examples, sides).item() == pytest.approx(expected, rel=1e-5)


def test_identity_heads_are_weights():
    examples, sides = examples_by_hand(1)
    module = user_cohorts._Heads("identity", 4, torch.Generator())
    total = examples.losses(examples.users).mean() + 0.7 * module(examples, sides)
    weights = 1 + 0.7 * sides.any(0).float()
    assert total.item() == pytest.approx((weights * examples.losses(examples.users)).mean().item(), rel=1e-5)
    nobody = torch.zeros_like(sides)
    assert module(examples, nobody).item() == 0


def test_differences_by_cohort():
    rng = np.random.default_rng(0)
    base = rng.random((4, 200))
    cohorts = {"everyone": np.ones(200, bool), "first": np.arange(200) < 80}
    better = base + np.where(cohorts["first"], 0.1, 0.0) + rng.normal(0, 0.01, size=base.shape)
    found = compare_cohorts({"better": better, "same": base + rng.normal(0, 0.01, size=base.shape)}, base, cohorts)
    first = found["better"]["first"]
    assert first.users == 80
    assert first.baseline == pytest.approx(base[:, :80].mean())
    assert first.over_users.estimate == pytest.approx((better - base)[:, :80].mean())
    assert first.per_run == pytest.approx((better - base)[:, :80].mean(1))
    t = stats.t.interval(0.95, 3, first.per_run.mean(), stats.sem(first.per_run))
    assert (first.over_runs.low, first.over_runs.high) == pytest.approx(t)
    p = sorted(each.over_users.p_value for of_arm in found.values() for each in of_arm.values())
    assert min(each.adjusted for of_arm in found.values() for each in of_arm.values()) == pytest.approx(4 * p[0])
    assert first.verdict == "higher"
    assert found["same"]["first"].verdict == "not told apart"
    assert compare_cohorts({"w": base - 0.1}, base, cohorts)["w"]["first"].verdict == "lower"
    assert compare_cohorts({"w": better[0]}, base[0], cohorts)["w"]["first"].over_runs is None


def test_one_lucky_run_is_no_verdict():
    rng = np.random.default_rng(0)
    base = rng.random((3, 100))
    lucky = base + np.array([0.3, 0.0, 0.0])[:, None]
    found = compare_cohorts({"lucky": lucky}, base, {"everyone": np.ones(100, bool)})["lucky"]["everyone"]
    assert found.over_users.low > 0
    assert found.verdict == "not told apart"


def test_bad_input_names_the_fix(interactions):
    with pytest.raises(InputError, match="pair of cohorts"):
        train_two_towers(interactions, replace(TINY, heads="maps"))
    for changed in ({"heads": "hydra"}, {"weight": -1.0}, {"epochs": 0}, {"decay": "sudden"}, {"temperature": 0.0}):
        with pytest.raises(InputError):
            replace(TINY, **changed)
    base = np.zeros((2, 5))
    with pytest.raises(InputError, match="pair runs"):
        compare_cohorts({"a": base[:1]}, base, {"everyone": np.ones(5, bool)})
    with pytest.raises(InputError, match="needs two"):
        compare_cohorts({"a": base}, base, {"one": np.arange(5) == 0})
