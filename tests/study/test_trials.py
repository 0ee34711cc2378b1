"""The best of some trials, against all sets of so many; the trials needed, against all orders."""

from itertools import combinations, permutations
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.study.search import Trial
from dslstudy.study.trials import best_of_some, best_so_far, trials_needed, turned_alone

values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(values)
def test_best_so_far(found):
    top = -inf
    for value, here in zip(found, best_so_far(found), strict=True):
        top = max(top, value)
        assert here == top


@given(values, st.data())
def test_the_best_of_some_over_all_sets(found, data):
    count = data.draw(st.integers(1, len(found)))
    confidence = data.draw(st.sampled_from([0.5, 0.9, 0.95]))
    best = np.array(sorted(max(each) for each in combinations(found, count)))
    interval = best_of_some(found, count, confidence=confidence)
    assert interval.estimate == pytest.approx(best.mean())
    tail = (1 - confidence) / 2
    assert interval.low == pytest.approx(np.quantile(best, tail, method="inverted_cdf"))
    assert interval.high == pytest.approx(np.quantile(best, 1 - tail, method="inverted_cdf"))
    assert interval.low <= interval.high


def test_a_diverged_trial_counts_as_one_that_found_nothing():
    assert best_of_some([-inf, 0.5], 1).estimate == -inf
    assert best_of_some([-inf, 0.5], 2).estimate == 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1))
def test_trials_needed_over_all_orders(found, target):
    firsts = [
        next((place for place, value in enumerate(order, start=1) if value > target), None)
        for order in permutations(found)
    ]
    first, on_average = trials_needed(found, target)
    if None in firsts:
        assert (first, on_average) == (None, None)
    else:
        assert first == next(place for place, value in enumerate(found, start=1) if value > target)
        assert on_average == pytest.approx(np.mean(firsts))


@given(
    st.lists(
        st.fixed_dictionaries({"step": st.sampled_from([1, 2]), "c": st.sampled_from([0.8, 0.9, 1.0])}), min_size=1
    )
)
def test_what_was_turned_alone(points):
    trials = [Trial(number, point, None, None) for number, point in enumerate(points)]
    expected = set()
    for point in points[1:]:
        if point["step"] == points[0]["step"] and point["c"] != points[0]["c"]:
            expected.add(point["c"])
    assert turned_alone(trials, "c") == sorted(expected)
