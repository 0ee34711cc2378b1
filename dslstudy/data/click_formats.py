"""From files to click logs: the registered ones, and a user's own with a TOML beside it."""

import hashlib
import io
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dslstudy.data.click_columns import ClickTable, as_numbers, factorize, split_table
from dslstudy.data.click_logs import ClickSplit
from dslstudy.data.click_spec import ClickSpec, LabelRule, click_spec
from dslstudy.data.click_world import ClickWorld
from dslstudy.data.fetch import obtain, read_verified
from dslstudy.data.formats import PARSERS
from dslstudy.data.local import read_seconds, read_table
from dslstudy.data.registry import nearest, registry
from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: What one may ask of a log that is read from files.
PARAMETERS = ("split", "quantiles", "min_count")


def load_log(
    name_or_path: str | Path, *, seed: int, offline: bool, progress: bool, parameters: Mapping[str, Any]
) -> ClickSplit:
    """Load and split a click log; see :func:`dslstudy.data.click_logs.load_click_split`."""
    known = registry("clicks")
    spec = known.get(str(name_or_path))
    if spec is not None and spec.generator:
        dials = [one.name for one in fields(ClickWorld)]
        _check_parameters(parameters, dials, f"the dials of {spec.name}")
        return ClickWorld(**{**spec.generator, **parameters}).split(seed)
    _check_parameters(parameters, PARAMETERS, f"the parameters of {name_or_path}")
    if spec is None:
        if not Path(name_or_path).exists():
            raise InputError(
                f"{str(name_or_path)!r} is neither a registered click log nor an existing file: "
                f"{nearest(str(name_or_path), known)}"
            )
        table, rules, hashes = read_own_log(Path(name_or_path))
    else:
        form = obtain(spec, offline=offline, progress=progress)
        contents = {PurePosixPath(file.path).name: read_verified(file) for file in form.files}
        hashes = {PurePosixPath(file.path).name: file.sha256 for file in form.files}
        rules = click_spec(spec.clicks, f"registry entry {spec.name}")
        columns = COLUMNS.get(form.format, movielens_columns)
        table = click_table(columns(form.format, contents), rules)
    return split_table(table, rules, seed=seed, dataset=str(name_or_path), data_sha256=hashes, **parameters)


def movielens_columns(format_name: str, contents: Mapping[str, bytes]) -> "pd.DataFrame":
    """Return MovieLens as one row per rating: user, item, rating, timestamp, age, gender, occupation, genres, year.

    Genres are joined by bars; the year is missing where it is unknown.
    """
    import pandas as pd

    parsed = PARSERS[format_name](contents)
    log, (users, items) = parsed.interactions, parsed.read_features()
    user_ids, item_ids = log.user_ids[log.users], log.item_ids[log.items]
    table = pd.DataFrame({"user": user_ids, "item": item_ids, "rating": log.ratings, "timestamp": log.timestamps})
    for name in ("age", "gender", "occupation"):
        table[name] = users[name].loc[user_ids].to_numpy()
    table["genres"] = items["genres"].str.join("|").loc[item_ids].to_numpy()
    year = items["year"].loc[item_ids].to_numpy(dtype=float)
    table["year"] = np.where(year == 0, np.nan, year)
    return table


def tmall_columns(format_name: str, contents: Mapping[str, bytes]) -> "pd.DataFrame":
    """Return all of train_format1.csv, with the columns of test_set.csv where it has the row and missing elsewhere."""
    import pandas as pd

    log, known = (pd.read_csv(io.BytesIO(contents[name])) for name in ("train_format1.csv", "test_set.csv"))
    return log.merge(known.drop(columns="label"), on=["user_id", "merchant_id"], how="left", validate="one_to_one")


#: Format -> reader of all columns; MovieLens' own formats share one.
COLUMNS: Mapping[str, Callable[[str, Mapping[str, bytes]], "pd.DataFrame"]] = {"tmall": tmall_columns}


def read_own_log(path: Path) -> tuple[ClickTable, ClickSpec, dict[str, str]]:
    """Read a user's own click log: a ``.csv``, ``.tsv`` or ``.parquet`` file with a TOML of the same name beside it.

    The TOML names the label, the user, the features and the axes (:mod:`dslstudy.data.click_spec`). Text is taken as it
    stands; an empty field is a missing value.

    Returns:
        (the log, what the TOML declares, file name -> sha256 of both files).

    Raises:
        InputError: a file is missing or cannot be read, the TOML contradicts itself or names a column that is not in
            the log.
    """
    described = path.with_suffix(".toml")
    if not described.is_file():
        raise InputError(f"{path} needs {described.name} beside it, which names its label, user, features and axes")
    content = described.read_bytes()
    try:
        declared = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"cannot parse {described}: {error}") from error
    rules = click_spec(declared, str(described))
    log, digest = read_table(path)
    if missing := [name for name in rules.columns if name not in log.columns]:
        found = ", ".join(map(str, log.columns))
        raise InputError(f"{described} names column {missing[0]!r}, which {path.name} does not have; it has {found}")
    if rules.time:
        log[rules.time] = read_seconds(log[rules.time], path)
    hashes = {path.name: digest, described.name: hashlib.sha256(content).hexdigest()}
    return click_table(log, rules), rules, hashes


def click_table(log: "pd.DataFrame", rules: ClickSpec) -> ClickTable:
    """Turn a table with named columns into labels, contiguous users and items, and raw columns.

    Raises:
        InputError: labels that the rule cannot read, or rows without a user.
    """
    ids = {}
    for kind, name in (("user", rules.user), ("item", rules.item)):
        if name and (log[name].isna() | (log[name].astype("str") == "")).any():
            raise InputError(f"{kind} column {name!r} is empty in some rows; fill it or drop them")
        ids[kind] = factorize(log[name].to_numpy())[0].astype(np.int32) if name else None
    columns = {name: log[name].to_numpy() for name in rules.columns}
    times = log[rules.time].to_numpy(dtype=np.int64) if rules.time else None
    return ClickTable(columns, _labels(log[rules.label.column], rules.label), ids["user"], ids["item"], times)


def _labels(values: "pd.Series", rule: LabelRule) -> NDArray[np.uint8]:
    if rule.equals is not None:
        return (values.astype("str") == rule.equals).to_numpy().astype(np.uint8)
    numbers = as_numbers(values, rule.column)
    if np.isnan(numbers).any():
        raise InputError(f"the label column {rule.column!r} is empty in row {int(np.argmax(np.isnan(numbers)))}")
    if rule.at_least is not None:
        return (numbers >= rule.at_least).astype(np.uint8)
    if not np.isin(numbers, (0, 1)).all():
        raise InputError(
            f"the label column {rule.column!r} holds more than 0 and 1; say at_least or equals in the label rule"
        )
    return numbers.astype(np.uint8)


def _check_parameters(given: Mapping[str, Any], known: list[str] | tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            raise InputError(f"{name!r} is not one of {what}: {', '.join(known)}")
