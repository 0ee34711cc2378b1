"""The study of false negatives: which runs it makes, and what it measures on them."""

import numpy as np
import pytest
import torch

from dslstudy import study_tables
from dslstudy.errors import InputError
from dslstudy.metrics.significance import Interval
from dslstudy.study import RunConfig, noise_experiments, open_study
from dslstudy.study.cells import Cell, complete
from dslstudy.study.inside import scores_of
from dslstudy.study.noise_experiments import (
    PROBABILITIES,
    Fall,
    difference_of_changes,
    falls,
    inside_runs,
    measure_hidden,
    noise_runs,
    noise_settings,
    noisy_sample,
    setting_of,
)
from dslstudy.study.protocol import PROTOCOLS, protocol_of
from dslstudy.study.spaces import STARTS
from dslstudy.study.study import hidden_of, split_of

SMOKE = protocol_of("smoke")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return open_study("smoke", store=tmp_path_factory.mktemp("store"), progress=False)


@pytest.fixture(scope="module")
def models(study):
    """Trained models of SL and DSL at the strongest probability."""
    settings, _ = noise_settings(study, SMOKE)
    strongest = PROBABILITIES["smoke"][-1]
    return {loss: study.train(noise_runs(settings[loss], "smoke")[strongest][0]) for loss in ("softmax", "dsl")}


def test_without_a_search_runs_are_where_searches_start(study):
    for name, protocol in PROTOCOLS.items():
        settings, twins = noise_settings(open_study(name, store=study.store.root / "none", progress=False), protocol)
        for loss, setting in settings.items():
            if setting.tuned:  # the committed records of profile paper
                continue
            for run in setting.runs:
                settled = run.to_dict() | run.loss_parameters
                assert {key: settled[key] for key in STARTS[loss]} == dict(STARTS[loss])
        assert twins == ([] if name == "smoke" else ["bsl"]) or any(setting.tuned for setting in settings.values())


def test_with_a_search_runs_are_those_of_the_table(tmp_path):
    study = open_study("smoke", store=tmp_path, progress=False)
    cell = Cell(protocol=SMOKE, dataset="synthetic-ranking", backbone="mf", loss="softmax")
    (state,) = complete(study, [cell])
    setting = setting_of(study, SMOKE, "softmax")
    assert setting.tuned
    assert [run.key for run in setting.runs] == [record.key for record in state.found]
    assert [run.key for run in inside_runs(study, SMOKE)["softmax"]] == [record.key for record in state.found][:2]


def test_only_a_bsl_that_is_sl_is_left_out():
    sl = RunConfig(dataset="movielens-100k", loss="softmax", loss_parameters={"temperature": 0.2})
    for positive, negative, rate, same in ((0.2, 0.2, 0.1, True), (0.1, 0.2, 0.1, False), (0.2, 0.2, 0.01, False)):
        parameters = {"positive_temperature": positive, "temperature": negative}
        bsl = RunConfig(dataset="movielens-100k", loss="bsl", loss_parameters=parameters, learning_rate=rate)
        assert noise_experiments._is_softmax(bsl, sl) == same


def test_bsl_with_equal_temperatures_is_sl_under_noise_too(study):
    settings, _ = noise_settings(study, SMOKE)
    sl = noise_runs(settings["softmax"], "smoke")[0.5][0]
    parameters = {"positive_temperature": 0.2, "temperature": 0.2}
    bsl = RunConfig.from_dict(sl.to_dict() | {"loss": "bsl", "loss_parameters": parameters})
    one, other = study.obtain([sl, bsl])
    assert one.test == other.test


def test_runs_differ_in_nothing_but_the_probability(study):
    for profile, probabilities in PROBABILITIES.items():
        settings, _ = noise_settings(study, SMOKE)
        runs = noise_runs(settings["dsl"], profile)
        assert list(runs) == list(probabilities)
        assert runs[0.0][0].hidden_fraction == 0.1
        for probability, of_seeds in runs.items():
            for run, plain in zip(of_seeds, settings["dsl"].runs, strict=False):
                hidden = {"hidden_fraction": 0.1, "hidden_probability": probability}
                assert run.to_dict() == plain.to_dict() | hidden
    assert set(PROBABILITIES["paper"]) == {0.0, 0.05, 0.1, 0.2, 0.3, 0.5}


def test_hidden_weights_by_hand(models):
    for loss, model in models.items():
        run = model.record.config
        sample, is_hidden = noisy_sample(run, examples=256)
        kept, hidden = hidden_of(run)
        own = {user: set(hidden.items[hidden.users == user].tolist()) for user in range(hidden.num_users)}
        train = {user: set(kept.items[kept.users == user].tolist()) for user in range(kept.num_users)}
        scores = scores_of(sample, torch.from_numpy(model.user_table), torch.from_numpy(model.item_table))
        terms = noise_experiments.inferred(run, scores)
        found, others, kappas, force, shares = [], [], [[], []], [], []
        for i, user in enumerate(sample.users.tolist()):
            assert own[user]  # only users who hide something
            weight = []
            for j, item in enumerate(sample.negatives[i].tolist()):
                assert is_hidden[i, j] == (item in own[user])
                if item in train[user]:
                    weight.append(0.0)
                    continue
                margin = float(scores.negatives[i, j] - scores.positive[i])
                kappa = float(terms.kappa[i, j])
                (found if item in own[user] else others).append(margin)
                kappas[item not in own[user]].append(kappa)
                weight.append(kappa * np.exp(margin / float(terms.tau[i])))
            real = np.array(weight) > 0
            shares.append((real & is_hidden[i]).sum() / real.sum())
            force.append(sum(w for w, hit in zip(weight, is_hidden[i], strict=True) if hit) / sum(weight))
        measured = measure_hidden(model, "smoke")
        assert measured.share == pytest.approx(np.mean(shares))
        assert measured.margin_hidden == pytest.approx(np.mean(found), abs=1e-5)
        assert measured.margin_others == pytest.approx(np.mean(others), abs=1e-5)
        assert measured.kappa_hidden == pytest.approx(np.mean(kappas[0]), rel=1e-4)
        assert measured.kappa_others == pytest.approx(np.mean(kappas[1]), rel=1e-4)
        assert measured.force == pytest.approx(np.mean(force), rel=1e-4)
        if loss == "softmax":
            assert measured.force == measured.without_kappa == pytest.approx(measured.force_at[0.2], rel=1e-4)


def test_nothing_hidden_nothing_to_measure(study):
    plain = RunConfig.from_dict(
        {
            name: value
            for name, value in setting_of(study, SMOKE, "softmax").runs[0].to_dict().items()
            if not name.startswith("hidden")
        }
    )
    with pytest.raises(InputError, match="nothing is hidden"):
        noisy_sample(plain, examples=3)
    assert len(split_of(plain).train) > 0


def test_difference_of_changes():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.2, 1.0, size=400)
    same = difference_of_changes(before, 0.5 * before, before, 0.5 * before)
    assert (same.estimate, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    after, other = 0.8 * before + rng.normal(0, 0.05, 400), 0.5 * before + rng.normal(0, 0.05, 400)
    found = difference_of_changes(before, after, before, other)
    assert found.estimate == pytest.approx(after.mean() / before.mean() - other.mean() / before.mean())
    assert found.low < 0.3 < found.high
    assert found.p_value < 0.01
    # the delta method's standard error
    error = np.std((after - other - before * found.estimate) / before.mean(), ddof=1) / 20
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    turned = difference_of_changes(before, other, before, after)
    assert turned.estimate == pytest.approx(-found.estimate)


class Kept:
    """What a record offers here."""

    def __init__(self, values):
        self.values, self.test, self.key = values, {"ndcg@20": float(values.mean())}, "0"

    def per_user(self, metric):
        return self.values


def test_falls_are_relative_to_ones_own_value_and_corrected():
    rng = np.random.default_rng(1)
    users = rng.uniform(0.2, 1.0, size=300)

    def seeds(factor):
        return [Kept(factor * users + rng.normal(0, 0.02, 300)) for _ in range(2)]

    records = {"softmax": {0.0: seeds(1.0), 0.5: seeds(0.5)}, "dsl": {0.0: seeds(0.5), 0.5: seeds(0.4)}}
    found = falls(records)
    assert set(found) == {("softmax", 0.5), ("dsl", 0.5)}
    assert found["softmax", 0.5].change.estimate == pytest.approx(-0.5, abs=0.01)
    assert found["dsl", 0.5].change.estimate == pytest.approx(-0.2, abs=0.01)
    assert found["dsl", 0.5].against.estimate == pytest.approx(0.3, abs=0.02)
    assert study_tables.keeps(found["dsl", 0.5]) == "keeps more than"
    assert found["softmax", 0.5].against is None


def test_words_for_falls_and_the_table():
    change = Interval(-0.2, -0.3, -0.1)
    worse = Fall(change, Interval(-0.1, -0.2, -0.05, 0.001), 0.002)
    unclear = Fall(change, Interval(-0.1, -0.2, 0.05, 0.1), 0.2)
    assert study_tables.keeps(worse) == "keeps less than"
    assert study_tables.keeps(unclear) == "is not told apart from"
    rows = study_tables.noise({"dsl": {0.0: [Kept(np.ones(3))], 0.5: [Kept(np.ones(3))]}}, {("dsl", 0.5): worse}).rows
    assert [row["p"] for row in rows] == ["0", "0.5"]
    assert rows[0]["verdict"] == "–"
    assert rows[1]["verdict"] == "keeps less than SL"
    assert rows[1]["minus SL's"] == "-10.0 % [-20.0, -5.0]"
