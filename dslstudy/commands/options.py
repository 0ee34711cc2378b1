"""Options that several commands have, each written down once."""

import click

device = click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
compiling = click.option(
    "--compile", "compile_", default="auto", show_default=True, help="Compile losses: auto (if long), always, never."
)


def profile(help: str):  # noqa: ANN201 - click's own word; what it returns is click's
    """``--profile``, with what it means for the command."""
    names = click.Choice(["smoke", "quick", "paper"])
    return click.option("--profile", type=names, default="quick", show_default=True, help=help)
