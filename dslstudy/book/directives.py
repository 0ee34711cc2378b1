"""A Sphinx extension: the book's reference pages are written from the code, so that they cannot fall behind it.

{package-api} dslstudy.losses     every public module of a package, from its docstrings
{command-help}                    the help text of every command
{dataset-table}                   the registry of data sets
"""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from dslstudy.data.registry import DatasetSpec


def public_modules(name: str) -> list[str]:
    """A module, or the public modules of a package (itself not among them, nor names that start with ``_``)."""
    module = import_module(name)
    if not hasattr(module, "__path__"):
        return [name]
    found: list[str] = []
    for info in pkgutil.iter_modules(module.__path__):
        if not info.name.startswith("_"):
            full = f"{name}.{info.name}"
            found += public_modules(full) if info.ispkg else [full]
    return found


def walk_commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Every command below a group with its help text, depth first: ``("dslstudy data fetch", "Usage: ...")``."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            yield from walk_commands(child, click.Context(child, info_name=name, parent=context, max_content_width=90))


def dataset_row(spec: "DatasetSpec") -> list[str]:
    """One data set as the cells of a Markdown table."""
    published = [spec.published or "none", *(f"{n:,}" if n is not None else "" for n in (spec.train, spec.test))]
    return [spec.name, *(f"{n:,}" for n in (spec.users, spec.items, spec.interactions)), *published]


def click_row(spec: "DatasetSpec") -> list[str]:
    """One click log as the cells of a Markdown table."""
    label = spec.clicks.get("label")
    if label is None:
        rule = "drawn"
    else:
        rule = f"{label['column']} ≥ {label['at_least']}" if "at_least" in label else label["column"]
    axes = [axis["name"] for axis in spec.clicks.get("axes", ())] or ["cohort", "value", "activity"]
    return [spec.name, rule, spec.split if spec.task == "clicks" else "temporal", ", ".join(axes)]


# What stays: bullets, code between backticks, roles, and *emphasis* that begins and ends on one line
MARKUP = re.compile(r"(^\s*[*] |``.*?``|`.*?`_*|(?<![\w*])(?P<mark>[*]{1,2})(?=[^\s*]).*?[^\s*](?P=mark)(?![\w*]))")
# What would be taken for markup, but is a formula
STRAY = re.compile(r"(?<!\\)([*|]|(?<=\w)_(?!\w))")


def escape_prose(line: str) -> str:
    """A line of prose in which only real markup is markup: ``|x|`` and ``a * b`` are what they look like."""
    kept, end = [], 0
    for match in MARKUP.finditer(line):
        kept += [STRAY.sub(r"\\\1", line[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*kept, STRAY.sub(r"\\\1", line[end:])])


def plain_prose(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape stray marks in a docstring (handler of ``autodoc-process-docstring``); literal blocks stay as they are."""
    literal: int | None = None  # indentation of the text that introduced the block we are in
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and (not line.strip() or indent > literal):
            continue
        literal = indent if line.rstrip().endswith("::") else None
        if not line.lstrip().startswith((">>>", "..")):
            lines[number] = escape_prose(line)


class BookDirective(SphinxDirective):
    """Directives that write MyST."""

    def parse(self, lines: list[str]) -> list[nodes.Node]:
        """Nodes of some lines of MyST."""
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.get_source_info()[0]), self.content_offset, container)
        return container.children

    def section(self, title: str, label: str, lines: list[str]) -> nodes.section:
        """A section whose title is code."""
        section = nodes.section(ids=[nodes.make_id(label)], names=[nodes.fully_normalize_name(label)])
        section += nodes.title("", "", nodes.literal("", title))
        section.extend(self.parse(lines))
        return section


class PackageApi(BookDirective):
    """One section for each public module, filled by autodoc."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Sections in the order of the modules' names."""
        return [
            self.section(name, name, ["```{eval-rst}", f".. automodule:: {name}", "   :members:", "```"])
            for name in public_modules(self.arguments[0])
        ]


class CommandHelp(BookDirective):
    """One section for each command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Sections in the order of the help page."""
        module, _, name = self.arguments[0].partition(":")
        command = getattr(import_module(module), name)
        root = click.Context(
            command, info_name=module.partition(".")[0], max_content_width=90, **command.context_settings
        )
        return [
            self.section(path, path, ["```text", *inspect.cleandoc(text).splitlines(), "```"])
            for path, text in walk_commands(command, root)
        ]


class DatasetTable(BookDirective):
    """The registry as a table, then the terms and source of each data set.

    With the argument ``clicks`` the click logs, of which only those get a section that are no ranking data set as well.
    """

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table, and one section for each data set."""
        from dslstudy.data.registry import registry

        if self.arguments == ["clicks"]:
            specs = registry("clicks")
            rows = [["name", "positive", "split", "axes"], ["---"] * 4, *map(click_row, specs.values())]
            described = [spec for name, spec in specs.items() if name not in registry()]
        else:
            head = ["name", "users", "items", "interactions", "published split", "train", "test"]
            rows = [
                head,
                ["---", "---:", "---:", "---:", "---", "---:", "---:"],
                *map(dataset_row, registry().values()),
            ]
            described = list(registry().values())
        found = self.parse([f"| {' | '.join(row)} |" for row in rows])
        for spec in described:
            files = [f"`{file.path}` (sha256 `{file.sha256[:12]}…`)" for form in spec.forms for file in form.files]
            items = f", {spec.items:,} items" if spec.items else ""
            lines = [
                *(f"{spec.title}{f' {{cite}}`{spec.cite}`' if spec.cite else ''}. {spec.citation}", ""),
                *([f"* {spec.interactions:,} rows, {spec.users:,} users{items}."] if spec.task == "clicks" else []),
                *(f"* Licence: {spec.licence}.", f"* Terms: {spec.terms}"),
                *([f"* Files: {', '.join(files)}"] if files else []),
            ]
            found.append(self.section(spec.name, spec.name, lines))
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("package-api", PackageApi)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("dataset-table", DatasetTable)
    app.connect("autodoc-process-docstring", plain_prose, priority=100)  # before napoleon reads its sections
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
