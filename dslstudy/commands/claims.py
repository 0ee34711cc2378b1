"""``dslstudy claims``: what the papers say, what our runs say, and the verdict."""

import json
from pathlib import Path

import click


@click.command("claims")
@click.option("--paper", default=None, metavar="WORD", help="Only claims of papers with this in their name, e.g. DSL.")
@click.option("--attempted", is_flag=True, help="Leave out claims that no run of ours speaks about.")
@click.option(
    "--store", default=None, metavar="FOLDER", help="Records besides the committed ones.  [default: the user's cache]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def COMMAND(paper: str | None, attempted: bool, store: str | None, as_json: bool, quiet: bool) -> None:  # noqa: N802
    """Print the claims ledger: reported value, ours with its interval, verdict.

    Verdicts come from rules, never from a person. An effect is reproduced if our 95 % interval lies on the reported
    side of zero and reaches the reported size, partly if it only lies there, undecided if it holds zero and the
    reported size alike; a value is reproduced if our mean is within 5 % of it and one more run of ours could give it
    (95 % prediction interval), partly if only the first is so. What was run in part only is partly reproduced at most.
    Nothing is trained; --json also names the command that makes a run, and the runs.
    """
    from dslstudy.errors import InputError
    from dslstudy.study import open_study
    from dslstudy.study.claims import NOT_ATTEMPTED, VERDICTS
    from dslstudy.study.ledger import claims, ledger
    from dslstudy.tables import claims_table

    if store is not None and not Path(store).is_dir():
        raise InputError(f"there is no store {store!r}; give an existing folder, or leave --store out")
    every = claims()
    chosen = [claim for claim in every if (paper or "").lower() in claim.paper.lower()]
    if not chosen:
        papers = ", ".join(dict.fromkeys(claim.paper for claim in every))
        raise InputError(f"no paper of the ledger has {paper!r} in its name; there are {papers}")
    rows = ledger(open_study("quick", store=store, progress=not quiet), chosen)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS}
    if attempted:
        rows = [row for row in rows if row.verdict != NOT_ATTEMPTED]
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=1))
        return
    if rows:
        click.echo(claims_table(rows).to_string())
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
