"""Equal inputs have equal hashes, and a change of any input shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.book.fingerprint import (
    difference,
    digest,
    installed_versions,
    locked_names,
    notebook_parts,
    shared_parts,
    text_hash,
    tree_hash,
)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "module.py").write_text("x = 1\n")
    return folder


def test_a_tree_changes_with_contents_names_and_files(package):
    module = package / "inner" / "module.py"
    seen = [tree_hash(package)]
    module.write_text("x = 2\n")
    seen.append(tree_hash(package))
    module.rename(package / "inner" / "renamed.py")
    seen.append(tree_hash(package))
    (package / "data.toml").write_text("")
    seen.append(tree_hash(package))
    assert len(set(seen)) == len(seen)


def test_byte_code_and_hidden_files_do_not_count(package):
    before = tree_hash(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.pyc").write_bytes(b"1")
    (package / ".hidden").write_text("1")
    assert tree_hash(package) == before


STRINGS = st.lists(st.text('a", []', max_size=3), max_size=4)


@given(STRINGS, STRINGS)
def test_the_boundaries_of_strings_count(first, second):
    assert (text_hash(*first) == text_hash(*second)) == (first == second)


def test_every_input_shows_under_its_own_name(book, package):
    path = book.notebook("a")
    lock = book.root / "requirements.lock"
    results = book.root / "results"
    results.mkdir()
    lock.write_text("numpy==2.0\n")

    def parts(parameters=None, after=None):
        shared = shared_parts(book.layout, package)
        return notebook_parts(path, parameters or {"profile": "quick"}, shared, after or {})

    start = parts()
    assert digest(parts()) == digest(start)
    assert difference(start, parts({"profile": "paper"})) == "parameters"
    assert difference(start, parts(after={"b": "0"})) == "chapter b"
    (results / "record.json").write_text("{}")
    assert difference(start, parts()) == "committed results"
    (results / "record.json").unlink()
    (package / "inner" / "module.py").write_text("x = 3\n")
    assert difference(start, parts()) == "package code"
    (package / "inner" / "module.py").write_text("x = 1\n")
    path.write_text(path.read_text().replace("Chapter", "Part"))
    assert difference(start, parts()) == "notebook"
    lock.write_text("numpy==2.0\nno-such-distribution==1\n")
    assert difference(start, parts()) == "notebook, lock file, installed libraries"


def test_names_are_read_from_a_lock_file(tmp_path):
    lock = tmp_path / "requirements.lock"
    assert locked_names(lock) == []
    lock.write_text("# a==1\nnumpy==2.0\n\npytest == 8\n")
    assert locked_names(lock) == ["numpy", "pytest"]
    assert installed_versions(["no-such-distribution"]) == {"no-such-distribution": "missing"}
