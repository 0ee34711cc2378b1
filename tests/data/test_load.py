import io
import zipfile

import numpy as np
import pytest

import dslstudy.data
from dslstudy.data.fetch import write_atomically
from dslstudy.data.interactions import Interactions
from dslstudy.data.load import load_dataset, load_split
from dslstudy.data.registry import DatasetSpec, FileSpec, Form, Source
from dslstudy.data.splits import iid_split, validation_cut
from dslstudy.errors import InputError

SYNTHETIC = "synthetic-ranking"


@pytest.mark.parametrize("which", ["iid", "popularity-shift", "temporal"])
def test_same_arguments_same_bits_other_seed_other_split(which):
    first, again, other = (load_split(SYNTHETIC, which, seed=seed) for seed in (3, 3, 4))
    assert (first.train, first.validation, first.test) == (again.train, again.validation, again.test)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.name, first.seed, first.dataset, first.validation_fraction) == (which, 3, SYNTHETIC, 0.1)


def test_the_split_is_made_of_its_parts():
    dataset = load_dataset(SYNTHETIC)
    train, test = iid_split(dataset.interactions, seed=5)
    train, validation = validation_cut(train, fraction=0.2, seed=5)
    split = load_split(dataset, seed=5, validation_fraction=0.2)
    assert (split.train, split.validation, split.test) == (train, validation, test)
    whole = load_split(dataset, seed=5, validation_fraction=0)
    assert len(whole.validation) == 0
    assert np.array_equal(whole.train.keys(), np.sort(np.concatenate([train.keys(), validation.keys()])))


def test_the_synthetic_set_brings_its_truth_and_a_hash():
    dataset = load_dataset(SYNTHETIC)
    assert dataset.truth.interactions is dataset.interactions
    assert dataset.sha256 == load_dataset(SYNTHETIC).sha256
    assert len(dataset.sha256[SYNTHETIC]) == 64
    assert (dataset.interactions.num_users, dataset.interactions.num_items) == (200, 150)
    assert len(dataset.interactions) == dataset.spec.interactions
    assert dataset.item_titles is None


def test_splits_that_are_not_offered():
    with pytest.raises(InputError, match="synthetic-ranking offers no split 'published'; choose one of iid, pop"):
        load_split(SYNTHETIC, "published")
    with pytest.raises(InputError, match="offers no split 'random'"):
        load_split(SYNTHETIC, "random")


def test_unknown_names_get_near_ones():
    with pytest.raises(InputError, match=r"nor an existing path: did you mean movielens-100k\?"):
        load_dataset("movielens-100")


def test_a_split_without_test_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n1,1\n2,2\n")
    with pytest.raises(InputError, match="leaves nothing to test"):
        load_split(tmp_path / "log.csv")


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """A registered data set in MovieLens' second format, with a filter, from a mirror."""
    rng = np.random.default_rng(0)
    rows = [(u, i, rng.integers(1, 6), 100 * u + i) for u in range(1, 31) for i in range(1, 21) if rng.random() < 0.5]
    members = {
        "u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in rows),
        "u.user": "".join(f"{u}|30|F|other|0000{u}\n" for u in range(1, 31)),
        "u.item": "".join(f"{i}|Film {i} (1990)|01-Jan-1990||http://|{'|'.join(['0'] * 18)}|1\n" for i in range(1, 21)),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"ml-100k/{name}", text)
    write_atomically(tmp_path / "mirror/toy/toy.zip", buffer.getvalue())
    monkeypatch.setenv("DSLSTUDY_MIRROR", str(tmp_path / "mirror"))
    import hashlib

    file = FileSpec("toy/toy.zip", hashlib.sha256(buffer.getvalue()).hexdigest())
    spec = DatasetSpec(
        name="toy", title="Toy", task="ranking", licence="", terms="", cite="", citation="", users=0, items=0,
        interactions=0, min_rating=3, k_core=5, forms=(Form("grouplens", (file,), (Source("mirror"),)),),
    )  # fmt: skip
    monkeypatch.setattr("dslstudy.data.load.registry", lambda task="ranking": {"toy": spec})
    return rows, tmp_path / "mirror/toy/toy.zip", file


def test_the_declared_filter_is_applied_and_the_raw_log_kept(registered):
    rows, _, file = registered
    dataset = load_dataset("toy")
    users, items, ratings, times = zip(*rows, strict=True)
    everything = Interactions.from_arrays(users, items, ratings, times)
    assert dataset.raw == everything
    assert dataset.interactions == everything.select(everything.ratings >= 3).k_core(5)
    assert 0 < len(dataset.interactions) < len(dataset.raw)
    assert dataset.sha256 == {"toy.zip": file.sha256}
    assert load_split("toy").data_sha256 == {"toy.zip": file.sha256}


def test_features_stand_in_the_order_of_the_contiguous_ids(registered):
    dataset = load_dataset("toy")
    assert dataset.item_features.index.tolist() == dataset.interactions.item_ids.tolist()
    assert dataset.user_features.index.tolist() == dataset.interactions.user_ids.tolist()
    first = dataset.interactions.item_ids[0]
    assert dataset.item_titles[first] == f"Film {first} (1990)"
    assert dataset.item_features.iloc[0]["genres"] == ("Western",)
    assert dataset.user_features is dataset.user_features, "read once"


def test_damage_in_the_cache_is_not_read(registered, cache):
    _, mirrored, _ = registered
    good = load_dataset("toy").interactions
    placed = cache / "toy/toy.zip"
    placed.write_bytes(placed.read_bytes()[:-10])
    assert load_dataset("toy", offline=True).interactions == good, "repaired from the mirror"
    placed.write_bytes(b"damage")
    mirrored.unlink()
    with pytest.raises(InputError, match="is there but altered"):
        load_dataset("toy")


def test_the_package_offers_its_names_lazily():
    assert set(dslstudy.data.__all__) <= set(dir(dslstudy.data))
    assert dslstudy.data.load_split is load_split
    assert dslstudy.data.Interactions is Interactions
    assert callable(dslstudy.data.describe)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dslstudy.data.nothing  # noqa: B018


def test_a_click_log_is_no_ranking_data():
    with pytest.raises(InputError, match="tmall is a click log"):
        load_dataset("tmall")
