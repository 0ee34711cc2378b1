"""``dslstudy study``: train the tables of the study, cell by cell."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from dslstudy.commands import options
from dslstudy.errors import InputError

if TYPE_CHECKING:
    from dslstudy.study import Record, RunConfig, Study
    from dslstudy.study.cells import Cell, State
    from dslstudy.study.estimates import Estimates


def parse_share(text: str) -> tuple[int, int]:
    """``2/3`` as the second of three shares.

    Raises:
        InputError: it is not written so, or there is no such share.
    """
    share, slash, shares = text.partition("/")
    if not (slash and share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
        raise InputError(f"--share takes I/N with I from 1 to N, for example --share 1/2; got {text!r}")
    return int(share), int(shares)


@click.command("study")
@options.profile("How large the study is.")
@click.option(
    "--only",
    "table",
    type=click.Choice(["iid", "popularity-shift"]),
    default="iid",
    show_default=True,
    help="Which of its tables.",
)
@click.option("--dataset", "datasets", multiple=True, help="Only this data set. Repeatable.  [default: the table's]")
@click.option("--backbone", "backbones", multiple=True, help="Only this backbone or baseline. Repeatable.")
@click.option("--loss", "losses", multiple=True, help="Only this loss. Repeatable.")
@click.option("--share", default="1/1", show_default=True, metavar="I/N", help="Only the I-th of N shares.")
@click.option("--dry-run", is_flag=True, help="Show what is there and what it would take; train nothing.")
@options.device
@options.compiling
@click.option("--store", default=None, metavar="FOLDER", help="Where records go.  [default: the user's cache]")
@click.option("--json", "as_json", is_flag=True, help="Print the cells as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def COMMAND(  # noqa: N802 - the name the command line looks for
    profile: str,
    table: str,
    datasets: tuple[str, ...],
    backbones: tuple[str, ...],
    losses: tuple[str, ...],
    share: str,
    dry_run: bool,
    device: str,
    compile_: str,
    store: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the tables of the study: tuned losses, baselines, controls.

    A cell (data set, backbone, loss) is a search with the same number of trials for every loss, then fresh seeds of the
    setting with the best validation. Killed at any moment the command goes on where it was: runs have records,
    proposals are in a journal, runs in flight in checkpoints.

    The same command in several terminals shares the work: no two of them train the same run. Machines without a
    common --store take --share 1/N to N/N instead.

    Example: dslstudy study --profile paper --only iid --dataset amazon2014-health
    """
    from dslstudy.study import open_study
    from dslstudy.study.cells import cells_of, share_of, state_of
    from dslstudy.study.estimates import Estimates
    from dslstudy.study.protocol import protocol_of

    cells = cells_of(protocol_of(profile), table, datasets=datasets, backbones=backbones, losses=losses)
    if not cells:
        raise InputError(
            "the table has no such cell: baselines such as ease have no loss, leave out --loss or --backbone"
        )
    cells = share_of(cells, *parse_share(share))
    if not cells:
        raise InputError(f"--share {share} has no cell: there are fewer losses than shares")
    study = open_study(profile, store=store, device=device, progress=not quiet, compile=compile_)
    estimates = Estimates(study)
    states = [state_of(study, cell) for cell in cells]
    if not as_json:
        click.echo(_plan(study, states, estimates))
    failed: list[str] = []
    if not dry_run:
        states, failed = _train(study, states, estimates, quiet=quiet)
        if not as_json:
            click.echo(_outcome(states))
    if as_json:
        click.echo(json.dumps([_as_json(state) for state in states], indent=1))
    if failed:
        raise InputError("not all cells could be completed; the others were. " + "; ".join(failed))


def _plan(study: "Study", states: "Sequence[State]", estimates: "Estimates") -> str:
    """The cells, what is there of each, and what is still to be trained."""
    from dslstudy.study.estimates import in_words

    width = max([len(state.cell.name) for state in states] + [4])
    lines = [f"{'cell':<{width}}  {'trials':>8}  {'seeds':>7}  {'to do':>8}  state"]
    total, runs = 0.0, 0
    for state in states:
        seconds = sum(_weights(study, state, estimates))
        total, runs = total + seconds, runs + state.missing
        trials = f"{len(state.trials)}/{state.budget}" if state.budget else "–"
        seeds = f"{len(state.found)}/{len(state.seeds)}"
        lines.append(
            f"{state.cell.name:<{width}}  {trials:>8}  {seeds:>7}  {in_words(seconds) if seconds else '–':>8}"
            f"  {state.word}"
        )
    done = sum(state.done for state in states)
    lines.append(f"{done} of {len(states)} cells done; about {in_words(total)} for {runs} missing runs")
    return "\n".join(lines)


def _weights(study: "Study", state: "State", estimates: "Estimates") -> list[float]:
    """Estimated seconds of each run that is missing or stale."""
    from dslstudy.study.cells import base_of

    if state.done:
        return []
    trials = [trial.record for trial in state.trials if not trial.failed]
    trials += [None] * (state.budget - len(state.trials))
    trial, seed = (estimates.seconds(base_of(state.cell, trial=of_search)) for of_search in (True, False))
    return [trial] * _to_do(trials) + [seed] * _to_do(state.seeds)


def _to_do(records: "Sequence[Record | None]") -> int:
    return sum(record is None or record.stale for record in records)


def _train(
    study: "Study", states: "Sequence[State]", estimates: "Estimates", *, quiet: bool
) -> "tuple[list[State], list[str]]":
    """Complete the cells; returns how they stand then, and which could not be completed and why."""
    from tqdm.auto import tqdm

    from dslstudy.study.cells import complete, state_of
    from dslstudy.study.locks import locks_of
    from dslstudy.study.study import DivergedError

    todo = [state for state in states if not state.done]
    weights = [weight for state in todo for weight in _weights(study, state, estimates)]
    layout = "{desc} {percentage:3.0f}%|{bar}| {postfix[0]} of {postfix[1]} runs [{elapsed}<{remaining}]"
    shown: list[Any] = [0, len(weights)]
    with tqdm(total=sum(weights), desc="study", bar_format=layout, postfix=shown, disable=quiet or not todo) as bar:

        def done(runs: "Sequence[RunConfig]") -> None:
            shown[0] += len(runs)
            bar.update(min(estimates.total(runs), bar.total - bar.n))

        failed: list[str] = []

        def attempt(group: "list[Cell]") -> None:
            try:
                complete(study, group, done=done)
            except DivergedError as error:  # one of the table's runs; a trial that diverges is written down as such
                failed.append(f"{', '.join(cell.name for cell in group)}: {error}")

        waiting = []
        for group in _groups(study, [state.cell for state in todo]):
            with ExitStack() as held:
                # what another process is at work on comes last: by then it may be done
                if all(held.enter_context(locks_of(study.store.root).tried(cell.key)) for cell in group):
                    attempt(group)
                else:
                    waiting.append(group)
        for group in waiting:
            attempt(group)
    return [state_of(study, state.cell) for state in states], failed


def _groups(study: "Study", cells: "Sequence[Cell]") -> "list[list[Cell]]":
    """Cells that are trained together: on a GPU all of a data set and backbone, in few large stacks."""
    if not study.device.startswith("cuda"):
        return [[cell] for cell in cells]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.backbone), []).append(cell)
    return list(groups.values())


def _outcome(states: "Sequence[State]") -> str:
    """Test metrics of the cells, means over their seeds."""
    width = max([len(state.cell.name) for state in states] + [4])
    lines = [f"{'cell':<{width}}  {'recall@20':>9}  {'ndcg@20':>9}  state"]
    for state in states:
        means = [
            f"{sum(record.test[metric] for record in state.found) / len(state.found):.4f}" if state.found else "–"
            for metric in ("recall@20", "ndcg@20")
        ]
        lines.append(f"{state.cell.name:<{width}}  {means[0]:>9}  {means[1]:>9}  {state.word}")
    return "\n".join(lines)


def _as_json(state: "State") -> dict[str, Any]:
    return {
        "cell": state.cell.name,
        "dataset": state.cell.dataset,
        "split": state.cell.split,
        "backbone": state.cell.backbone,
        "loss": state.cell.loss,
        "state": state.word,
        "budget": state.budget,
        "trials": [
            {"number": trial.number, **dict(trial.parameters), "key": trial.config.key, "validation": trial.value}
            for trial in state.trials
        ],
        "seeds": [None if record is None else record.key for record in state.seeds],
        "test": {metric: [record.test[metric] for record in state.found] for metric in ("recall@20", "ndcg@20")},
    }
