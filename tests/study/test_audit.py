"""An audit passes what is true and catches what was altered, whichever file was altered."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dslstudy.cli import cli
from dslstudy.errors import InputError
from dslstudy.study import ClickRunConfig, RunConfig, RunStore, open_study, provenance
from dslstudy.study.audit import ABSOLUTE, ELSEWHERE, SAME_MACHINE, audit, compare, draw, repeats, same_training, survey
from dslstudy.study.click_rows import rows_of
from dslstudy.study.study import _split

CONFIGS = [
    RunConfig(dataset="synthetic-ranking", embedding_size=8, num_negatives=16, batch_size=256, epochs=3, seed=0),
    RunConfig(dataset="synthetic-ranking", embedding_size=8, num_negatives=16, batch_size=256, epochs=3, seed=1),
    RunConfig(dataset="synthetic-ranking", backbone="ease", loss="none"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    open_study("smoke", store=root, progress=False).obtain(CONFIGS)
    return root


@pytest.fixture
def store(made, tmp_path):
    """A copy of the records that a test may spoil."""
    shutil.copytree(made, tmp_path / "store")
    return RunStore(tmp_path / "store")


def files(store):
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def alter(store, change, config=CONFIGS[0]):
    path = store.path(config)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def run(store, *words):
    return CliRunner().invoke(cli, ["audit", "--store", str(store.root), "--quiet", "--device", "cpu", *words])


def test_true_records_pass_to_the_bit_and_stay_as_they_are(store, tmp_path):
    before = files(store)
    records = draw(survey(store), 5)
    assert {record.key for record in records} == {config.key for config in CONFIGS}
    findings = list(audit(records, scratch=tmp_path / "scratch", progress=False))
    assert all(finding.passed and finding.identical for finding in findings)
    assert {each.metric for each in findings[0].differences} == set(records[0].test)
    assert files(store) == before


def test_a_tampered_number_is_caught(store, tmp_path):
    def better(values):
        values["test"]["ndcg@20"] *= 1.1

    alter(store, better)
    found = {finding.record.key: finding for finding in audit(draw(survey(store), 9), scratch=tmp_path, progress=False)}
    bad = found.pop(CONFIGS[0].key)
    assert not bad.passed
    assert [each.metric for each in bad.differences if not each.within] == ["ndcg@20"]
    assert any("kept values give ndcg@20" in complaint for complaint in bad.complaints)
    assert all(finding.passed for finding in found.values())


def test_tampered_values_of_users_are_caught(store, tmp_path):
    path = store.path(CONFIGS[0]).with_suffix(".npz")
    with np.load(path) as arrays:
        values = dict(arrays)
    values["recall@20"] = values["recall@20"] + np.float32(0.01)
    np.savez_compressed(path, **values)
    (finding,) = audit([store.get(CONFIGS[0])], scratch=tmp_path, progress=False)
    assert all(each.within for each in finding.differences)
    assert len(finding.complaints) == 1
    assert re.match(r"the kept values give recall@20 0\.\d+, the record says 0\.\d+", finding.complaints[0])
    path.unlink()
    (finding,) = audit([store.get(CONFIGS[0])], scratch=tmp_path, progress=False)
    assert not finding.passed
    assert "missing or damaged" in finding.complaints[0]


def test_other_data_missing_metrics_and_values_that_are_no_numbers_fail(store):
    record = store.get(CONFIGS[0])
    assert compare(record, record).passed
    other = replace(record, data=record.data | {"fingerprint": "0"})
    assert "the data are not those" in compare(record, other).complaints[0]
    fewer = {name: value for name, value in record.test.items() if name != "mrr@20"}
    assert compare(replace(record, test=fewer), record).complaints == ["the record lacks mrr@20"]
    assert compare(record, replace(record, test=fewer)).complaints == ["training again gave no mrr@20"]
    broken = compare(record, replace(record, test=record.test | {"mrr@20": float("nan")}))
    assert [each.metric for each in broken.differences if not each.within] == ["mrr@20"]


def test_another_machine_is_allowed_more(store):
    record = store.get(CONFIGS[0])
    value = record.test["ndcg@20"]
    near = replace(record, test=record.test | {"ndcg@20": value + 0.03 * value + ABSOLUTE["ranking"]})
    assert SAME_MACHINE["ranking"] < 0.03 < ELSEWHERE["ranking"]
    assert not compare(record, near).passed
    assert compare(record, replace(near, environment=record.environment | {"device": "another"})).passed


def test_stale_and_damaged_records_are_listed_and_not_drawn(store, monkeypatch):
    def older(values):
        values["code"]["fingerprint"] = "0" * 12

    stale = alter(store, older)
    damaged = store.path(CONFIGS[1])
    damaged.write_text(damaged.read_text()[:100])
    states = {entry.path: entry.state for entry in survey(store)}
    assert states == {stale: "stale", damaged: "damaged", store.path(CONFIGS[2]): "current"}
    assert [record.key for record in draw(survey(store), 3)] == [CONFIGS[2].key]
    listed = run(store, "--list")
    assert listed.exit_code == 0
    assert "1 current, 1 stale, 1 damaged" in listed.output
    assert {row["state"] for row in json.loads(run(store, "--list", "--json").output)} == set(states.values())
    monkeypatch.setattr(provenance, "code_fingerprint", lambda _: "1" * 12)
    with pytest.raises(InputError, match="all 2 readable records are stale"):
        draw(survey(store), 3)


def test_the_draw_is_seeded_and_reaches_every_record(store):
    entries = survey(store)
    keys = [[record.key for record in draw(entries, 2, seed=seed)] for seed in range(20)]
    assert keys[3] == [record.key for record in draw(entries, 2, seed=3)]
    assert {key for pair in keys for key in pair} == {config.key for config in CONFIGS}
    with pytest.raises(InputError, match="at least 1"):
        draw(entries, 0)
    with pytest.raises(InputError, match="no records here"):
        draw(survey(RunStore(store.root / "none")), 2)


def test_an_interrupted_audit_goes_on(store, tmp_path):
    records = draw(survey(store), 3)
    first = next(iter(audit(records, scratch=tmp_path / "scratch", progress=False)))
    stamp = first.again.path.stat().st_mtime_ns
    findings = list(audit(records, scratch=tmp_path / "scratch", progress=False))
    assert findings[0].again.path.stat().st_mtime_ns == stamp
    assert len(findings) == 3
    with pytest.raises(InputError, match="holds the records to audit"):
        next(audit(records, scratch=store.root, progress=False))


def test_the_command_reports_and_fails_where_it_must(store, tmp_path):
    good = run(store, "--sample", "2", "--scratch", str(tmp_path / "kept"))
    assert good.exit_code == 0, good.output
    assert "2 of 3 records" in good.output
    assert "2 of 2 audited records are within tolerance" in good.output
    assert len(list(RunStore(tmp_path / "kept"))) == 2

    def better(values):
        values["test"]["recall@20"] = 0.9

    alter(store, better)
    bad = run(store, "--sample", "3", "--scratch", str(tmp_path / "kept"))
    assert bad.exit_code == 1
    assert "OUTSIDE" in bad.output
    assert "2 of 3 audited records are within tolerance" in bad.output
    report = json.loads(run(store, "--sample", "3", "--scratch", str(tmp_path / "kept"), "--json").output)
    failed = [finding for finding in report["findings"] if not finding["passed"]]
    assert [finding["key"] for finding in failed] == [CONFIGS[0].key]
    assert failed[0]["differences"]["recall@20"]["recorded"] == 0.9


def test_a_damaged_record_makes_the_command_fail(store, tmp_path):
    damaged = store.path(CONFIGS[0])
    damaged.write_text("{")
    result = run(store, "--sample", "1", "--scratch", str(tmp_path / "kept"))
    assert result.exit_code == 1
    assert f"DAMAGED the record {damaged}" in result.output


def test_a_record_without_its_arrays_is_listed_as_damaged(store):
    file = store.path(CONFIGS[0]).with_suffix(".npz")
    for spoil in (lambda: file.write_bytes(b""), file.unlink):
        spoil()
        result = run(store, "--list")
        assert f"damaged  {CONFIGS[0].key}  {file} is missing or damaged" in result.output
        assert "2 current, 0 stale, 1 damaged" in result.output


def test_a_record_whose_data_are_gone_fails_and_the_others_go_on(store, tmp_path):
    data = tmp_path / "own.csv"
    data.write_text("user,item\n" + "".join(f"{u},{i}\n" for u in range(30) for i in range(12)))
    own = RunConfig(dataset=str(data), backbone="popularity", loss="none")
    open_study("smoke", store=store.root, progress=False).obtain([own])
    data.unlink()
    _split.cache_clear()  # of this process
    result = run(store, "--sample", "4", "--scratch", str(tmp_path / "kept"))
    assert result.exit_code == 1
    assert "WRONG: it could not be trained again: " in result.output
    assert "neither a registered data set nor an existing path" in result.output
    assert "3 of 4 audited records are within tolerance" in result.output
    report = json.loads(run(store, "--sample", "4", "--scratch", str(tmp_path / "kept"), "--json").stdout)
    (failed,) = [finding for finding in report["findings"] if not finding["passed"]]
    assert (failed["key"], failed["seconds"]["again"]) == (own.key, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--store", "comitted"], "use committed, user or an existing folder"),
        (["--task", "click"], "not one of"),
        (["--sample", "0"], "not in the range"),
    ],
)
def test_bad_input(words, message):
    result = CliRunner().invoke(cli, ["audit", *words])
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    root = tmp_path_factory.mktemp("clicks")
    small = {"dataset_parameters": {"rows": 4000, "users": 100, "fields": 2}, "epochs": 1, "embedding_size": 4}
    config = ClickRunConfig(dataset="synthetic-clicks", axis="activity", method="c2al", **small)
    open_study("smoke", store=root, progress=False).obtain([config])
    return root, config


def test_click_records_are_audited_too(clicks, tmp_path):
    shutil.copytree(clicks[0], tmp_path / "store")
    store, config = RunStore(tmp_path / "store"), clicks[1]
    (finding,) = audit(draw(survey(store, task="clicks"), 5), scratch=tmp_path / "scratch", progress=False)
    assert finding.passed
    assert finding.identical
    assert {"ne", "ne@tail", "ece@head"} <= {each.metric for each in finding.differences}
    with pytest.raises(InputError, match="no records here"):
        draw(survey(store, task="ranking"), 5)
    with pytest.raises(InputError, match="did you mean 'clicks'"):
        survey(store, task="click")

    def better(values):
        values["test"]["ne@tail"] -= 0.01

    alter(store, better, config)
    (finding,) = audit([store.get(config)], scratch=tmp_path / "scratch", progress=False)
    assert [each.metric for each in finding.differences if not each.within] == ["ne@tail"]
    assert len(finding.complaints) == 1
    assert "the kept values give ne@tail" in finding.complaints[0]


def test_tampered_predictions_are_caught(clicks, tmp_path):
    shutil.copytree(clicks[0], tmp_path / "store")
    record = RunStore(tmp_path / "store").get(clicks[1])
    path = record.path.with_suffix(".npz")
    with np.load(path) as arrays:
        values = dict(arrays)
    values["logit_steps"] = (values["logit_steps"] * 1.2).astype(np.int16)
    np.savez_compressed(path, **values)
    finding = compare(record, record)
    assert any("the kept values give ne " in complaint for complaint in finding.complaints)


def test_a_watched_run_repeats_its_record_closely_here_and_by_its_entropy_elsewhere(tmp_path):
    config = ClickRunConfig(dataset="synthetic-clicks", dataset_parameters={"rows": 6000}, epochs=1, seed=0)
    (record,) = open_study("smoke", store=tmp_path, progress=False).obtain([config])
    elsewhere = replace(record, environment=record.environment | {"device": "another processor"})
    kept = rows_of(record).probabilities
    rng = np.random.default_rng(0)
    rounded, jittered = kept + 1e-5, np.clip(kept + 0.01 * rng.standard_normal(len(kept)), 1e-3, 1 - 1e-3)
    other = 1 - kept
    assert [repeats(record, p) for p in (kept, rounded, jittered, other)] == [True, True, False, False]
    assert [repeats(elsewhere, p) for p in (kept, rounded, jittered, other)] == [True, True, True, False]


def test_a_watched_ranking_run_is_its_record_in_every_digit_here_and_by_its_best_validation_elsewhere(tmp_path):
    config = RunConfig(dataset="synthetic-ranking", epochs=2, seed=0)
    (record,) = open_study("smoke", store=tmp_path, progress=False).obtain([config])
    elsewhere = replace(record, environment=record.environment | {"device": "another processor"})

    def times(factor):
        return [epoch | {"validation": epoch["validation"] * factor} for epoch in record.history]

    histories = times(1), times(1 + 1e-9), times(1.05), times(1.2), times(float("nan"))
    assert [same_training(record, each, "cpu") for each in histories] == [True, False, False, False, False]
    assert [same_training(elsewhere, each, "cpu") for each in histories] == [True, True, True, False, False]
