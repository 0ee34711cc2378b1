"""The command line: ``dslstudy``. Sub-commands are imported only when they are called."""

import sys
from importlib import import_module

import click

from dslstudy import __version__
from dslstudy.errors import InputError

#: name -> one-line help; the command itself is ``COMMAND`` in dslstudy/commands/<name>.py
COMMANDS = {
    "data": "List, fetch, describe and verify the data sets.",
    "run": "Train one run and print its record.",
    "study": "Train the tables of the study, cell by cell.",
    "audit": "Train stored records again and report the differences.",
    "claims": "What the papers say, what our runs say, and the verdict.",
    "bench": "Measure the engine and its peers side by side.",
    "book": "Execute the notebooks and build the book.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that was asked for."""
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"dslstudy.commands.{cmd_name}").COMMAND

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page from the table above, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dslstudy")
def cli() -> None:
    """Reproduce the DSL and C2AL studies: data, runs, and the book."""


def main() -> None:
    """Entry point: bad input, or a file that cannot be had, is one line on standard error and exit code 2."""
    try:
        cli(prog_name="dslstudy")
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; look whether it is there and you may read and write it")


def _fail(message: str) -> None:
    click.echo(f"dslstudy: error: {message}", err=True)
    sys.exit(2)
