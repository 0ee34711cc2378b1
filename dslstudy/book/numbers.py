"""No number without a record: what is wrong with the numbers that a chapter shows (book: Protocol and search).

A chapter whose metadata say ``{"dslstudy": {"numbers": "computed"}}`` may show a number only if code computed it from
what the package gave: none stands in prose or in the literal part of a sentence, none is typed into code to be shown
later, and every sentence, table and figure follows, name by name, from something imported from ``dslstudy``. Its
executed copy carries the records that were read.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from typing import Any

import nbformat

from dslstudy.book import records
from dslstudy.book.chapters import settings
from dslstudy.book.stage import INJECTED, tags

#: fractions that are conventions, not results: quantiles and their levels
LEVELS = frozenset({0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975})
#: what shows something
_SHOWS = ("say", "display", "print")
_NO_PROSE = (
    r"(?s)```.*?```",
    r"(?s)\$\$.*?\$\$(\s*\([\w-]+\))?",
    r"\{[\w:.-]+\}`[^`]*`",
    r"`[^`]*`",
    r"(?s)(?<!\\)\$[^$]+\$",
    r"\]\([^)]*\)",
    r"(?m)^\([\w-]+\)=$",
    r"(?m)^\s*\d+\. ",
    r"\b95 %",
    r"[α-ω]\s*[<=>]\s*[+-]?\d+(\.\d+)?",
    r"\b(19|20)\d\d\b",
)
# digits that are not part of a name such as NDCG@20 or MovieLens-100K
_NUMBER = re.compile(r"(?<![\w@.\-#])[+-]?\d+(?:[.,]\d+)*(?![\w-])(?:\s*%)?")


def uses_records(notebook: nbformat.NotebookNode) -> bool:
    """Whether a chapter has promised to show no number but those computed from records."""
    return settings(notebook).get("numbers") == "computed"


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with the numbers that a chapter shows, one line each.

    Args:
        notebook: as written or as executed.
    """
    found = []
    known: set[str] = set()
    written = [cell for cell in notebook.cells if INJECTED not in tags(cell)]  # papermill's own cell has no number
    for number, cell in enumerate(written, start=1):
        of_cell = _in_prose(cell.source) if cell.cell_type == "markdown" else ()
        if cell.cell_type == "code":
            of_cell = _in_code(cell, known)
        found += [f"cell {number}: {what}" for what in of_cell]
    return found


def complaints_of_records(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with the records that an executed chapter carries.

    Args:
        notebook: as executed by :class:`~dslstudy.book.execute.Executor`.
    """
    from dslstudy.study.store import CONFIGS

    carried = records.kept(notebook)
    if not carried:
        return ["it shows numbers, but has read no record"]
    wrong = [each["key"] for each in carried if CONFIGS[each["task"]].from_dict(each["config"]).key != each["key"]]
    return [f"record {key} is not the run that its key names" for key in wrong]


def _in_prose(text: str) -> Iterator[str]:
    for pattern in _NO_PROSE:
        text = re.sub(pattern, " ", text)
    for match in _NUMBER.finditer(text):
        start = max(0, match.start() - 25)
        yield f"a number in prose: “{' '.join(text[start : match.end() + 25].split())}”"


def _in_code(cell: nbformat.NotebookNode, known: set[str]) -> Iterator[str]:
    """Complaints about a code cell; ``known`` gains the names it binds to something that came from the package."""
    if "parameters" in tags(cell):
        known.update(_bound(ast.parse(cell.source)))
        return
    tree = ast.parse(cell.source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from _in_prose(node.value)
    for statement in tree.body:
        yield from _in_statement(statement, known, last=statement is tree.body[-1])


def _in_statement(statement: ast.stmt, known: set[str], *, last: bool = False) -> Iterator[str]:
    """Complaints about a statement, those inside it one after the other, as they would be executed."""
    if isinstance(statement, ast.FunctionDef):
        # inside, an argument may be anything; outside, a call follows from what it is given or from what the body reads
        inside = known | {argument.arg for argument in ast.walk(statement.args) if isinstance(argument, ast.arg)}
        for each in statement.body:
            yield from _in_statement(each, inside)
        if _read(statement) & known:
            known.add(statement.name)
        return
    parts = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    if not any(parts):
        yield from _typed(statement, known)
        here = known | _of_loops(statement, known)
        for shown in _shown(statement, last=last):
            if not _follows(shown, here):
                yield f"not computed from anything of the package: {ast.unparse(shown)[:60]}"
        _learn(statement, known)
        return
    if isinstance(statement, ast.For) and _read(statement.iter) & known:
        known.update(_bound(statement.target))
    for item in getattr(statement, "items", []):  # of a with
        if item.optional_vars is not None and _read(item.context_expr) & known:
            known.update(_bound(item.optional_vars))
    chosen = isinstance(statement, ast.If) and bool(_read(statement.test) & known)
    for each in (each for part in parts for each in part):
        yield from _in_statement(each, known)
        if chosen and _words(each):
            known.update(_bound(each))


def _typed(statement: ast.stmt, known: set[str]) -> Iterator[str]:
    """Fractions mixed with what came from the package; by themselves they cannot be shown, and asserts show nothing."""
    if isinstance(statement, ast.Assert) or not _read(statement) & known:
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and not _is_convention(node.value):
            yield f"a number typed into code: {node.value}"


def _is_convention(value: float) -> bool:
    """Levels, whole numbers, and tolerances: small powers of ten."""
    small_power = value < 0.01 and f"{value:.15e}".startswith("1.000000000000000e")
    return value == int(value) or value in LEVELS or small_power


def _shown(statement: ast.stmt, *, last: bool) -> Iterator[ast.expr]:
    """What a statement shows, piece by piece: each value in a sentence by itself."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SHOWS:
            for argument in node.args:
                yield from _pieces(argument)
    if last and isinstance(statement, ast.Expr) and not _is_call_of(statement.value, _SHOWS):
        yield from _pieces(statement.value)


def _pieces(value: ast.expr) -> Iterator[ast.expr]:
    sentences = [node for node in ast.walk(value) if isinstance(node, ast.JoinedStr)]
    if not sentences:
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            yield value
        return
    for sentence in sentences:
        yield from (part.value for part in sentence.values if isinstance(part, ast.FormattedValue))


def _words(statement: ast.stmt) -> bool:
    """Whether words alone are assigned: which of them, a condition decides."""
    value = getattr(statement, "value", None)
    constants = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)] if value else []
    return bool(constants) and all(isinstance(constant, str) for constant in constants)


def _follows(value: ast.expr, known: set[str]) -> bool:
    """Whether something shown reads a known name, or is a choice between words."""
    constants = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)]
    words = bool(constants) and all(isinstance(constant, str) for constant in constants)
    return bool(_read(value) & known) or (words and not _read(value))


def _learn(statement: ast.stmt, known: set[str]) -> None:
    if isinstance(statement, ast.ImportFrom | ast.Import):
        module = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
        for alias in statement.names:
            if (module or alias.name).partition(".")[0] == "dslstudy":
                known.add((alias.asname or alias.name).partition(".")[0])
        return
    if _read(statement) & known:
        known.update(_bound(statement), _changed(statement))


def _read(node: ast.AST) -> set[str]:
    loads = (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load))
    return {each.id for each in loads if not hasattr(builtins, each.id)}


def _bound(node: ast.AST) -> set[str]:
    names = (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
    return {each.id for each in names}


def _of_loops(statement: ast.stmt, known: set[str]) -> set[str]:
    """Names that loops inside a statement bind to parts of something known."""
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.For | ast.comprehension) and _read(node.iter) & (known | found):
            found |= _bound(node.target)
    return found


def _changed(statement: ast.stmt) -> set[str]:
    """Names whose value a statement adds to: ``lines.append(...)``, ``rows[label] = ...``."""
    owners = {
        node.func.value if isinstance(node, ast.Call) else node.value
        for node in ast.walk(statement)
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
        or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store))
    }
    return {owner.id for owner in owners if isinstance(owner, ast.Name)}


def _is_call_of(value: Any, names: Iterable[str]) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in names
