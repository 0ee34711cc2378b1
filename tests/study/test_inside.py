"""What is seen inside training: the run that is watched is the run of the record, and each number is what it says."""

import numpy as np
import pytest
import torch
from scipy import stats

from dslstudy.errors import InputError
from dslstudy.losses import dsl_loss, softmax_loss
from dslstudy.study import RunConfig, inside, open_study
from dslstudy.study.inside import (
    LEVELS,
    curve,
    curves,
    draw_sample,
    inferred,
    kept,
    loss_of,
    observe,
    scores_of,
)
from dslstudy.study.study import split_of

SMALL = {
    "dataset": "synthetic-ranking",
    "embedding_size": 8,
    "num_negatives": 16,
    "batch_size": 256,
    "epochs": 3,
    "evaluate_every": 2,
}
RUNS = {loss: RunConfig(**SMALL, loss=loss) for loss in ("softmax", "dsl")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return open_study("smoke", store=tmp_path_factory.mktemp("store"), progress=False)


@pytest.fixture(scope="module")
def seen(study):
    return {loss: observe(study, run) for loss, run in RUNS.items()}


@pytest.fixture(scope="module")
def scores(study):
    """A sample's scores under a model that was trained."""
    model = study.train(RUNS["dsl"])
    sample = draw_sample(model.split.train, examples=40, num_negatives=16, seed=0)
    return sample, scores_of(sample, torch.from_numpy(model.user_table), torch.from_numpy(model.item_table)), model


def test_each_epoch_is_seen_and_the_last_one_is_the_trained_model(study, seen):
    for loss, run in RUNS.items():
        assert [each.epoch for each in seen[loss].snapshots] == [0, 1, 2, 3]
        model = study.train(run)
        observer = inside._Observer(run, model.split, study.profile)
        tables = torch.from_numpy(model.user_table), torch.from_numpy(model.item_table)
        best = model.record.selection["best_epoch"]
        assert observer.look(best, *tables) == seen[loss].snapshots[best]


def test_what_was_seen_is_kept(study, seen, monkeypatch):
    monkeypatch.setattr(type(study), "_train", None)  # nothing is trained
    assert observe(study, RUNS["dsl"]) == seen["dsl"] == kept(study, RUNS["dsl"])
    monkeypatch.setattr(inside, "FORMAT", -1)
    assert kept(study, RUNS["dsl"]) is None
    assert len(study.store.paths()) == len(RUNS)  # it is no record


def test_another_training_than_the_records_is_refused(tmp_path):
    study = open_study("smoke", store=tmp_path, progress=False)
    record = study.obtain([RUNS["softmax"]])[0]
    text = record.path.read_text(encoding="utf-8")
    value = str(record.history[0]["validation"])
    record.path.write_text(text.replace(f'"validation": {value}', '"validation": 0.5'), encoding="utf-8")
    with pytest.raises(InputError, match="other validations than its record"):
        observe(study, RUNS["softmax"])
    assert kept(study, RUNS["softmax"]) is None


@pytest.mark.parametrize(
    "settings", [{"loss": "bsl"}, {"score": "inner-product", "loss": "dsl"}, {"loss": "dsl", "hidden_probability": 0.1}]
)
def test_other_runs_are_refused(study, settings):
    with pytest.raises(InputError, match="only runs of SL and DSL"):
        observe(study, RunConfig(**SMALL, **settings))


def test_a_damaged_file_says_so(study, seen):
    path = inside._path(study.store, RUNS["softmax"])
    content = path.read_text(encoding="utf-8")
    path.write_text(content[: len(content) // 2], encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        kept(study, RUNS["softmax"])
    path.write_text(content, encoding="utf-8")


def test_the_sample_is_fixed_and_its_negatives_are_real(scores):
    sample, _, model = scores
    train = model.split.train
    pairs = set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    assert set(zip(sample.users.tolist(), sample.positives.tolist(), strict=True)) <= pairs
    for user, items, real in zip(sample.users.tolist(), sample.negatives.tolist(), sample.real.tolist(), strict=True):
        assert [(user, item) not in pairs for item in items] == real
    again = draw_sample(train, examples=40, num_negatives=16, seed=0)
    assert torch.equal(again.negatives, sample.negatives)
    only = draw_sample(train, examples=10**6, num_negatives=2, seed=0, users=np.array([3, 5]))
    assert sorted(only.users.tolist()) == sorted(user for user in train.users.tolist() if user in (3, 5))
    with pytest.raises(InputError, match="no training interactions"):
        draw_sample(train, examples=3, num_negatives=2, seed=0, users=np.array([], int))


def test_scores_and_losses_are_those_of_the_pairs(scores):
    sample, found, model = scores
    for i in range(len(sample.users)):
        user, item = model.user_table[sample.users[i]], model.item_table[sample.positives[i]]
        negatives = model.item_table[sample.negatives[i].numpy()]
        assert found.positive[i].item() == pytest.approx(user @ item, abs=1e-5)
        np.testing.assert_allclose(found.negatives[i].numpy(), negatives @ user, atol=1e-5)
        np.testing.assert_allclose(found.similarity[i].numpy(), negatives @ item, atol=1e-5)
    sl = softmax_loss(found.positive, found.negatives, mask=found.real, temperature=0.2).mean()
    assert torch.isclose(loss_of(RUNS["softmax"], found), sl)
    options = {"item_similarity": found.similarity, "mask": found.real, **RUNS["dsl"].loss_parameters}
    assert torch.isclose(loss_of(RUNS["dsl"], found), dsl_loss(found.positive, found.negatives, **options).mean())


def test_the_softmax_loss_is_even_and_has_one_temperature(scores):
    _, found, _ = scores
    terms = inferred(RUNS["softmax"], found)
    assert torch.equal(terms.kappa, found.real.float())
    assert terms.tau.unique().tolist() == [pytest.approx(0.2)]
    with pytest.raises(InputError, match="not bsl"):
        inferred(RunConfig(**SMALL, loss="bsl"), found)


def test_snapshots_are_what_they_say(study):
    run, split = RUNS["dsl"], split_of(RUNS["dsl"])
    model = study.train(run)
    observer = inside._Observer(run, split, study.profile)
    users, items = (torch.from_numpy(table) for table in (model.user_table, model.item_table))
    snapshot = observer.look(1, users, items)
    sample, chosen = observer.sample, observer.users
    found = scores_of(sample, users[chosen], items)
    terms = inferred(run, found)
    entropies, radii, from_uniform, couplings = [], [], [], []
    for i in range(len(sample.users)):
        real = found.real[i].numpy()
        kappa = terms.kappa[i].numpy().astype(float)[real]
        nominal, margin = kappa / kappa.sum(), (found.negatives[i] - found.positive[i]).numpy().astype(float)[real]
        worst = nominal * np.exp(margin / terms.tau[i].item())
        worst /= worst.sum()
        entropies.append(-(nominal * np.log(nominal)).sum() / np.log(real.sum()))
        radii.append((worst * np.log(worst / nominal)).sum())
        couplings.append(np.corrcoef(margin, found.similarity[i].numpy()[real])[0, 1])
        from_uniform.append((worst * np.log(worst * real.sum())).sum())
    for name, values in (
        ("kappa_entropy", entropies),
        ("radius", radii),
        ("radius_from_uniform", from_uniform),
        ("coupling", couplings),
        ("intensity", terms.intensity.numpy()),
    ):
        np.testing.assert_allclose(getattr(snapshot, name), np.quantile(values, LEVELS), rtol=1e-4, atol=1e-6)
    degree = [sum(split.train.items == item) for item in sample.positives.tolist()]
    ranks = [stats.rankdata(values) for values in (terms.tau.numpy(), degree)]
    assert snapshot.softness == pytest.approx(np.corrcoef(*ranks)[0, 1])
    softmax = inside._Observer(RUNS["softmax"], split, study.profile).look(1, users, items)
    assert softmax.softness is None


def test_a_step_against_the_gradient_lowers_the_loss_as_its_norm_says(study):
    run = RUNS["dsl"]
    model = study.train(run)
    observer = inside._Observer(run, model.split, study.profile)
    tables = [torch.from_numpy(table).double() for table in (model.user_table, model.item_table)]
    snapshot = observer.look(1, *tables)
    # finite differences of the loss along each user vector's tangent plane, in one random direction
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(tables[1].shape, generator=generator, dtype=torch.float64)
    direction -= (direction * tables[1]).sum(1, keepdim=True) * tables[1]
    direction /= direction.norm()
    slopes = []
    for sign in (1, -1):
        scores = scores_of(observer.sample, tables[0][observer.users], tables[1] + sign * 1e-4 * direction)
        slopes.append(float(loss_of(RUNS["softmax"], scores)))
    slope = abs(slopes[0] - slopes[1]) / 2e-4
    softmax = inside._Observer(RUNS["softmax"], model.split, study.profile).look(1, *tables)
    assert slope <= softmax.gradient["items"] * 1.001  # no direction is steeper than the gradient
    assert snapshot.gradient["items"] > 0
    assert all(-1 <= value <= 1 for value in snapshot.alignment.values())


def test_curves_are_cut_to_the_shortest_run(seen):
    short = inside.Inside(RUNS["dsl"], seen["dsl"].snapshots[:2])
    assert curves([seen["dsl"], short], "loss").shape == (2, 2)
    assert curve(seen["dsl"], "alignment", part="test").tolist() == [
        each.alignment["test"] for each in seen["dsl"].snapshots
    ]


def test_long_runs_are_seen_at_their_validations():
    long = RunConfig(**SMALL | {"epochs": 200, "evaluate_every": 5})
    assert sorted(inside._watched(long)) == [0, 1, 2, 3, *range(5, 201, 5)]
