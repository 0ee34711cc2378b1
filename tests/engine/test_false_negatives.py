"""False negatives: the right items, as often as asked, for the right users; and the same bits wherever a run trains."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from dslstudy.data.interactions import Interactions
from dslstudy.engine import checkpoint, part
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.false_negatives import (
    FalseNegativeStack,
    hide,
    train_with_false_negatives,
    with_false_negatives,
)
from dslstudy.engine.ranking import train
from dslstudy.engine.sampler import Positives
from dslstudy.engine.stack import TrainedRun
from dslstudy.errors import InputError

SMALL = {"embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 3, "evaluate_every": 1, "patience": 9}
CONFIGS = [
    TrainingConfig(**SMALL | {"seed": seed, "loss": loss})
    for loss, seed in (("softmax", 0), ("dsl", 1), ("softmax", 2), ("slatk", 1), ("advinfonce", 0), ("bsl", 1))
]
#: user 0 hides nothing, user 1 one item, user 2 four
HIDDEN = {1: [5], 2: [1, 4, 6, 9]}


def interactions(items, num_users=3, num_items=11):
    pairs = [(user, item) for user, of_user in items.items() for item in of_user]
    return Interactions.with_ids(
        np.array([user for user, _ in pairs]),
        np.array([item for _, item in pairs]),
        user_ids=np.arange(num_users),
        item_ids=np.arange(num_items),
    )


@pytest.fixture(scope="module")
def halves(split):
    return hide(split.train, 0.1, seed=0)


def of_user(part, user):
    return {int(item) for item in part.items[part.users == user]}


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_hidden_items_are_no_training_items(split, fraction):
    kept, hidden = hide(split.train, fraction, seed=3)
    assert not set(kept.keys().tolist()) & set(hidden.keys().tolist())
    assert sorted([*kept.keys().tolist(), *hidden.keys().tolist()]) == sorted(split.train.keys().tolist())
    # rounded to nearest for each user, but for items that would be lost
    wanted = np.floor(fraction * split.train.user_counts() + 0.5)
    assert (hidden.user_counts() <= wanted).all()
    assert len(hidden) >= 0.95 * wanted.sum()
    assert ((kept.item_counts() > 0) == (split.train.item_counts() > 0)).all()


def test_what_is_hidden_is_not_cut_like_the_validation_part(split):
    from dslstudy.data.splits import validation_cut

    _, hidden = hide(split.train, 0.1, seed=0)
    _, validation = validation_cut(split.train, fraction=0.1, seed=0)
    assert len(set(hidden.keys().tolist()) & set(validation.keys().tolist())) < 0.3 * len(hidden)


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
def test_hidden_items_are_drawn_as_often_as_asked(probability):
    hidden, never = Positives(interactions(HIDDEN)), 10
    users = torch.arange(3).repeat_interleave(400)
    negatives = torch.full((len(users), 50), never)
    drawn = with_false_negatives(negatives, users, hidden, probability, seed=7, place=(2, 3, 0)).numpy()
    assert (negatives == never).all()
    for user in range(3):
        of_one = drawn[users.numpy() == user]
        replaced = of_one[of_one != never]
        assert set(replaced.tolist()) == set(HIDDEN.get(user, []))
        if user:
            assert binomtest(len(replaced), of_one.size, probability).pvalue > 1e-3
    times = np.bincount(drawn[users.numpy() == 2].ravel(), minlength=11)[HIDDEN[2]]
    assert chisquare(times).pvalue > 1e-3


@given(st.integers(0, 2**40), st.integers(1, 50), st.integers(0, 300))
def test_probabilities_zero_and_one(seed, epoch, step):
    hidden = Positives(interactions(HIDDEN))
    users, negatives = torch.tensor([0, 1, 2, 2]), torch.full((4, 6), 10)
    place = {"seed": seed, "place": (epoch, step, 0)}
    assert torch.equal(with_false_negatives(negatives, users, hidden, 0.0, **place), negatives)
    always = with_false_negatives(negatives, users, hidden, 1.0, **place)
    assert set(always[0].tolist()) == {10}
    assert set(always[1].tolist()) == {5}
    assert set(always[2:].flatten().tolist()) <= set(HIDDEN[2])


def test_nothing_hidden_changes_nothing():
    nothing, negatives = Positives(interactions({})), torch.arange(6).view(2, 3)
    drawn = with_false_negatives(negatives, torch.tensor([0, 2]), nothing, 0.5, seed=0, place=(1, 0, 0))
    assert torch.equal(drawn, negatives)


def test_places_seeds_and_the_two_streams_are_independent():
    hidden, users = Positives(interactions(HIDDEN)), torch.full((200,), 2)
    negatives = torch.full((200, 50), 10)
    drawn = [
        with_false_negatives(negatives, users, hidden, 0.5, seed=seed, place=place) != 10
        for seed, place in ((0, (1, 0, 0)), (1, (1, 0, 0)), (0, (2, 0, 0)), (0, (1, 1, 0)), (0, (1, 0, 64)))
    ]
    for one, other in itertools.combinations(drawn, 2):  # independent coins agree half of the time
        assert binomtest(int((one == other).sum()), one.numel(), 0.5).pvalue > 1e-4


def test_every_step_replaces_negatives_of_the_right_users(halves, monkeypatch):
    monkeypatch.setattr(part, "SHARE_SCORES", 1000)  # several shares
    seen, plain = [], FalseNegativeStack.draw

    def draw(self, part_, place, shape, first=0):
        drawn = plain(self, part_, place, shape, first)
        seen.append((self._users[part_, first : first + shape[0]].clone(), drawn.clone()))
        return drawn

    monkeypatch.setattr(FalseNegativeStack, "draw", draw)
    kept, hidden = halves
    runs = [TrainedRun(config) for config in CONFIGS[:2]]
    with FalseNegativeStack(kept, hidden, 1.0, runs, torch.device("cpu")) as stack:
        stack.epoch()
    assert sum(users.shape[1] for users, _ in seen) == 2 * len(kept)
    assert len({users.shape[1] for users, _ in seen}) > 1
    hidden_of = {user: of_user(hidden, user) for user in range(kept.num_users)}
    for users, drawn in seen:
        for user, items in zip(users.flatten().tolist(), drawn.flatten(0, 1).tolist(), strict=True):
            assert not hidden_of[user] or set(items) <= hidden_of[user]


def same(run, other):
    assert run.history == other.history
    assert torch.equal(run.user_table, other.user_table)
    assert torch.equal(run.item_table, other.item_table)


def test_probability_zero_is_the_plain_trainer(halves, validate):
    kept, hidden = halves
    plain = train(kept, CONFIGS, validate, progress=False)
    ours = train_with_false_negatives(kept, hidden, 0.0, CONFIGS, validate, progress=False)
    for run, other in zip(plain, ours, strict=True):
        same(run, other)


def test_neither_stack_nor_threads_change_a_bit(halves, validate, monkeypatch):
    monkeypatch.setattr(part, "SHARE_SCORES", 1000)
    kept, hidden = halves
    before, results = torch.get_num_threads(), []
    for threads, configs in ((1, CONFIGS), (3, CONFIGS), (1, CONFIGS[1:2]), (2, CONFIGS[1:4])):
        torch.set_num_threads(threads)
        runs = train_with_false_negatives(kept, hidden, 0.3, configs, validate, progress=False)
        results.append({(run.config.loss, run.config.seed): run for run in runs})
    torch.set_num_threads(before)
    for result in results[1:]:
        for key, run in result.items():
            same(run, results[0][key])
    plain = train(kept, CONFIGS[:1], validate, progress=False)[0]
    assert plain.history != results[0]["softmax", 0].history


def test_a_stopped_training_goes_on_where_it_was(halves, validate, tmp_path, monkeypatch):
    kept, hidden = halves
    monkeypatch.setattr(checkpoint, "WRITING_SHARE", 1e9)
    whole = train_with_false_negatives(kept, hidden, 0.3, CONFIGS[:4], validate, progress=False)
    plain, epochs = FalseNegativeStack.epoch, []

    def epoch(self):
        epochs.append(self.epoch_number + 1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        plain(self)

    monkeypatch.setattr(FalseNegativeStack, "epoch", epoch)
    path = tmp_path / "in-flight.pt"
    options = {"progress": False}
    with pytest.raises(KeyboardInterrupt):
        train_with_false_negatives(
            kept, hidden, 0.3, CONFIGS[:4], validate, checkpoint=Checkpoint(path, "here", seconds=0), **options
        )
    again = Checkpoint(path, "here", seconds=0)
    resumed = train_with_false_negatives(kept, hidden, 0.3, CONFIGS[:4], validate, checkpoint=again, **options)
    assert epochs == [1, 2, 3, 3]
    for run, other in zip(whole, resumed, strict=True):
        same(run, other)
    # finished runs are not trained again
    train_with_false_negatives(
        kept, hidden, 0.3, CONFIGS[:4], validate, checkpoint=Checkpoint(path, "here", seconds=0), **options
    )
    assert epochs == [1, 2, 3, 3]


def test_what_cannot_be_drawn_is_refused(halves, validate):
    kept, hidden = halves
    shared = TrainingConfig(**SMALL | {"negative_sampling": "batch"})
    for config, probability, message in ((shared, 0.1, "negative_sampling=example"), (CONFIGS[0], 1.5, "from 0 to 1")):
        with pytest.raises(InputError, match=message):
            train_with_false_negatives(kept, hidden, probability, [config], validate, progress=False)
    with pytest.raises(InputError, match="no training interactions"):
        train_with_false_negatives(kept.select(np.array([], int)), hidden, 0.1, CONFIGS[:1], validate, progress=False)
