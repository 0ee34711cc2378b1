"""A user's own data: a folder with train.tsv and test.tsv, or one CSV or Parquet file."""

import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.formats import Parsed, as_ids, union
from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Column -> the names it may have; the second is IR-Benchmark's.
COLUMNS = {
    "user": ("user", "user_procid"),
    "item": ("item", "item_procid"),
    "rating": ("rating",),
    "timestamp": ("timestamp",),
}


def read_local(path: Path) -> tuple[Parsed, dict[str, str]]:
    """Read a user's own data.

    A folder holds ``train.tsv`` and ``test.tsv``, tab-separated with a header ``user item`` (or IR-Benchmark's
    ``user_procid item_procid``). A file is ``.csv`` (commas), ``.tsv`` (tabs) or ``.parquet`` with the columns ``user,
    item[, rating][, timestamp]`` in any order; further columns are ignored. Ids are integers or text; timestamps are
    seconds since 1970 or ISO dates. Every row is an interaction, whatever its rating; a repeated pair counts once.

    Returns:
        (what was read, file name -> sha256).

    Raises:
        InputError: no such path, unreadable or empty files, missing columns or values, a pair in train and in test,
            test users or items unknown in train.
    """
    if path.is_dir():
        return _folder(path)
    content = _content(path)
    log = _read(path, content)
    return Parsed(_interactions(log, _column_ids(log["user"]), _column_ids(log["item"]))), {path.name: _sha256(content)}


def _folder(folder: Path) -> tuple[Parsed, dict[str, str]]:
    import pandas as pd

    paths = [folder / "train.tsv", folder / "test.tsv"]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise InputError(f"the folder {folder} has no {' and no '.join(missing)}; it needs train.tsv and test.tsv")
    contents = [_content(path) for path in paths]
    train, test = (_read(path, content) for path, content in zip(paths, contents, strict=True))
    spaces = []
    for kind in ("user", "item"):
        known = np.asarray(pd.unique(train[kind]))
        strange = ~test[kind].isin(known)
        if strange.any():
            row = int(np.argmax(strange))
            raise InputError(
                f"{paths[1]}, line {row + 2}: {kind} {test[kind].iloc[row]} is unknown in train.tsv ({strange.sum()} "
                f"such rows); remove them, since nothing can be learned about such a {kind}"
            )
        # One conversion for both files, so that "7" means the same in each.
        ids = _column_ids(pd.concat([train[kind], test[kind]], ignore_index=True))
        distinct, codes = np.unique(ids, return_inverse=True)
        spaces.append((distinct, codes[: len(train)], codes[len(train) :]))
    (user_ids, *user_codes), (item_ids, *item_codes) = spaces
    parts = []
    for log, users, items in zip((train, test), user_codes, item_codes, strict=True):
        part = _interactions(log, users, items)
        parts.append(
            Interactions.with_ids(
                part.user_ids[part.users],
                part.item_ids[part.items],
                user_ids=user_ids,
                item_ids=item_ids,
                ratings=part.ratings,
                timestamps=part.timestamps,
            )
        )
    hashes = {path.name: _sha256(content) for path, content in zip(paths, contents, strict=True)}
    return Parsed(union(*parts), (parts[0], parts[1])), hashes


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not content.strip():
        raise InputError(f"{path} is empty; it needs a header and at least one interaction")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_table(path: Path) -> tuple["pd.DataFrame", str]:
    """Read all columns of a ``.csv``, ``.tsv`` or ``.parquet`` file; text files give text, empty where a field is.

    Returns:
        (the table, sha256 of the file).

    Raises:
        InputError: no such file, one that cannot be parsed, or one without rows.
    """
    content = _content(path)
    table = _parse(path, content)
    if len(table) == 0:
        raise InputError(f"{path} holds a header but no rows")
    return table.rename(columns=lambda name: str(name).strip()), _sha256(content)


def _parse(path: Path, content: bytes) -> "pd.DataFrame":
    import pandas as pd

    separators = {".csv": ",", ".tsv": "\t"}
    if path.suffix not in (*separators, ".parquet"):
        raise InputError(f"{path} is neither .csv, .tsv nor .parquet; convert it, or rename it if it is one of these")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(io.BytesIO(content))
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return pd.read_csv(
                io.BytesIO(content),
                sep=separators[path.suffix],
                dtype="str",
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                skipinitialspace=True,
            )
    except (ValueError, OSError, pd.errors.ParserWarning) as error:  # pandas', pyarrow's and decoding errors
        reason = " ".join(str(error).split())
        raise InputError(f"cannot parse {path} as {path.suffix[1:].upper()}: {reason}") from error


def _read(path: Path, content: bytes) -> "pd.DataFrame":
    """Return the known columns under their own names, no value missing, rating and timestamp as numbers."""
    log = _known_columns(_parse(path, content), path)
    if len(log) == 0:
        raise InputError(f"{path} holds a header but no interactions")
    for name in log.columns:
        missing = log[name].isna() | (log[name].astype("str").str.strip() == "")
        if missing.any():
            row = int(np.argmax(missing))
            raise InputError(f"{path}, {_line(path, row)}: the {name} is missing ({missing.sum()} such rows)")
    if "rating" in log:
        log["rating"] = _numbers(log["rating"], path, "rating")
    if "timestamp" in log:
        log["timestamp"] = read_seconds(log["timestamp"], path)
    return log


def _known_columns(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    table = table.rename(columns=lambda name: str(name).strip())
    chosen = {}
    for name, aliases in COLUMNS.items():
        there = [alias for alias in aliases if alias in table.columns]
        if not there and name in ("user", "item"):
            found = ", ".join(map(str, table.columns))
            hint = " (separated by tabs)" if path.suffix == ".tsv" else ""
            raise InputError(f"{path} has no column {name!r}; its header{hint} must name user and item, found: {found}")
        if there:
            chosen[name] = table[there[0]]
    return type(table)(chosen)


def _column_ids(values: "pd.Series") -> NDArray:
    """Return a column of ids as integers or text (numbers from Parquet stay integers)."""
    import pandas as pd

    if pd.api.types.is_integer_dtype(values):
        return values.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(values) and (values == values.round()).all():
        return values.to_numpy(dtype=np.int64)
    return as_ids(values.astype("str"))


def _interactions(log: "pd.DataFrame", users: NDArray, items: NDArray) -> Interactions:
    columns = [log[name].to_numpy() if name in log else None for name in ("rating", "timestamp")]
    return Interactions.from_arrays(users, items, *columns)


def _numbers(values: "pd.Series", path: Path, name: str) -> "pd.Series":
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{path}, {_line(path, row)}: the {name} {values.iloc[row]!r} is no number")
    return numbers


def read_seconds(values: "pd.Series", path: Path) -> "pd.Series":
    """Return whole seconds since 1970 from numbers or ISO dates.

    Raises:
        InputError: a value is neither.
    """
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(values):
        if pd.api.types.is_numeric_dtype(values) or pd.notna(pd.to_numeric(values, errors="coerce").iloc[0]):
            return np.floor(_numbers(values, path, "timestamp")).astype("int64")
        dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        if dates.isna().any():
            row = int(np.argmax(dates.isna()))
            raise InputError(
                f"{path}, {_line(path, row)}: the timestamp {values.iloc[row]!r} is neither a number of seconds nor an "
                "ISO date such as 2024-05-01T12:00:00"
            )
        values = dates
    return values.astype("datetime64[s, UTC]" if values.dt.tz is not None else "datetime64[s]").astype("int64")


def _line(path: Path, row: int) -> str:
    """Name a row the way its reader can find it: lines of a text file count from 1 and include the header."""
    return f"row {row}" if path.suffix == ".parquet" else f"line {row + 2}"
