"""What the ablation takes away, what the dials turn, and that nothing else moves."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.dsl_tables import TwoScales
from dslstudy.errors import InputError
from dslstudy.losses import READINGS
from dslstudy.study import RunConfig, open_study
from dslstudy.study.cells import cells_of, complete, seed_runs
from dslstudy.study.dsl_experiments import (
    POSITIVE_WEIGHTS,
    Chosen,
    ablation,
    centres_of,
    chosen_settings,
    pulls_elsewhere,
    seed_noise,
    sensitivity,
    signs_of_alpha,
    two_scales,
)
from dslstudy.study.protocol import PROTOCOLS, protocol_of
from dslstudy.study.spaces import STARTS

PROFILES = pytest.mark.parametrize("profile", PROTOCOLS)
OTHER = {"temperature": 0.1, "alpha": 0.3, "beta": -0.2, "gamma": 0.4, "slate_size": 5}


def chosen_at(profile, **dsl):
    protocol = protocol_of(profile)
    dataset = protocol.tables["iid"][0]
    runs = [
        protocol.base_run(dataset, "mf", loss).to_dict() | {"loss_parameters": parameters, "seed": protocol.seeds[0]}
        for loss, parameters in (("dsl", OTHER | dsl), ("softmax", {"temperature": 0.5}))
    ]
    return Chosen(*map(RunConfig.from_dict, runs), True), protocol


def changes(run, base):
    """What differs between two runs, but for the seed."""
    one, other = run.to_dict(), base.to_dict()
    own = {name: value for name, value in one.items() if name != "seed" and value != other[name]}
    parameters = own.pop("loss_parameters", {})
    return own | {n: v for n, v in parameters.items() if v != other["loss_parameters"].get(n)}


@PROFILES
def test_the_square_takes_each_scale_away_and_leaves_the_rest(profile):
    chosen, protocol = chosen_at(profile)
    square = two_scales(chosen, protocol)
    assert set(square) | {"metric"} == {field.name for field in fields(TwoScales)}
    assert all([run.seed for run in runs] == list(protocol.seeds) for runs in square.values())
    first = {corner: changes(runs[0], chosen.dsl) for corner, runs in square.items()}
    assert first["weights"] == {"gamma": 0.0}
    assert first["temperatures"] == {"alpha": 0.0, "beta": 0.0}
    assert first["neither"] == {"loss": "softmax"}
    assert first["both"] == {}


def test_a_square_needs_a_search_that_ended_and_every_record(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study, (chosen, protocol) = open_study("smoke", store=tmp_path / "store", progress=False), chosen_at("smoke")
    corners = two_scales(chosen, protocol)
    study.obtain([run for runs in corners.values() for run in runs[:-1]])
    assert TwoScales.on_record(study, chosen, protocol) is None
    found = {corner: study.obtain(runs) for corner, runs in corners.items()}
    assert TwoScales.on_record(study, chosen, protocol) == TwoScales(**found)
    assert TwoScales.on_record(study, replace(chosen, searched=False), protocol) is None


@PROFILES
def test_an_arm_changes_what_its_name_says_and_nothing_else(profile):
    chosen, protocol = chosen_at(profile)
    arms = ablation(chosen, protocol)
    for arm in arms.values():
        assert [run.seed for run in arm.runs] == list(protocol.seeds)
    of = {name: changes(arm.runs[0], chosen.dsl) for name, arm in arms.items()}
    assert of["no kappa"] == {"alpha": 0.0, "beta": 0.0}
    assert of["no temperature per example"] == {"gamma": 0.0}
    assert of["hardness only"] == {"beta": 0.0, "gamma": 0.0}
    assert of["similarity only"] == {"alpha": 0.0, "gamma": 0.0}
    assert of["slate blind to kappa"] == {"loss": "blind_slate"}
    assert of["temperature from own score"] == {"loss": "own_score"}
    assert of["twice γ"] == {"gamma": 0.8}
    assert of["reading R5, twice γ"] == {"reading": "R5", "gamma": 0.8}
    assert of["neither scale"] == {"loss": "softmax"}
    for weight in POSITIVE_WEIGHTS:
        assert of[f"DSL, positive weight {weight:g}"] == {"loss": "dsl_positive_weight", "weight": weight}
    readings = {name.removeprefix("reading ") for name, arm in arms.items() if arm.group == "readings"}
    assert readings <= set(READINGS) - {"R1"}
    assert all(of[f"reading {reading}"] == {"reading": reading} for reading in readings)
    of = {name: changes(arm.runs[0], chosen.softmax) for name, arm in arms.items() if arm.group == "rivals"}
    assert of["positive weight 0.8"] == {"loss": "positive_weight", "weight": 0.8}
    assert of["label smoothing 0.1"] == {"loss": "label_smoothing", "label_smoothing": 0.1}
    assert of["loss-value reweighting -0.4"] == {"loss": "loss_reweighting", "strength": -0.4}
    assert len(of) == 2 + len(POSITIVE_WEIGHTS)


def test_pulls_elsewhere_are_trials_of_one_backbone_that_differ_in_temperature_and_weight():
    protocol = protocol_of("paper")
    runs = pulls_elsewhere(protocol, "amazon2014-health", "xsimgcl")
    assert len({run.key for run in runs.values()}) == len(runs) == 12
    first = next(iter(runs.values()))
    for (temperature, weight), run in runs.items():
        assert (run.loss, run.backbone, run.seed) == ("positive_weight", "xsimgcl", 0)
        assert run.loss_parameters == {"temperature": temperature, "weight": weight}
        assert set(changes(run, first)) <= {"temperature", "weight"}
    assert first.epochs == protocol.base_run("amazon2014-health", "xsimgcl", "softmax", trial=True).epochs


def test_at_paper_every_reading_is_an_arm():
    arms = ablation(*chosen_at("paper"))
    assert {f"reading {name}" for name in READINGS if name != "R1"} <= set(arms)


@given(gamma=st.floats(0.05, 0.5), temperature=st.floats(0.05, 1.0))
def test_as_sharp_on_average_is_the_harmonic_mean_of_the_temperatures(gamma, temperature):
    chosen, protocol = chosen_at("smoke", gamma=gamma, temperature=temperature)
    run = ablation(chosen, protocol)["neither scale (as sharp)"].runs[0]
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    taus = temperature * (gamma * z).exp() / (gamma * z).exp().mean()
    assert taus.mean().item() == pytest.approx(temperature)
    assert run.loss_parameters["temperature"] == pytest.approx(1 / (1 / taus).mean().item(), rel=0.02)


def test_without_gamma_reweighting_still_has_a_strength():
    assert "loss-value reweighting -0.2" in ablation(*chosen_at("smoke", gamma=0.0))


@PROFILES
def test_dials_turn_one_thing_around_a_common_centre(profile):
    chosen, protocol = chosen_at(profile)
    dials = sensitivity(chosen, protocol)
    centres = centres_of(chosen, dials)
    assert dials.grid[0.3, -0.2] == chosen.dsl
    for (alpha, beta), run in dials.grid.items():
        assert (run.loss_parameters["alpha"], run.loss_parameters["beta"]) == (alpha, beta)
        assert not set(changes(run, chosen.dsl)) - {"alpha", "beta"}
    for dial, lines in dials.lines.items():
        assert set(lines) == ({"dsl"} if dial in ("gamma", "slate_size") else {"dsl", "softmax"})
        for centre in (chosen.dsl, chosen.softmax):
            for value, run in lines.get(centre.loss, {}).items():
                assert changes(run, centre) == ({} if value == centres[dial][centre.loss] else {dial: value})
        assert len({frozenset(line) for line in lines.values()}) == 1
    assert {run.seed for run in dials.runs} == {protocol.seeds[0]}
    keys = [run.key for run in dials.runs]
    assert len(keys) == len(set(keys))
    assert {chosen.dsl.key, chosen.softmax.key} <= set(keys)


@pytest.mark.parametrize(("alpha", "expected"), [(-0.6, (-0.6, 0.0, 0.6)), (0.0, (-0.3, 0.0, 0.3))])
def test_signs_of_alpha(alpha, expected):
    chosen, protocol = chosen_at("quick", alpha=alpha)
    signs = signs_of_alpha(chosen, protocol)
    assert tuple(signs) == expected
    for value, runs in signs.items():
        assert [run.seed for run in runs] == list(protocol.seeds)
        assert changes(runs[0], chosen.dsl) in ({"alpha": value}, {})


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_noise_is_the_t_interval_of_a_difference_of_two(values):
    low, high = stats.t.interval(0.95, len(values) - 1, 0, math.sqrt(2) * np.std(values, ddof=1) or 1e-300)
    assert seed_noise(values) == pytest.approx((high - low) / 2, abs=1e-12)
    with pytest.raises(InputError, match="at least two values"):
        seed_noise(values[:1])


def test_the_chosen_settings_are_those_of_the_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study, protocol = open_study("smoke", store=tmp_path / "store", progress=False), protocol_of("smoke")
    before = chosen_settings(study, protocol, "synthetic-ranking")
    assert not before.searched
    assert before.dsl.seed == protocol.seeds[0]
    start = dict(before.dsl.loss_parameters)
    assert start.pop("reading") == "R1"
    assert start == {name: value for name, value in STARTS["dsl"].items() if name in start}
    cells = cells_of(protocol, backbones=["mf"], losses=["softmax", "dsl"])
    complete(study, cells)
    after = chosen_settings(study, protocol, "synthetic-ranking")
    assert after.searched
    assert [after.softmax, after.dsl] == [seed_runs(study, cell)[0] for cell in cells]
