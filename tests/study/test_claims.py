"""Verdicts follow from records by rules: the rules at their borders, and records made so that the answer is known."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dslstudy import tables
from dslstudy.cli import cli
from dslstudy.commands.study import COMMAND as STUDY
from dslstudy.data.published import PRINTED_AS, published_value
from dslstudy.metrics.significance import Interval, prediction_interval
from dslstudy.study import Record, RunConfig, RunStore, open_study
from dslstudy.study.cells import Cell, cells_of, search_of, seed_runs
from dslstudy.study.claims import NOT, NOT_ATTEMPTED, PARTLY, REPRODUCED, UNDECIDED, verdict
from dslstudy.study.click_experiments import headline, world
from dslstudy.study.ledger import claims, ledger
from dslstudy.study.protocol import protocol_of
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.ranking_claims import BACKBONES, baseline_claims, best_setting, tuned
from dslstudy.study.search import _journal

HEALTH = "amazon2014-health"


@pytest.mark.parametrize(
    ("rule", "reported", "interval", "expected"),
    [
        ("effect", 6.0, (7, 5, 9), REPRODUCED),
        ("effect", 6.0, (4, 1, 6.5), REPRODUCED),
        ("effect", 6.0, (2, 1, 3), PARTLY),
        ("effect", 6.0, (5, -1, 11), UNDECIDED),
        ("effect", 6.0, (2, -1, 5), NOT),
        ("effect", 6.0, (-5, -6, -4), NOT),
        ("effect", -0.3, (-0.4, -0.5, -0.2), REPRODUCED),
        ("effect", -0.3, (-0.2, -0.29, -0.1), PARTLY),
        ("effect", -0.3, (-0.4, -0.9, 0.1), UNDECIDED),
        ("direction", 1.0, (0.001, 0.0005, 0.002), REPRODUCED),
        ("direction", -1.0, (0.001, 0.0005, 0.002), NOT),
        ("direction", 1.0, (0.1, 0.0, 0.2), UNDECIDED),
        ("value", 0.12, (0.125, 0.119, 0.131), REPRODUCED),
        ("value", 0.12, (0.125, 0.124, 0.126), PARTLY),
        ("value", 0.12, (0.2, 0.1, 0.3), NOT),
        ("value", 0.12, (0.13, 0.129, 0.131), NOT),
        ("effect", 6.0, (float("nan"),) * 3, UNDECIDED),
        ("exceeds", 10.0, (12, 10.5, 13), REPRODUCED),
        ("exceeds", 10.0, (12, 10.0, 14), PARTLY),
        ("exceeds", 10.0, (7, 6, 12), UNDECIDED),
        ("exceeds", 10.0, (7, 6, 8), NOT),
    ],
)
def test_rules_at_their_borders(rule, reported, interval, expected):
    assert verdict(rule, reported, Interval(*interval)) == expected
    incomplete = verdict(rule, reported, Interval(*interval), complete=False)
    if rule == "exceeds" and expected == NOT:
        assert incomplete == UNDECIDED  # others may exceed it
    else:
        assert incomplete == (PARTLY if expected == REPRODUCED else expected)


@given(st.floats(0.1, 10), st.floats(-20, 20), st.floats(0.01, 5), st.sampled_from(["effect", "direction"]))
def test_a_claim_and_its_mirror_image_get_one_verdict(reported, middle, half, rule):
    ours, mirrored = Interval(middle, middle - half, middle + half), Interval(-middle, -middle - half, -middle + half)
    assert verdict(rule, reported, ours) == verdict(rule, -reported, mirrored)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    return open_study("quick", store=tmp_path / "store", progress=False)


def put(store: RunStore, ndcg: float, *, validation: float | None = None, fingerprint: str = "", **settings) -> Record:
    config = RunConfig(**{"dataset": HEALTH} | settings)
    record = Record(
        config=config,
        data={},
        code={"version": "0", "commit": "abc", "fingerprint": fingerprint or code_fingerprint(config)},
        environment={"device": "a processor", "torch": "2"},
        cost={"seconds": 1.0},
        selection={"metric": "ndcg@20", "best_epoch": 1, "epochs": 1, "diverged": None},
        history=[],
        validation={"ndcg@20": ndcg if validation is None else validation},
        test={"ndcg@20": ndcg, "recall@20": ndcg},
        finished="2026-01-01T00:00:00+00:00",
    )
    return store.put(record, {"users": np.arange(2), "ndcg@20": np.full(2, ndcg), "recall@20": np.full(2, ndcg)})


def row_about(study, words):
    (row,) = [row for row in ledger(study) if words in row.claim.statement]
    return row


def test_without_runs_nothing_is_attempted(study):
    rows = ledger(study)
    assert {row.verdict for row in rows} == {NOT_ATTEMPTED}
    assert {row.claim.paper for row in rows} >= {"DSL", "C2AL"}
    assert len({row.claim.statement for row in rows}) == len(rows)
    assert all(row.claim.source and row.claim.command.startswith(("dslstudy run ", "dslstudy study ")) for row in rows)


def test_a_published_value_is_compared_with_the_runs_that_validation_chose(study):
    printed = published_value(HEALTH, "softmax", "ndcg@20")
    for seed in range(3):
        put(study.store, printed * (1.01 + 0.003 * seed), seed=seed)
        put(study.store, printed * 2, validation=0.0, loss_parameters={"temperature": 0.5}, seed=seed)
    put(study.store, 1.0, loss_parameters={"temperature": 0.1})  # one seed is no interval
    row = row_about(study, f"NDCG@20 of softmax with mf on {HEALTH}")
    expected = prediction_interval([printed * factor for factor in (1.01, 1.013, 1.016)])
    assert (row.evidence.interval.low, row.evidence.interval.high) == pytest.approx((expected.low, expected.high))
    assert (row.verdict, row.state) == (REPRODUCED, "current")
    assert [record.config.seed for record in best_setting(study, HEALTH, "mf", "softmax")] == [0, 1, 2]
    assert tuned(study, HEALTH, "mf", "softmax") == []  # no search has been run
    for seed in range(3):  # better runs, but not trained as those of the table are
        put(study.store, 1.0, negative_sampling="batch", seed=seed)
        put(study.store, 1.0, hidden_probability=0.1, seed=seed)
    assert [record.config.seed for record in best_setting(study, HEALTH, "mf", "softmax")] == [0, 1, 2]


def finish(study, backbone, loss, values):
    """Make a cell of the table whose seeds have these values of NDCG@20."""
    cell = Cell(protocol=protocol_of("paper"), dataset=HEALTH, backbone=backbone, loss=loss)
    search = search_of(study, cell)
    journal = _journal(study, search)
    journal.propose(search.size)
    for proposal in journal.proposals():
        config = search.run_of(proposal.parameters).to_dict()
        record = put(study.store, 0.1 - 0.001 * proposal.number, **config)
        journal.tell(proposal.number, record.validation["ndcg@20"])
    for run, value in zip(seed_runs(study, cell), values, strict=True):
        put(study.store, value, **run.to_dict())


def test_the_gain_is_averaged_over_the_cells_that_are_complete(study):
    gains = np.array([0.05, 0.06, 0.07, 0.08, 0.09])
    for backbone, more in (("mf", 0.0), ("lightgcn", 0.02), ("xsimgcl", 0.06)):
        finish(study, backbone, "softmax", np.full(5, 0.1))
        assert row_about(study, "mean relative gain of DSL over SL across").verdict in (NOT_ATTEMPTED, PARTLY)
        finish(study, backbone, "dsl", 0.1 * (1 + gains + more))
    row = row_about(study, "mean relative gain of DSL over SL across")
    assert row.evidence.interval.estimate == pytest.approx(29 / 3)
    assert row.evidence.note.startswith("6 of 24 cells")
    assert row.verdict == PARTLY  # of the size that was reported, in a few of the cells
    assert row_about(study, "under popularity shift").verdict == NOT_ATTEMPTED
    several = row_about(study, "in several settings")
    assert several.evidence.interval.estimate == pytest.approx(7.0)  # the third largest, of a setting and not a metric
    assert several.verdict == UNDECIDED  # most settings are missing


def test_runs_of_no_complete_cell_are_no_gain(study):
    for seed in range(3):
        put(study.store, 0.1, seed=seed)
        put(study.store, 0.2, loss="dsl", seed=seed)
    assert row_about(study, "mean relative gain of DSL over SL across").verdict == NOT_ATTEMPTED


def test_stale_runs_say_so(study):
    for seed in range(2):
        put(study.store, 0.126, seed=seed, fingerprint="of older code")
    row = row_about(study, f"NDCG@20 of softmax with mf on {HEALTH}")
    assert row.state == "stale"
    assert "stale" in tables.claims_table([row]).iloc[0]["runs"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    root = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLSTUDY_RESULTS", str(root / "committed"))
        study = open_study("smoke", store=root / "store", progress=False)
        for runs in headline(study.profile, world(study.profile)).values():
            study.obtain(runs)
        yield study


def test_click_claims_come_from_paired_runs(smoke):
    rows = {row.claim.statement: row for row in ledger(smoke)}
    row = rows["C2AL lowers the normalized entropy of the tail cohort: the controlled world"]
    arms = headline(smoke.profile, world(smoke.profile))
    plain, c2al = ([smoke.find(config) for config in arms[name]] for name in ("plain", "c2al"))
    assert {record.key for record in row.evidence.runs} == {record.key for record in (*plain, *c2al)}
    from dslstudy.study.click_comparison import compare_clicks

    found = compare_clicks(c2al, plain)
    users, runs = found.over_users["tail"], found.over_runs["tail"]
    assert row.evidence.interval.low == min(users.low, runs.low)
    assert row.evidence.interval.high == max(users.high, runs.high)
    assert row.verdict == verdict("effect", row.claim.reported, row.evidence.interval)
    denser = rows["Attention becomes denser (entropy of its entries): the controlled world"]
    entropies = [[record.model["attention 1 entropy"] for record in records] for records in (c2al, plain)]
    gaps = np.subtract(*entropies)
    assert denser.evidence.interval.estimate == pytest.approx(np.mean(gaps))
    assert rows["C2AL lowers the normalized entropy overall: Tmall"].verdict == NOT_ATTEMPTED


def test_the_commands_of_the_study_make_cells_of_its_tables():
    of_study = {claim.command for claim in claims() if claim.command.startswith("dslstudy study ")}
    assert len(of_study) > 10
    for command in of_study:
        words = command.split()[2:]
        parsed = STUDY.make_context("study", words).params
        cells = cells_of(
            protocol_of(parsed["profile"]),
            parsed["table"],
            datasets=parsed["datasets"],
            backbones=parsed["backbones"],
            losses=parsed["losses"],
        )
        assert len(cells) == 1 or "--dataset" not in words


def test_a_complete_cell_of_the_study_goes_before_other_runs(tmp_path, monkeypatch):
    """Of the committed records: seeds that no search has seen, although others of the same setting are there."""
    monkeypatch.delenv("DSLSTUDY_RESULTS", raising=False)
    study = open_study("paper", store=tmp_path / "empty", progress=False)
    cell = Cell(protocol=protocol_of("paper"), dataset=HEALTH, backbone="mf", loss="softmax")
    assert [record.config.seed for record in tuned(study, HEALTH, "mf", "softmax")] == list(cell.protocol.seeds)


def test_every_loss_is_held_to_what_was_published_for_it():
    """Not to the values that come out well alone."""
    losses = protocol_of("paper").losses
    printed = {
        (dataset, backbone, loss)
        for dataset in PRINTED_AS
        for backbone in BACKBONES
        for loss in losses
        if published_value(dataset, loss, "ndcg@20", backbone=backbone) is not None
    }
    claimed = {claim.statement for claim in baseline_claims()}
    assert claimed == {f"NDCG@20 of {loss} with {backbone} on {dataset}" for dataset, backbone, loss in printed}
    assert len([each for each in printed if each[0] == HEALTH]) == len(BACKBONES) * len(losses[:-1])


def test_the_command_prints_the_ledger(study, tmp_path):
    for seed in range(2):
        put(study.store, 0.125 + 0.002 * seed, seed=seed)
    run = CliRunner().invoke
    result = run(cli, ["claims", "--attempted", "--store", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    assert "1 reproduced, 0 partly, 0 undecided, 0 not" in result.output
    assert f"NDCG@20 of softmax with mf on {HEALTH}" in result.output
    rows = json.loads(run(cli, ["claims", "--json", "--store", str(tmp_path / "store")]).stdout)
    assert len(rows) == len(claims())
    attempted = [row for row in rows if row["verdict"] != NOT_ATTEMPTED]
    assert [row["runs"] for row in attempted] == [2]
    assert attempted[0]["low"] <= attempted[0]["ours"] <= attempted[0]["high"]
    only = json.loads(run(cli, ["claims", "--json", "--paper", "c2al", "--store", str(tmp_path / "store")]).stdout)
    assert {row["paper"] for row in only} == {"C2AL"}
    nowhere = run(cli, ["claims", "--store", str(tmp_path / "stoer")])
    assert "there is no store" in str(nowhere.exception)
    wrong = run(cli, ["claims", "--paper", "C3AL", "--store", str(tmp_path / "store")])
    assert "there are DSL" in str(wrong.exception)
