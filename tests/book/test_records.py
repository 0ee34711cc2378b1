"""Every page links the records behind it, and the files it links lie beside the pages."""

import json
import re

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from dslstudy import trace
from dslstudy.book import records
from dslstudy.study import RunConfig, open_study


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Two runs that were read while somebody wanted to know, one of them twice, and the file that tells."""
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    study = open_study("smoke", store=tmp_path / "store", progress=False)
    configs = [RunConfig(dataset="synthetic-ranking", backbone=name, loss="none") for name in ("ease", "popularity")]
    study.obtain(configs)
    monkeypatch.setenv(trace.TRACE, str(tmp_path / "trace"))
    return [study.find(config) for config in (*configs, configs[0])][:2], tmp_path / "trace"


def test_a_page_ends_with_links_to_what_it_has_read(traced, tmp_path):
    read, path = traced
    notebook = new_notebook(cells=[new_markdown_cell("# A page")])
    records.keep(notebook, path)
    assert [record["key"] for record in records.kept(notebook)] == [record.key for record in read]
    records.link(notebook, tmp_path / "stage")
    assert records.kept(notebook) == []
    linked = re.findall(r'href="\.\./([^"]+)"', notebook.cells[-1].source)
    assert len(linked) == 2
    pages = tmp_path / "stage" / "notebooks"
    for place in linked:
        record = json.loads((pages.parent / place).read_text())
        assert record in [each.to_dict() for each in read]
    assert "(2)" in notebook.cells[-1].source
    assert "synthetic-ranking ease" in notebook.cells[-1].source


def test_a_page_without_records_stays_as_it_is(tmp_path):
    notebook = new_notebook(cells=[new_markdown_cell("# A page")])
    records.keep(notebook, tmp_path / "nothing")
    records.link(notebook, tmp_path / "stage")
    assert len(notebook.cells) == 1
    assert not (tmp_path / "stage").exists()


def test_nothing_is_written_down_unless_somebody_asks(tmp_path, monkeypatch):
    monkeypatch.delenv(trace.TRACE, raising=False)
    trace.note(tmp_path / "x.json")
    monkeypatch.setenv(trace.TRACE, str(tmp_path / "trace"))
    trace.note(tmp_path / "gone.json")
    assert trace.noted(tmp_path / "trace") == []
