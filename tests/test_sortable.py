"""Sortable tables: what a page shows, what a link holds, and what a browser does on a click."""

import base64
import json
import subprocess
from html.parser import HTMLParser

import pytest

from dslstudy.sortable import Sortable, record_link
from dslstudy.study import Record, RunConfig

RECORD = Record(
    config=RunConfig(dataset='a "quoted" <name>'),
    data={},
    code={},
    environment={},
    cost={},
    selection={},
    history=[],
    validation={},
    test={"ndcg@20": 0.5},
    finished="2026-01-01T00:00:00+00:00",
)


class Page(HTMLParser):
    """Texts of cells, and the attributes of links."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.links = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "a":
            self.links.append(dict(attrs))

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_a_link_holds_the_whole_record():
    (link,) = Page(record_link(RECORD)).links
    head, _, content = link["href"].partition(",")
    assert head == "data:application/json;base64"
    assert json.loads(base64.b64decode(content)) == RECORD.to_dict()
    assert link["download"] == f"{RECORD.key}.json"
    assert link["title"] == RECORD.config.title


def test_cells_are_shown_as_they_should_be():
    table = Sortable(
        [{"a & b": 0.12345, "n": 3, "p": "< 0.001", "r": RECORD}, {"a & b": None, "n": 4, "p": "–", "r": []}]
    )
    page = Page(table._repr_html_())
    assert page.cells == ["a & b", "n", "p", "r", "0.1235", "3", "< 0.001", RECORD.key[:8], "–", "4", "–", ""]
    frame = table.frame()
    assert list(frame["r"]) == [RECORD.key, ""]
    assert RECORD.key in repr(table)


def test_many_records_show_fewer_digits_and_hold_as_much():
    page = Page(Sortable([{"r": [RECORD] * 5}])._repr_html_())
    assert page.cells == ["r", " ".join([RECORD.key[:4]] * 5)]
    assert {link["download"] for link in page.links} == {f"{RECORD.key}.json"}


def test_a_table_without_rows():
    assert "<tbody></tbody>" in Sortable([])._repr_html_()


@pytest.mark.browser
def test_a_click_sorts_and_a_second_one_the_other_way_round(browser, tmp_path):
    numbers, words = [0.5, None, 2.0, 0.001, 0.5], ["b", "–", "< 0.001", "0.2", "a"]
    table = Sortable([{"number": n, "word": w} for n, w in zip(numbers, words, strict=True)])
    script = """
    const out = [], [number, word] = document.querySelectorAll('th button');
    const column = at => [...document.querySelectorAll('tbody tr')].map(row => row.cells[at].textContent);
    for (const [button, at] of [[number, 0], [number, 0], [word, 1], [word, 1]]) {
      button.click();
      out.push(column(at));
    }
    document.body.innerHTML = '<pre>' + JSON.stringify(out) + '</pre>';
    """
    page = tmp_path / "page.html"
    page.write_text(f"<meta charset=utf-8><body>{table._repr_html_()}<script>{script}</script>", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    down, up, words_down, words_up = json.loads("".join(Page(f"<td>{shown}").cells).split("\n")[0].strip())
    assert down == ["2.0000", "0.5000", "0.5000", "0.0010", "–"]
    assert up == down[::-1]
    assert words_down[:2] == ["0.2", "< 0.001"]
    assert words_up[:2] == ["< 0.001", "0.2"]
    assert set(words_down[2:]) == set(words_up[2:]) == {"a", "b", "–"}
