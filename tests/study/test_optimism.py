"""Choosing on the test set, against all sets of trials."""

from itertools import combinations
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.study import RunConfig
from dslstudy.study.optimism import expected_choice, optimism
from dslstudy.study.search import Trial

RUN = RunConfig(dataset="synthetic-ranking")
PAIRS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6)


def trials_of(pairs):
    return [
        Trial(n, {}, RUN, SimpleNamespace(validation={"ndcg@20": validation}, test={"ndcg@20": test}))
        for n, (validation, test) in enumerate(pairs)
    ]


@given(PAIRS, st.data())
def test_the_chosen_ones_over_all_sets(pairs, data):
    count = data.draw(st.integers(1, len(pairs)))
    validation, test = zip(*pairs, strict=True)
    sets = list(combinations(range(len(pairs)), count))
    honest = [test[max(each, key=lambda n: (validation[n], -n))] for each in sets]
    peeked = [max(test[n] for n in each) for each in sets]
    assert expected_choice(validation, test, count) == pytest.approx(sum(honest) / len(sets))
    assert expected_choice(test, test, count) == pytest.approx(sum(peeked) / len(sets))


@given(PAIRS)
def test_both_reports_of_a_search(pairs):
    found = optimism(trials_of(pairs))
    validation, test = zip(*pairs, strict=True)
    assert found.reported == max(test)
    assert found.supported == test[validation.index(max(validation))]
    assert found.inflation == pytest.approx(max(test) / found.supported - 1)
    assert found.inflation >= 0
    assert expected_choice(validation, test, len(pairs)) == found.supported
    assert expected_choice(test, test, len(pairs)) == found.reported


def test_a_trial_without_a_record_is_passed_over():
    trials = [Trial(0, {}, RUN, None, failed=True), *trials_of([(1, 2), (2, 1)])]
    assert (optimism(trials).reported, optimism(trials).supported) == (2, 1)
    with pytest.raises(InputError, match="no trial of this search has a record"):
        optimism(trials[:1])


def test_bad_input():
    with pytest.raises(InputError, match="give one of each"):
        expected_choice([1.0], [1.0, 2.0], 1)
    for count in (0, 3):
        with pytest.raises(InputError, match="count must lie between 1 and 2"):
            expected_choice([1.0, 2.0], [1.0, 2.0], count)
