"""``dslstudy audit``: train stored records again and compare."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from dslstudy.commands import options
from dslstudy.errors import InputError

if TYPE_CHECKING:
    from dslstudy.study.audit import Entry, Finding
    from dslstudy.study.store import RunStore


@click.command("audit")
@click.option("--sample", default=5, show_default=True, type=click.IntRange(min=1), help="How many records to draw.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of the draw.")
@click.option(
    "--task", type=click.Choice(["ranking", "clicks"]), default=None, help="Audit only these.  [default: both]"
)
@click.option(
    "--store",
    default="committed",
    show_default=True,
    metavar="NAME_OR_FOLDER",
    help="committed (results/runs of the checkout), user (the user's cache), or a folder.",
)
@click.option("--list", "only_list", is_flag=True, help="List the records and their state; train nothing.")
@click.option(
    "--scratch",
    default=None,
    metavar="FOLDER",
    help="Keep the new runs here and go on from those that are there.  [default: a temporary folder]",
)
@options.device
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def COMMAND(  # noqa: N802 - the name the command line looks for
    context: click.Context,
    sample: int,
    seed: int,
    task: str | None,
    store: str,
    only_list: bool,
    scratch: str | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train randomly drawn records again and report the differences.

    The records stay as they are. A test metric may differ by 1 % (ranking) or 0.2 % (clicks) on the same processor, by
    6 % or 2 % on another one, which is at worst like another seed. Exit code 1 if one differs more, or if a record is
    damaged, was made from other data, or keeps arrays that do not fit it. Stale records (the code has changed since)
    are not drawn.

    Example: dslstudy audit --sample 5
    """
    from dslstudy.study import audit as audits

    chosen = named_store(store)
    entries = audits.survey(chosen, task=task)
    if only_list:
        _list(entries, as_json)
        return
    records = audits.draw(entries, sample, seed=seed)
    with _folder(scratch) as folder:
        findings = []
        if not as_json:
            click.echo(f"{len(records)} of {len(entries)} records in {chosen.root}, drawn with seed {seed}")
        for finding in audits.audit(records, scratch=folder, device=device, progress=not quiet):
            findings.append(finding)
            if not as_json:
                click.echo(_report(finding))
    damaged = [entry for entry in entries if entry.state == "damaged"]
    passed = sum(finding.passed for finding in findings)
    if as_json:
        report = {
            "store": str(chosen.root),
            "records": len(entries),
            "stale": [entry.record.key for entry in entries if entry.state == "stale"],
            "damaged": [entry.damage for entry in damaged],
            "findings": [finding.to_dict() for finding in findings],
        }
        click.echo(json.dumps(report, indent=1))
    else:
        for entry in damaged:
            click.echo(f"DAMAGED {entry.damage}")
        stale = sum(entry.state == "stale" for entry in entries)
        if stale:
            click.echo(f"{stale} of {len(entries)} records are stale and were not drawn (see --list)")
        click.echo(f"{passed} of {len(findings)} audited records are within tolerance")
    if passed < len(findings) or damaged:
        context.exit(1)


def named_store(name: str) -> "RunStore":
    """The store of that name.

    Raises:
        InputError: it is neither ``committed`` nor ``user`` nor a folder.
    """
    from dslstudy.study.store import RunStore, committed_store, user_store

    if name in ("committed", "user"):
        return committed_store() if name == "committed" else user_store()
    if not Path(name).is_dir():
        raise InputError(f"there is no store {name!r}; use committed, user or an existing folder")
    return RunStore(name)


def _folder(scratch: str | None) -> AbstractContextManager[str]:
    return TemporaryDirectory(prefix="dslstudy-audit-") if scratch is None else nullcontext(scratch)


def _list(entries: "list[Entry]", as_json: bool) -> None:
    rows = [{"key": entry.path.stem, "state": entry.state, "title": entry.title} for entry in entries]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['state']:<8} {row['key']}  {row['title']}")
    counts = {state: sum(row["state"] == state for row in rows) for state in ("current", "stale", "damaged")}
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))


def _report(finding: "Finding") -> str:
    """One record for people: a line for each test metric, then what else is wrong."""
    record, again = finding.record, finding.again
    lines = [f"\nrun {record.key}: {record.config.title}"]
    if finding.differences:
        lines.append(f"  {'metric':<24}{'recorded':>10}{'again':>10}{'difference':>12}{'allowed':>10}")
    for each in finding.differences:
        numbers = f"{each.recorded:>10.4f}{each.again:>10.4f}{each.again - each.recorded:>+12.5f}{each.allowed:>10.5f}"
        lines.append(f"  {each.metric:<24}{numbers}{'' if each.within else '  OUTSIDE'}")
    lines += [f"  WRONG: {complaint}" for complaint in finding.complaints]
    if again is None:
        return "\n".join([*lines, "  FAILED"])
    verdict = "FAILED" if not finding.passed else "identical" if finding.identical else "within tolerance"
    seconds = f"{again.cost['seconds']:.1f} s (recorded: {record.cost['seconds']:.1f} s)"
    return "\n".join([*lines, f"  {verdict}; {seconds} on {again.environment['device']}"])
