"""Cells: selection by validation alone, fresh seeds, equal budgets; what is there is never trained again."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data import load_split
from dslstudy.errors import InputError
from dslstudy.models import BASELINES
from dslstudy.study import PROFILES, RunConfig, open_study
from dslstudy.study.cells import (
    MATCHED,
    base_of,
    cells_of,
    complete,
    search_of,
    seed_runs,
    share_of,
    state_of,
    unprimed_runs,
)
from dslstudy.study.matched import kept, measure_temperature
from dslstudy.study.protocol import PROTOCOLS, SEARCH_SEED, SHIFTED, VARIATIONS, protocol_of
from dslstudy.study.search import _journal
from dslstudy.study.spaces import SPACES, STARTS, space_of
from dslstudy.study.study import Study, split_of

sys.path.insert(0, str(Path(__file__).parent))
import killed

SMOKE = protocol_of("smoke")


@pytest.fixture(scope="module")
def finished(study):
    """A study whose whole table has been made, the runs in the order in which they were trained, and the states."""
    trained, train = [], Study._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_train", lambda self, configs: trained.extend(configs) or train(self, configs))
        told = []
        states = [state for cell in cells_of(SMOKE) for state in complete(study, [cell], done=told.extend)]
        yield study, trained, {state.cell.name: state for state in states}, told


def test_every_cell_is_done_and_every_run_was_trained_once(finished):
    _, trained, states, told = finished
    assert {state.word for state in states.values()} == {"done"}
    keys = [config.key for config in trained]
    assert len(keys) == len(set(keys))
    assert sorted(config.key for config in told) == sorted(keys)
    needed = {record.key for state in states.values() for record in state.records}
    assert set(keys) == needed


def test_a_second_time_nothing_is_trained(finished):
    study, trained, states, _ = finished
    before = len(trained)
    assert complete(study, [state.cell for state in states.values()]) == list(states.values())
    assert len(trained) == before


def test_budgets_are_equal(finished):
    _, _, states, _ = finished
    budgets = {(state.cell.backbone, len(state.trials)) for state in states.values() if state.cell.loss in SPACES}
    assert budgets == {("mf", SMOKE.trials), ("lightgcn", SMOKE.transfer_trials)}


def test_seeds_are_those_of_the_best_validation_and_new(finished):
    _, _, states, _ = finished
    for state in states.values():
        if not state.trials:
            continue
        by_hand = max(state.trials, key=lambda trial: trial.record.validation["ndcg@20"]).config.to_dict()
        for seed, record in zip(SMOKE.seeds, state.seeds, strict=True):
            assert record.config.to_dict() == by_hand | {"seed": seed, "epochs": SMOKE.run["epochs"]}
        assert SEARCH_SEED not in [record.config.seed for record in state.seeds]


def test_trials_may_be_shorter_than_the_runs_of_the_table(finished):
    _, _, states, _ = finished
    lengths = {(state.cell.loss, trial.config.epochs) for state in states.values() for trial in state.trials}
    assert lengths == {("softmax", SMOKE.trial_epochs), ("dsl", SMOKE.trial_epochs), ("bpr", SMOKE.run["epochs"])}
    assert SMOKE.trial_epochs < SMOKE.run["epochs"]


def test_the_test_metrics_have_no_say(finished, monkeypatch):
    """With every test metric turned upside down, the same runs are chosen."""
    study, _, states, _ = finished
    find = Study.find

    def upside_down(self, config):
        record = find(self, config)
        return record and replace(record, test={name: 1 - value for name, value in record.test.items()})

    before = {name: seed_runs(study, state.cell) for name, state in states.items()}
    monkeypatch.setattr(Study, "find", upside_down)
    assert {name: seed_runs(study, state.cell) for name, state in states.items()} == before


def test_other_backbones_start_from_the_best_of_matrix_factorization(finished):
    _, _, states, _ = finished
    for loss in SMOKE.losses:
        best = max(states[f"synthetic-ranking mf {loss}"].trials, key=lambda trial: trial.value)
        first = states[f"synthetic-ranking lightgcn {loss}"].trials[0]
        assert first.parameters == best.parameters
        assert states[f"synthetic-ranking mf {loss}"].trials[0].parameters == STARTS[loss]


def test_without_its_start_a_search_has_another_winner_or_the_same(finished):
    study, _, states, _ = finished
    for state in states.values():
        if not state.budget:
            assert unprimed_runs(study, state.cell) == []
            continue
        best, highest = None, -np.inf
        for trial in state.trials:
            if trial.number != 0 and trial.value > highest:
                best, highest = trial.config, trial.value
        runs = unprimed_runs(study, state.cell)
        assert [run.seed for run in runs] == list(SMOKE.seeds)
        for run in runs:
            assert run.epochs == base_of(state.cell).epochs
            assert run.to_dict() | {"seed": best.seed, "epochs": best.epochs} == best.to_dict()


def test_a_control_at_a_temperature_of_older_code_is_stale(finished):
    study, _, states, _ = finished
    name = f"synthetic-ranking mf {MATCHED}"
    assert states[name].word == "done"
    run = seed_runs(study, states[name].cell.of_dsl)[0]
    path = study.store.root / "search" / f"{run.key}.matched"
    written = path.read_text()
    try:
        path.write_text(written.replace(kept(study, run).fingerprint, "0" * 12))
        assert state_of(study, states[name].cell).word == "stale"
        assert state_of(study, states[name].cell.of_dsl).word == "done"
    finally:
        path.write_text(written)
    assert state_of(study, states[name].cell).word == "done"


def test_where_all_trials_diverged_there_are_no_seeds_and_others_start_as_usual(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study = open_study("smoke", store=tmp_path / "store", progress=False)
    (of_mf,), (other,) = (cells_of(SMOKE, backbones=[name], losses=["dsl"]) for name in SMOKE.backbones)
    search = search_of(study, of_mf)
    journal = _journal(study, search)
    journal.propose(search.size)
    for proposal in journal.proposals():
        journal.tell(proposal.number, None)
    assert dict(search_of(study, other).start) == dict(STARTS["dsl"])
    assert unprimed_runs(study, of_mf) == []
    (state,) = complete(study, [of_mf])
    assert (len(state.trials), state.found) == (SMOKE.trials, [])
    assert not state.done


def test_the_control_is_the_softmax_loss_at_dsls_effective_temperature(finished):
    study, _, states, _ = finished
    for backbone in SMOKE.backbones:
        dsl, control = (states[f"synthetic-ranking {backbone} {loss}"] for loss in ("dsl", MATCHED))
        measured = kept(study, dsl.seeds[0].config)
        for of_dsl, record in zip(dsl.seeds, control.seeds, strict=True):
            assert record.config.loss == "softmax"
            assert record.config.loss_parameters == {"temperature": measured.temperature}
            same = ("learning_rate", "weight_decay", "seed", "backbone", "num_negatives", "epochs")
            assert all(getattr(record.config, name) == getattr(of_dsl.config, name) for name in same)


def test_the_effective_temperature_against_a_loop_over_examples(finished):
    study, _, _, _ = finished
    base = SMOKE.base_run("synthetic-ranking", "mf", "dsl").to_dict()
    settings = {"temperature": 0.25, "alpha": -0.1, "beta": 0.0, "gamma": 0.0, "slate_size": 5}
    run = type(SMOKE.base_run("synthetic-ranking", "mf", "dsl")).from_dict(base | {"loss_parameters": settings})
    found = measure_temperature(study, run)
    model, temperatures = study.train(run), []
    rng = np.random.default_rng(0)
    train = split_of(run).train
    own = train.csr()
    for place in rng.choice(len(train), size=400, replace=False):
        user, item = train.users[place], train.items[place]
        drawn = rng.integers(train.num_items, size=run.num_negatives)
        drawn = drawn[own[user].toarray()[0][drawn] == 0]
        scores = model.item_table @ model.user_table[user]
        inverse = 1 / 0.25 - 0.1 / np.std(scores[drawn] - scores[item])
        if inverse > 0:
            temperatures.append(1 / inverse)
    assert found.temperature == pytest.approx(np.median(temperatures), rel=0.1)
    assert found.low == pytest.approx(np.quantile(temperatures, 0.05), rel=0.15)
    with pytest.raises(InputError, match="only DSL has an effective temperature"):
        measure_temperature(study, SMOKE.base_run("synthetic-ranking", "mf", "softmax"))


def test_a_cell_under_way_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study = open_study("smoke", store=tmp_path / "store", progress=False)
    (cell,) = cells_of(SMOKE, backbones=["mf"], losses=["softmax"])
    assert (state_of(study, cell).word, state_of(study, cell).missing) == ("not yet run", 5)
    assert seed_runs(study, cell) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "train", lambda *_: pytest.fail("no tables are needed"))
        complete(study, [cell])
    study.store.path(seed_runs(study, cell)[1]).unlink()
    state = state_of(study, cell)
    assert (state.word, state.missing, state.done) == ("3 of 3 trials, 1 of 2 seeds", 1, False)
    (other,) = cells_of(SMOKE, backbones=["lightgcn"], losses=["bpr"])
    assert search_of(study, other) is None
    assert state_of(study, other).word == "not yet run"
    monkeypatch.setattr("dslstudy.study.provenance.code_fingerprint", lambda config: "another-code")
    complete_ = state_of(study, cell)
    assert complete_.stale
    assert not complete_.done


@pytest.fixture(scope="module")
def varied(finished):
    study, *_ = finished
    cells = cells_of(SMOKE, datasets=["synthetic-ranking"], losses=[*VARIATIONS])
    return study, {(state.cell.loss, state.cell.backbone): state for state in complete(study, cells)}


def test_variations_are_made_where_they_are_asked_for_only(varied):
    _, states = varied
    assert set(states) == {(name, backbone) for name in VARIATIONS for backbone in SMOKE.backbones}
    assert not {cell.loss for cell in cells_of(SMOKE)} & set(VARIATIONS)
    with pytest.raises(InputError, match="loss of table iid at profile quick"):
        cells_of(PROTOCOLS["quick"], losses=["dsl-R5"])


def test_a_variation_has_the_budget_of_its_loss_and_another_word(varied):
    study, states = varied
    for (name, backbone), state in states.items():
        loss, words = VARIATIONS[name]
        assert state.done
        assert len(state.trials) == (SMOKE.trials if backbone == "mf" else SMOKE.transfer_trials)
        assert len(state.found) == len(SMOKE.seeds)
        for record in state.records:
            assert record.config.loss == loss
            assert words.items() <= record.config.loss_parameters.items()
        if backbone == "mf":
            assert state.trials[0].parameters == STARTS[loss]
    (plain,) = cells_of(SMOKE, backbones=["mf"], losses=["dsl"])
    own, other = (search_of(study, cell) for cell in (plain, states["dsl-R5", "mf"].cell))
    assert own.space == other.space
    assert own.key != other.key


@pytest.mark.parametrize("profile", PROFILES)
def test_the_protocol_of_a_profile_can_be_run(profile):
    protocol = protocol_of(profile)
    assert protocol.backbones[0] == "mf"
    assert SEARCH_SEED not in protocol.seeds
    for table, datasets in protocol.tables.items():
        assert set(datasets) <= set(PROFILES[profile].trains)
        for cell in cells_of(protocol, table):
            if cell.is_baseline or cell.is_control:
                continue
            base = cell.protocol.base_run(cell.dataset, cell.backbone, cell.loss, split=cell.split)
            pairwise = cell.loss == "bpr"
            assert (base.score == "inner-product") == (base.num_negatives == 1) == pairwise
            space = space_of(cell.loss, cell.protocol.bpr_only if pairwise else cell.protocol.only)
            assert all(STARTS[cell.loss][name] in values for name, values in space.items())


def test_paper_is_what_the_issue_of_the_tables_asks_for():
    paper = PROTOCOLS["paper"]
    assert set(paper.losses) == set(SPACES) - set(paper.variations)
    assert (paper.trials, paper.transfer_trials, len(paper.seeds)) == (20, 6, 5)
    cells = cells_of(paper, datasets=["amazon2014-health"])
    assert len(cells) == len(BASELINES) + len(paper.backbones) * (len(paper.losses) + 1)


def test_the_shifted_table_of_paper_has_the_published_splits_and_our_own():
    paper = PROTOCOLS["paper"]
    found = {(cell.dataset, cell.split) for cell in cells_of(paper, "popularity-shift")}
    ours = {("movielens-100k", "popularity-shift"), ("amazon2014-health", "popularity-shift")}
    assert found == ours | {(name, "default") for name in SHIFTED}
    losses = {cell.loss for cell in cells_of(paper, "popularity-shift", datasets=["amazon2014-health"])}
    assert losses == {*paper.losses, MATCHED, "none"}


@pytest.mark.parametrize("profile", PROFILES)
def test_one_data_set_in_two_tables_is_told_apart(profile):
    tables = {table: cells_of(PROTOCOLS[profile], table) for table in ("iid", "popularity-shift")}
    cells = [cell for of_table in tables.values() for cell in of_table]
    assert len({cell.key for cell in cells}) == len({cell.name for cell in cells}) == len(cells)
    for table, of_table in tables.items():
        for cell in of_table:
            assert cell.protocol is PROTOCOLS[profile].of_table(table)
            for related in (cell, cell.of_mf, cell.of_dsl):
                assert (related.dataset, related.split) == (cell.dataset, cell.split)
            for trial in (True, False):
                assert base_of(cell, trial=trial).split == cell.split
    assert {cell.split for cell in tables["iid"]} == {"default"}


def test_the_names_that_runs_and_cells_of_the_iid_table_have_had_from_the_first():
    """Records, journals and locks are found by these; a table more must not change them."""
    (cell,) = cells_of(PROTOCOLS["paper"], datasets=["amazon2014-health"], backbones=["mf"], losses=["dsl"])
    assert cell.name == "amazon2014-health mf dsl"
    assert cell.key == hashlib.sha256(b"paper amazon2014-health mf dsl").hexdigest()[:16]
    values = {
        "dataset": "amazon2014-health",
        "split": "default",
        "backbone": "mf",
        "loss": "dsl",
        "embedding_size": 64,
        "num_negatives": 1000,
        "batch_size": 1024,
        "epochs": 30,
        "evaluate_every": 5,
    }
    assert base_of(cell, trial=True) == RunConfig(**values)


def test_a_narrowed_table_keeps_to_its_own_losses():
    quick = PROTOCOLS["quick"]
    narrowed = quick.of_table("popularity-shift")
    assert narrowed is quick.of_table("popularity-shift")
    assert set(narrowed.losses) < set(quick.losses)
    assert narrowed.trials < quick.trials
    assert (narrowed.seeds, narrowed.run) == (quick.seeds, quick.run)
    assert quick.of_table("iid") is quick
    with pytest.raises(InputError, match="unknown loss of table popularity-shift at profile quick"):
        cells_of(quick, "popularity-shift", losses=["slatk"])
    with pytest.raises(InputError, match="unknown table at profile quick"):
        quick.of_table("popularity")


def test_runs_of_the_shifted_table_are_trained_on_the_shifted_split(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study = open_study("smoke", store=tmp_path / "store", progress=False)
    cells = cells_of(SMOKE, "popularity-shift", backbones=["mf", "ease"])
    states = complete(study, [cell for cell in cells if cell.loss in ("none", "softmax")])
    assert {state.word for state in states} == {"done"}
    wanted = load_split("synthetic-ranking", "popularity-shift", seed=0)
    records = [record for state in states for record in state.records]
    assert {record.data["fingerprint"] for record in records} == {wanted.fingerprint}
    assert len(records) == 1 + SMOKE.trials + len(SMOKE.seeds)
    of_iid = cells_of(SMOKE, backbones=["mf", "ease"])
    assert {state_of(study, cell).word for cell in of_iid} == {"not yet run"}


@given(st.integers(1, 5), st.sampled_from(["smoke", "paper"]))
def test_shares_are_a_partition_and_keep_together_what_depends_on_each_other(shares, profile):
    cells = cells_of(PROTOCOLS[profile])
    parts = [share_of(cells, share, shares) for share in range(1, shares + 1)]
    assert sorted((cell for part in parts for cell in part), key=lambda cell: cell.name) == sorted(
        cells, key=lambda cell: cell.name
    )
    for part in parts:
        names = {cell.name for cell in part}
        for cell in part:
            if cell.budget:
                assert cell.of_mf.name in names
            if cell.is_control:
                assert cell.of_dsl.name in names


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"table": "idd"}, "did you mean 'iid'"),
        ({"datasets": ["amazon2014-health"]}, "unknown data set of table iid at profile smoke"),
        ({"backbones": ["lightgnc"]}, "did you mean 'lightgcn'"),
        ({"losses": ["sofmax"]}, "did you mean 'softmax"),
    ],
)
def test_cells_that_are_not_in_the_table(given_, message):
    with pytest.raises(InputError, match=message):
        cells_of(SMOKE, **given_)


def test_two_processes_share_the_work_and_train_no_run_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    words = ["study", "--profile", "smoke", "--backbone", "mf", "--quiet", "--device", "cpu"]
    both = [killed.start(killed.command, tmp_path, "store", *words) for _ in range(2)]
    for process in both:
        process.join(200)
        assert process.exitcode == 0
    log = killed.words(tmp_path, "store")
    keys = [key for word, key in log if word == "stored"]
    assert len(keys) == len(set(keys))
    assert sorted(key for word, key in log if word == "train") == sorted(keys)
    study = open_study("smoke", store=tmp_path / "store", progress=False)
    states = [state_of(study, cell) for cell in cells_of(SMOKE, backbones=["mf"])]
    assert {state.word for state in states} == {"done"}
    assert set(keys) == {record.key for state in states for record in state.records}
