"""Figures of the shift: shares against loops over items, reports against their definition."""

import numpy as np
import pytest
from drawing import render
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dslstudy.figures.shift import concentration, draw_optimism, draw_scales, draw_shift


@given(st.integers(1, 12).flatmap(lambda n: hnp.arrays(np.int64, (2, n), elements=st.integers(0, 9))))
def test_what_the_most_popular_items_hold(counts):
    train, test = counts + 1
    ranking = sorted(range(len(train)), key=lambda item: (-train[item], item))
    of_train, of_test = concentration(train, test)
    for held in range(len(train) + 1):
        first = ranking[:held]
        assert of_train[held] == pytest.approx(sum(train[item] for item in first) / train.sum())
        assert of_test[held] == pytest.approx(sum(test[item] for item in first) / test.sum())


def test_a_shift_is_drawn_where_it_is():
    train = np.array([40, 30, 20, 10])
    figure = draw_shift({"IID": (train, train // 10), "Shifted": (train, np.array([1, 1, 1, 1]))}, groups=4)
    held, ratio = render(figure)
    assert list(held.lines[2].get_ydata()) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert list(held.lines[2].get_xdata()) == pytest.approx([0, 0.4, 0.7, 0.9, 1])
    alike, shifted = (line.get_ydata() for line in ratio.lines[:2])
    assert list(alike) == pytest.approx([1, 1, 1, 1])
    assert list(shifted) == pytest.approx([0.25 / 0.4, 0.25 / 0.3, 0.25 / 0.2, 2.5])


def test_both_reports_and_their_difference_are_drawn():
    validation = {"softmax": [0.3, 0.2, 0.1], "dsl": [0.3, 0.1, 0.2]}
    test = {"softmax": [0.5, 0.4, 0.3], "dsl": [0.2, 0.1, 0.4]}
    reports, inflation = render(draw_optimism(validation, test))[:2]
    honest, peeked = reports.lines[2:4]
    assert honest.get_ydata()[-1] == 0.2
    assert peeked.get_ydata()[-1] == 0.4
    assert honest.get_ydata()[0] == peeked.get_ydata()[0] == pytest.approx(0.7 / 3)
    of_softmax, of_dsl = (line.get_ydata() for line in inflation.lines)
    assert list(of_softmax) == pytest.approx([0, 0, 0], abs=1e-9)
    assert of_dsl[-1] == pytest.approx(100)


def test_the_scales_are_drawn_as_changes_from_having_neither():
    test = {
        "IID": {"neither": np.array([0.1, 0.3]), "weights only": np.array([0.2, 0.4]), "both": np.array([0.3, 0.5])}
    }
    validation = {"IID": {name: values / 2 for name, values in test["IID"].items()}}
    for ax in render(draw_scales(validation, test))[:2]:
        (mean,) = [line for line in ax.lines if line.get_label() == "IID"]
        assert mean.get_ydata() == pytest.approx([0, 50, 100])
        seeds = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
        assert np.array(seeds) == pytest.approx(np.array([[-50, 0, 50], [50, 100, 150]]))
