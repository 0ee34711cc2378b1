"""The real files, where this machine has them, against the registry and against facts published about them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from dslstudy.data.click_logs import load_click_split
from dslstudy.data.fetch import cache_dir, cached_path, sha256_of
from dslstudy.data.load import load_dataset, load_split
from dslstudy.data.registry import dataset_spec, registry
from dslstudy.data.statistics import describe, head_items

#: Share of the test interactions that falls on the top 20 % of train's items, train as published.
HEAD_OF_TEST = {"amazon2014-electronic": 0.51, "amazon2014-electronic-popularity": 0.19}


def real_data():
    """Name -> folder that holds the intact files: a mirror, the data beside the clone, or the user's cache."""
    named = os.environ.get("DSLSTUDY_MIRROR")
    folders = [Path(named)] if named else []
    folders += [Path(__file__).resolve().parents[3] / "shared" / "data", cache_dir()]
    found = {}
    for name, spec in registry(None).items():
        for folder in folders:
            for form in spec.forms:
                if all((folder / file.path).is_file() for file in form.files) and all(
                    sha256_of(folder / file.path) == file.sha256 for file in form.files
                ):
                    found.setdefault(name, folder)
    return found


REAL_DATA = real_data()
RANKING = [name for name in REAL_DATA if name in registry()]
SMALL = [name for name in RANKING if registry()[name].interactions < 250_000]  # the rest would take its time


def for_each(names):
    """Run a test for each data set; where this machine has none of them, there is no test."""
    return pytest.mark.parametrize("name", names) if names else lambda test: None


def published(kind):
    return [name for name in RANKING if registry()[name].published == kind]


@pytest.fixture(autouse=True)
def mirror(request, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_MIRROR", str(REAL_DATA[request.node.callspec.params["name"]]))


@for_each(RANKING)
def test_sizes_are_those_of_the_registry(name):
    spec, dataset = dataset_spec(name), load_dataset(name, offline=True)
    kept = dataset.interactions
    assert (kept.num_users, kept.num_items, len(kept)) == (spec.users, spec.items, spec.interactions)
    assert dataset.default_split == spec.split
    if spec.split == "published":
        assert tuple(map(len, dataset.published)) == (spec.train, spec.test)
    assert min(kept.user_counts().min(), kept.item_counts().min()) >= (spec.k_core or 7)
    for file in dataset.sha256:
        (path,) = [cached_path(known) for form in spec.forms for known in form.files if known.path.endswith(file)]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == dataset.sha256[file]


@for_each(SMALL)
def test_every_split_is_sound(name):
    dataset = load_dataset(name, offline=True)
    for which in dataset.splits:
        split = load_split(dataset, which, seed=1)
        keys = [part.keys() for part in (split.train, split.validation, split.test)]
        assert len(np.unique(np.concatenate(keys))) == sum(map(len, keys)) <= len(dataset.interactions)
        for part in (split.validation, split.test):
            assert (split.train.user_counts() > 0)[part.users].all()
            assert (split.train.item_counts() > 0)[part.items].all()
        share = len(split.validation) / (len(split.train) + len(split.validation))
        assert 0.08 < share < 0.12
        assert split.data_sha256 == dataset.sha256


@for_each(SMALL)
def test_popularity_shift_lets_the_head_of_test_shrink(name):
    dataset = load_dataset(name, offline=True)
    shares = {which: describe(dataset, which)["split"]["test"]["head_share"] for which in ("iid", "popularity-shift")}
    assert shares["popularity-shift"] < 0.25 < 0.4 < shares["iid"]
    if name in HEAD_OF_TEST:
        train, test = dataset.published
        head = head_items(train.item_counts())
        assert head[test.items].mean() == pytest.approx(HEAD_OF_TEST[name], abs=0.005)


@for_each(published("iid"))
def test_our_iid_rule_is_the_publishers(name):
    """As many training items for every user (the popularity files hold every pair, the IID files miss dropped ones)."""
    theirs = load_dataset(name, offline=True).published[0]
    full = f"{name}-popularity"
    whole = load_dataset(full if full in REAL_DATA else name, offline=True)
    ours = load_split(whole, "iid", validation_fraction=0).train
    assert np.array_equal(ours.user_counts(), theirs.user_counts())


@for_each(published("popularity-shift"))
def test_our_shift_draws_as_many_from_each_item_as_the_publishers(name):
    dataset = load_dataset(name, offline=True)
    train, test = dataset.published
    ours = load_split(dataset, "popularity-shift", validation_fraction=0)
    assert len(ours.train) == len(train)
    sizes = dataset.interactions.item_counts()
    for low, high in ((10, 11), (11, 15), (15, 25), (25, 60), (60, 10**6)):
        group = (sizes >= low) & (sizes < high)
        assert ours.test.item_counts()[group].mean() == pytest.approx(test.item_counts()[group].mean(), rel=0.05)


@for_each([name for name in REAL_DATA if name == "movielens-100k"])
def test_movielens_is_whole(name):
    dataset = load_dataset(name, offline=True)
    assert (len(dataset.raw), dataset.raw.num_users, dataset.raw.num_items) == (100_000, 943, 1682)
    assert dataset.interactions.ratings.min() == 3
    assert dataset.item_titles[1] == "Toy Story (1995)"
    assert dataset.item_features.loc[50, "genres"] == ("Action", "Adventure", "Romance", "Sci-Fi", "War")
    assert list(dataset.user_features.index) == list(dataset.interactions.user_ids)
    assert dataset.user_features.loc[1].tolist() == [24, "M", "technician", "85711"]


@for_each([name for name in REAL_DATA if name == "movielens-100k"])
def test_movielens_ratings_are_grouplens_own(name):
    """Without its header line, the ratings file is u.data to the byte; its sha256 is public knowledge."""
    load_dataset(name, offline=True)
    content = cached_path(dataset_spec(name).forms[0].files[0]).read_bytes()
    known = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
    assert hashlib.sha256(content.split(b"\n", 1)[1]).hexdigest() == known


@for_each([name for name in REAL_DATA if name in registry("clicks")])
def test_click_logs_are_whole(name):
    spec, split = dataset_spec(name), load_click_split(name, offline=True)
    parts = [split.train, split.validation, split.test]
    raw = {"movielens-100k": (100_000, 943, 1682, 55_375), "tmall": (260_864, 212_062, 1993, 15_952)}
    users, items = (np.concatenate([getattr(part, kind) for part in parts]) for kind in ("users", "items"))
    positive = sum(int(part.labels.sum()) for part in parts)
    if name in raw:
        assert (len(users), len(np.unique(users)), len(np.unique(items)), positive) == raw[name]
    if spec.task == "clicks":
        assert (len(users), len(np.unique(users)), len(np.unique(items))) == (
            spec.interactions,
            spec.users,
            spec.items,
        )
    assert split.name == ("random" if name == "tmall" else "temporal")
    assert len(split.axes) >= 3
    known = split.train.features[0]
    assert (known.values > 0).mean() > 0.9
    for axis in split.axes.values():
        assert axis.counts().sum() > 0.15 * len(split.train)


@for_each([name for name in REAL_DATA if name == "tmall"])
def test_a_fifth_of_tmall_has_features(name):
    split = load_click_split(name, offline=True)
    known = sum(int((part.features[2].values > 0).sum()) for part in (split.train, split.validation, split.test))
    assert known == 52_173


@for_each([name for name in REAL_DATA if name == "movielens-100k"])
def test_movielens_clicks_are_its_ratings(name):
    """Row by row against the ratings file, read with nothing but string methods."""
    split = load_click_split(name, offline=True, split="per-user", min_count=1)
    path = cached_path(dataset_spec(name).forms[0].files[0])
    rows = {}
    for line in path.read_text().splitlines()[1:]:
        user, item, rating, time = line.split("\t")
        rows[int(user), int(item)] = (float(rating) >= 4, int(time))
    found = {}
    for part in (split.train, split.validation, split.test):
        columns = (part.columns["user"], part.columns["item"], part.labels, part.timestamps)
        for user, item, label, time in zip(*(column.tolist() for column in columns), strict=True):
            found[user, item] = (bool(label), time)
    assert found == rows
