"""The records behind a page: kept with the executed notebook, written beside the pages, linked from each of them."""

import json
from html import escape
from pathlib import Path
from typing import Any

import nbformat

from dslstudy.trace import noted

FOLDER = Path("_static") / "records"


def keep(notebook: nbformat.NotebookNode, trace: Path) -> None:
    """Put the records that a notebook has read into its metadata.

    Args:
        notebook: just executed.
        trace: what its kernel wrote down, see :mod:`dslstudy.trace`.
    """
    if paths := noted(trace):
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        unique = {record["key"]: record for record in records}
        notebook.metadata.setdefault("dslstudy", {})["records"] = list(unique.values())


def kept(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The records that :func:`keep` put there."""
    return list(notebook.metadata.get("dslstudy", {}).get("records", ()))


def link(notebook: nbformat.NotebookNode, stage: Path) -> None:
    """Write a notebook's records where the pages will be, and let its page end with links to them.

    Args:
        notebook: to be shown; its metadata lose the records.
        stage: what Sphinx reads.
    """
    from dslstudy.study.store import CONFIGS  # brings torch, which the process that executes a notebook does without

    records = kept(notebook)
    if not records:
        return
    del notebook.metadata["dslstudy"]["records"]
    lines = []
    for record in records:
        path = stage / FOLDER / f"{record['key']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        title = escape(CONFIGS[record["task"]].from_dict(record["config"]).title)
        lines.append(f'<li><a href="../{FOLDER.as_posix()}/{path.name}"><code>{record["key"]}</code></a> {title}</li>')
    listing = "\n".join(["<ul>", *sorted(lines, key=lambda line: line.partition("</a>")[2]), "</ul>"])
    source = f"```{{dropdown}} Records behind this page ({len(records)})\n{listing}\n```"
    notebook.cells.append(nbformat.v4.new_markdown_cell(source))
