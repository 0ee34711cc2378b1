"""Benchmark records: ratios pair what was measured in one round, and a record survives its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dslstudy.errors import InputError
from dslstudy.study import benchmarks
from dslstudy.study.benchmarks import BenchmarkRecord, Comparison, Contender, Spread, read_benchmark, write_benchmark

RATES = st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=2, max_size=6)
FASTER = Comparison(of="ours", over="theirs", measure="updates_per_second", at_least=20)


def a_record(pairs=((10.0, 2.0), (30.0, 3.0), (8.0, 8.0)), **changes):
    ours, theirs = ([{"updates_per_second": pair[side], "compiled": True} for pair in pairs] for side in (0, 1))
    values = {
        "suite": "steps",
        "title": "One step",
        "mode": "rate",
        "command": "dslstudy bench --suite steps",
        "data": {"name": "synthetic-ranking"},
        "protocol": {"repeats": len(ours)},
        "contenders": [
            Contender(name="ours", title="Ours", script="engine.py", settings={"runs": 1}, trials=ours),
            Contender(name="theirs", title="Theirs", script="x.py", differs=["all"], trials=theirs),
        ],
        "ratios": [FASTER],
        "environment": {"device": "abacus"},
        "code": {"version": "0", "commit": None, "fingerprint": benchmarks.engine_fingerprint()},
        "finished": "2026-01-01T00:00:00+00:00",
    }
    return BenchmarkRecord(**values | changes)


@given(RATES)
def test_a_ratio_is_taken_round_by_round(pairs):
    spread = a_record(pairs).ratio(FASTER)
    ratios = sorted(a / b for a, b in pairs)
    middle = len(ratios) // 2
    by_hand = ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    assert (spread.low, spread.high, spread.count) == (ratios[0], ratios[-1], len(ratios))
    assert spread.median == pytest.approx(by_hand)


@given(RATES)
def test_a_difference_is_paired_over_seeds(pairs):
    interval = a_record(pairs).difference(FASTER)
    differences = np.array([a - b for a, b in pairs])
    assert interval.estimate == pytest.approx(differences.mean())
    if differences.std() > 1e-9:
        low, high = stats.t.interval(
            0.95, len(differences) - 1, differences.mean(), differences.std(ddof=1) / np.sqrt(len(differences))
        )
        assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@given(RATES, st.none() | st.text(max_size=8))
def test_a_record_survives_its_file(pairs, commit):
    record = a_record(pairs, code={"version": "0", "commit": commit, "fingerprint": "f"})
    assert BenchmarkRecord.from_json(record.to_json()) == record


def test_records_lie_in_one_folder_by_suite(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_BENCHMARKS", str(tmp_path / "elsewhere"))
    assert read_benchmark("steps") is None
    path = write_benchmark(a_record())
    assert path == tmp_path / "elsewhere" / "steps.json"
    assert read_benchmark("steps") == a_record()
    write_benchmark(a_record(title="Another"))
    assert read_benchmark("steps").title == "Another"
    assert read_benchmark("steps", tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1}', json.dumps({"schema": 1, "contenders": [{"nme": 1}]})],
)
def test_a_damaged_record_is_named(text, tmp_path):
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(InputError, match=r"steps\.json.*measure it again"):
        read_benchmark("steps", tmp_path)


def test_what_was_not_measured_is_said():
    record = a_record()
    with pytest.raises(InputError, match="it has: updates_per_second"):
        record.contender("ours").values("seconds")
    with pytest.raises(InputError, match="it has: ours, theirs"):
        record.contender("nobody")
    with pytest.raises(InputError, match="at least one"):
        Spread.of([])


def test_a_target_that_was_missed_once_makes_no_ratio():
    record = a_record([(1.0, 2.0), (None, 2.0)])
    assert record.contender("ours").spread("updates_per_second") is None
    assert not record.has(FASTER)
    with pytest.raises(InputError, match="missing in some repeat"):
        record.ratio(FASTER)
    assert not record.has(replace(FASTER, over="nobody"))
    assert a_record().has(FASTER)
    assert a_record().has(replace(FASTER, over=""))


@pytest.mark.parametrize(
    ("bounds", "value", "met"),
    [
        ({"at_least": 20}, 20, True),
        ({"at_least": 20}, 19.9, False),
        ({"at_most": 12}, 12, True),
        ({"at_most": 12}, 12.1, False),
        ({}, 1, None),
    ],
)
def test_a_bound_is_met_or_not(bounds, value, met):
    assert Comparison(of="a", over="b", measure="m", **bounds).met(value) is met


def test_a_record_of_other_engine_code_is_stale():
    assert not a_record().stale
    assert a_record(code={"fingerprint": "000000000000"}).stale


def test_the_machine_is_described():
    described = benchmarks.machine("cpu", threads=2)
    assert described["threads"] == 2
    assert described["cores"] >= 1
    assert {"device", "torch", "python"} <= set(described)
    assert set(benchmarks.code_description()) == {"version", "commit", "fingerprint"}


def test_committed_records_read_and_name_their_own_suite(monkeypatch):
    monkeypatch.delenv("DSLSTUDY_BENCHMARKS", raising=False)
    for path in benchmarks.benchmarks_folder().glob("*.json"):
        record = read_benchmark(path.stem)
        assert record.suite == path.stem
        assert record.command.startswith(f"dslstudy bench --suite {path.stem}")
        assert {"device", "threads", "torch"} <= set(record.environment)
        for contender in record.contenders:
            assert len(contender.trials) == record.protocol["repeats"]
