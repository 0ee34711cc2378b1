"""Figures of training: medians, bands and seeds are where they should be."""

import numpy as np
import pytest
from drawing import render

from dslstudy import study_tables
from dslstudy.figures.inside import draw_competition, draw_gradients
from dslstudy.study import RunConfig
from dslstudy.study.inside import Inside, Snapshot

EPOCHS = (0, 1, 2)


def run(loss, seed):
    shift = seed / 100 + (loss == "dsl") / 10
    snapshots = [
        Snapshot(
            epoch,
            2.0 - epoch,
            [0.9 + shift / 10] * 5,
            [0.1 + shift, 0.15 + shift, 0.2 + shift, 0.25 + shift, 0.3 + shift],
            [1.0 + shift] * 5,
            None if loss == "softmax" else -0.5 + shift,
            [q / 10 + epoch + shift for q in range(5)],
            [q / 20 + epoch + shift for q in range(5)],
            {"users": 0.3 + shift, "items": 0.4 + shift},
            {"training": 0.2 + shift, "test": 0.1 - shift},
        )
        for epoch in EPOCHS
    ]
    return Inside(RunConfig(dataset="synthetic-ranking", loss=loss, seed=seed), snapshots)


@pytest.fixture
def seen():
    return {loss: [run(loss, seed) for seed in (0, 2)] for loss in ("softmax", "dsl")}


def test_medians_and_bands(seen):
    entropy, coupling, radius, uniform = render(draw_competition(seen))
    line = next(line for line in radius.lines if line.get_label() == "DSL")
    np.testing.assert_allclose(line.get_ydata(), [0.2 + epoch + 0.11 for epoch in EPOCHS])
    line = next(line for line in coupling.lines if line.get_label() == "SL")
    np.testing.assert_allclose(line.get_ydata(), [0.21] * 3)
    assert len(entropy.collections) == 1  # SL has no weights
    assert [len(ax.collections) for ax in (coupling, radius, uniform)] == [2, 2, 2]
    low, high = uniform.collections[1].get_paths()[0].get_extents().intervaly
    assert (low, high) == (pytest.approx(0.11), pytest.approx(0.2 + 2 + 0.11))
    assert uniform.get_ylim()[0] == 0


def test_gradients_show_every_seed_and_the_mean(seen):
    norm, training, test = render(draw_gradients(seen))
    values = {round(float(line.get_ydata()[0]), 6) for line in test.lines}
    assert {0.1, 0.08, 0.09, 0.0, -0.02, -0.01} <= values
    assert {0.2, 0.22, 0.21, 0.3, 0.32, 0.31} <= {round(float(line.get_ydata()[0]), 6) for line in training.lines}
    assert len(norm.get_legend().get_texts()) == 4


def test_the_table_has_a_row_for_each_loss_and_epoch(seen):
    table = study_tables.watched(seen, {"softmax": [], "dsl": []})
    assert [(row["loss"], row["epoch"]) for row in table.rows] == [(loss, e) for loss in ("SL", "DSL") for e in EPOCHS]
    assert table.rows[-1]["KL from nominal"] == pytest.approx(2.31)
    assert table.rows[0]["ρ"] == pytest.approx(0.21)
    assert table.rows[0]["τᵢ with popularity"] is None  # SL has one temperature
    assert table.rows[-1]["τᵢ with popularity"] == pytest.approx(-0.39)
    assert table.rows[0]["cosine, test"] == pytest.approx(0.09)
