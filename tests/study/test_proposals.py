"""Proposals: new points of the space, the same whatever happened to the process or to the file's last line."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dslstudy.study.proposals import Journal

SPACE = {"temperature": (0.1, 0.2, 0.5), "learning_rate": (0.1, 0.01), "slate_size": (5, 20)}
POINTS = [dict(zip(SPACE, values, strict=True)) for values in product(*SPACE.values())]


def value_of(point):
    """Some outcome that depends on the point."""
    return point["temperature"] - 3 * point["learning_rate"] + 0.01 * point["slate_size"]


def journal(folder, **changes):
    settings = {"sampler": "tpe", "seed": 3} | changes
    return Journal(folder / "a.journal", folder / "lock", SPACE, **settings)


def run(folder, trials, *, prior=(), **changes):
    """Rounds of three, each told before the next; the journal is opened anew for each round."""
    for start in range(0, trials, 3):
        opened = journal(folder, **changes)
        opened.propose(min(start + 3, trials), prior)
        for each in opened.proposals()[start:]:
            if not each.told:
                opened.tell(each.number, value_of(each.parameters))
    return [each.parameters for each in journal(folder, **changes).proposals()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_every_point_comes_once_and_the_whole_space_can_be_had(tmp_path, sampler):
    found = run(tmp_path, len(POINTS), sampler=sampler)
    assert sorted(found, key=str) == sorted(POINTS, key=str)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_seed_decides_the_proposals(tmp_path, sampler):
    same = [run(tmp_path / name, 6, sampler=sampler, seed=1) for name in "ab"]
    assert same[0] == same[1]
    others = [run(tmp_path / str(seed), 6, sampler=sampler, seed=seed) for seed in range(2, 5)]
    assert any(other != same[0] for other in others)


def test_the_start_comes_first(tmp_path):
    start = {"temperature": 0.5, "learning_rate": 0.01, "slate_size": 20}
    first, *rest = run(tmp_path, 6, start=start)
    assert first == start
    assert start not in rest


def test_a_diverged_proposal_is_told_as_failed(tmp_path):
    opened = journal(tmp_path)
    opened.propose(2)
    opened.tell(0, None)
    opened.tell(1, 0.5)
    assert [(each.told, each.failed) for each in journal(tmp_path).proposals()] == [(True, True), (True, False)]


@settings(max_examples=12)
@given(data=st.data())
def test_cut_off_anywhere_it_goes_on_with_the_proposals_it_would_have_made(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("journal")
    whole = run(folder, 7)
    path = folder / "a.journal"
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert run(folder, 7) == whole


def test_reading_leaves_the_file_as_it_is(tmp_path):
    run(tmp_path, 4)
    before = (tmp_path / "a.journal").read_bytes()
    journal(tmp_path).proposals()
    journal(tmp_path).propose(4)
    assert (tmp_path / "a.journal").read_bytes() == before


def test_tpe_learns_from_what_it_is_told(tmp_path):
    """Nine of 400 points are best: chance alone finds 0.9 of them in 40 trials."""
    space = {"a": tuple(range(20)), "b": tuple(range(20))}

    def found(seed):
        opened = Journal(tmp_path / f"{seed}.journal", tmp_path / "lock", space, sampler="tpe", seed=seed)
        for number in range(40):
            opened.propose(number + 1)
            point = opened.proposals()[number].parameters
            opened.tell(number, -float((point["a"] > 2) + (point["b"] > 2)))
        return sum(each.parameters["a"] <= 2 and each.parameters["b"] <= 2 for each in opened.proposals())

    assert sum(found(seed) for seed in range(3)) / 3 > 2


def test_another_search_can_lend_its_outcomes(tmp_path):
    """Told that one temperature is far better, TPE proposes it from the start; chance does a third of the time."""
    space = {"temperature": (0.1, 0.2, 0.5), "weight_decay": tuple(range(30))}
    prior = [
        ({"temperature": t, "weight_decay": w}, float(t == 0.5)) for t in space["temperature"] for w in range(0, 30, 3)
    ]
    taken = []
    for seed in range(6):
        opened = Journal(tmp_path / f"{seed}.journal", tmp_path / "lock", space, sampler="tpe", seed=seed)
        opened.propose(4, prior)
        taken += [each.parameters["temperature"] == 0.5 for each in opened.proposals()]
    assert sum(taken) / len(taken) > 0.6
