"""The click experiments: arms that are paired, runs that are shared, and everything that smoke can train."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from dslstudy.c2al.methods import METHODS
from dslstudy.errors import InputError
from dslstudy.study import PROFILES
from dslstudy.study import click_experiments as experiments
from dslstudy.study.click_comparison import compare_clicks
from dslstudy.study.click_experiments import merchants, public, world
from dslstudy.study.click_rows import rows_of

SMOKE, QUICK, PAPER = PROFILES["smoke"], PROFILES["quick"], PROFILES["paper"]


def keys(configs):
    return [config.key for config in configs]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
@pytest.mark.parametrize("place", [world, public])
def test_arms_are_paired_and_the_baseline_is_shared(profile, place):
    here = place(profile)
    arms = experiments.headline(profile, here)
    for runs in arms.values():
        assert [run.seed for run in runs] == list(profile.seeds)
        assert [run.data_key for run in runs] == [run.data_key for run in arms["plain"]]
    assert len({key for runs in arms.values() for key in keys(runs)}) == len(arms) * len(profile.seeds)
    beside = len(experiments.aside(profile).seeds)
    rivals = experiments.rivals(profile, here)
    for name in ("plain", "c2al", "membership", "random_pair"):
        assert keys(rivals[name]) == keys(arms[name])[:beside]
    plain, sweep = experiments.weight_sweep(profile, here)
    assert keys(plain) == keys(arms["plain"])[:beside]
    assert keys(sweep[experiments.NULL]) == keys(arms["null"])[:beside]
    away = set(experiments.AWAY) if profile == QUICK else set()
    assert set(METHODS) - away == {runs[0].method for runs in rivals.values()}


def test_side_experiments_have_fewer_seeds():
    assert experiments.aside(QUICK).seeds == QUICK.seeds[:3]
    assert experiments.aside(SMOKE) == SMOKE
    assert experiments.aside(PAPER).seeds == PAPER.seeds[:3]
    assert {len(runs) for runs in experiments.headline(QUICK, world(QUICK)).values()} == {5}


@pytest.mark.parametrize("place", [world, public])
def test_training_is_swept_up_to_the_headline_and_the_baseline_beyond_it(place):
    here = place(QUICK)
    arms = experiments.headline(QUICK, here)
    own = arms["plain"][0]
    sweep = experiments.training_sweep(QUICK, here)
    assert max(sweep) == own.epochs > min(sweep)
    for name in ("plain", "c2al", "random_pair"):
        assert keys(sweep[own.epochs][name]) == keys(arms[name])[:3]
        assert {run.epochs for run in sweep[min(sweep)][name]} == {min(sweep)}
    check = experiments.baseline_check(QUICK, here)
    assert keys(check[own.learning_rate, own.epochs]) == keys(arms["plain"])[:1]
    assert {epochs for rate, epochs in check if rate != own.learning_rate} == {own.epochs}
    assert keys(experiments.longer(QUICK, here))[:1] == keys(check[own.learning_rate, 2 * own.epochs])


def test_a_world_differs_from_seed_to_seed_and_public_data_do_not():
    worlds = {run.data_key for run in world(QUICK).arm(QUICK)}
    assert len(worlds) == len(QUICK.seeds)
    assert {run.dataset_parameters["world_seed"] for run in world(QUICK).arm(QUICK)} == set(QUICK.seeds)
    assert len({run.data_key for run in public(QUICK).arm(QUICK)}) == 1
    assert {run.dataset for run in merchants().arm(PAPER)} == {"tmall"}


def test_quick_has_five_pairs_and_the_rows_it_promises():
    assert len(QUICK.seeds) == 5
    assert {run.dataset_parameters["rows"] for run in world(QUICK).arm(QUICK)} == {200_000}
    assert {run.dataset for run in public(QUICK).arm(QUICK)} == {"movielens-100k"}
    corners = experiments.contrast_by_share(QUICK)
    assert keys(corners.pop((2.0, 0.2))) == keys(experiments.headline(QUICK, world(QUICK))["plain"])
    for (contrast, share), runs in corners.items():
        assert len(runs) == len(experiments.aside(QUICK).seeds)
        assert {(run.dataset_parameters["contrast"], run.dataset_parameters["head_share"]) for run in runs} == {
            (contrast, share)
        }


def test_sweeps_turn_one_thing():
    shares = experiments.share_sweep(QUICK)
    assert {runs[0].bins for runs in shares.values()} == set(shares)
    assert keys(shares[3]) == keys(experiments.headline(QUICK, public(QUICK))["c2al"])[:3]
    pairs = experiments.random_pairs(QUICK, public(QUICK))
    assert [runs[0].random_pair_seed for runs in pairs.values()] == list(pairs)
    rates = experiments.learning_rate_sweep(QUICK, public(QUICK))
    assert list(rates) == ["plain", "membership", "c2al"]
    for by_rate in rates.values():
        for rate, runs in by_rate.items():
            assert {run.learning_rate for run in runs} == {rate}
            assert [replace(run, learning_rate=1.0) for run in runs] == [
                replace(run, learning_rate=1.0) for run in by_rate[0.01]
            ]


def paired(arms):
    """Whether all arms have the same seeds and see the same rows."""
    return len({tuple((run.seed, run.data_key) for run in runs) for runs in arms.values()}) == 1


def test_every_arm_can_be_named_for_the_background():
    named = experiments.paper_arms(PAPER)
    assert {"tmall", "world", "world, small cohorts", "world grid"} <= set(named)
    runs = {config.key: config for arms in named.values() for arm in arms.values() for config in arm}
    assert {config.dataset for config in runs.values()} == {"tmall", "movielens-100k", "synthetic-clicks"}
    assert len(runs) < 600
    full = experiments.full_size()
    assert {place.dataset for place in full.values()} == {"tmall", "synthetic-clicks"}
    for place in full.values():
        for runs_of_arm in experiments.headline(experiments.aside(PAPER), place).values():
            assert {run.key for run in runs_of_arm} <= set(runs)
    for dial, arms in experiments.world_grid().items():
        assert paired(arms), dial
        assert {run.dataset_parameters["rows"] for of_arm in arms.values() for run in of_arm} == {200_000}


def test_larger_models_differ_from_the_books_own_in_the_model_or_its_training_alone():
    found = experiments.larger_models()
    assert all(paired(arms) and set(arms) == {"plain", "c2al", "random_pair"} for arms in found.values())
    own = {data: arms for (data, model), arms in found.items() if model == "one layer"}
    quick = experiments.headline(QUICK, world(QUICK))
    assert {name: keys(runs) for name, runs in own["world"].items()} == {
        name: keys(quick[name]) for name in ("plain", "c2al", "random_pair")
    }
    for (data, model), arms in found.items():
        for name, runs in arms.items():
            for run, usual in zip(runs, own[data][name], strict=True):
                fields = {field for field, value in run.to_dict().items() if value != usual.to_dict()[field]}
                assert fields <= {"layers", "hidden", "attention_size", "epochs"}
                assert bool(fields) == (model != "one layer")


def test_pairs_are_found_where_every_arm_has_its_run():
    arms = experiments.headline(SMOKE, world(SMOKE))
    there = {arms["plain"][0].key, arms["plain"][1].key, arms["c2al"][1].key, arms["null"][1].key}
    some = {name: arms[name] for name in ("plain", "c2al", "null")}
    study = SimpleNamespace(find=lambda config: config.key if config.key in there else None)
    assert experiments.found_pairs(study, some) == {name: [runs[1].key] for name, runs in some.items()}
    assert experiments.found_pairs(study, arms) == {name: [] for name in arms}


def test_what_is_found_is_compared_and_the_rest_is_not_run(study):
    arms = experiments.headline(SMOKE, world(SMOKE))
    some = {name: arms[name] for name in ("plain", "c2al", "null")}
    records = {name: study.obtain(runs) for name, runs in some.items()}
    one_short = {**arms, "random_pair": [*arms["random_pair"][:1], replace(arms["random_pair"][1], epochs=2)]}
    study.obtain(one_short["random_pair"][:1])
    found, asked = experiments.compare_found(study, {name: one_short[name] for name in (*some, "random_pair")})
    assert found["random_pair"] is None
    assert len(asked) == 8
    assert asked[-1] is None
    expected = compare_clicks(records["null"], records["plain"], cohorts=records["c2al"])
    for scope, values in expected.per_run.items():
        assert np.array_equal(found["null"].per_run[scope], values)


def test_arms_are_obtained_world_by_world_and_come_back_in_their_places(study, monkeypatch):
    arms = experiments.headline(SMOKE, world(SMOKE))
    asked = []
    obtain = study.obtain
    monkeypatch.setattr(study, "obtain", lambda configs, **rest: asked.append(list(configs)) or obtain(configs, **rest))
    found = experiments.obtain_arms(study, arms)
    assert {name: [record.key for record in records] for name, records in found.items()} == {
        name: keys(runs) for name, runs in arms.items()
    }
    (order,) = asked
    worlds = [run.data_key for run in order]
    assert sum(one != other for one, other in pairwise(worlds)) == len(set(worlds)) - 1 == 1


def test_selection_looks_at_validation_alone():
    def arm(*losses, test=0.0):
        return [
            SimpleNamespace(
                config=SimpleNamespace(seed=seed),
                data={"fingerprint": "one"},
                validation={"log_loss": loss},
                test={"log_loss": test},
            )
            for seed, loss in enumerate(losses)
        ]

    assert experiments.selected({0.1: arm(0.5, 0.3, test=1.0), 1.0: arm(0.4, 0.41), 3.0: arm(0.1, 0.8)}) == 0.1
    with pytest.raises(InputError, match="same seeds"):
        experiments.selected({0.1: arm(0.5, 0.3), 1.0: arm(0.4)})
    with pytest.raises(InputError, match="same seeds"):
        experiments.selected({})


def test_smoke_trains_every_arm_of_every_experiment(study):
    here = world(SMOKE)
    trained = {name: study.obtain(runs) for name, runs in experiments.rivals(SMOKE, here).items()}
    (weightless,) = study.obtain([here.run("c2al", weight=0.0)])
    assert np.array_equal(rows_of(weightless).probabilities, rows_of(trained["plain"][0]).probabilities)
    for name, records in trained.items():
        if name != "plain":
            found = compare_clicks(records, trained["plain"], cohorts=trained["c2al"], samples=20)
            assert set(found.over_users) == {"overall", "head", "tail"}
    sizes = {name: records[0].model["parameters"] for name, records in trained.items()}
    larger = {name for name, size in sizes.items() if size != sizes["plain"]}
    assert larger == {"cohort_feature", "mmoe", "ple"}
    arms = [*experiments.headline(SMOKE, public(SMOKE)).values(), *experiments.share_sweep(SMOKE).values()]
    arms += experiments.random_pairs(SMOKE, public(SMOKE)).values()
    assert all(record.test["ne"] < 2 for runs in arms for record in study.obtain(runs))
