"""Tables of the study against numbers worked out by hand; words against their rule."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy import study_tables
from dslstudy.data import Interactions, Split
from dslstudy.metrics.exposure import Recommendations
from dslstudy.metrics.significance import Interval
from dslstudy.study import RunConfig, open_study
from dslstudy.study.cells import MATCHED, cells_of, complete, state_of
from dslstudy.study.optimism import optimism
from dslstudy.study.protocol import protocol_of
from dslstudy.study.search import Trial
from dslstudy.study.served import Served
from dslstudy.study.spaces import SPACES

SMOKE, PAPER = protocol_of("smoke"), protocol_of("paper")


@pytest.fixture(scope="module")
def states(study):
    """Finished cells of a small table: two losses, the control and a baseline."""
    wanted = cells_of(SMOKE, backbones=["mf"], losses=["softmax", "dsl", MATCHED])
    return complete(study, [*cells_of(SMOKE, backbones=["ease"]), *wanted])


@given(st.floats(-1, 1).filter(bool), st.floats(0, 1))
def test_a_verdict_needs_a_small_p_value(estimate, p_value):
    word = study_tables.verdict(Interval(estimate, -1, 1), p_value)
    if p_value < 0.05:
        assert word == ("better than" if estimate > 0 else "worse than")
    else:
        assert word == "not told apart from"


def per_user(state):
    return np.mean([record.per_user("ndcg@20") for record in state.found], axis=0, dtype=np.float64)


def test_comparisons_against_a_t_test_and_holm_by_hand(states):
    found = study_tables.compare({state.cell.label: state.found for state in states})
    of = {state.cell.label: per_user(state) for state in states}
    assert set(found) == set(of) - {"softmax"}
    for label, each in found.items():
        difference = of[label] - of["softmax"]
        assert each.absolute.estimate == pytest.approx(difference.mean())
        assert each.relative.estimate == pytest.approx(difference.mean() / of["softmax"].mean())
        low, high = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
        assert each.absolute.low == pytest.approx(low, abs=0.2 * (high - low))
        assert each.absolute.high == pytest.approx(high, abs=0.2 * (high - low))
        assert each.p_value >= each.absolute.p_value
    ordered = sorted(found.values(), key=lambda each: each.absolute.p_value)
    factors = range(len(ordered), 0, -1)
    by_hand = np.maximum.accumulate(
        [min(1, k * each.absolute.p_value) for k, each in zip(factors, ordered, strict=True)]
    )
    assert [each.p_value for each in ordered] == pytest.approx(by_hand)
    frame = study_tables.comparisons(found).frame()
    assert list(frame["verdict"]) == [f"{each.verdict} SL" for each in found.values()]
    assert found["ease"].over_seeds is None  # what is not trained has no seeds
    assert frame["relative, over seeds"].iloc[0] == "–"
    ratios = [a.test["ndcg@20"] / b.test["ndcg@20"] - 1 for a, b in zip(states[2].found, states[1].found, strict=True)]
    assert [state.cell.label for state in states[1:3]] == ["softmax", "dsl"]
    assert found["dsl"].over_seeds.estimate == pytest.approx(np.mean(ratios))
    assert study_tables.compare({"dsl": states[-1].found}) == {}


def test_cells_name_the_records_of_their_numbers(states):
    frame = study_tables.cells(states).frame()
    assert list(frame["loss"]) == ["EASE", "SL", "DSL", "SL at DSL's temperature"]
    for state, (_, row) in zip(states, frame.iterrows(), strict=True):
        assert row["records"] == ", ".join(record.key for record in state.seeds)
        mean = np.mean([record.test["ndcg@20"] for record in state.seeds])
        assert float(row["NDCG@20"].split(" ")[0]) == pytest.approx(mean, abs=1e-4)
        assert row["state"] == "done"


def test_cells_that_are_not_there_stand_beside_what_was_published(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path))
    study = open_study("paper", store=tmp_path / "store", progress=False)
    cells = cells_of(PAPER, datasets=["amazon2014-health"], backbones=["mf"])
    frame = study_tables.cells([state_of(study, cell) for cell in cells], printed=True).frame().set_index("loss")
    assert frame.loc["SL", "NDCG@20 published"] == "0.1261"
    assert frame.loc["SL@K", "Recall@20 published"] == "0.1823"
    assert frame.loc["DSL", "NDCG@20 published"] == "–"
    assert set(frame["NDCG@20"]) == {"not yet run"}
    assert set(frame["NDCG@20 away"]) == {"–"}
    progress = study_tables.progress([state_of(study, cell) for cell in cells]).frame().set_index("loss")
    assert progress.loc["DSL", "trials"] == "0 of 20"
    assert progress.loc["BPR", "trials"] == "0 of 16"  # its whole space


def test_nothing_printed_stands_beside_a_split_of_our_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path))
    study = open_study("paper", store=tmp_path / "store", progress=False)
    names = ["amazon2014-health", "amazon2014-electronic-popularity"]
    cells = cells_of(PAPER, "popularity-shift", datasets=names, backbones=["mf"], losses=["softmax"])
    states = [state_of(study, cell) for cell in cells]
    assert [row["NDCG@20 published"] for row in study_tables.cells(states, printed=True).rows] == ["–", "0.0142"]
    shown = [row["data set"] for row in study_tables.progress(states).rows]
    assert shown == ["amazon2014-health popularity-shift", "amazon2014-electronic-popularity"]


def test_a_search_is_shown_as_it_is_reported_in_two_ways():
    trials = [trial(0, 0.4), trial(1, 0.3)]
    trials[1].record.test["ndcg@20"] = 0.25
    alike = [trial(0, 0.4)]
    rows = study_tables.reports({"dsl": optimism(trials), "softmax": optimism(alike)}).rows
    assert [row["loss"] for row in rows] == ["DSL", "SL"]
    assert (rows[0]["NDCG@20 chosen by validation"], rows[0]["NDCG@20 chosen by test"]) == (0.2, 0.25)
    assert (rows[0]["inflation"], rows[1]["inflation"]) == ("+25.0 %", "+0.0 %")
    assert rows[1]["settings chosen by test"] == "the same"
    assert [len(row["records"]) for row in rows] == [2, 1]


def test_what_is_shown_agrees_with_the_records_and_the_parts():
    lists = Recommendations(np.array([0, 1]), np.array([[0, 1], [1, 2]]), 4)
    pairs = Interactions.with_ids(np.array([0, 1]), np.array([2, 0]), num_users=2, num_items=4)
    test = Interactions.with_ids(np.array([0, 1]), np.array([1, 2]), num_users=2, num_items=4)
    split = Split("iid", pairs, pairs.select(np.zeros(2, bool)), test, 0)
    (row,) = study_tables.shown([Served("dsl", split, [lists], [])], groups=np.array([0, 0, 1, 1]), head=1).rows
    second = 1 / np.log2(3)  # both hits are at the second place
    assert row["NDCG@20"] == pytest.approx(second)
    assert row["of it in the tail"] == pytest.approx(second / 2)
    assert (row["coverage@20"], row["tail's share of the places"]) == ("75.0%", "25.0%")
    assert row["average popularity"] == "0.5"
    assert row["Gini"] == "0.375"


def test_spaces_show_every_value():
    frame = study_tables.spaces(PAPER)
    searched = [*PAPER.losses, "positive_weight"]
    assert list(frame.index) == [study_tables.cell_label(loss) for loss in searched]
    for loss, row in zip(searched, frame.to_dict("records"), strict=True):
        shown = {name.replace(" ", "_"): text for name, text in row.items() if name != "points" and text}
        assert {name: [float(v) for v in text.split(", ")] for name, text in shown.items()} == {
            name: list(map(float, values)) for name, values in SPACES[loss].items()
        }
        assert row["points"] == np.prod([len(values) for values in SPACES[loss].values()])


def trial(number, value, loss="softmax"):
    record = None
    if value is not None:
        record = SimpleNamespace(
            validation={"ndcg@20": value}, test={"ndcg@20": value / 2}, selection={"best_epoch": 3}, key="k"
        )
    run = RunConfig(dataset="synthetic-ranking", loss=loss)
    return Trial(number, {"learning_rate": 0.1}, run, record, failed=value is None)


def test_trials_and_what_was_chosen():
    trials = {
        "softmax": [trial(0, 0.3), trial(1, 0.2), trial(2, 0.1)],
        "dsl": [trial(0, 0.1), trial(1, None), trial(2, 0.4)],
        "bpr": [trial(0, 0.2)],
        "psl": [],
    }
    rows = study_tables.all_trials(trials).rows
    assert [row["validation NDCG@20"] for row in rows] == [0.4, 0.3, 0.2, 0.2, 0.1, 0.1, None]
    assert rows[-1]["record"] == "diverged"
    assert rows[0]["trial"] == 3
    chosen = {row["loss"]: row for row in study_tables.chosen(trials).rows}
    assert list(chosen) == ["SL", "DSL", "BPR"]
    assert chosen["DSL"]["trials to beat SL"] == 3
    assert chosen["DSL"]["in other orders"] == "2.0"
    assert chosen["BPR"]["trials to beat SL"] == "never"
    assert chosen["SL"]["best validation NDCG@20"] == 0.3


def test_bsl_is_named_by_its_pull():
    def state(loss, backbone, positive, negative, done=True):
        chosen = {"positive_temperature": positive, "temperature": negative}
        record = SimpleNamespace(config=SimpleNamespace(loss_parameters=chosen))
        return SimpleNamespace(cell=SimpleNamespace(loss=loss, backbone=backbone), done=done, found=[record])

    assert study_tables.pulls_of_bsl([state("softmax", "mf", 1, 1), state("bsl", "mf", 1, 1, done=False)]) == ""
    words = study_tables.pulls_of_bsl([state("bsl", "mf", 0.2, 0.2), state("bsl", "xsimgcl", 0.05, 0.1)])
    assert words == ("BSL, as its searches chose it, is SL with MF; pull over push 2 at temperature 0.1 with XSimGCL.")
