"""The README says what the committed records say."""

import re
from pathlib import Path
from typing import Any

import pytest

from dslstudy.book import readme
from dslstudy.errors import InputError

ROOT = Path(__file__).parents[2]


def test_the_readme_is_up_to_date():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.with_results(text) == text, "run: python -m dslstudy.book.readme"
    assert "not yet run" not in text


def test_the_figure_is_drawn_from_the_same_records(tmp_path):
    (tmp_path / "book" / "_static").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"before {readme.BEGIN} old {readme.END} after", encoding="utf-8")
    readme.main(tmp_path)
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written.startswith("before ")
    assert written.endswith(" after")
    assert " old " not in written
    assert (tmp_path / readme.FIGURE).read_text(encoding="utf-8").startswith("<?xml")
    assert (ROOT / readme.FIGURE).exists()


def test_a_readme_without_marks_is_an_error():
    with pytest.raises(InputError, match="marks"):
        readme.with_results("nothing here")


def test_commands_are_the_makefiles():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("book", "test"):
        assert f"$ make {command}" in text
        assert f"\n{command}:" in makefile


def test_the_python_in_the_readme_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["loss"].isfinite()
    assert names["loss"].shape == ()
