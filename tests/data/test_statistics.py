import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data.load import load_dataset, load_split
from dslstudy.data.statistics import describe, gini, head_items

counts = st.lists(st.integers(0, 50), min_size=1, max_size=20)


@given(counts)
def test_gini_is_half_the_relative_mean_difference(values):
    total = sum(values)
    pairs = sum(abs(a - b) for a in values for b in values)
    expected = pairs / (2 * len(values) * total) if total else 0.0
    assert gini(np.array(values)) == pytest.approx(expected)


@given(counts)
def test_head_items_are_the_most_popular(values):
    head = head_items(np.array(values))
    assert head.sum() == max(1, round(0.2 * sum(value > 0 for value in values)))
    assert min(np.array(values)[head]) >= max(np.array(values)[~head], default=0)


def test_describe_counts():
    dataset, split = load_dataset("synthetic-ranking"), load_split("synthetic-ranking", "popularity-shift", seed=2)
    facts = describe("synthetic-ranking", "popularity-shift", seed=2)
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["users"], facts["items"], facts["interactions"]) == (200, 150, 4000)
    assert facts["density"] == pytest.approx(4000 / 30_000)
    assert facts["interactions_per_user"] == {"min": 20, "median": 20, "mean": 20, "max": 20}
    per_item = [int((dataset.interactions.items == item).sum()) for item in range(150)]
    assert facts["interactions_per_item"]["max"] == max(per_item)
    assert facts["head_share"] == pytest.approx(sum(sorted(per_item)[-30:]) / 4000)
    assert facts["split"]["fingerprint"] == split.fingerprint
    train = split.train.item_counts()
    head = {int(item) for item in np.argsort(-train, kind="stable")[:30]}
    for name in ("train", "validation", "test"):
        part = getattr(split, name)
        found = facts["split"][name]
        assert (found["interactions"], found["users"]) == (len(part), len(set(part.users.tolist())))
        assert found["items"] == len(set(part.items.tolist()))
        assert found["head_share"] == pytest.approx(np.mean([item in head for item in part.items.tolist()]))


def test_an_empty_part_has_no_share():
    facts = describe(load_dataset("synthetic-ranking"), validation_fraction=0)
    assert facts["split"]["validation"] == {"interactions": 0, "users": 0, "items": 0, "head_share": None}
