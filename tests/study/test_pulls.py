"""Pull over push: what autograd measures on trained models is what the derivatives on paper say."""

import numpy as np
import pytest
import torch

from dslstudy.engine.sampler import draw_negatives
from dslstudy.errors import InputError
from dslstudy.losses import dsl_terms
from dslstudy.study import RunConfig, open_study
from dslstudy.study.inside import draw_sample, scores_of
from dslstudy.study.pulls import LEVELS, kept, obtain_pull, pull_shares
from dslstudy.study.study import Study

SMALL = {
    "dataset": "synthetic-ranking",
    "embedding_size": 8,
    "num_negatives": 16,
    "batch_size": 64,
    "epochs": 2,
    "evaluate_every": 1,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return open_study("smoke", store=tmp_path_factory.mktemp("store"), progress=False)


def run_of(loss, **parameters):
    return RunConfig(**SMALL, loss=loss, loss_parameters=parameters)


def seen_by(study, run):
    model = study.train(run)
    sample = draw_sample(model.split.train, examples=64, num_negatives=16, seed=run.seed)
    tables = torch.from_numpy(model.user_table), torch.from_numpy(model.item_table)
    return model, sample, scores_of(sample, *tables)


@pytest.mark.parametrize(
    ("loss", "parameters", "share"),
    [
        ("softmax", {}, 1.0),
        ("psl", {}, 1.0),
        ("dsl", {"gamma": 0.4}, 1.0),
        ("dsl", {"gamma": 0.4, "reading": "R2"}, 1.0),
        ("dsl", {"gamma": 0.4, "reading": "R4"}, 1.0),
        ("blind_slate", {}, 1.0),
        ("own_score", {"gamma": 0.4}, 1.0),
        ("label_smoothing", {}, 1.0),
        ("loss_reweighting", {}, 1.0),
        ("bsl", {"temperature": 0.2, "positive_temperature": 0.5}, 0.4),
        ("positive_weight", {"weight": 0.7}, 0.7),
        ("dsl_positive_weight", {"weight": 0.7, "gamma": 0.4}, 0.7),
    ],
)
def test_a_loss_of_margins_pulls_as_it_pushes_and_a_weighted_positive_by_its_weight(study, loss, parameters, share):
    shares = pull_shares(study, run_of(loss, **parameters))
    assert shares.shape == (64,)
    assert shares == pytest.approx(np.full(64, share), rel=1e-4)


def test_reading_r5_pulls_by_the_examples_temperature_over_the_mean(study):
    run = run_of("dsl", gamma=0.4, temperature=0.5, reading="R5")
    _, _, scores = seen_by(study, run)
    terms = dsl_terms(
        scores.positive, scores.negatives, item_similarity=scores.similarity, mask=scores.real, **run.loss_parameters
    )
    shares = pull_shares(study, run)
    assert shares == pytest.approx(terms.tau.numpy() / 0.5, rel=1e-4)
    assert shares.std() > 0.05


def test_sl_at_k_acts_like_a_positive_weight_of_its_own_for_each_example(study):
    tau, width, k = 0.3, 1.5, 5
    run = run_of("slatk", temperature=tau, weight_temperature=width, k=k)
    model, sample, scores = seen_by(study, run)
    users, items = model.user_table, model.item_table
    drawn = draw_negatives(len(items), (len(users), 16), run.seed, (1, 0), torch.device("cpu"), purpose="quantile")
    expected = []
    for place, user in enumerate(sample.users.tolist()):
        among = {*drawn[user].tolist(), *model.split.train.items[model.split.train.users == user].tolist()}
        quantile = sorted(float(users[user] @ items[item]) for item in among)[-k]
        score = float(scores.positive[place])
        row = [float(s) for s, real in zip(scores.negatives[place], scores.real[place], strict=True) if real]
        loss = np.log(sum(np.exp((s - score) / tau) for s in row))
        weight = 1 / (1 + np.exp(-(score - quantile) / width))
        expected.append(1 - (1 - weight) * loss * tau / width)
    assert pull_shares(study, run) == pytest.approx(expected, rel=1e-4)


def test_a_measurement_is_kept_and_made_anew_when_the_code_has_changed(study, monkeypatch):
    run = run_of("positive_weight", weight=0.6)
    assert kept(study, run) is None
    found = obtain_pull(study, run)
    assert found.shares == pytest.approx([0.6] * len(LEVELS), rel=1e-4)
    assert kept(study, run) == found
    with monkeypatch.context() as patch:
        patch.setattr(Study, "train", lambda *_: pytest.fail("it is on disk"))
        assert obtain_pull(study, run) == found
    monkeypatch.setattr("dslstudy.study.measured.code_fingerprint", lambda run: "another-code")
    monkeypatch.setattr("dslstudy.study.pulls.code_fingerprint", lambda run: "another-code")
    assert found.stale(run)
    again = obtain_pull(study, run)
    assert not again.stale(run)
    assert again.shares == found.shares
    (study.store.root / "search" / f"{run.key}.pull").write_text('{"shares": ')
    with pytest.raises(InputError, match=r"\.pull is damaged .* delete it and run again"):
        obtain_pull(study, run)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (run_of("llpauc"), "learns variables"),
        (run_of("advinfonce"), "learns variables"),
        (RunConfig(**SMALL, loss="bpr", score="inner-product"), "score inner-product"),
        (RunConfig(dataset="synthetic-ranking", backbone="popularity", loss="none"), "pull of none"),
    ],
)
def test_what_has_no_pull_to_tell_is_refused(study, run, message):
    with pytest.raises(InputError, match=message):
        pull_shares(study, run)
