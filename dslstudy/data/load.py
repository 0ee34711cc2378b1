"""From a name or a path to interactions and splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from dslstudy.data.fetch import obtain, read_verified
from dslstudy.data.formats import PARSERS, ReadFeatures
from dslstudy.data.interactions import Interactions
from dslstudy.data.local import read_local
from dslstudy.data.registry import DatasetSpec, nearest, registry
from dslstudy.data.splits import (
    Split,
    content_hash,
    iid_split,
    popularity_shift_split,
    temporal_split,
    validation_cut,
)
from dslstudy.data.synthetic import SyntheticRanking, synthetic_ranking
from dslstudy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: registry name, or the path it was read from.
        interactions: what is used, after the filter declared in the registry; train and test together.
        raw: everything in the files, before the filter (for MovieLens: all ratings), with its own id space.
        published: (train, test) as published, over the id space of ``interactions``, or None.
        sha256: file name -> sha256 of the very bytes that were read (for generated data: of its arrays).
        spec: the registry entry, or None for a user's own data.
        truth: what a generated data set was made from, else None.
    """

    name: str
    interactions: Interactions
    raw: Interactions
    published: tuple[Interactions, Interactions] | None
    sha256: Mapping[str, str]
    spec: DatasetSpec | None = None
    truth: SyntheticRanking | None = None
    _read_features: ReadFeatures | None = field(default=None, repr=False)

    @property
    def default_split(self) -> str:
        """What "default" means here: "published" where there is one, else "iid"."""
        return "published" if self.published else "iid"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that can be made of this data set."""
        names = ["published"] if self.published else []
        names += ["iid", "popularity-shift"]
        return (*names, "temporal") if self.interactions.timestamps is not None else tuple(names)

    @cached_property
    def _features(self) -> "tuple[pd.DataFrame, pd.DataFrame] | None":
        if self._read_features is None:
            return None
        users, items = self._read_features()
        return users.loc[self.interactions.user_ids], items.loc[self.interactions.item_ids]

    @property
    def user_features(self) -> "pd.DataFrame | None":
        """One row per user in the order of the contiguous ids, indexed by original id; None if there are none.

        MovieLens: age, gender ("F", "M"), occupation, zip_code.
        """
        return self._features[0] if self._features else None

    @property
    def item_features(self) -> "pd.DataFrame | None":
        """One row per item in the order of the contiguous ids, indexed by original id; None if there are none.

        MovieLens: title, year (0 if unknown), genres (a tuple).
        """
        return self._features[1] if self._features else None

    @property
    def item_titles(self) -> dict[int, str] | None:
        """Original item id -> title, for example ``1: "Toy Story (1995)"``; None if there are none."""
        return None if self.item_features is None else self.item_features["title"].to_dict()


def load_dataset(name_or_path: str | Path, *, offline: bool = False, progress: bool = True) -> Dataset:
    """Load a registered data set, fetching its files if needed, or a user's own.

    Args:
        name_or_path: a name of the registry, or a path that :func:`dslstudy.data.local.read_local` understands (write
            ``./name`` if a path looks like a name).
        offline: use the cache and the mirror only.
        progress: show progress bars on standard error.

    Raises:
        InputError: unknown name, files that cannot be had or are damaged, data that cannot be used.
    """
    spec = registry().get(str(name_or_path))
    if spec is None:
        return _own_dataset(Path(name_or_path))
    if spec.generator:
        truth = synthetic_ranking(**spec.generator)
        made = truth.interactions
        digest = content_hash(made.users, made.items, made.timestamps)
        return Dataset(spec.name, made, made, None, MappingProxyType({spec.name: digest}), spec, truth)
    form = obtain(spec, offline=offline, progress=progress)
    contents = {PurePosixPath(file.path).name: read_verified(file) for file in form.files}
    hashes = {PurePosixPath(file.path).name: file.sha256 for file in form.files}
    parsed = PARSERS[form.format](contents)
    return Dataset(
        spec.name,
        _filtered(parsed.interactions, spec),
        parsed.interactions,
        parsed.published,
        MappingProxyType(hashes),
        spec,
        None,
        parsed.read_features,
    )


def load_split(
    name_or_path: str | Path | Dataset,
    split: str = "default",
    *,
    seed: int = 0,
    validation_fraction: float = 0.1,
    offline: bool = False,
    progress: bool = True,
) -> Split:
    """Load a data set and split it; nothing is cached, the same arguments give the same bits.

    Args:
        name_or_path: as :func:`load_dataset`, or a data set that is loaded already.
        split: "published", "iid", "popularity-shift", "temporal", or "default": "published" where there is one, else
            "iid".
        seed: of the split, and of the validation cut.
        validation_fraction: share of each user's training items that :func:`validation_cut` sets aside; 0 for none.
        offline: use the cache and the mirror only.
        progress: show progress bars on standard error.

    Returns:
        Train, validation and test over the id space of the data set.

    Raises:
        InputError: as :func:`load_dataset`; a split this data set does not offer; nothing left for test.
    """
    if isinstance(name_or_path, Dataset):
        dataset = name_or_path
    else:
        dataset = load_dataset(name_or_path, offline=offline, progress=progress)
    chosen = dataset.default_split if split == "default" else split
    if chosen not in dataset.splits:
        raise InputError(f"{dataset.name} offers no split {split!r}; choose one of {', '.join(dataset.splits)}")
    if chosen == "published":
        train, test = dataset.published
    elif chosen == "iid":
        train, test = iid_split(dataset.interactions, seed=seed)
    elif chosen == "popularity-shift":
        train, test = popularity_shift_split(dataset.interactions, seed=seed)
    else:
        train, test = temporal_split(dataset.interactions)
    if len(test) == 0:
        raise InputError(
            f"the {chosen} split of {dataset.name} leaves nothing to test: too few interactions per user and item"
        )
    train, validation = validation_cut(train, fraction=validation_fraction, seed=seed)
    return Split(chosen, train, validation, test, seed, dataset.name, validation_fraction, dataset.sha256)


def _own_dataset(path: Path) -> Dataset:
    if str(path) in registry("clicks"):
        raise InputError(
            f"{path} is a click log and holds no ranking data; load it with load_click_split({str(path)!r}), or give"
            " --task clicks on the command line"
        )
    if not path.exists():
        raise InputError(
            f"{str(path)!r} is neither a registered data set nor an existing path: {nearest(str(path), registry())}"
        )
    own, hashes = read_local(path)
    return Dataset(str(path), own.interactions, own.interactions, own.published, MappingProxyType(hashes))


def _filtered(raw: Interactions, spec: DatasetSpec) -> Interactions:
    """Apply the filter the registry declares; an unfiltered data set keeps its publisher's id space."""
    kept = raw if spec.min_rating is None else raw.select(raw.ratings >= spec.min_rating)
    return kept.k_core(spec.k_core) if spec.k_core else kept
