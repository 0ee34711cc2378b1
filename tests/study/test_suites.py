"""The suites as they are written: every comparison has its sides, every contender its script and valid settings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.data import dataset_names
from dslstudy.engine.config import TrainingConfig
from dslstudy.errors import InputError
from dslstudy.study.suites import DATA_AXES, checkout_folder, read_plan, suite_names, synthetic_pairs

OWN = ("runs", "path", "temperature", *DATA_AXES)


@pytest.fixture(params=suite_names())
def plan(request):
    return read_plan(request.param)


def test_the_suites_of_the_issue_are_there():
    wanted = {"steps", "stack", "scaling", "evaluation", "quality", "peers", "crossover", "time-to-quality"}
    assert wanted <= set(suite_names())


def test_every_comparison_has_its_sides(plan):
    names = [contender.name for contender in plan.contenders]
    assert len(set(names)) == len(names)
    for comparison in (*plan.ratios, *plan.differences, *plan.limits):
        assert {comparison.of, comparison.over or comparison.of} <= set(names)


def test_every_contender_has_a_script_and_settings_that_fit_it(plan):
    for contender in plan.contenders:
        assert (checkout_folder() / contender.script).exists()
        assert (contender.environment == "peers") == contender.script.startswith("peers/")
        assert contender.environment == "own" or contender.differs, "say in what a peer differs"
        if contender.script == "engine.py":
            TrainingConfig(**{name: v for name, v in contender.settings.items() if name not in OWN})


def test_data_are_registered_or_made(plan):
    assert (plan.dataset in dataset_names()) != bool(plan.synthetic)
    assert set(plan.synthetic) in (set(), set(DATA_AXES))


def test_a_sweep_changes_one_axis_at_a_time():
    plan = read_plan("scaling")
    assert {contender.axis for contender in plan.contenders} == {"num_users", "num_items", "num_negatives", "runs"}
    base = {name: v for name, v in read_plan("scaling").contenders[0].settings.items() if name != "num_users"}
    for contender in plan.contenders:
        kept = {name: v for name, v in contender.settings.items() if name in base and name != contender.axis}
        assert kept == {name: base[name] for name in kept} | {"negative_sampling": kept["negative_sampling"]}
        assert contender.name.endswith(f"{contender.axis} {contender.settings[contender.axis]}")


def test_smoke_is_small_and_complete(plan):
    small = plan.smoke()
    assert {c.name.partition(",")[0] for c in small.contenders} == {c.name.partition(",")[0] for c in plan.contenders}
    assert small.seconds < 1
    assert small.dataset in ("synthetic-ranking", "")
    for contender in small.contenders:
        assert contender.settings.get("num_negatives", 0) <= 32
        assert contender.settings.get("num_items", 0) <= 1000
    for axis in {contender.axis for contender in small.contenders} - {None}:
        assert len({c.settings[axis] for c in small.contenders if c.axis == axis}) == 2


def test_only_some_contenders():
    assert [c.name for c in read_plan("steps").only(["batch-shared"]).contenders] == ["batch-shared"]
    assert len(read_plan("crossover").only(["gather"]).contenders) > 3
    with pytest.raises(InputError, match="did you mean 'per-example'"):
        read_plan("steps").only(["per-exmple"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ntitle = 't'\nmode = 'rate'\n", "not written as it should be"),
        ("[a]\ntitle = 't'\nmode = 'rate'\ncontenders = [{nme = 'x'}]\n", "not written as it should be"),
        ("[a]\ntitle = 't'\nmode = 'race'\ncontenders = []\n", "unknown mode 'race'"),
        ("[a]\ntitle = 't'\nmode = 'rate'\nrepeats = 0\ncontenders = []\n", "at least one repeat"),
        ("[b]\ntitle = 't'\n", "unknown suite 'a'"),
    ],
)
def test_a_suite_that_is_wrong_says_so(text, message, tmp_path: Path):
    (tmp_path / "suites.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_plan("a", tmp_path)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 8), st.integers(0, 3))
def test_synthetic_pairs_are_pairs(num_users, num_items, per_user, seed):
    sizes = {"num_users": num_users, "num_items": num_items, "interactions_per_user": per_user, "seed": seed}
    train, validation = synthetic_pairs(**sizes)
    both = [tuple(pair) for pair in (*train.tolist(), *validation.tolist())]
    assert len(set(both)) == len(both) <= num_users * per_user
    assert {user for user, _ in both} == set(range(num_users))
    assert all(0 <= item < num_items for _, item in both)
    again = synthetic_pairs(**sizes)
    assert all(np.array_equal(a, b) for a, b in zip((train, validation), again, strict=True))
