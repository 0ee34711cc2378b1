from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from dslstudy.data import load_click_split
from dslstudy.data.click_truth import COHORTS, ClickRows
from dslstudy.data.click_world import BLOCK, ClickWorld
from dslstudy.errors import InputError

SMALL = ClickWorld(rows=20_000, users=300, field_size=12, fields=4, rank=3)


def drawn(world, **options):
    return ClickRows.joined(list(world.stream(**options)))


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ClickRows.__dataclass_fields__)


def ne(labels, p):
    """Normalized entropy, written out."""
    loss = -np.mean(np.where(labels == 1, np.log(p), np.log1p(-p)))
    rate = labels.mean()
    return loss / -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))


# Rows


@pytest.mark.parametrize("chunk", [1000, 7777, BLOCK, 3 * BLOCK + 1])
def test_chunks_do_not_change_the_rows(chunk):
    whole = drawn(SMALL, rows=2 * BLOCK + 123)
    chunks = list(SMALL.stream(chunk, rows=2 * BLOCK + 123))
    assert {len(one) for one in chunks[:-1]} <= {chunk}
    assert 0 < len(chunks[-1]) <= chunk
    assert same(ClickRows.joined(chunks), whole)


def test_a_longer_stream_begins_with_the_shorter_one():
    assert same(drawn(SMALL, rows=BLOCK + 50)[:900], drawn(SMALL, rows=900))


def test_a_stream_holds_one_chunk_at_a_time():
    """A world of a trillion rows gives its first rows at once."""
    stream = replace(SMALL, rows=10**12).stream(1000)
    assert [len(next(stream)) for _ in range(3)] == [1000] * 3


def test_equal_dials_and_seeds_draw_equal_rows_and_others_do_not():
    again = ClickWorld(rows=20_000, users=300, field_size=12, fields=4, rank=3)
    assert same(drawn(SMALL, rows=500), drawn(again, rows=500))
    other_rows, other_world = drawn(SMALL, seed=1, rows=500), drawn(replace(SMALL, world_seed=1), rows=500)
    for other in (other_rows, other_world):
        assert not np.array_equal(drawn(SMALL, rows=500).labels, other.labels)
        assert not np.array_equal(drawn(SMALL, rows=500).fields[:, 0], other.fields[:, 0])
    fields = drawn(SMALL, rows=500).fields[:, :4]
    assert np.array_equal(SMALL.conditionals(fields), again.conditionals(fields))  # the seed of the rows is not in it
    assert not np.array_equal(SMALL.conditionals(fields), replace(SMALL, world_seed=1).conditionals(fields))


def test_blocks_differ():
    rows = drawn(SMALL, rows=2 * BLOCK)
    assert not np.array_equal(rows.fields[:BLOCK], rows.fields[BLOCK:])


def test_fields_follow_zipfs_law():
    world = replace(SMALL, zipf=1.3, field_size=(5, 12, 3, 40))
    rows = drawn(world, rows=50_000)
    assert world.sizes == (6, 13, 4, 41, 4)
    for place, size in enumerate((5, 12, 3, 40)):
        weights = np.arange(1, size + 1) ** -1.3
        expected = 50_000 * weights / weights.sum()
        found = np.bincount(rows.fields[:, place], minlength=size + 1)
        assert found[0] == 0
        assert ((found[1:] - expected) ** 2 / expected).sum() < size + 5 * np.sqrt(2 * size)


def test_active_users_have_more_rows():
    rows = drawn(replace(SMALL, user_zipf=1.0), rows=60_000)
    weights = 1 / np.arange(1, 301)
    expected = 60_000 * weights / weights.sum()
    found = np.bincount(rows.users, minlength=300)
    assert ((found - expected) ** 2 / expected).sum() < 300 + 5 * np.sqrt(600)


# Truth


def test_labels_follow_their_probabilities():
    """In every tenth of the predicted range the share of positives is the mean probability, up to chance."""
    rows = drawn(replace(SMALL, contrast=1.5, noise=0.1), rows=200_000)
    order = np.argsort(rows.probabilities)
    for part in np.array_split(order, 10):
        p = rows.probabilities[part]
        assert abs(rows.labels[part].mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(part)


def test_probabilities_are_main_effects_plus_pairs_written_as_loops():
    world = replace(SMALL, contrast=0.8, noise=0.25, relation="independent")
    main, *factors = world._effects
    fields = drawn(world, rows=40).fields[:, :4]

    def raw(row, kind):
        ids = [int(value) - 1 for value in row]
        if kind == 0:
            return sum(main[place, one] for place, one in enumerate(ids))
        table = factors[kind - 1]
        return sum(table[f, ids[f]] @ table[g, ids[g]] for g in range(4) for f in range(g))

    mean, spread, _ = world._scale
    unit = np.array([[(raw(row, kind) - mean[kind]) / spread[kind] for kind in range(4)] for row in fields])
    shared = 0.7 * unit[:, 0] + 0.7 * unit[:, 1]
    for cohort, own in enumerate((0, 0.8 * unit[:, 2], 0.8 * unit[:, 3])):
        clean = expit(shared + own + world._intercepts[cohort])
        assert world.conditionals(fields)[:, cohort] == pytest.approx(0.75 * clean + 0.25 * 0.2)


def test_opposite_cohorts_are_mirrored():
    world = replace(SMALL, contrast=2.0)
    rest, head, tail = (logit(world.conditionals(drawn(world, rows=100).fields[:, :4])) - world._intercepts).T
    assert head - rest == pytest.approx(rest - tail)


def test_contrast_is_the_spread_of_the_cohorts_own_part():
    world = replace(SMALL, contrast=1.7, relation="independent")
    scores = logit(world.conditionals(drawn(world, rows=60_000).fields[:, :4])) - world._intercepts
    for cohort in (1, 2):
        assert (scores[:, cohort] - scores[:, 0]).std() == pytest.approx(1.7, rel=0.03)


def test_without_contrast_all_cohorts_have_the_same_conditional():
    for relation in ("opposite", "independent"):
        world = replace(SMALL, contrast=0.0, relation=relation)
        rows = drawn(world, rows=300)
        conditionals = world.conditionals(rows.fields[:, :4])
        assert conditionals[:, 1] == pytest.approx(conditionals[:, 0])
        assert conditionals[:, 2] == pytest.approx(conditionals[:, 0])
        assert rows.blind == pytest.approx(rows.probabilities)


def test_pure_noise_leaves_the_base_rate():
    assert drawn(replace(SMALL, noise=1.0, base_rate=0.3), rows=50).probabilities == pytest.approx(0.3)


@pytest.mark.parametrize("rates", [{"base_rate": 0.2}, {"base_rate": 0.06, "head_rate": 0.3, "tail_rate": 0.01}])
def test_base_rates_are_met(rates):
    world = replace(SMALL, contrast=1.5, users=2000, **rates)
    rows = drawn(world, rows=300_000)
    for cohort, rate in enumerate((rates["base_rate"], rates.get("head_rate"), rates.get("tail_rate"))):
        labels = rows.labels[rows.cohorts == cohort]
        rate = rate or rates["base_rate"]
        # chance of the labels, of the rows drawn and of the calibration rows
        assert abs(labels.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) * (1 / len(labels) + 1 / 65_536))


# Cohorts


@pytest.mark.parametrize("share_of", ["rows", "users"])
def test_cohorts_have_the_size_asked_for(share_of):
    world = replace(SMALL, users=4000, head_share=0.05, tail_share=0.3, share_of=share_of)
    if share_of == "users":
        shares = np.bincount(world.cohort_of_user) / 4000
    else:
        shares = np.fromiter(world.cohort_weights.values(), float)
        rows = drawn(world, rows=100_000)
        assert np.bincount(rows.cohorts) / 100_000 == pytest.approx(shares, abs=0.008)
    assert shares == pytest.approx([0.65, 0.05, 0.3], abs=0.005)
    assert sum(world.cohort_weights.values()) == pytest.approx(1)
    assert tuple(world.cohort_weights) == COHORTS


def test_the_head_has_the_highest_values_and_the_tail_the_lowest():
    world = replace(SMALL, users=1000)
    value, cohort = world.value_of_user, world.cohort_of_user
    assert value[cohort == 2].max() < value[cohort == 0].min() < value[cohort == 0].max() < value[cohort == 1].min()
    assert 0 < value.min() < value.max() < 1


def test_a_cohort_is_never_empty():
    world = replace(SMALL, users=3, head_share=0.001, tail_share=0.001)
    assert sorted(world.cohort_of_user) == [0, 1, 2]


def test_a_cohort_shows_where_it_should():
    rows = {kind: drawn(replace(SMALL, visibility=kind), rows=4000) for kind in ("feature", "id", "hidden")}
    assert np.array_equal(rows["feature"].fields[:, -1], rows["feature"].cohorts + 1)
    assert np.array_equal(rows["id"].fields[:, -1], rows["id"].users + 1)
    assert rows["hidden"].fields.shape[1] == 4
    for kind, one in rows.items():
        world = replace(SMALL, visibility=kind)
        assert len(world.feature_names) == len(world.sizes) == one.fields.shape[1]
        assert (one.fields.max(axis=0) < world.sizes).all()
        conditionals = world.conditionals(one.fields[:, :4])
        mixture = conditionals @ np.array(list(world.cohort_weights.values()))
        own = conditionals[np.arange(4000), one.cohorts]
        assert one.probabilities == pytest.approx(mixture if kind == "hidden" else own)
        assert one.blind == pytest.approx(mixture)


# Splits


def test_a_split_is_the_stream_cut_in_order():
    split = SMALL.split(3)
    rows = drawn(SMALL, seed=3)
    assert [len(split.part(name)) for name in ("train", "validation", "test")] == [14_000, 2000, 4000]
    assert np.array_equal(split.test.labels, rows.labels[16_000:])
    assert np.array_equal(split.validation.features[2].values, rows.fields[14_000:16_000, 2])
    assert np.array_equal(split.truth.probabilities["train"], rows.probabilities[:14_000])
    assert np.array_equal(split.truth.cohorts["test"], rows.cohorts[16_000:])
    assert np.array_equal(split.axis("cohort").test, rows.cohorts[16_000:])
    assert split.axis("cohort").labels == COHORTS
    assert split.sizes == SMALL.sizes
    assert split.fingerprint == SMALL.split(3).fingerprint != SMALL.split(4).fingerprint


def test_the_value_axis_ends_in_head_and_tail():
    split = replace(SMALL, users=2000).split()
    value, cohort = split.axis("value"), split.axis("cohort")
    assert len(value.labels) == 20
    assert (cohort.train[value.train <= 3] == 2).all()
    assert (cohort.train[value.train >= 16] == 1).all()
    assert value.counts() / 14_000 == pytest.approx(0.05, abs=0.012)


def test_the_bayes_predictor_scores_what_is_said_and_beats_a_fitted_model():
    """The strongest rival: the share of positives of every combination of ids that train holds, smoothed."""
    world = ClickWorld(rows=60_000, fields=2, field_size=8, users=400, contrast=1.5)
    split = world.split()
    truth = split.truth
    labels, p = split.test.labels, truth.probabilities["test"]
    assert truth.bayes_ne("test") == pytest.approx(ne(labels, p))
    head = truth.cohorts["test"] == 1
    assert truth.bayes_ne("test", "head") == pytest.approx(ne(labels[head], p[head]))
    assert truth.blind_ne("test", "head") == pytest.approx(ne(labels[head], truth.blind["test"][head]))

    def cells(part, kept):
        values = [split.part(part).features[place].values for place in kept]
        return np.ravel_multi_index(values, [split.sizes[place] for place in kept])

    def fitted(kept):
        size = int(np.prod([split.sizes[place] for place in kept]))
        rows = np.bincount(cells("train", kept), minlength=size)
        positive = np.bincount(cells("train", kept), weights=split.train.labels, minlength=size)
        return ((positive + 0.4) / (rows + 2))[cells("test", kept)]

    everything, blind = fitted([0, 1, 2]), fitted([0, 1])
    assert truth.bayes_ne("test") < ne(labels, everything) < truth.blind_ne("test") < ne(labels, blind)
    assert ne(labels, everything) < truth.bayes_ne("test") + 0.01  # and it is a bound that can be reached


def test_a_hidden_cohort_leaves_nothing_to_gain():
    truth = replace(SMALL, visibility="hidden", contrast=2.0).split().truth
    assert truth.bayes_ne("test") == truth.blind_ne("test")
    seen = replace(SMALL, contrast=2.0).split().truth
    assert seen.bayes_ne("test") < seen.blind_ne("test") - 0.01


def test_the_registry_draws_it_with_any_dial():
    split = load_click_split("synthetic-clicks", seed=2, rows=3000, contrast=0.5, visibility="id", users=50)
    assert split.truth.world == ClickWorld(rows=3000, contrast=0.5, visibility="id", users=50)
    assert split.seed == 2
    assert split.data_sha256["synthetic-clicks"]


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"contrast": -1}, "contrast is a number from 0, not -1"),
        ({"contrast": float("nan")}, "contrast is a number from 0"),
        ({"zipf": "steep"}, "zipf is a number from 0, not 'steep'"),
        ({"noise": 1.1}, "noise is a probability"),
        ({"base_rate": 0}, "base_rate lies between 0 and 1"),
        ({"head_rate": 1.0}, "head_rate lies between 0 and 1"),
        ({"base_rate": None}, "base_rate lies between 0 and 1"),
        ({"head_share": 0.6, "tail_share": 0.5}, "at most 1 together"),
        ({"tail_share": 0}, "tail_share lies between 0 and 1"),
        ({"visibility": "seen"}, "visibility is one of feature, id, hidden"),
        ({"relation": "same"}, "relation is one of opposite, independent"),
        ({"rows": 5}, "rows is an integer from 10"),
        ({"rank": 0}, "rank is an integer from 1"),
        ({"fields": True}, "fields is an integer from 2"),
        ({"field_size": (4, 5)}, "one for each of 6 fields"),
        ({"field_size": 1}, "field_size is an integer from 2"),
        ({"users": 2.5}, "users is an integer from 3"),
        ({"colour": "red"}, "'colour' is not one of the dials of synthetic-clicks: rows, world_seed, contrast"),
    ],
)
def test_mistakes_are_explained(dials, message):
    with pytest.raises(InputError, match=message):
        load_click_split("synthetic-clicks", **dials)


def test_streams_and_truth_explain_their_mistakes():
    with pytest.raises(InputError, match="at least one row"):
        SMALL.stream(0)
    with pytest.raises(InputError, match="a seed is an integer"):
        next(SMALL.stream(seed=-1))
    truth = replace(SMALL, rows=1000).split().truth
    with pytest.raises(InputError, match="no cohort 'middle'; choose one of rest, head, tail"):
        truth.bayes_ne("test", "middle")
    with pytest.raises(InputError, match="both labels"):
        replace(SMALL, rows=10, base_rate=0.001).split().truth.bayes_ne("test")
