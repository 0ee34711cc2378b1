"""Both plain formulations are one function, the one our softmax loss computes; and its evaluation agrees with ours."""

import math

import pytest
import torch
from gather import Gather, MatrixFactorization, softmax_loss

from dslstudy.losses import softmax_loss as our_loss
from dslstudy.metrics.topk import RankingEvaluator


@pytest.fixture
def example():
    """Few users and items, five examples with four negatives each, some of them accidental positives."""
    torch.manual_seed(3)
    model = MatrixFactorization(6, 9, 4).double()
    users, positives = torch.tensor([0, 1, 2, 5, 0]), torch.tensor([[0], [8], [3], [3], [1]])
    negatives = torch.randint(9, (5, 4))
    known = torch.tensor([[False] * 4, [True, False, False, False], [False, True, True, False]] + [[False] * 4] * 2)
    return model, users, positives, negatives, known


def value_and_gradients(model, formulation, users, positives, negatives, known):
    score = getattr(model, formulation)
    loss = softmax_loss(score(users, positives), score(users, negatives), known, 0.2)
    return loss, torch.autograd.grad(loss, (model.user_embedding.weight, model.item_embedding.weight))


def test_both_formulations_are_the_loss_by_hand(example):
    model, users, positives, negatives, known = example
    vectors = [table.weight.tolist() for table in (model.user_embedding, model.item_embedding)]

    def cosine(user, item):
        u, v = vectors[0][user], vectors[1][item]
        return sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)

    terms = []
    for user, (item,), row, hidden in zip(*(t.tolist() for t in (users, positives, negatives, known)), strict=True):
        margins = [cosine(user, j) - cosine(user, item) for j, out in zip(row, hidden, strict=True) if not out]
        terms.append(math.log(sum(math.exp(margin / 0.2) for margin in margins)))
    by_hand = sum(terms) / len(terms)
    for formulation in ("cosine", "matmul"):
        assert value_and_gradients(model, formulation, *example[1:])[0].item() == pytest.approx(by_hand)


def test_both_formulations_have_the_gradients_of_our_loss(example):
    model, users, positives, negatives, known = example
    scores = torch.nn.functional.normalize(model.user_embedding.weight, dim=1) @ (
        torch.nn.functional.normalize(model.item_embedding.weight, dim=1).T
    )
    of_examples = scores[users]
    loss = our_loss(
        of_examples.gather(1, positives)[:, 0], of_examples.gather(1, negatives), temperature=0.2, mask=~known
    ).mean()
    ours = torch.autograd.grad(loss, (model.user_embedding.weight, model.item_embedding.weight))
    for formulation in ("cosine", "matmul"):
        value, theirs = value_and_gradients(model, formulation, users, positives, negatives, known)
        assert value.item() == pytest.approx(loss.item())
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_an_epoch_goes_through_every_interaction_once(make_task):
    task = make_task(formulation="matmul")
    contender = Gather(task)
    batches = [contender.next_batch() for _ in range(task.updates_per_epoch)]
    assert sorted(map(tuple, torch.cat(batches).tolist())) == sorted(map(tuple, task.train.tolist()))
    assert [len(batch) for batch in batches[:-1]] == [256] * (task.updates_per_epoch - 1)


@pytest.mark.parametrize("formulation", ["cosine", "matmul"])
def test_it_learns_and_evaluates_as_the_study_does(formulation, make_task, split):
    contender = Gather(make_task(formulation=formulation))
    judge = RankingEvaluator(split.validation.csr(), split.train.csr())

    def validation():
        users = contender.evaluate()
        (result,) = judge.evaluate(*map(torch.from_numpy, contender.tables()))
        assert users == len(result.users)
        assert contender.ndcg == pytest.approx(result.mean()["ndcg@20"])
        assert contender.recall == pytest.approx(result.mean()["recall@20"])
        return contender.ndcg

    before = validation()
    contender.run(40)
    assert validation() > before + 0.02
