"""Edits that alter no result: each is where the list says, and nothing else passes for one."""

import pytest

from dslstudy.errors import InputError
from dslstudy.study import provenance
from dslstudy.study.equivalent_edits import EQUIVALENT_EDITS, before_equivalent_edits
from dslstudy.study.provenance import PACKAGE, SHARED_CODE


@pytest.mark.parametrize("name", EQUIVALENT_EDITS)
def test_every_edit_is_there_and_taken_back(name):
    # the last two are a part of their losses' code and of their method's
    assert name in (*SHARED_CODE, "engine/rivals.py", "c2al/objective.py")
    text = (PACKAGE / name).read_text()
    before = before_equivalent_edits(name, text)
    for now, old in EQUIVALENT_EDITS[name]:
        assert text.count(now) == 1
        assert old in before
        assert now not in before
    compile(before, name, "exec")


def test_other_files_are_left_as_they_are():
    assert before_equivalent_edits("engine/scores.py", "x = 1") == "x = 1"


@pytest.mark.parametrize("times", [0, 2])
def test_an_edit_that_is_not_there_once_is_an_error(times):
    name = next(iter(EQUIVALENT_EDITS))
    (now, _), *_ = EQUIVALENT_EDITS[name]
    with pytest.raises(InputError, match=f"stands there {times} times"):
        before_equivalent_edits(name, now * times)


def test_any_further_edit_of_such_a_file_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    code = provenance._code_of.__wrapped__
    for name in EQUIVALENT_EDITS:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        text = (PACKAGE / name).read_text()
        path.write_text(text)
        unchanged = code(path)
        path.write_text(text + "# a comment\n")
        assert code(path) == unchanged
        path.write_text(text + "x = 1\n")
        assert code(path) != unchanged
