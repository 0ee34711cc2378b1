"""``dslstudy book``: execute the notebooks and build the book."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from dslstudy.commands import options
from dslstudy.errors import InputError

FOLDER = click.Path(file_okay=False, path_type=Path)
NEEDED = ("jupyter_book", "mathjax", "nbformat", "papermill", "sphinx_proof", "sphinxcontrib.bibtex", "yaml")


def parse_setting(text: str) -> tuple[str, Any]:
    """``name=value``; the value is read as YAML, so that numbers are numbers.

    Raises:
        InputError: if there is no name or no ``=``.
    """
    import yaml

    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise InputError(f"--set {text}: write it as NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not valid YAML") from error


@click.command("book")
@options.profile("Size of everything: synthetic in seconds, real data on a laptop, or the benchmark.")
@click.option("--only", multiple=True, metavar="NAME", help="Execute just this chapter; may be repeated.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Notebooks executed at once.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another notebook parameter.")
@click.option("--force", is_flag=True, help="Execute unchanged notebooks too.")
@click.option("--source", type=FOLDER, default=Path(), help="The clone to build from.  [default: this folder]")
@click.option(
    "--output", type=FOLDER, default=None, help="Where everything is written.  [default: _build in the clone]"
)
def COMMAND(  # noqa: N802
    profile: str,
    only: tuple[str, ...],
    jobs: int,
    settings: tuple[str, ...],
    force: bool,
    source: Path,
    output: Path | None,
) -> None:
    """Execute the notebooks and build the book.

    Notebooks whose inputs have not changed since they were last executed (the notebook itself, the package, the lock
    file and installed libraries, the data, the committed results, the profile) are reused. A failing cell, an unknown
    parameter, a broken reference, a missing figure or an unknown citation makes the command fail and names the place.

    Progress goes to standard error; the path of the book's first page to standard output.
    """
    if missing := [name for name in NEEDED if not installed(name)]:
        raise InputError(f"{missing[0]} is not installed: pip install 'dslstudy[book]'")
    from dslstudy.book.layout import BookError, Layout
    from dslstudy.book.pipeline import make_book

    try:
        first = make_book(
            Layout.of(source, output),
            profile=profile,
            only=only,
            jobs=jobs,
            parameters=dict(map(parse_setting, settings)),
            force=force,
            report=lambda line: click.echo(f"book: {line}", err=True),
        )
    except BookError as error:
        click.echo(f"dslstudy book: error: {error}", err=True)
        sys.exit(1)
    click.echo(first)


def installed(name: str) -> bool:
    """Whether a module can be imported, found out without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
