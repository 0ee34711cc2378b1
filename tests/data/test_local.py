import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dslstudy.data.load import load_dataset, load_split
from dslstudy.errors import InputError


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def triples(interactions):
    users, items = interactions.user_ids[interactions.users], interactions.item_ids[interactions.items]
    return list(zip(users.tolist(), items.tolist(), strict=True))


# One file


def test_a_csv_file(tmp_path):
    path = write(tmp_path / "log.csv", "item,user,rating,note,timestamp\nb,1,3.5,x,100\na,2,1,,200\nb,2,5,,300\n")
    dataset = load_dataset(path)
    log = dataset.interactions
    assert triples(log) == [(1, "b"), (2, "a"), (2, "b")]
    assert log.ratings.tolist() == [3.5, 1, 5]
    assert log.timestamps.tolist() == [100, 200, 300]
    assert dataset.sha256 == {"log.csv": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert dataset.name == str(path)
    assert dataset.splits == ("iid", "popularity-shift", "temporal")
    assert dataset.spec is dataset.published is dataset.item_titles is dataset.user_features is None


def test_csv_in_the_wild(tmp_path):
    """A byte-order mark, Windows line ends, quotes, blanks after commas, an id that looks like a missing value."""
    path = write(tmp_path / "log.csv", '\ufeffuser, item\r\n"Müller, A.", NA\r\nnull, 07\r\n')
    assert triples(load_dataset(path).interactions) == [("Müller, A.", "NA"), ("null", "07")]


def test_repeated_rows_count_once(tmp_path):
    path = write(tmp_path / "log.csv", "user,item,rating\n1,1,5\n1,1,2\n1,2,4\n")
    assert load_dataset(path).interactions.ratings.tolist() == [5, 4]


@pytest.mark.parametrize("index", [False, True])
def test_a_parquet_file(tmp_path, index):
    log = pd.DataFrame({"user": ["b", "a", "a"], "item": [3, 1, 3], "timestamp": [10, 20, 30]})
    log.to_parquet(tmp_path / "log.parquet", index=index)
    interactions = load_dataset(tmp_path / "log.parquet").interactions
    assert triples(interactions) == [("b", 3), ("a", 1), ("a", 3)]
    assert interactions.item_ids.dtype == np.int64
    assert interactions.timestamps.tolist() == [10, 20, 30]


def test_whole_floats_are_ids_too(tmp_path):
    pd.DataFrame({"user": [1.0, 2.0], "item": [1.5, 2.0]}).to_parquet(tmp_path / "log.parquet")
    interactions = load_dataset(tmp_path / "log.parquet").interactions
    assert triples(interactions) == [(1, "1.5"), (2, "2.0")]


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_dates_of_parquet(tmp_path, unit, zone):
    seconds = [1_700_000_000, 1_700_000_060]
    dates = pd.Series(pd.to_datetime(seconds, unit="s")).dt.as_unit(unit)
    dates = dates if zone is None else dates.dt.tz_localize("UTC").dt.tz_convert(zone)
    pd.DataFrame({"user": [1, 2], "item": [1, 2], "timestamp": dates}).to_parquet(tmp_path / "log.parquet")
    assert load_dataset(tmp_path / "log.parquet").interactions.timestamps.tolist() == seconds


def test_dates_of_csv(tmp_path):
    text = "user,item,timestamp\n1,1,2023-11-14T22:13:20\n2,2,2023-11-14 23:13:20+01:00\n3,3,2023-11-14\n"
    path = write(tmp_path / "log.csv", text)
    assert load_dataset(path).interactions.timestamps.tolist() == [1_700_000_000, 1_700_000_000, 1_699_920_000]


def test_fractions_of_a_second_are_cut(tmp_path):
    path = write(tmp_path / "log.csv", "user,item,timestamp\n1,1,12.9\n2,2,1e3\n")
    assert load_dataset(path).interactions.timestamps.tolist() == [12, 1000]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(-3, 9), st.text("ab0 ,\"'é", min_size=1).filter(str.strip)), min_size=1))
def test_csv_and_parquet_say_the_same(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("same")
    log = pd.DataFrame(pairs, columns=["user", "item"])
    log["item"] = "x" + log["item"]  # text that stays as it is, whatever blanks it holds
    log.to_csv(folder / "log.csv", index=False)
    log.to_parquet(folder / "log.parquet")
    assert load_dataset(folder / "log.csv").interactions == load_dataset(folder / "log.parquet").interactions


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.csv", "", "is empty"),
        ("log.csv", " \n\n", "is empty"),
        ("log.csv", "user,item\n", "holds a header but no interactions"),
        (
            "log.csv",
            "user,thing\n1,2\n",
            "has no column 'item'; its header must name user and item, found: user, thing",
        ),
        ("log.csv", "1,2\n3,4\n", "has no column 'user'"),
        ("log.tsv", "user,item\n1,2\n", r"its header \(separated by tabs\) must name"),
        ("log.csv", "user,item\n1,2\n,3\n", "line 3: the user is missing .1 such rows"),
        ("log.csv", "user,item\n1,2\n3,\n4\n", "line 3: the item is missing .2 such rows"),
        ("log.csv", "user,item\n1,2,3\n", "cannot parse .* as CSV"),
        ("log.csv", "user,item\n1,2\n1,2,3\n", "cannot parse .* as CSV"),
        ("log.csv", 'user,item\n1,"2\n', "cannot parse .* as CSV"),
        ("log.csv", "user,item,rating\n1,2,good\n", "line 2: the rating 'good' is no number"),
        ("log.csv", "user,item,rating\n1,2,3\n1,3,inf\n", "line 3: the rating 'inf' is no number"),
        ("log.csv", "user,item,rating\n1,2,\n", "line 2: the rating is missing"),
        ("log.csv", "user,item,timestamp\n1,2,soon\n", "'soon' is neither a number of seconds nor an ISO date"),
        ("log.csv", "user,item,timestamp\n1,2,5\n1,3,soon\n", "line 3: the timestamp 'soon' is no number"),
        ("log.parquet", "user,item\n1,2\n", "cannot parse .* as PARQUET"),
        ("log.json", "[]", "is neither .csv, .tsv nor .parquet"),
    ],
)
def test_bad_files_are_explained(tmp_path, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_in_another_encoding(tmp_path):
    with pytest.raises(InputError, match=r"cannot parse .* as CSV"):
        load_dataset(write(tmp_path / "log.csv", "user,item\nMüller,1\n", "latin-1"))


def test_missing_values_of_parquet(tmp_path):
    pd.DataFrame({"user": [1, None], "item": [1, 2]}).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(InputError, match="row 1: the user is missing"):
        load_dataset(tmp_path / "log.parquet")


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="neither a registered data set nor an existing path"):
        load_dataset(tmp_path / "none.csv")


# A folder


@pytest.mark.parametrize("header", ["user\titem", "user_procid\titem_procid"])
def test_a_folder(tmp_path, header):
    train = write(tmp_path / "train.tsv", f"{header}\n10\ta\n20\tb\n10\tb\n10\tc\n")
    test = write(tmp_path / "test.tsv", f"{header}\n20\ta\n")
    dataset = load_dataset(tmp_path)
    assert triples(dataset.published[0]) == [(10, "a"), (20, "b"), (10, "b"), (10, "c")]
    assert triples(dataset.published[1]) == [(20, "a")]
    assert len(dataset.interactions) == 5
    assert dataset.splits == ("published", "iid", "popularity-shift")
    assert dataset.sha256 == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (train, test)}
    split = load_split(str(tmp_path), validation_fraction=0)
    assert (split.name, split.train, split.test) == ("published", *dataset.published)


def test_ids_of_both_files_are_read_alike(tmp_path):
    """Train alone would be all integers; "007" in test makes every user a text, and 7 is not 007."""
    write(tmp_path / "train.tsv", "user\titem\n7\t1\n8\t1\n")
    write(tmp_path / "test.tsv", "user\titem\n007\t1\n")
    with pytest.raises(InputError, match=r"test\.tsv, line 2: user 007 is unknown in train\.tsv"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("1\t1\n2\t2\n", "1\t2\n3\t1\n4\t1\n", r"test\.tsv, line 3: user 3 is unknown in train\.tsv .2 such rows"),
        ("1\t1\n2\t2\n", "1\t9\n", r"test\.tsv, line 2: item 9 is unknown in train\.tsv"),
        ("1\t1\n2\t2\n", "1\t2\n2\t2\n", "1 pairs are in train and in test, first user 2 with item 2"),
        ("1\t1\n2\t2\n", "", r"test\.tsv holds a header but no interactions"),
        ("", "1\t2\n", r"train\.tsv holds a header but no interactions"),
        ("1\t1\n2\t\n", "1\t1\n", r"train\.tsv, line 3: the item is missing"),
    ],
)
def test_bad_folders_are_explained(tmp_path, train, test, message):
    write(tmp_path / "train.tsv", "user\titem\n" + train)
    write(tmp_path / "test.tsv", "user\titem\n" + test)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path)


def test_a_folder_with_files_missing(tmp_path):
    with pytest.raises(InputError, match=r"has no train\.tsv and no test\.tsv"):
        load_dataset(tmp_path)
    write(tmp_path / "train.tsv", "user\titem\n1\t1\n")
    with pytest.raises(InputError, match=r"has no test\.tsv; it needs"):
        load_dataset(tmp_path)
