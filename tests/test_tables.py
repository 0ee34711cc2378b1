"""Tables against numbers worked out by hand and by scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dslstudy import tables
from dslstudy.data.published import PRINTED_AS, TABLES, published, published_ranking, published_value, published_values
from dslstudy.data.registry import dataset_names
from dslstudy.errors import InputError
from dslstudy.metrics.significance import Interval, holm
from dslstudy.study import Record, RunConfig, RunStore, open_study
from dslstudy.study.click_comparison import compare_clicks
from dslstudy.study.click_experiments import headline, world
from dslstudy.study.experiments import health_reference_runs
from dslstudy.study.provenance import code_fingerprint

USERS = np.arange(30)


@pytest.fixture
def make_record(tmp_path):
    """A stored record whose user u has the metric ``values[u]``."""
    store = RunStore(tmp_path)

    def make(config: RunConfig, values: np.ndarray, users: np.ndarray = USERS) -> Record:
        mean = float(np.mean(values))
        record = Record(
            config=config,
            data={},
            code={"version": "0", "commit": "abc", "fingerprint": code_fingerprint(config)},
            environment={"device": "a processor", "torch": "2"},
            cost={"seconds": 2.0},
            selection={"metric": "ndcg@20", "best_epoch": 1, "epochs": 1, "diverged": None},
            history=[{"epoch": 1, "loss": 1.0, "validation": 0.1}],
            validation={"ndcg@20": mean},
            test={"ndcg@20": mean, "recall@20": 2 * mean},
            finished="2026-01-01T00:00:00+00:00",
        )
        per_user = {"users": users, "ndcg@20": np.asarray(values, float), "recall@20": 2 * np.asarray(values, float)}
        return store.put(record, per_user)

    return make


def config(**settings) -> RunConfig:
    return RunConfig(**{"dataset": "synthetic-ranking"} | settings)


def test_plus_minus_is_the_t_interval():
    values = [0.10, 0.12, 0.13, 0.11, 0.14]
    half = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))[1] - np.mean(values)
    assert tables.plus_minus(values) == f"0.1200 ± {half:.4f}"
    assert tables.plus_minus([0.25]) == "0.2500"
    assert tables.plus_minus([0.2, 0.2], digits=2) == "0.20 ± 0.00"
    with pytest.raises(InputError, match="no value"):
        tables.plus_minus([])


def test_between_writes_signs_and_percent():
    interval = Interval(0.0123, -0.0045, 0.02)
    assert tables.between(interval) == "+0.0123 [-0.0045, +0.0200]"
    assert tables.between(interval, percent=True) == "+1.2 % [-0.4, +2.0]"


def test_over_seeds_has_a_row_for_each_label(make_record):
    runs = [make_record(config(seed=seed), np.full(30, 0.1 + 0.01 * seed)) for seed in range(3)]
    one = make_record(config(backbone="ease", loss="none"), np.full(30, 0.3))
    table = tables.over_seeds({"SL": runs, "EASE": [one]})
    assert list(table.index) == ["SL", "EASE"]
    assert table.loc["SL", "NDCG@20"] == tables.plus_minus([0.10, 0.11, 0.12])
    assert table.loc["SL", "Recall@20"] == tables.plus_minus([0.20, 0.22, 0.24])
    assert table.loc["EASE", "NDCG@20"] == "0.3000"
    assert list(table["runs"]) == [3, 1]
    assert list(table["seconds per run"]) == ["2.0", "2.0"]


def test_over_users_averages_users(make_record):
    values = np.linspace(0, 1, 30)
    table = tables.over_users({"one": make_record(config(), values)})
    assert table.loc["one", "NDCG@20"] == tables.plus_minus(values.astype(np.float32))
    assert table.loc["one", "users"] == 30


def test_paired_differences_average_seeds_first_and_find_a_sure_gain(make_record):
    rng = np.random.default_rng(0)
    base = rng.uniform(size=30)
    low = [make_record(config(loss="bpr", seed=seed), base) for seed in (0, 1)]
    # one seed loses what the other gains, on top of a gain of 0.1 that every user has
    high = [make_record(config(seed=seed), base + 0.1 + shift) for seed, shift in ((0, 0.05), (1, -0.05))]
    same = [make_record(config(seed=seed), base + noise) for seed, noise in ((5, 0.02), (6, -0.02))]
    table = tables.paired_differences({"BPR": low, "SL": high, "same": same}, "BPR")
    assert list(table.index) == ["SL", "same"]
    assert table.loc["SL", "difference in NDCG@20"] == "+0.1000 [+0.1000, +0.1000]"
    assert table.loc["SL", "p (Holm)"] == "< 0.001"
    assert table.loc["same", "p (Holm)"] != "< 0.001"
    assert table.loc["SL", "relative"].startswith(f"{10 / base.mean():+.1f} %")
    with pytest.raises(InputError, match="no 'EASE'"):
        tables.paired_differences({"BPR": low, "SL": high}, "EASE")


def test_records_of_different_users_are_not_compared(make_record):
    one = make_record(config(seed=0), np.ones(30))
    other = make_record(config(seed=1), np.ones(30), users=USERS + 1)
    with pytest.raises(InputError, match="different users"):
        tables.mean_over_seeds([one, other], "ndcg@20")


def test_beside_published_shows_what_is_there_and_what_is_not(make_record):
    runs = health_reference_runs()
    made = [make_record(each, np.full(30, 0.1261 * 1.02)) for each in runs["softmax"][:2]]
    table = tables.beside_published({"softmax": [*made, None, None, None], "bpr": [None] * 5}, "amazon2014-health")
    ours = table.loc[("SL", "NDCG@20")]
    assert ours["published"] == "0.1261"
    assert ours["ours"] == "0.1286 ± 0.0000"
    assert ours["relative difference"] == "+2.0%"
    assert (ours["seeds"], ours["state"]) == ("2 of 5", "incomplete")
    values = tables.found_values({"softmax": [*made, None], "bpr": [None]}, "ndcg@20")
    assert values["softmax"] == pytest.approx([0.1261 * 1.02] * 2)
    assert len(values["bpr"]) == 0
    words = tables.published_distances({"softmax": made, "bpr": [None]}, "amazon2014-health")
    assert words == (
        "SL is +49.6% in Recall@20 and +2.0% in NDCG@20 away from its published value. "
        "BPR has not been run yet on this data."
    )
    missing = table.loc[("BPR", "Recall@20")]
    assert list(missing) == ["0.1627", tables.NOT_RUN, "–", "0 of 5", tables.NOT_RUN]


def test_a_record_of_older_code_is_called_stale(make_record):
    fresh = make_record(config(), np.ones(30))
    old = replace(fresh, code={**fresh.code, "fingerprint": "of older code"})
    assert tables.state_of([fresh]) == "current"
    assert tables.state_of([fresh, old]).startswith("stale")
    assert tables.state_of([fresh, None]) == "incomplete"
    assert tables.state_of([None]) == tables.NOT_RUN


def test_provenance_names_commit_and_device(make_record):
    record = make_record(config(), np.ones(30))
    table = tables.provenance({"softmax": [record, None], "bpr": [None]})
    assert list(table.index) == ["SL"]
    assert table.loc["SL", "commit"] == "abc"
    assert table.loc["SL", "records"] == record.key[:8]


def test_datasets_lists_the_registry_and_counts_what_is_at_hand():
    from dslstudy.data import load_dataset

    table = tables.datasets([load_dataset("synthetic-ranking")])
    assert tuple(table.index) == dataset_names()
    assert table.loc["synthetic-ranking", "interactions"] == "4,000"
    assert table.loc["synthetic-ranking", "density"] == "13.33%"
    assert table.loc["synthetic-ranking", "counted"] == "here"
    assert table.loc["gowalla", "counted"] == "as registered"


def test_published_tables_hold_sourced_facts():
    for name in TABLES:
        table = published(name)
        assert len(table)
        assert table["source"].notna().all()
    assert set(PRINTED_AS) <= set(dataset_names())
    assert published_value("amazon2014-health", "softmax", "recall@20") == 0.1719
    assert published_value("amazon2014-health", "softmax", "ndcg@20", backbone="lightgcn") == 0.1235
    assert published_value("amazon2014-electronic-popularity", "softmax", "ndcg@20") == 0.0142
    assert published_value("amazon2014-electronic-popularity", "psl", "ndcg@20") == 0.0149
    assert published_value("amazon2014-health", "psl", "ndcg@20") == 0.1268
    assert published_value("movielens-100k", "softmax", "ndcg@20") is None
    assert published_value("movielens-100k", "dsl", "ndcg@20") is None
    assert published_ranking("movielens-100k").empty
    assert published_values("amazon2014-health", ["bpr", "none"])["ndcg@20"] == {"bpr": 0.1234}


@pytest.mark.parametrize(
    "call",
    [
        lambda: published("rankings"),
        lambda: published_ranking("gowalla", backbone="ease"),
        lambda: published_value("gowalla", "bpr", "ndcg@5"),
    ],
)
def test_published_refuses_what_was_not_printed(call):
    with pytest.raises(InputError):
        call()


def test_reference_runs_follow_the_published_settings():
    runs = health_reference_runs()
    assert set(runs) == {"softmax", "bpr"}
    assert {each.dataset for configs in runs.values() for each in configs} == {"amazon2014-health"}
    assert {each.num_negatives for each in runs["softmax"]} == {1000}
    assert {each.loss_parameters["temperature"] for each in runs["softmax"]} == {0.2}
    for loss, configs in runs.items():
        assert [each.seed for each in configs] == [0, 1, 2, 3, 4]
        row = published("hyperparameters").query(
            "dataset == 'amazon-health' and backbone == 'MF' and loss == @printed",
            local_dict={"printed": {"softmax": "SL", "bpr": "BPR"}[loss]},
        )
        assert {each.learning_rate for each in configs} == set(row["lr"])
        assert {each.weight_decay for each in configs} == set(row["weight_decay"])


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """Real click runs of a small world, two pairs each."""
    study = open_study("smoke", store=tmp_path_factory.mktemp("clicks"), progress=False)
    chosen = headline(study.profile, world(study.profile))
    return {name: study.obtain(chosen[name]) for name in ("plain", "c2al", "random_pair")}


def test_click_metrics_have_a_row_for_each_arm(arms):
    table = tables.click_metrics(arms, metrics=("ne", "ne@tail"))
    assert list(table.index) == ["plain", "C2AL", "random pair"]
    assert table.loc["C2AL", "NE"] == tables.plus_minus([record.test["ne"] for record in arms["c2al"]])
    assert table.loc["plain", "NE@tail"] == "–"
    assert set(table["runs"]) == {2}


def test_click_differences_tell_runs_and_users_apart(arms):
    table = tables.click_differences(arms)
    assert list(table.index) == [(name, over) for name in ("C2AL", "random pair") for over in ("runs", "users")]
    found = compare_clicks(arms["random_pair"], arms["plain"], cohorts=arms["c2al"])
    users = found.over_users["tail"]
    expected = f"{users.estimate:+.2f} [{users.low:+.2f}, {users.high:+.2f}]"
    assert table.loc[("random pair", "users"), "tail"] == expected
    pairs = [compare_clicks(arms[name], arms["plain"]) for name in ("c2al", "random_pair")]
    adjusted = holm([each.over_users["overall"].p_value for each in pairs])
    assert table.loc[("C2AL", "users"), "p (Holm)"] == f"{adjusted[0]:.3f}".replace("0.000", "< 0.001")
    with pytest.raises(InputError, match="no 'groupdro' to compare with"):
        tables.click_differences(arms, "groupdro")
