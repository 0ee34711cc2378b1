"""Tables whose columns sort on a click, with records as links to their files.

A link holds the whole JSON file of its record, so that a page is complete wherever it is read.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dslstudy.study.store import Record

if TYPE_CHECKING:
    import pandas as pd


#: Cells with at most so many characters are never broken: "not yet run" would make its row three lines high.
_SHORT = 12
#: More records than these show fewer digits each, so that a row with all its seeds is not as high as it has seeds.
_FEW = 3


class Sortable:
    """A table for notebooks and the book.

    Args:
        rows: column -> value, the same columns in each. Numbers are shown with four digits behind the point, whole ones
            as they are; a record, or a list of them, as links.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = list(rows)

    def frame(self) -> "pd.DataFrame":
        """The same as a data frame; a record is its key."""
        import pandas as pd

        return pd.DataFrame([{name: _plain(value) for name, value in row.items()} for row in self.rows])

    def __repr__(self) -> str:
        return self.frame().to_string(index=False)

    def _repr_html_(self) -> str:
        names = list(self.rows[0]) if self.rows else []
        head = "".join(f'<th><button type="button" onclick="{_SORT}">{escape(name)}</button></th>' for name in names)
        body = "".join("<tr>" + "".join(_cell(row[name]) for name in names) + "</tr>" for row in self.rows)
        return f'{_STYLE}<table class="dataframe sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def record_link(record: Record, *, digits: int = 8) -> str:
    """A link in HTML that holds a record's JSON file and shows the first digits of its key."""
    content = json.dumps(record.to_dict(), separators=(",", ":")).encode()
    href = "data:application/json;base64," + base64.b64encode(content).decode()
    return (
        f'<a download="{record.key}.json" title="{escape(record.config.title)}" href="{href}">{record.key[:digits]}</a>'
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.key
    return ", ".join(record.key for record in value) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    if isinstance(value, Record | list):
        records = value if isinstance(value, list) else [value]
        digits = 8 if len(records) <= _FEW else 4
        return f"<td>{' '.join(record_link(record, digits=digits) for record in records)}</td>"
    if value is None:
        return '<td data-value="-Infinity">–</td>'
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:.4f}</td>'
    text = str(value)
    kind = ' class="short"' if len(text) <= _SHORT else ""
    return f"<td{kind}>{escape(text)}</td>"


# Sorts by the button's column, the largest first; the other way round on a second click. Texts without a number at
# their beginning come after those that have one.
_SORT = escape(
    """
const head = this.parentNode, body = head.closest('table').tBodies[0], at = head.cellIndex;
const sign = head.getAttribute('aria-sort') === 'descending' ? 1 : -1;
const text = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
const number = row => Number.parseFloat(text(row).replace('<', ''));
const order = (a, b) => {
  const missing = Number.isNaN(number(a)) - Number.isNaN(number(b));
  return missing || sign * (Number.isNaN(number(a)) ? text(a).localeCompare(text(b)) : number(a) - number(b));
};
[...body.rows].sort(order).forEach(row => body.append(row));
for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
""".strip()
)
_STYLE = (
    "<style>table.sortable td.short{white-space:nowrap}"
    "table.sortable button{all:unset;cursor:pointer;font-weight:bold}"
    "table.sortable button:focus-visible{outline:2px solid}"
    "table.sortable th[aria-sort=ascending] button::after{content:' ↑'}"
    "table.sortable th[aria-sort=descending] button::after{content:' ↓'}</style>"
)
