"""Differences seed by seed against SciPy's, and which seeds are set beside each other."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.study.paired_seeds import gain_over_seeds, gains_by_seed


def seeds(values, first=0):
    return [
        SimpleNamespace(test={"ndcg@20": value}, config=SimpleNamespace(seed=first + place))
        for place, value in enumerate(values)
    ]


def test_differences_seed_by_seed_are_those_of_a_t_test():
    base, other = [0.30, 0.32, 0.31, 0.35], [0.31, 0.34, 0.30, 0.37]
    found = gain_over_seeds(seeds(other), seeds(base))
    ratios = np.divide(other, base) - 1
    low, high = stats.t.interval(0.95, 3, ratios.mean(), stats.sem(ratios))
    assert (found.estimate, found.low, found.high) == pytest.approx((ratios.mean(), low, high))


@given(st.permutations(range(5)), st.integers(0, 5))
def test_a_seed_stands_beside_itself_in_whatever_order(order, later):
    rng = np.random.default_rng(0)
    ours, theirs = seeds(rng.uniform(0.1, 0.2, 5)), seeds(rng.uniform(0.1, 0.2, 5), first=later)
    found = gains_by_seed([ours[place] for place in order], theirs)
    expected = [ours[seed].test["ndcg@20"] / theirs[seed - later].test["ndcg@20"] - 1 for seed in range(later, 5)]
    assert list(found) == pytest.approx(expected)


@pytest.mark.parametrize("reference", [seeds([]), seeds([0.1]), seeds([0.1, 0.2], first=7)])
def test_fewer_than_two_shared_seeds_have_no_interval(reference):
    assert gain_over_seeds(seeds([0.3, 0.4]), reference) is None
