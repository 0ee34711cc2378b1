"""Cohorts: the pair that was planted is found, nothing but training rows is read, random pairs are fair."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.c2al import divergences
from dslstudy.c2al.cohorts import (
    CohortPair,
    discover,
    extreme_pair,
    named_pair,
    out_of_sample_predictions,
    random_pair,
    unit_ids,
)
from dslstudy.data.click_logs import Axis, ClickLog, ClickSplit, Feature
from dslstudy.errors import InputError

PARTS = ("train", "validation", "test")
LABELS = ("lowest", "low", "middle", "high", "highest")


def make_log(rows, users, items, rng):
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    return ClickLog(rng.integers(0, 2, rows), (Feature("user", users, user),), user, item)


def make_split(seed=0, users=200, items=150, sizes=(4000, 500, 1000)):
    """A log whose axes are the fifths of the users, of the items, and of the rows."""
    rng = np.random.default_rng(seed)
    logs = [make_log(rows, users, items, rng) for rows in sizes]
    of_user, of_item = rng.permutation(users) % 5, rng.permutation(items) % 5
    axes = {
        "value": Axis("value", "user", LABELS, *(of_user[log.users] for log in logs)),
        "popularity": Axis("popularity", "item", LABELS, *(of_item[log.items] for log in logs)),
        "place": Axis("place", "row", LABELS, *(rng.integers(-1, 5, len(log)) for log in logs)),
    }
    return ClickSplit("random", *logs, axes, seed)


def planted(split, axis, shifts, *, spread=0.6, seed=0):
    """Predictions whose logits are normal around a unit's own mean plus the shift of its bin."""
    rng = np.random.default_rng(seed)
    units = unit_ids(split.train, split.axes[axis].unit)
    own = rng.normal(0, 0.3, units.max() + 1)
    bins = split.axes[axis].train
    logits = np.asarray(shifts)[bins] + own[units] + rng.normal(0, spread, len(units))
    return 1 / (1 + np.exp(-logits)), units


@pytest.mark.parametrize("divergence", divergences.DIVERGENCES)
@pytest.mark.parametrize("axis", ["value", "popularity"])
def test_the_planted_pair_is_found(divergence, axis):
    split = make_split()
    predictions, units = planted(split, axis, [0, 1, 0.2, -1, -0.2])
    found = discover(split.axes[axis], predictions, units, divergence=divergence, resamples=60)
    assert set(found.pair.head + found.pair.tail) == {1, 3}
    assert found.separated
    assert found.frequency == 1
    assert found.p_value == 0.01
    assert found.interval[0] < found.value < found.interval[1]
    assert f"{found.value:.4g}" in found.why()
    assert "not separated" not in found.why()


def test_the_matrix_is_that_of_the_cohorts_one_by_one():
    split = make_split()
    axis = split.axes["value"]
    predictions, units = planted(split, "value", [0, 1, 0.2, -2, -0.2])
    found = discover(axis, predictions, units, divergence="wasserstein", support_size=len(predictions))
    for i in range(5):
        assert found.rows[i] == (axis.train == i).sum()
        assert found.units[i] == len(set(units[axis.train == i]))
        assert found.mean_prediction[i] == pytest.approx(predictions[axis.train == i].mean())
        for j in range(5):
            expected = stats.wasserstein_distance(predictions[axis.train == i], predictions[axis.train == j])
            assert found.matrix[i, j] == pytest.approx(expected, abs=1e-9)
    others = np.delete(found.matrix[np.triu_indices(5, 1)], found.matrix[np.triu_indices(5, 1)].argmax())
    assert found.matrix[found.runner_up] == others.max()


@pytest.mark.parametrize(("divergence", "activity"), [("js", False), ("js", True), ("wasserstein", True)])
def test_alike_cohorts_are_not_told_apart(divergence, activity):
    """Without any difference p-values are not small, also where some bins have far fewer rows per user."""
    p_values, separated = [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = np.repeat([5, 10, 20, 40], 25) if activity else rng.integers(5, 40, 100)
        users = np.repeat(np.arange(100), rows)
        bins = users // 25
        axis = Axis("activity", "user", LABELS[:4], bins, bins[:0], bins[:0])
        logits = rng.normal(0, 0.3, 100)[users] + rng.normal(0, 0.6, len(users))
        found = discover(
            axis, 1 / (1 + np.exp(-logits)), users, divergence=divergence, min_rows=10, resamples=40, permutations=39
        )
        p_values.append(found.p_value)
        separated += found.separated
    # a quarter of them below a quarter, or fewer: worlds without cohorts are slightly noisier than the data
    below = sum(p_value <= 0.25 for p_value in p_values)
    assert 2 <= below <= 18
    assert np.mean(p_values) < 0.8
    assert separated <= 6


def test_intervals_of_users_cover_the_divergence_of_the_population():
    """Users are the unit: an interval over rows would be far too short for means that users have."""
    rng = np.random.default_rng(3)
    population = [rng.normal(0, 0.5, 200_000), rng.normal(1, 0.5, 200_000)]

    def distance(logits):
        return stats.wasserstein_distance(*(1 / (1 + np.exp(-each)) for each in logits))

    truth, users, rows = distance(population), 40, 25
    covered = {"users": 0, "rows": 0}
    for seed in range(60):
        own = [rng.choice(each, users) for each in population]
        predictions = 1 / (1 + np.exp(-np.concatenate([np.repeat(each, rows) for each in own])))
        bins = np.repeat([0, 1], users * rows)
        axis = Axis("two", "user", ("a", "b"), bins, bins[:0], bins[:0])
        for unit, ids in (("users", np.arange(len(bins)) // rows), ("rows", np.arange(len(bins)))):
            found = discover(
                axis, predictions, ids, divergence="wasserstein", min_rows=1, permutations=1, resamples=200, seed=seed
            )
            covered[unit] += found.interval[0] <= truth <= found.interval[1]
    assert covered["users"] >= 50
    assert covered["rows"] <= 30


def test_small_cohorts_are_shown_but_not_chosen():
    split = make_split()
    axis = split.axes["value"]
    shifts = [0, 5, 0.2, -2, 0.4]
    predictions, units = planted(split, "value", shifts)
    few = np.unique(units[axis.train == 1])[:10]
    bins = np.where((axis.train == 1) & ~np.isin(units, few), -1, axis.train)
    found = discover(replace(axis, train=bins), predictions, units, min_rows=1, min_units=20)
    assert found.admissible.tolist() == [True, False, True, True, True]
    assert found.units[1] == 10
    assert np.isfinite(found.matrix).all()
    assert 1 not in found.pair.head + found.pair.tail
    assert found.matrix[1, 3] > found.value


def test_an_empty_bin_has_no_divergence():
    split = make_split()
    axis = split.axes["value"]
    predictions, units = planted(split, "value", [0, 1, 0, -1, 0])
    found = discover(replace(axis, train=np.where(axis.train == 4, -1, axis.train)), predictions, units)
    assert found.rows[4] == 0
    assert np.isnan(found.matrix[4]).all()
    assert np.isnan(found.low[:, 4]).all()
    assert np.isnan(found.mean_prediction[4])


def test_only_training_bins_are_read():
    split = make_split()
    predictions, units = planted(split, "value", [0, 1, 0, -1, 0])
    axis = split.axes["value"]
    blind = replace(axis, validation=axis.validation[:0], test=axis.test[:0])
    one, other = (discover(each, predictions, units, resamples=20) for each in (axis, blind))
    assert one.pair == other.pair
    assert np.array_equal(one.low, other.low)


def test_head_is_the_larger_cohort_or_the_later_one():
    rng = np.random.default_rng(0)
    for sizes, head in (((3000, 1000), 0), ((1000, 3000), 1), ((1000, 1040), 1), ((1040, 1000), 1)):
        bins = np.repeat([0, 1], sizes)
        axis = Axis("two", "row", ("a", "b"), bins, bins[:0], bins[:0])
        found = discover(axis, rng.random(len(bins)), np.arange(len(bins)), resamples=2, permutations=1)
        assert found.pair == CohortPair("two", (head,), (1 - head,))
        assert found.runner_up is None
        assert found.separated


@given(st.sampled_from(["value", "popularity", "place"]), st.integers(0, 100), st.integers(1, 2))
def test_a_random_pair_has_the_sizes_of_the_pair_and_its_unit(axis, seed, bins):
    split = make_split(sizes=(1000, 200, 300))
    pair = extreme_pair(split.axes[axis], bins)
    drawn = random_pair(split, pair, seed=seed)
    assert drawn.unit == split.axes[axis].unit
    assert not np.intersect1d(drawn.head, drawn.tail).size
    ids = unit_ids(split.train, drawn.unit)
    for wanted, got, units in zip(
        pair.masks(split, "train"), drawn.masks(split, "train"), (drawn.head, drawn.tail), strict=True
    ):
        # whole units only, so the last place may stay empty, but no unit that is left would fit
        assert np.array_equal(got, np.isin(ids, units))
        assert wanted.sum() - np.bincount(ids).max() < got.sum() <= wanted.sum()
        if drawn.unit == "row":
            assert got.sum() == wanted.sum()
    for part in PARTS:
        head, tail = drawn.masks(split, part)
        assert not (head & tail).any()
        if drawn.unit != "row":
            assert np.array_equal(head, np.isin(unit_ids(getattr(split, part), drawn.unit), drawn.head))
        else:
            share = len(drawn.head) / len(split.train)
            assert head.mean() == pytest.approx(share, abs=1 / len(head))


def test_random_pairs_are_drawn_evenly():
    split = make_split(users=50)
    pair = extreme_pair(split.axes["value"])
    drawn = [random_pair(split, pair, seed=seed) for seed in range(300)]
    for side in ("head", "tail"):
        times = np.bincount(np.concatenate([getattr(each, side) for each in drawn]), minlength=50)
        share = times.mean() / 300
        assert times.std() < 2 * np.sqrt(300 * share * (1 - share))
        assert times.min() > 0
    again = random_pair(split, pair, seed=7)
    assert np.array_equal(again.head, drawn[7].head)
    assert not np.array_equal(drawn[8].head, drawn[7].head)


def test_cohorts_for_the_trainer():
    split = make_split()
    pair = CohortPair("place", (3, 4), (0,))
    for part, cohorts in pair.cohorts(split).items():
        bins = split.axes["place"].bins(part)
        assert cohorts.num_cohorts == 5
        assert cohorts.cohort.dtype == torch.int64
        assert np.array_equal(cohorts.cohort.numpy(), bins)
        assert cohorts.head.tolist() == [each in (3, 4) for each in bins]
        assert cohorts.tail.tolist() == [each == 0 for each in bins]
    drawn = random_pair(split, pair, seed=0).cohorts(split)
    assert list(drawn) == list(PARTS)
    assert torch.equal(drawn["test"].cohort, pair.cohorts(split)["test"].cohort)


def test_pairs_by_name_and_from_the_ends():
    axis = make_split().axes["value"]
    assert named_pair(axis, "highest", "lowest") == extreme_pair(axis) == CohortPair("value", (4,), (0,))
    assert extreme_pair(axis, 2) == CohortPair("value", (3, 4), (0, 1))


def test_out_of_sample_predictions_come_from_the_other_half():
    train = make_split().train
    train = replace(train, columns={"row": np.arange(len(train))})
    seen = []

    def fit(fitted, held_out):
        rows = fitted.columns["row"], held_out.columns["row"]
        seen.append(rows)
        return rows[1] / len(train)

    predictions = out_of_sample_predictions(train, fit, seed=3)
    assert np.array_equal(predictions, np.arange(len(train)) / len(train))
    assert len(seen) == 2
    for fitted, held_out in seen:
        assert not np.intersect1d(fitted, held_out).size
        assert len(fitted) + len(held_out) == len(train)
    assert np.array_equal(seen[0][0], seen[1][1])


SPLIT = make_split()
VALUE = SPLIT.axes["value"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CohortPair("value", (1,), (1,)), "may share none"),
        (lambda: CohortPair("value", (), (1,)), "at least one bin"),
        (lambda: CohortPair("value", (7,), (1,)).masks(SPLIT, "train"), "bins 0 to 4"),
        (lambda: CohortPair("age", (0,), (1,)).masks(SPLIT, "train"), "no axis 'age'; it has value"),
        (lambda: named_pair(VALUE, "rich", "low"), "no bin 'rich'; it has lowest"),
        (lambda: extreme_pair(VALUE, 3), "take 1 to 2 on a side"),
        (lambda: unit_ids(SPLIT.train, "shop"), "user, item or row"),
        (lambda: unit_ids(replace(SPLIT.train, items=None), "item"), "names no items"),
        (lambda: discover(VALUE, [0.5], [0]), "4000 training rows, but there are 1 predictions"),
        (lambda: discover(VALUE, *planted(SPLIT, "value", np.zeros(5)), min_rows=3000), "lower min_rows"),
        (lambda: discover(VALUE, *planted(SPLIT, "value", np.zeros(5)), divergence="chi2"), "choose one of"),
        (lambda: discover(VALUE, *planted(SPLIT, "value", np.zeros(5)), resamples=1), "at least 2 resamples"),
        (lambda: out_of_sample_predictions(SPLIT.train, lambda a, b: np.zeros(3), seed=0), r"shape \(3,\)"),
        (lambda: out_of_sample_predictions(SPLIT.train.select([0]), lambda a, b: b, seed=0), "two halves"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
