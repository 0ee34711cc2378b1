"""A small split and its validation, for the tests of the trainer."""

import pytest

from dslstudy.data import load_split
from dslstudy.metrics.topk import RankingEvaluator


@pytest.fixture(scope="session")
def split():
    return load_split("synthetic-ranking")


@pytest.fixture(scope="session")
def validate(split):
    evaluator = RankingEvaluator(split.validation.csr(), split.train.csr())
    return lambda users, items: [metrics.mean()["ndcg@20"] for metrics in evaluator.evaluate(users, items)]
