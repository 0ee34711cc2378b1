"""Parsers of the registered file formats: verified bytes in, interactions and side tables out."""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Genre flags of GroupLens' u.item, in the order of its columns 6 to 24.
GROUPLENS_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

#: Reads (user features, item features); each is indexed by original id.
ReadFeatures = Callable[[], tuple["pd.DataFrame", "pd.DataFrame"]]


@dataclass(frozen=True)
class Parsed:
    """What a parser returns.

    Attributes:
        interactions: everything there is, before any filter.
        published: (train, test) over the same id space, or None.
        read_features: reads (user features, item features), or None.
    """

    interactions: Interactions
    published: tuple[Interactions, Interactions] | None = None
    read_features: ReadFeatures | None = None


def parse_atomic(files: Mapping[str, bytes]) -> Parsed:
    """Parse MovieLens in RecBole's atomic files: tab-separated, ``name:type`` headers, UTF-8."""
    by_kind = {name.rsplit(".", 1)[1]: content for name, content in files.items()}
    log = _table(by_kind["inter"])

    def read_features() -> tuple["pd.DataFrame", "pd.DataFrame"]:
        users, items = _table(by_kind["user"]), _table(by_kind["item"])
        titles = [_atomic_title(*row) for row in zip(items["movie_title"], items["release_year"], strict=True)]
        return _user_features(users), _item_features(items["item_id"], titles, items["class"].str.split(" "))

    return Parsed(_ratings(log), None, read_features)


def parse_grouplens(files: Mapping[str, bytes]) -> Parsed:
    """Parse MovieLens-100K as GroupLens publishes it: u.data (tabs), u.user and u.item (bars, Latin-1, genre flags)."""
    (content,) = files.values()
    archive = zipfile.ZipFile(io.BytesIO(content))
    log = _table(archive.read("ml-100k/u.data"), names=["user_id", "item_id", "rating", "timestamp"])

    def read_features() -> tuple["pd.DataFrame", "pd.DataFrame"]:
        names = ["user_id", "age", "gender", "occupation", "zip_code"]
        users = _table(archive.read("ml-100k/u.user"), names=names, sep="|")
        names = ["item_id", "title", "release", "video_release", "url", *GROUPLENS_GENRES]
        items = _table(archive.read("ml-100k/u.item"), names=names, sep="|", encoding="latin-1")
        flags = items[list(GROUPLENS_GENRES)].to_numpy() == "1"
        genres = [[genre for genre, flag in zip(GROUPLENS_GENRES, row, strict=True) if flag] for row in flags]
        return _user_features(users), _item_features(items["item_id"], items["title"].str.strip(), genres)

    return Parsed(_ratings(log), None, read_features)


def parse_grouplens_dat(files: Mapping[str, bytes]) -> Parsed:
    """Parse MovieLens-1M as GroupLens publishes it: ratings.dat, users.dat and movies.dat, Latin-1, parted by ``::``.

    Ages are the lower ends of the publisher's groups, occupations its code numbers.
    """
    (content,) = files.values()
    archive = zipfile.ZipFile(io.BytesIO(content))

    def table(member: str, names: list[str]) -> "pd.DataFrame":
        # Pandas reads one-letter separators fast. Titles hold colons, but no file holds a control character.
        text = archive.read(f"ml-1m/{member}.dat").replace(b"::", b"\x1f")
        return _table(text, names=names, sep="\x1f", encoding="latin-1")

    log = table("ratings", ["user_id", "item_id", "rating", "timestamp"])

    def read_features() -> tuple["pd.DataFrame", "pd.DataFrame"]:
        users = table("users", ["user_id", "gender", "age", "occupation", "zip_code"])
        items = table("movies", ["item_id", "title", "genres"])
        return _user_features(users), _item_features(items["item_id"], items["title"], items["genres"].str.split("|"))

    return Parsed(_ratings(log), None, read_features)


def parse_ir_benchmark(files: Mapping[str, bytes]) -> Parsed:
    """Parse an IR-Benchmark archive: train and test as published, in the publisher's 0-based ids."""
    (content,) = files.values()
    archive = zipfile.ZipFile(io.BytesIO(content))
    user_ids, item_ids = (_id_list(archive.read(f"{kind}_list.tsv")) for kind in ("user", "item"))
    parts = []
    for member in ("train.tsv", "test.tsv"):
        pairs = _table(archive.read(member), dtype="int32")
        parts.append(
            Interactions.with_ids(pairs["user_procid"], pairs["item_procid"], user_ids=user_ids, item_ids=item_ids)
        )
    return Parsed(union(*parts), (parts[0], parts[1]))


PARSERS: Mapping[str, Callable[[Mapping[str, bytes]], Parsed]] = {
    "atomic": parse_atomic,
    "grouplens": parse_grouplens,
    "grouplens-dat": parse_grouplens_dat,
    "ir-benchmark": parse_ir_benchmark,
}


def union(train: Interactions, test: Interactions) -> Interactions:
    """Put train and test over one id space together again, train first.

    Raises:
        InputError: a pair is in both.
    """

    def joined(name: str) -> NDArray | None:
        columns = [getattr(train, name), getattr(test, name)]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    shared = np.intersect1d(train.keys(), test.keys(), assume_unique=True)
    if len(shared):
        user, item = divmod(int(shared[0]), train.num_items)
        raise InputError(
            f"{len(shared)} pairs are in train and in test, first user {train.user_ids[user]} with item "
            f"{train.item_ids[item]}; remove them from one of the two"
        )
    return Interactions(
        joined("users"), joined("items"), train.user_ids, train.item_ids, joined("ratings"), joined("timestamps")
    )


def as_ids(values: "pd.Series") -> NDArray:
    """Return ids read as text as integers if every one of them is written as a plain integer, else as text."""
    import pandas as pd

    codes, distinct = pd.factorize(values)
    plain = re.compile(r"0|-?[1-9][0-9]{0,17}").fullmatch
    if all(plain(text) for text in distinct):
        distinct = np.array([int(text) for text in distinct], dtype=np.int64)
    else:
        distinct = np.asarray(distinct, dtype=object)
    return distinct[codes]


def _table(content: bytes, *, names: list[str] | None = None, sep: str = "\t", **options: str) -> "pd.DataFrame":
    """Read a table as text (nothing is a missing value); a header ``name:type`` loses its type."""
    import pandas as pd

    options = {"dtype": "str", "encoding": "utf-8", **options}
    table = pd.read_csv(
        io.BytesIO(content),
        sep=sep,
        names=names,
        header=0 if names is None else None,
        keep_default_na=False,
        quoting=3,
        **options,
    )
    return table.rename(columns=lambda name: name.split(":")[0])


def _ratings(log: "pd.DataFrame") -> Interactions:
    return Interactions.from_arrays(
        log["user_id"].astype("int64").to_numpy(),
        log["item_id"].astype("int64").to_numpy(),
        log["rating"].astype("float32").to_numpy(),
        log["timestamp"].astype("int64").to_numpy(),
    )


def _user_features(users: "pd.DataFrame") -> "pd.DataFrame":
    users = users.astype({"user_id": "int64", "age": "int64"}).set_index("user_id")
    return users[["age", "gender", "occupation", "zip_code"]]


def _item_features(ids: "pd.Series", titles: "pd.Series | list[str]", genres: "pd.Series | list") -> "pd.DataFrame":
    """Make one row per film: title with year, year (0 if unknown), genres as a tuple."""
    import pandas as pd

    titles = list(titles)
    years = [int(found[-1]) if (found := re.findall(r"\((\d{4})\)", title)) else 0 for title in titles]
    table = {"title": titles, "year": years, "genres": [tuple(row) for row in genres]}
    return pd.DataFrame(table, index=pd.Index(ids.astype("int64"), name="item_id"))


def _atomic_title(title: str, year: str) -> str:
    """Undo the conversion's cut of ``Title (year)``; one film has no title and its "year" repeats what stands there."""
    return "unknown" if title == year else f"{title} ({year})"


def _id_list(content: bytes) -> NDArray:
    """Read ``original id, 0-based id`` and return the original ids in the order of the latter."""
    table = _table(content)
    original, number = (table[column] for column in table.columns[:2])
    ids = np.empty(len(table), dtype=object)
    ids[number.astype("int64").to_numpy()] = original.to_numpy(dtype=object)
    return as_ids(ids)
