"""What is known about each data set, read from registry.toml next to this file."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from dslstudy.errors import InputError

REGISTRY_FILE = Path(__file__).with_name("registry.toml")


@dataclass(frozen=True)
class FileSpec:
    """One file of a data set.

    Attributes:
        path: POSIX path below the cache directory and below a mirror folder.
        sha256: hex digest of the intact file.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where files may come from.

    Attributes:
        kind: "mirror", "wheel" or "url".
        url: address with ``{path}`` for a file's path without its first folder (kind "url").
        requirement: for example ``recbole==1.2.1`` (kind "wheel").
        folder: folder of the members inside the wheel (kind "wheel").
    """

    kind: str
    url: str = ""
    requirement: str = ""
    folder: str = ""

    def url_of(self, file: FileSpec) -> str:
        """Return the public address of one file."""
        return self.url.format(path=str(PurePosixPath(*PurePosixPath(file.path).parts[1:])))


@dataclass(frozen=True)
class Form:
    """One set of files that holds all of a data set, and where to get them, best source first."""

    format: str
    files: tuple[FileSpec, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One entry of the registry.

    Attributes:
        name: the name used everywhere.
        title: for people.
        task: "ranking", or "clicks" for what is a click log only; see :attr:`clicks`.
        forms: file sets that hold the data, the preferred one first; empty for a generated data set.
        licence: in short.
        terms: what one may do with it, and where that is written.
        cite: key in the book's bibliography, or "".
        citation: the reference as text.
        users: number of users after the filter.
        items: number of items after the filter.
        interactions: number of interactions after the filter (train and test together).
        train: published training interactions, or None.
        test: published test interactions, or None.
        split: what "default" means: "published" or "iid".
        published: how the published split was made: "iid", "popularity-shift", or "" if there is none.
        min_rating: ratings below this are no interactions; None: all count.
        k_core: iterative k-core filter; 0: none here (a published split was filtered by its publisher).
        generator: parameters of the generator, for a generated data set.
        clicks: how it is read as a click log (:func:`dslstudy.data.click_spec.click_spec`), or empty if it is none; a
            ranking data set may be both.
    """

    name: str
    title: str
    task: str
    licence: str
    terms: str
    cite: str
    citation: str
    users: int
    items: int
    interactions: int
    train: int | None = None
    test: int | None = None
    split: str = "iid"
    published: str = ""
    min_rating: float | None = None
    k_core: int = 0
    forms: tuple[Form, ...] = ()
    generator: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    clicks: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it can be used for: "ranking", "clicks" or both."""
        return tuple(dict.fromkeys((self.task, *(["clicks"] if self.clicks else []))))


@cache
def registry(task: str | None = "ranking") -> Mapping[str, DatasetSpec]:
    """Return the entries by name, in the order of the file.

    Args:
        task: "ranking" or "clicks" for the entries that serve it, None for all.
    """
    tables = tomllib.loads(REGISTRY_FILE.read_text(encoding="utf-8"))["datasets"]
    specs = {name: _spec(name, dict(table)) for name, table in tables.items()}
    return MappingProxyType({name: spec for name, spec in specs.items() if task is None or task in spec.tasks})


@cache
def default_dataset() -> str:
    """Return the name of the data set a newcomer gets."""
    return tomllib.loads(REGISTRY_FILE.read_text(encoding="utf-8"))["default"]


def dataset_names(task: str | None = "ranking") -> tuple[str, ...]:
    """Return the names of the data sets that serve a task (None: of all), in the order of the registry."""
    return tuple(registry(task))


def dataset_spec(name: str) -> DatasetSpec:
    """Return one entry.

    Raises:
        InputError: unknown name; the message lists the nearest ones.
    """
    known = registry(None)
    if name not in known:
        raise InputError(f"unknown data set {name!r}: {nearest(name, known)}")
    return known[name]


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Say which of the known names were perhaps meant."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known names are {', '.join(known)}"


def _spec(name: str, table: dict[str, Any]) -> DatasetSpec:
    forms = tuple(
        Form(
            form["format"],
            tuple(FileSpec(**file) for file in form["files"]),
            tuple(Source(**source) for source in form["sources"]),
        )
        for form in table.pop("forms", ())
    )
    generator = MappingProxyType(table.pop("generator", {}))
    clicks = MappingProxyType(table.pop("clicks", {}))
    return DatasetSpec(name=name, forms=forms, generator=generator, clicks=clicks, **table)
