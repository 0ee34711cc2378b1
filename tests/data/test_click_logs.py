"""Registered and own click logs on small files of the same formats; the real files are in test_real_click_logs.py."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data import Axis, ClickLog, ClickSplit, Feature, load_click_split
from dslstudy.data.click_columns import ClickTable, encode, quantile_edges, split_table
from dslstudy.data.click_formats import click_table, movielens_columns, tmall_columns
from dslstudy.data.click_logs import PARTS
from dslstudy.data.click_spec import ClickSpec, FeatureSpec, click_spec
from dslstudy.data.click_statistics import describe_clicks
from dslstudy.data.registry import registry
from dslstudy.errors import InputError

SPEC = {
    "label": {"column": "bought"},
    "user": "who",
    "item": "what",
    "time": "when",
    "features": [
        {"column": "who", "min_count": 3},
        {"column": "what", "name": "thing"},
        {"column": "price", "quantiles": 4},
        {"column": "age", "edges": [20, 40]},
        {"column": "tags", "separator": "|", "min_count": 2},
    ],
    "axes": [
        {"name": "age", "unit": "user", "column": "age", "edges": [20, 40]},
        {"name": "activity", "unit": "user", "count": "user", "quantiles": 3},
        {"name": "popularity", "unit": "item", "count": "item", "quantiles": 3, "weight": "rows"},
        {"name": "tag", "unit": "row", "column": "tags"},
        {"name": "who buys what", "crossed": ["age", "popularity"]},
    ],
}


def raw_log(rows=400, seed=0):
    """A log of text and numbers with missing fields, as it comes out of a file."""
    rng = np.random.default_rng(seed)
    users = np.minimum(rng.geometric(0.05, rows), 40)
    tags = rng.choice(["", "new", "new|cheap", "cheap|red", "red", "green"], rows)
    return pd.DataFrame(
        {
            "who": [f"u{user}" for user in users],
            "what": rng.integers(0, 25, rows),
            "when": rng.permutation(rows) // 2,
            "bought": rng.integers(0, 2, rows),
            "price": np.where(rng.random(rows) < 0.1, np.nan, rng.exponential(size=rows)),
            "age": 10.0 + users,
            "tags": tags,
            "ignored": "x",
        }
    )


def split_of(log, spec=SPEC, **options):
    rules = click_spec(spec, "test")
    return split_table(click_table(log, rules), rules, **{"seed": 0, "dataset": "toy", "data_sha256": {}, **options})


# Parts


def test_a_temporal_split_cuts_at_two_points_in_time():
    split = split_of(raw_log())
    times = [split.part(name).timestamps for name in PARTS]
    assert split.name == "temporal"
    assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()
    assert [len(one) for one in times] == pytest.approx([280, 40, 80], abs=2)
    assert sum(map(len, times)) == 400


def test_a_per_user_split_cuts_everyones_own_time():
    split = split_of(raw_log(), split="per-user")
    assert sum(len(split.part(name)) for name in PARTS) == 400
    for user in range(split.train.users.max() + 1):
        times = [split.part(name).timestamps[split.part(name).users == user] for name in PARTS]
        counts = [len(one) for one in times]
        total = sum(counts)
        assert counts[0] == int(0.7 * total + 0.5 + 1e-9)
        assert counts[0] + counts[1] == int(0.8 * total + 0.5 + 1e-9)
        joined = np.concatenate([np.sort(one) for one in times])
        assert (np.diff(joined) >= 0).all()


def test_a_random_split_is_seeded():
    first, again, other = (split_of(raw_log(), split="random", seed=seed) for seed in (1, 1, 2))
    assert [len(first.part(name)) for name in PARTS] == [280, 40, 80]
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_rows_keep_their_columns_together():
    """Labels, ids and raw columns of every row are those of one row of the log."""
    log = raw_log()
    log["row"] = np.arange(400)
    spec = {**SPEC, "axes": [{"name": "row", "column": "row", "quantiles": 2}]}
    split = split_of(log, spec, split="random")
    for name in PARTS:
        part = split.part(name)
        rows = part.columns["row"].astype(int)
        assert np.array_equal(part.labels, log["bought"].to_numpy()[rows])
        assert np.array_equal(part.timestamps, log["when"].to_numpy()[rows])
        users = {(user, who) for user, who in zip(part.users, log["who"].to_numpy()[rows], strict=True)}
        assert len(users) == len({user for user, _ in users}) == len({who for _, who in users})


# Nothing but train is counted


@pytest.mark.parametrize("kind", ["temporal", "random"])
def test_what_is_in_test_changes_nothing_in_train(kind):
    log = raw_log()
    before = split_of(log, split=kind)
    later = np.ones(len(log), bool)
    marked = log.assign(row=np.arange(len(log)))
    spec = {**SPEC, "axes": [{"name": "row", "column": "row", "quantiles": 2}]}
    later[split_of(marked, spec, split=kind).train.columns["row"].astype(int)] = False
    changed = log.copy()
    changed.loc[later, ["who", "tags"]] = "stranger"
    changed.loc[later, "what"] = -7
    changed.loc[later, ["price", "age"]] = 1e6 + 0.5
    changed.loc[later, "bought"] = 1
    after = split_of(changed, split=kind)
    for first, second in zip(before.train.features, after.train.features, strict=True):
        assert first.size == second.size
        assert np.array_equal(first.values[:, None] if first.values.ndim == 1 else first.values,
                              second.values[:, None] if second.values.ndim == 1 else second.values)  # fmt: skip
    for name, axis in before.axes.items():
        assert axis.labels == after.axes[name].labels
        assert np.array_equal(axis.train, after.axes[name].train)
    unknown = dict(zip(after.feature_names, after.test.features, strict=True))
    assert (unknown["who"].values == 0).all()
    assert (unknown["thing"].values == 0).all()
    assert (unknown["price"].values == unknown["price"].size - 1).all()  # the highest bin, whose edges train drew
    assert set(unknown["tags"].values.ravel()) <= {0, -1}


# Features


@given(st.lists(st.sampled_from("aabcd"), min_size=1, max_size=30), st.integers(1, 3), st.data())
def test_ids_are_what_loops_say(values, min_count, data):
    train = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    feature = encode(np.array(values, object), train, FeatureSpec(column="x", min_count=min_count))
    counts = {value: sum(v == value and t for v, t in zip(values, train, strict=True)) for value in set(values)}
    kept = sorted((value for value in counts if counts[value] >= min_count), key=lambda v: (-counts[v], v))
    assert feature.size == len(kept) + 1
    assert feature.values.tolist() == [kept.index(value) + 1 if value in kept else 0 for value in values]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=20), st.integers(1, 3), st.data())
def test_several_values_per_row_are_what_loops_say(rows, min_count, data):
    train = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    spec = FeatureSpec(column="x", separator=", ", min_count=min_count)
    feature = encode(np.array([", ".join(row) for row in rows], object), train, spec)
    counts = dict.fromkeys("abcd", 0)
    for row, is_train in zip(rows, train, strict=True):
        for word in row:
            counts[word] += bool(is_train)
    kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda v: (-counts[v], v))
    assert feature.size == len(kept) + 1
    assert feature.values.shape == (len(rows), max(1, *map(len, rows)))
    for row, ids in zip(rows, feature.values, strict=True):
        expected = [kept.index(word) + 1 if word in kept else 0 for word in row] or [0]
        assert ids.tolist() == expected + [-1] * (len(ids) - len(expected))


def test_missing_values_are_unknown():
    values = np.array(["a", "", None, "a", np.nan], object)
    assert encode(values, np.ones(5, bool), FeatureSpec(column="x")).values.tolist() == [1, 0, 0, 1, 0]
    assert encode(values, np.ones(5, bool), FeatureSpec(column="x", separator="|")).values.ravel().tolist() == [
        1, 0, 0, 1, 0,
    ]  # fmt: skip
    numbers = np.array([1.0, np.nan, 3.0, 2.0])
    cut = encode(numbers, np.ones(4, bool), FeatureSpec(column="x", edges=(2.0,)))
    assert (cut.size, cut.values.tolist()) == (3, [1, 0, 2, 2])
    codes = encode(numbers, np.ones(4, bool), FeatureSpec(column="x"))
    assert (codes.size, codes.values.tolist()) == (4, [1, 0, 3, 2])


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(2, 8))
def test_quantile_bins_are_never_empty_and_as_even_as_ties_allow(values, quantiles):
    edges = quantile_edges(np.array(values, float), quantiles)
    bins = np.searchsorted(edges, values, side="right")
    assert set(bins) == set(range(len(edges) + 1))
    assert len(edges) < quantiles
    largest_tie = max(values.count(value) for value in values)
    assert np.bincount(bins).max() <= -(-len(values) // quantiles) + largest_tie


def test_quantiles_of_distinct_values_are_even():
    assert quantile_edges(np.arange(100.0), 10).tolist() == list(range(10, 100, 10))


# Axes


def test_axes_are_what_loops_say():
    split = split_of(raw_log())
    for part in PARTS:
        log = split.part(part)
        assert split.axis("age").bins(part).tolist() == [int(age >= 20) + int(age >= 40) for age in log.columns["age"]]
    assert split.axis("age").labels == ("below 20", "20 to 39", "40 or more")
    rows_of = {user: int((split.train.users == user).sum()) for user in np.unique(split.train.users)}
    edges = quantile_edges(np.array(list(rows_of.values()), float), 3)
    expected = [int(sum(rows_of.get(user, 0) >= edge for edge in edges)) for user in split.test.users]
    assert split.axis("activity").test.tolist() == expected
    sold = {item: int((split.train.items == item).sum()) for item in np.unique(split.train.items)}
    edges = quantile_edges(np.array([sold[item] for item in split.train.items], float), 3)
    expected = [int(sum(sold.get(item, 0) >= edge for edge in edges)) for item in split.test.items]
    assert split.axis("popularity").test.tolist() == expected
    tags = split.axis("tag")
    assert tags.labels == ("cheap|red", "green", "new", "new|cheap", "red")
    wanted = split.test.columns["tags"].tolist()
    assert [tags.labels[b] if b >= 0 else "" for b in tags.test] == wanted


def test_every_user_lies_in_one_bin_of_a_user_axis():
    split = split_of(raw_log())
    for name in ("age", "activity"):
        axis = split.axis(name)
        users = np.concatenate([split.part(part).users for part in PARTS])
        bins = np.concatenate([axis.bins(part) for part in PARTS])
        assert all(len(set(bins[users == user])) == 1 for user in np.unique(users))


def test_crossed_axes_have_a_bin_for_each_pair():
    split = split_of(raw_log())
    age, popularity, both = (split.axis(name) for name in ("age", "popularity", "who buys what"))
    assert len(both.labels) == 3 * len(popularity.labels)
    assert both.unit == "row"
    for part in PARTS:
        for a, p, c in zip(age.bins(part), popularity.bins(part), both.bins(part), strict=True):
            assert both.labels[c] == f"{age.labels[a]}, {popularity.labels[p]}"
    assert Axis.crossed(age, split.axis("activity")).unit == "user"
    none = Axis("none", "user", ("only",), *(np.full(len(split.part(part)), -1) for part in PARTS))
    assert (Axis.crossed(age, none).test == -1).all()
    assert both.counts("train").sum() == len(split.train)


def test_quantiles_and_min_count_can_be_replaced():
    log = raw_log()
    assert len(split_of(log, quantiles=2).axis("activity").labels) == 2
    assert len(split_of(log, quantiles=2).axis("age").labels) == 3  # cut at edges
    sizes = split_of(log, min_count=30).sizes
    assert sizes[0] < split_of(log).sizes[0]


# Classes


def test_nothing_can_be_written_to():
    split = split_of(raw_log())
    for array in (
        split.train.labels,
        split.train.users,
        split.train.features[0].values,
        split.train.columns["age"],
        split.axis("age").train,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError):
        split.axes["new"] = None


def test_the_makers_array_stays_writeable():
    values = np.zeros(3, np.int32)
    Feature("x", 2, values)
    values[0] = 1


def test_selecting_rows():
    log = split_of(raw_log()).train
    some = log.select(np.array([5, 2]))
    assert some.labels.tolist() == [log.labels[5], log.labels[2]]
    assert np.array_equal(some.features[4].values, log.features[4].values[[5, 2]])
    assert some.columns["what"].tolist() == [log.columns["what"][5], log.columns["what"][2]]
    assert len(log.select(log.labels == 1)) == log.labels.sum()
    assert log.base_rate == log.labels.sum() / len(log)
    assert np.isnan(log.select(np.zeros(len(log), bool)).base_rate)


def test_classes_check_what_they_are_given():
    one = Feature("x", 3, [0, 2])
    with pytest.raises(InputError, match="ids outside 0"):
        Feature("x", 3, [0, 3])
    with pytest.raises(InputError, match="ids outside 0"):
        Feature("x", 3, [0, -1])
    with pytest.raises(InputError, match="ids outside -1"):
        Feature("x", 3, [[0, -2]])
    with pytest.raises(InputError, match="3 axes"):
        Feature("x", 3, np.zeros((1, 1, 1)))
    with pytest.raises(InputError, match="zeros and ones"):
        ClickLog([0, 2], (one,), [0, 1])
    with pytest.raises(InputError, match="2 labels but 3 values of 'users'"):
        ClickLog([0, 1], (one,), [0, 1, 2])
    with pytest.raises(InputError, match="2 labels but 1 values of 'x'"):
        ClickLog([0, 1], (Feature("x", 3, [0]),), [0, 1])
    with pytest.raises(InputError, match="unit of axis 'a'"):
        Axis("a", "day", ("x",), [0], [0], [0])
    with pytest.raises(InputError, match="outside -1"):
        Axis("a", "user", ("x",), [0], [1], [0])
    log = ClickLog([0, 1], (one,), [0, 1])
    with pytest.raises(InputError, match="1 test rows instead of 2"):
        ClickSplit("random", log, log, log, {"a": Axis("a", "row", ("x",), [0, 0], [0, 0], [0])}, 0)
    with pytest.raises(InputError, match="share their features"):
        ClickSplit("random", log, log, ClickLog([0, 1], (Feature("x", 4, [0, 2]),), [0, 1]), {}, 0)
    split = ClickSplit("random", log, log, log, {"a": Axis("a", "row", ("x",), [0, 0], [0, 0], [0, 0])}, 0, "toy")
    with pytest.raises(InputError, match="toy has no axis 'b'; it has a"):
        split.axis("b")
    with pytest.raises(InputError, match="no part 'tests'"):
        split.part("tests")
    with pytest.raises(InputError, match="no part 'tests'"):
        split.axis("a").bins("tests")


# Registered formats


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text.encode("latin-1"))
    return file.getvalue()


def test_movielens_1m_is_read_from_double_colons():
    content = zipped(
        {
            "ml-1m/ratings.dat": "1::10::5::978300760\n1::20::3::978302109\n2::10::4::978301968\n",
            "ml-1m/users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
            "ml-1m/movies.dat": "10::Toy Story (1995)::Animation|Children's\n20::2001: Odyss\xe9e, A::Drama\n",
        }
    )
    table = movielens_columns("grouplens-dat", {"ml-1m.zip": content})
    assert table["user"].tolist() == [1, 1, 2]
    assert table["item"].tolist() == [10, 20, 10]
    assert table["rating"].tolist() == [5, 3, 4]
    assert table["timestamp"].tolist() == [978300760, 978302109, 978301968]
    assert table["age"].tolist() == [1, 1, 56]
    assert table["gender"].tolist() == ["F", "F", "M"]
    assert table["occupation"].tolist() == ["10", "10", "16"]
    assert table["genres"].tolist() == ["Animation|Children's", "Drama", "Animation|Children's"]
    assert np.array_equal(table["year"], [1995, np.nan, 1995], equal_nan=True)
    rules = click_spec(registry("clicks")["movielens-1m"].clicks, "movielens-1m")
    assert click_table(table, rules).labels.tolist() == [1, 0, 1]


def test_tmall_joins_what_is_known_about_a_row():
    log = "user_id,merchant_id,label\n7,1,0\n7,2,1\n8,1,0\n"
    names = "user_id,merchant_id,label,age_range,gender,total_logs"
    table = tmall_columns(
        "tmall", {"train_format1.csv": log.encode(), "test_set.csv": f"{names}\n8,1,0,3.0,1.0,9\n".encode()}
    )
    assert table["label"].tolist() == [0, 1, 0]
    assert np.array_equal(table["total_logs"], [np.nan, np.nan, 9], equal_nan=True)
    assert np.array_equal(table["age_range"], [np.nan, np.nan, 3], equal_nan=True)


# A log of one's own

TOML = """
label = { column = "bought", equals = "yes" }
user = "who"
time = "when"
features = [{ column = "who" }, { column = "tags", separator = "|" }, { column = "price", quantiles = 3 }]
axes = [{ name = "price", column = "price", quantiles = 2 }]
"""


def own_log(tmp_path, toml=TOML, **changes):
    log = raw_log(100).assign(bought=lambda t: np.where(t["bought"] == 1, "yes", "no"), **changes)
    path = tmp_path / "mine.csv"
    log.to_csv(path, index=False)
    (tmp_path / "mine.toml").write_text(toml)
    return path, log


def test_a_log_of_ones_own(tmp_path):
    path, log = own_log(tmp_path)
    split = load_click_split(path)
    assert split.name == "temporal"
    assert split.feature_names == ("who", "tags", "price")
    assert split.dataset == str(path)
    assert set(split.data_sha256) == {"mine.csv", "mine.toml"}
    assert sum(int(split.part(name).labels.sum()) for name in PARTS) == (log["bought"] == "yes").sum()
    assert np.array_equal(split.axis("price").train == -1, split.train.columns["price"] == "")
    log.to_parquet(tmp_path / "mine.parquet")
    assert load_click_split(tmp_path / "mine.parquet").fingerprint == split.fingerprint
    assert load_click_split(path, split="random", seed=1).fingerprint != split.fingerprint


def test_dates_are_times(tmp_path):
    dated = pd.to_datetime(raw_log(100)["when"], unit="D").dt.strftime("%Y-%m-%d")
    path, log = own_log(tmp_path, when=dated)
    times = load_click_split(path).test.timestamps
    assert times.max() == log["when"].pipe(pd.to_datetime).max().timestamp()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("label = 3", "mine.toml: label holds 3 where a table such as"),
        ("user = [", "cannot parse .*mine.toml"),
        (TOML.replace('user = "who"', ""), "mine.toml: the table needs user"),
        (TOML.replace('column = "bought"', 'columm = "bought"'), "label has an unknown key 'columm'; known are column"),
        (TOML.replace(', equals = "yes"', ""), "column 'bought' must hold numbers: '(yes|no)' in row 0"),
        (TOML.replace('user = "who"', 'user = "whom"'), "'whom', which mine.csv does not have; it has who"),
        (TOML.replace("quantiles = 3", "quantiles = 3, edges = [1]"), "edges and quantiles; keep one"),
        (TOML.replace("quantiles = 3", "quantiles = 1"), "integer from 2"),
        (TOML.replace("quantiles = 3", "edges = [2, 1]"), "must ascend"),
        (TOML.replace('separator = "|"', "quantiles = 3"), "column 'tags' must hold numbers"),
        (TOML.replace('"price", quantiles = 3', '"who"'), "two features are called 'who'"),
        (TOML.replace('separator = "|"', 'separator = "|", edges = [1]'), "separator and bins"),
        (TOML.replace('separator = "|"', "min_count = 0"), "min_count of feature 'tags' is an integer from 1"),
        (TOML.replace('column = "price", quantiles = 2', 'unit = "row"'), "exactly one of column"),
        (TOML.replace('name = "price"', 'unit = "user", name = "price"'), "some user lies in several bins; say unit"),
        (TOML.replace('column = "price", quantiles = 2', 'count = "user"'), "it needs edges or quantiles"),
        (TOML.replace('column = "price", quantiles = 2', 'count = "item", quantiles = 2'), "names no item column"),
        (TOML.replace('column = "price", quantiles = 2', 'crossed = ["a", "b"]'), "'a', which is not declared before"),
        (TOML.replace('name = "price", column', 'name = "p", unit = "day", column'), "unit of axis 'p' is one of"),
        ('label = { column = "bought" }\nuser = "who"', "no features are declared"),
    ],
)  # fmt: skip
def test_a_toml_that_cannot_be_used_is_explained(tmp_path, toml, message):
    path, _ = own_log(tmp_path, toml)
    with pytest.raises(InputError, match=message) as error:
        load_click_split(path)
    assert "\n" not in str(error.value)


def test_a_log_that_cannot_be_used_is_explained(tmp_path):
    path, log = own_log(tmp_path)
    with pytest.raises(InputError, match=r"no split 'iid'; choose temporal, per-user, random"):
        load_click_split(path, split="iid")
    with pytest.raises(InputError, match=r"'dial' is not one of the parameters of .*: split, quantiles, min_count"):
        load_click_split(path, dial=3)
    with pytest.raises(InputError, match="neither a registered click log nor an existing file: did you mean tmall"):
        load_click_split("tmal")
    timeless = TOML.replace('time = "when"', "")
    (tmp_path / "mine.toml").write_text(timeless)
    assert load_click_split(path).name == "random"
    with pytest.raises(InputError, match="no timestamps, so no per-user split"):
        load_click_split(path, split="per-user")
    log.assign(who="").to_csv(path, index=False)
    with pytest.raises(InputError, match="user column 'who' is empty in some rows"):
        load_click_split(path)
    log.assign(bought=np.where(log["who"] == "u1", "", "1")).to_csv(path, index=False)
    (tmp_path / "mine.toml").write_text(timeless.replace(', equals = "yes"', ""))
    with pytest.raises(InputError, match="label column 'bought' is empty in row"):
        load_click_split(path)
    log.assign(bought=2).to_csv(path, index=False)
    with pytest.raises(InputError, match="more than 0 and 1; say at_least or equals"):
        load_click_split(path)
    log.iloc[:2].to_csv(path, index=False)
    (tmp_path / "mine.toml").write_text(TOML)
    with pytest.raises(InputError, match="leaves a part empty"):
        load_click_split(path)
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(InputError, match=r"needs mine\.toml beside it"):
        load_click_split(path)


# Description


def test_a_description_counts_what_is_there():
    split = split_of(raw_log())
    facts = describe_clicks(split)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["rows"] == 400
    assert facts["split"]["test"]["rows"] == len(split.test)
    known = set(split.train.users.tolist())
    unknown = [user not in known for user in split.test.users.tolist()]
    assert facts["split"]["test"]["unknown_users"] == pytest.approx(np.mean(unknown))
    age = next(one for one in facts["axes"] if one["name"] == "age")
    assert [cell["train"] for cell in age["bins"]] == split.axis("age").counts().tolist()
    rate = split.train.labels[split.axis("age").train == 1].mean()
    assert age["bins"][1]["base_rate"] == pytest.approx(rate)
    world = describe_clicks(load_click_split("synthetic-clicks", rows=2000))
    assert 0 < world["bayes_ne"] < 1
    assert world["title"] == "Controlled click world"


def test_specs_of_a_table_are_in_the_order_of_the_toml():
    spec = click_spec(SPEC, "test")
    assert isinstance(spec, ClickSpec)
    assert spec.columns == ("bought", "who", "what", "when", "price", "age", "tags")
    assert isinstance(click_table(raw_log(), spec), ClickTable)


def test_the_example_in_the_reference_works(tmp_path):
    page = (Path(__file__).parents[2] / "book/reference/data-sets.md").read_text(encoding="utf-8")
    (tmp_path / "visits.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    names = {
        "who": "visitor",
        "what": "page",
        "when": "seen_at",
        "bought": "clicked",
        "tags": "topics",
        "price": "dwell",
    }
    raw_log().rename(columns=names).to_csv(tmp_path / "visits.csv", index=False)
    split = load_click_split(tmp_path / "visits.csv")
    assert split.feature_names == ("visitor", "page", "age", "dwell", "topics")
    assert tuple(split.axes) == ("age", "activity", "age x activity")
    assert split.axis("age").unit == "user"
