"""Tables of the ablation and of the dials against numbers worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from dslstudy import dsl_tables
from dslstudy.metrics.significance import Interval
from dslstudy.study_tables import Comparison, beside


def record(test, validation=0.0):
    return SimpleNamespace(test={"ndcg@20": test}, validation={"ndcg@20": validation}, key=f"{test}")


def test_arms_name_their_records_and_say_what_was_not_run():
    records = {"full DSL": [record(0.3, 0.2), record(0.5, 0.4)], "no kappa": []}
    worse = Comparison(Interval(-0.1, -0.2, -0.05), Interval(-0.25, -0.5, -0.1), 0.001, "worse than")
    alike = Comparison(Interval(0.1, -0.2, 0.4), Interval(0.25, -0.5, 1.0), 0.5, "not told apart from")
    against = {"SL": {"full DSL": worse, "no kappa": alike}, "DSL": {}}
    rows = dsl_tables.arms(records, {"no kappa": "α = 0"}, against).rows
    assert rows[0]["validation"] == pytest.approx(0.3)
    assert rows[0]["test NDCG@20"].startswith("0.4000 ± ")
    assert rows[0]["against SL"] == "-25.0 % [-50.0, -10.0] ▼"
    assert rows[1]["against SL"] == "+25.0 % [-50.0, +100.0]"
    assert rows[0]["records"] == records["full DSL"]
    assert (rows[1]["change"], rows[1]["test NDCG@20"], rows[1]["records"]) == ("α = 0", "not yet run", "–")
    assert rows[1]["validation"] is None
    assert {row["against DSL"] for row in rows} == {"–"}


def test_dials_say_what_the_chosen_value_gives_up():
    line = {0.1: [record(0, 0.20), record(0, 0.22)], 0.2: [record(0, 0.25)], 0.5: [record(0, 0.18)]}
    flat = {0.1: [record(0, 0.20)], 0.2: [record(0, 0.201)]}
    rows = dsl_tables.dials(
        {"temperature": {"dsl": line, "softmax": flat}},
        centres={"temperature": {"dsl": 0.1, "softmax": 0.1}},
        noise={"dsl": 0.01, "softmax": 0.01},
    ).rows
    steep, level = rows
    assert (steep["loss"], steep["chosen"], steep["best here"]) == ("DSL", "0.1", "0.2")
    assert steep["given up"] == pytest.approx(0.04)
    assert steep["from worst to best"] == pytest.approx(0.07)
    assert (steep["given up > Δ"], level["given up > Δ"]) == ("yes", "no")
    assert (steep["range > Δ"], level["range > Δ"]) == ("yes", "no")
    assert (steep["at the edge"], level["at the edge"]) == ("no", "yes")
    assert steep["records"] == [*line[0.1], *line[0.2], *line[0.5]]


class Seed(SimpleNamespace):
    """A record of which only one metric of each user is known."""

    def per_user(self, name):
        return np.arange(len(self.of_users)) if name == "users" else np.asarray(self.of_users)


def seeds(validation, *of_users):
    return [
        Seed(
            validation={"ndcg@20": validation},
            test={"ndcg@20": np.mean(each)},
            of_users=each,
            config=SimpleNamespace(seed=seed),
        )
        for seed, each in enumerate(of_users)
    ]


def test_weights_are_taken_by_validation_and_compared_over_users():
    rng = np.random.default_rng(0)
    base = 1 + rng.random(40)
    of = {
        "softmax": {1.0: seeds(0.1, base, base), 0.9: seeds(0.3, base + 0.5, base + 0.5), 0.8: seeds(0.2, base + 9)},
        "dsl": {
            1.0: seeds(0.2, base + 0.1 * rng.standard_normal(40)),
            0.9: seeds(0.1, base, base + 1 + rng.random(40)),
        },
    }
    curves = dsl_tables.WeightCurves(of)
    assert (curves.best("softmax"), curves.best("dsl")) == (0.9, 1.0)
    assert curves.test()["softmax"][1.0] == pytest.approx([base.mean()] * 2)

    at_equal = curves.at_equal("dsl", "softmax")
    assert list(at_equal) == [1.0, 0.9]
    for weight, each in at_equal.items():
        ours, theirs = (np.mean([seed.of_users for seed in of[loss][weight]], axis=0) for loss in ("dsl", "softmax"))
        assert each.relative.estimate == pytest.approx(ours.mean() / theirs.mean() - 1)
        assert each.p_value == each.absolute.p_value
    assert at_equal[1.0].verdict == "not told apart from"

    at_best = curves.at_best("dsl", "softmax")
    assert at_best.relative.estimate == pytest.approx(of["dsl"][1.0][0].of_users.mean() / (base + 0.5).mean() - 1)
    assert at_best.verdict == "worse than"

    means = [base.mean(), base.mean() + 0.5, base.mean() + 9]
    assert curves.step("softmax") == pytest.approx(max(means[1] / means[0], means[2] / means[1]) - 1)
    assert dsl_tables.WeightCurves({"dsl": {1.0: seeds(0.1, base)}}).step("dsl") == 0


def test_pulls_stand_by_temperature_and_weight():
    first, second = record(0.3, 0.2), record(0.5, 0.4)
    found = {(0.1, 0.8): first, (0.1, 1.0): None, (0.2, 0.8): None, (0.2, 1.0): second}
    one, two = dsl_tables.pulls(found).rows
    assert one == {"validation NDCG@20": "τ = 0.1", "c = 0.8": 0.2, "c = 1": "not yet run", "records": [first]}
    assert two == {"validation NDCG@20": "τ = 0.2", "c = 0.8": "not yet run", "c = 1": 0.4, "records": [second]}


def test_the_square_of_the_two_scales_is_told_from_its_corners():
    """Weights bring 0.2, temperatures 0.01, and both together 0.1 more than their sum."""
    rng = np.random.default_rng(1)

    def corner(mean):
        return seeds(0.0, *(mean + 0.02 * rng.standard_normal(200) for _ in range(3)))

    square = dsl_tables.TwoScales(corner(1), corner(1.2), corner(1.01), corner(1.31))
    assert {name: round(values.mean(), 2) for name, values in square.test().items()} == {
        "neither": 1.0,
        "weights only": 1.2,
        "temperatures only": 1.01,
        "both scales": 1.31,
    }
    assert {name: values.tolist() for name, values in square.validation().items()} == {
        name: [0.0] * 3 for name in square.test()
    }
    means = [np.mean(values) for values in square.test().values()]
    said = square.interaction()
    assert f"The interaction is {means[3] + means[0] - means[1] - means[2]:+.4f} [" in said
    assert "give more than their sum" in said
    gains = [f"{100 * (mean / means[0] - 1):+.1f} %" for mean in means[1:]]
    assert [part.partition(" [")[0] for part in square.alone().split("], ")] == [
        f"weights only {gains[0]}",
        f"temperatures only {gains[1]}",
        f"both scales {gains[2]}",
    ]

    costs = [beside(part, square.both) for part in (square.temperatures, square.weights)]
    assert costs[0].relative.estimate < costs[1].relative.estimate < 0
    words = square.removals(*costs)
    assert words.startswith(f"without the weights NDCG@20 changes by {100 * costs[0].relative.estimate:+.1f} % [")
    assert "Of the two the weights matter more here: NDCG@20 without the weights is" in words
    assert f"without the weights is {100 * (means[2] / means[1] - 1):+.1f} % [" in words

    same = dsl_tables.TwoScales(square.neither, square.both, square.both, square.both)
    assert "Neither removal is seen to hurt" in same.removals(*[beside(square.both, square.both)] * 2)
    assert "neither more nor less than their sum" in dsl_tables.TwoScales(*[square.both] * 4).interaction()
    tied = dsl_tables.TwoScales(square.neither, square.weights, square.weights, square.both)
    assert "is not decided" in tied.removals(*[beside(square.weights, square.both)] * 2)
