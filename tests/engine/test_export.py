"""Model files: what is written comes back, damage is refused, and heads that were thrown away leave no trace."""

import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dslstudy.c2al.cohorts import CohortPair
from dslstudy.c2al.methods import METHODS
from dslstudy.data.click_world import ClickWorld
from dslstudy.engine.clicks import ClickTrainingConfig, train_clicks
from dslstudy.engine.export import architecture_bytes, load_model, save_model
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention

SMALL = {"embedding_size": 4, "attention_size": 2, "hidden": 8, "batch_size": 256, "epochs": 1}
DISCARDING = [name for name in METHODS if name not in ("cohort_feature", "mmoe", "ple")]


def make_model(sizes=(5, 6), seed=0, **options):
    return FMAttention(sizes, **options, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def split():
    return ClickWorld(rows=1500, fields=3, field_size=8, users=60).split(0)


@pytest.fixture(scope="module")
def trained(split):
    cohorts = CohortPair("cohort", head=(1,), tail=(2,)).cohorts(split)
    configs = [ClickTrainingConfig(**SMALL, method=name) for name in METHODS]
    runs = train_clicks(split, configs, cohorts=cohorts, progress=False)
    return dict(zip(METHODS, (run.model for run in runs), strict=True))


@pytest.mark.parametrize("options", [{}, {"form": "embedding", "layers": 2, "hidden": 7}])
def test_round_trip(tmp_path, options):
    model = make_model(**options)
    save_model(tmp_path / "model.npz", model, {"seed": 3, "notes": ["a", None]})
    again, metadata = load_model(tmp_path / "model.npz")
    assert metadata == {"seed": 3, "notes": ["a", None]}
    assert again.architecture() == model.architecture()
    features = [torch.arange(5), torch.arange(5)]
    assert torch.equal(again(features), model(features))
    save_model(tmp_path / "again.npz", again, metadata)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()


def test_the_file_holds_no_pickle(tmp_path):
    save_model(tmp_path / "model.npz", make_model())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} == {"u", "f"}
        assert json.loads(archive["header"].tobytes()) == {"format": "dslstudy-click-model", "version": 1}


def test_methods_that_throw_heads_away_leave_the_plain_architecture(trained, tmp_path):
    sizes, headers = {}, {}
    for name in DISCARDING:
        save_model(tmp_path / name, trained[name])
        headers[name] = architecture_bytes(tmp_path / name)
        sizes[name] = (sum(p.numel() for p in trained[name].parameters()), (tmp_path / name).stat().st_size)
    assert set(headers.values()) == {headers["plain"]}
    assert set(sizes.values()) == {sizes["plain"]}
    save_model(tmp_path / "cohort_feature", trained["cohort_feature"])
    assert architecture_bytes(tmp_path / "cohort_feature") != headers["plain"]


def test_the_exported_c2al_model_is_as_fast_as_the_plain_one(trained, split):
    features = [torch.from_numpy(feature.values.astype(np.int64)) for feature in split.test.features]
    models = [trained["plain"].eval(), trained["c2al"].eval()]

    def cost(model):
        started = time.process_time()
        for _ in range(3):
            model(features)
        return time.process_time() - started

    with torch.no_grad():
        # neighbours in time, and processor time: what else the machine does meets both alike
        pairs = [[cost(model) for model in models] for _ in range(100)]
    plain, c2al = np.array(pairs[10:]).T
    assert 0.7 < np.median(c2al / plain) < 1.4


def rewritten(path, **entries):
    with np.load(path) as archive:
        kept = {name: archive[name] for name in archive.files}
    for name, value in entries.items():
        kept[name] = np.frombuffer(json.dumps(value).encode(), np.uint8) if isinstance(value, dict) else value
    np.savez(path, **{name: value for name, value in kept.items() if value is not None})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"header": {"format": "dslstudy-click-model", "version": 2}}, "has format version 2, .* reads version 1"),
        ({"header": {"format": "other", "version": 1}}, "is no click model of dslstudy"),
        ({"architecture": {"sizes": [5, 6, 7]}}, "parameters do not fit its architecture"),
        ({"architecture": {"sizes": [5, 6], "hidden": "many"}}, "parameters do not fit"),
        ({"architecture": {"rooms": 3}}, "parameters do not fit"),
        ({"architecture": {"sizes": []}}, "parameters do not fit"),
        ({"architecture": np.array([1.0, 2.0])}, "damaged or no model file"),
        ({"parameter/head.bias": None}, "parameters do not fit"),
        ({"parameter/head.bias": np.zeros(2, np.float32)}, "parameters do not fit"),
        ({"parameter/extra": np.zeros(2, np.float32)}, "parameters do not fit"),
        ({"metadata": None}, "damaged or no model file"),
        ({"header": np.array([{}], dtype=object)}, "damaged or no model file"),
    ],
)
def test_other_versions_and_wrong_contents_are_refused(tmp_path, entries, message):
    path = tmp_path / "model.npz"
    save_model(path, make_model())
    rewritten(path, **entries)
    with pytest.raises(InputError, match=message):
        load_model(path)


@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_refused_or_harmless(tmp_path_factory, data):
    """Cut off anywhere or with any byte changed, a file is refused or still holds the very same model."""
    path = tmp_path_factory.mktemp("damaged") / "model.npz"
    model = make_model((3, 2), embedding_size=2, hidden=2, attention_size=1)
    save_model(path, model)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        again, _ = load_model(path)
    except InputError:
        return
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_damage_in_the_directory_of_the_archive_is_refused_or_harmless(tmp_path):
    """Here a changed bit may say that an entry is encrypted, or compressed in a way that nobody knows."""
    path = tmp_path / "model.npz"
    model = make_model((3, 2), embedding_size=2, hidden=2, attention_size=1)
    save_model(path, model)
    content = path.read_bytes()
    entry = content.rindex(b"PK\x01\x02")
    refused = 0
    for place in range(entry, entry + 46):
        for bit in (1, 8, 128):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            try:
                again, _ = load_model(path)
            except InputError:
                refused += 1
                continue
            assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert refused > 20


def test_what_cannot_be_saved_or_found(tmp_path, trained):
    with pytest.raises(InputError, match="only an FMAttention can be saved, not a GatedPrimary"):
        save_model(tmp_path / "model.npz", trained["mmoe"])
    broken = make_model()
    broken.head.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"parameter head\.bias is not finite"):
        save_model(tmp_path / "model.npz", broken)
    with pytest.raises(InputError, match="metadata of a model must be plain"):
        save_model(tmp_path / "model.npz", make_model(), {"split": object()})
    with pytest.raises(InputError, match="no folder"):
        save_model(tmp_path / "nowhere" / "model.npz", make_model())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="there is no model file"):
        load_model(tmp_path / "model.npz")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="damaged or no model file"):
        load_model(tmp_path / "text")
