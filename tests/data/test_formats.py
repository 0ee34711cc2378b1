"""Each parser on a small file of its format, made here."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from dslstudy.data.formats import (
    GROUPLENS_GENRES,
    as_ids,
    parse_atomic,
    parse_grouplens,
    parse_ir_benchmark,
    union,
)
from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

RATINGS = [(196, 242, 3, 881250949), (186, 302, 1, 891717742), (22, 242, 5, 878887116), (196, 9, 4, 881250950)]
USERS = [(22, 49, "F", "writer", "01002"), (186, 24, "M", "other", "T8H1N"), (196, 33, "F", "student", "85711")]
FILMS = [  # id, title, year as the conversion cuts them; title as GroupLens has it; genres
    (9, "Dead Man Walking", "1995", "Dead Man Walking (1995)", ["Drama"]),
    (242, "Misérables, Les", "1995", "Misérables, Les (1995)", ["Drama", "Musical"]),
    (302, 'Say "NA" (alias)', "2001", 'Say "NA" (alias) (2001)', ["Children's", "Sci-Fi"]),
    (303, "Part III: Giving (1995)", "V", "Part III: Giving (1995) (V)", ["Animation"]),
    (304, "unkonwn", "unkonwn", "unknown", ["unknown"]),
]


def lines(rows, separator="\t", header=None):
    rows = [header.split(), *rows] if header else rows
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def atomic():
    inter = lines(RATINGS, header="user_id:token item_id:token rating:float timestamp:float")
    users = lines(USERS, header="user_id:token age:token gender:token occupation:token zip_code:token")
    films = [(number, title, year, " ".join(genres)) for number, title, year, _, genres in FILMS]
    films = lines(films, header="item_id:token movie_title:token_seq release_year:token class:token_seq")
    return {f"ml-100k.{kind}": text.encode() for kind, text in (("inter", inter), ("user", users), ("item", films))}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def grouplens():
    films = [
        (number, full, "01-Jan-1995", "", "http://us.imdb.com/", *(int(genre in genres) for genre in GROUPLENS_GENRES))
        for number, _, _, full, genres in FILMS
    ]
    return {
        "ml-100k.zip": zipped(
            {
                "ml-100k/u.data": lines(RATINGS),
                "ml-100k/u.user": lines(USERS, "|"),
                "ml-100k/u.item": lines(films, "|").encode("latin-1"),
            }
        )
    }


@pytest.mark.parametrize("parse", [lambda: parse_atomic(atomic()), lambda: parse_grouplens(grouplens())])
def test_movielens_in_either_format(parse):
    parsed = parse()
    log = parsed.interactions
    users, items = log.user_ids[log.users], log.item_ids[log.items]
    assert list(zip(users, items, log.ratings, log.timestamps, strict=True)) == RATINGS
    assert parsed.published is None
    user_features, item_features = parsed.read_features()
    assert [(index, *row) for index, row in zip(user_features.index, user_features.to_numpy(), strict=True)] == USERS
    assert item_features["title"].to_dict() == {number: full for number, _, _, full, _ in FILMS}
    assert item_features["year"].tolist() == [1995, 1995, 2001, 1995, 0]
    assert {number: sorted(genres) for number, genres in item_features["genres"].items()} == {
        number: sorted(genres) for number, *_, genres in FILMS
    }


def test_both_formats_give_the_same():
    one, other = parse_atomic(atomic()), parse_grouplens(grouplens())
    assert one.interactions == other.interactions
    for mine, yours in zip(one.read_features(), other.read_features(), strict=True):
        assert mine.drop(columns="genres", errors="ignore").equals(yours.drop(columns="genres", errors="ignore"))


def test_ir_benchmark():
    files = {
        "train.tsv": "user_procid\titem_procid\n0\t1\n1\t0\n1\t1\n",
        "test.tsv": "user_procid\titem_procid\n0\t0\n",
        "user_list.tsv": "user_orgid\tuser_procid\nNA\t1\nB007\t0\n",
        "item_list.tsv": "item_orgid\titem_procid\n12\t0\n7\t1\n",
    }
    parsed = parse_ir_benchmark({"proc.zip": zipped(files)})
    train, test = parsed.published
    assert train.user_ids.tolist() == ["B007", "NA"]
    assert train.item_ids.tolist() == [12, 7]
    assert list(zip(train.users, train.items, strict=True)) == [(0, 1), (1, 0), (1, 1)]
    assert list(zip(test.users, test.items, strict=True)) == [(0, 0)]
    assert parsed.interactions == union(train, test)
    assert len(parsed.interactions) == 4
    assert parsed.read_features is None


def test_union_refuses_leakage_and_keeps_common_columns():
    train = Interactions.with_ids([0, 1], [0, 1], ratings=[1, 2], timestamps=[1, 2])
    test = Interactions.with_ids([0], [1], num_users=2, ratings=[3])
    joined = union(train, test)
    assert joined.ratings.tolist() == [1, 2, 3]
    assert joined.timestamps is None
    with pytest.raises(InputError, match="1 pairs are in train and in test, first user 1 with item 1"):
        union(train, Interactions.with_ids([1], [1]))


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["7", "0", "-3", "7"], [7, 0, -3, 7]),
        (["7", "07"], ["7", "07"]),
        (["1", "+1"], ["1", "+1"]),
        (["1", "1.0"], ["1", "1.0"]),
        (["1", "a"], ["1", "a"]),
        (["9" * 30], ["9" * 30]),
    ],
)
def test_ids_become_integers_only_if_nothing_is_lost(texts, ids):
    found = as_ids(pd.Series(texts))
    assert found.tolist() == ids
    assert isinstance(found, np.ndarray)
