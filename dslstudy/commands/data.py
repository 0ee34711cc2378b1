"""``dslstudy data``: list, fetch, describe and verify the data sets."""

import json
from pathlib import Path
from typing import Any

import click

from dslstudy.data.registry import DatasetSpec, dataset_names, dataset_spec, default_dataset, registry
from dslstudy.errors import InputError

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output instead of a table.")


@click.group("data")
def COMMAND() -> None:  # noqa: N802
    """List, fetch, describe and verify the data sets.

    Files are kept in the folder named by DSLSTUDY_CACHE (else the user's cache directory) and are looked for in the
    folder named by DSLSTUDY_MIRROR before any download. Every file's sha256 is checked whenever it is used.
    """


@COMMAND.command("list", short_help="List the data sets, their sizes, what is in the cache.")
@JSON
def list_command(as_json: bool) -> None:
    """List the registered data sets, their sizes, and whether they are in the cache."""
    from dslstudy.data.fetch import cache_dir

    rows = [_row(spec) for spec in registry(None).values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    header = ("name", "task", "users", "items", "interactions", "split", "cache")
    table = [
        (row["name"], ", ".join(row["tasks"]), *(f"{row[key]:,}" for key in header[2:5]), row["split"], row["cache"])
        for row in rows
    ]
    click.echo(_table([header, *table], numeric={2, 3, 4}))
    click.echo(f"\nDefault: {default_dataset()}. Cache: {cache_dir()}")


@COMMAND.command("fetch", short_help="Bring data sets into the cache.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Fetch every registered data set.")
@click.option("--offline", is_flag=True, help="Use the cache and the mirror only.")
def fetch_command(names: tuple[str, ...], everything: bool, offline: bool) -> None:
    """Bring data sets into the cache; what is there and intact is left alone.

    One that cannot be had does not stop the others, but makes the command fail. Paths go to standard output.
    """
    from dslstudy.data.fetch import fetch

    if bool(names) == everything:
        raise InputError(f"name the data sets to fetch (for example {default_dataset()}), or give --all, not both")
    for name in names:
        dataset_spec(name)  # a misspelt name should not wait for the downloads before it
    failures = []
    for name in dataset_names(None) if everything else dict.fromkeys(names):
        try:
            for path in fetch(name, offline=offline):
                click.echo(path)
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError("; and ".join(failures))


@COMMAND.command("describe", short_help="Sizes, long tail and split of one data set.")
@click.argument("name", metavar="NAME_OR_PATH")
@click.option(
    "--task",
    type=click.Choice(["ranking", "clicks"]),
    help="Describe it as interactions or as a click log; the default is ranking wherever it serves that.",
)
@click.option(
    "--split",
    default="default",
    show_default=True,
    help="published, iid, popularity-shift or temporal; the default is published where there is one, else iid. Click "
    "logs: temporal, per-user or random; the default is temporal where there are timestamps.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of split and validation.")
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of each user's training items set aside for selection (ranking).",
)
@JSON
def describe_command(
    name: str, task: str | None, split: str, seed: int, validation_fraction: float, as_json: bool
) -> None:
    """Count what a data set holds, how long its tail is, and how a split divides it.

    NAME_OR_PATH is a registered name, a folder with train.tsv and test.tsv, or one CSV or Parquet file with the columns
    user, item[, rating][, timestamp]. A file with a TOML of the same name beside it, which names its label, features
    and axes, is a click log.
    """
    spec = registry(None).get(name)
    if task is None:
        own = "clicks" if Path(name).with_suffix(".toml").is_file() else "ranking"
        task = spec.tasks[0] if spec else own
    if spec and task not in spec.tasks:
        raise InputError(f"{name} is no data set for {task}; drop --task, or choose one of {', '.join(registry(task))}")
    if task == "clicks":
        from dslstudy.data.click_statistics import describe_clicks

        facts = describe_clicks(name, split, seed=seed)
    else:
        from dslstudy.data.statistics import describe

        facts = describe(name, split, seed=seed, validation_fraction=validation_fraction)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(_click_prose(facts) if task == "clicks" else _prose(facts))
    if spec:
        click.echo(f"\nLicence: {spec.licence}. {spec.terms}\nCite: {spec.citation}")


@COMMAND.command("verify", short_help="Check the sha256 of cached files.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@JSON
def verify_command(names: tuple[str, ...], as_json: bool) -> None:
    """Compare cached files with their registered sha256; fail if one is missing or altered.

    Without NAME, every data set of which anything is in the cache is verified.
    """
    from dslstudy.data.fetch import verify

    reports = {name: verify(name) for name in names or dataset_names(None)}
    if not names:
        reports = {name: files for name, files in reports.items() if any(file.state != "missing" for file in files)}
    found = [
        {"name": name, "path": str(file.path), "state": file.state, "expected": file.expected, "found": file.found}
        for name, files in reports.items()
        for file in files
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        click.echo(_table([(file["state"], file["name"], file["path"]) for file in found]))
    else:
        click.echo("nothing to verify: no files in the cache" if not names else "nothing to verify: no files needed")
    wrong = [file for file in found if file["state"] != "ok"]
    if wrong:
        listed = ", ".join(f"{file['path']} is {file['state']}" for file in wrong)
        mend = " ".join(dict.fromkeys(file["name"] for file in wrong))
        raise InputError(f"{listed}; `dslstudy data fetch {mend}` mends it")


def _row(spec: DatasetSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "tasks": list(spec.tasks),
        "users": spec.users,
        "items": spec.items,
        "interactions": spec.interactions,
        "train": spec.train,
        "test": spec.test,
        "split": f"published ({spec.published})" if spec.published else spec.split,
        "licence": spec.licence,
        "cache": _cache_state(spec),
    }


def _cache_state(spec: DatasetSpec) -> str:
    from dslstudy.data.fetch import verify

    states = {file.state for file in verify(spec.name)}
    if not states:
        return "generated"
    if states == {"ok"}:
        return "ok"
    return "not fetched" if states == {"missing"} else "damaged" if "altered" in states else "incomplete"


def _prose(facts: dict[str, Any]) -> str:
    """Format the facts of ``describe`` as two small tables."""
    split = facts["split"]
    spread = "{min:,} / {median:,.0f} / {mean:,.1f} / {max:,}".format
    rows = [
        ("users", f"{facts['users']:,}"),
        ("items", f"{facts['items']:,}"),
        ("interactions", f"{facts['interactions']:,}"),
        ("density", f"{facts['density']:.4%}"),
        ("interactions per user", f"{spread(**facts['interactions_per_user'])}  (min / median / mean / max)"),
        ("interactions per item", f"{spread(**facts['interactions_per_item'])}  (min / median / mean / max)"),
        ("top 20 % of the items", f"{facts['head_share']:.1%} of the interactions"),
        ("Gini of the items", f"{facts['item_gini']:.3f}"),
    ]
    parts = [("", "interactions", "users", "items", "top 20 % of train items")]
    for part in ("train", "validation", "test"):
        row = split[part]
        share = "-" if row["head_share"] is None else f"{row['head_share']:.1%}"
        parts.append((part, f"{row['interactions']:,}", f"{row['users']:,}", f"{row['items']:,}", share))
    title = facts["title"] if facts["title"] == facts["name"] else f"{facts['title']} ({facts['name']})"
    heading = f"Split: {split['name']}, seed {split['seed']}, fingerprint {split['fingerprint']}"
    return "\n\n".join([title, _table(rows), heading, _table(parts, numeric={1, 2, 3, 4})])


def _click_prose(facts: dict[str, Any]) -> str:
    """Format the facts of ``describe_clicks`` as small tables."""
    split = facts["split"]
    parts = [("", "rows", "positive", "users", "users unknown in train")]
    for part in ("train", "validation", "test"):
        row = split[part]
        unknown = f"{row['unknown_users']:.1%}"
        parts.append((part, f"{row['rows']:,}", f"{row['base_rate']:.2%}", f"{row['users']:,}", unknown))
    features = [("feature", "ids", "per row", "rare or unknown in test")]
    for one in facts["features"]:
        features.append((one["name"], f"{one['ids']:,}", str(one["width"]), f"{one['unknown_in_test']:.1%}"))
    axes = [("axis", "unit", "bin", "train rows", "test rows", "positive in train")]
    for one in facts["axes"]:
        for number, cell in enumerate(one["bins"]):
            rate = "-" if cell["base_rate"] is None else f"{cell['base_rate']:.2%}"
            first = (one["name"], one["unit"]) if number == 0 else ("", "")
            axes.append((*first, cell["label"], f"{cell['train']:,}", f"{cell['test']:,}", rate))
    title = facts["title"] if facts["title"] == facts["name"] else f"{facts['title']} ({facts['name']})"
    heading = f"Split: {split['name']}, seed {split['seed']}, fingerprint {split['fingerprint']}"
    tables = [_table(parts, {1, 2, 3, 4}), _table(features, {1, 2, 3}), _table(axes, {3, 4, 5})]
    if facts["bayes_ne"] is not None:
        tables.append(f"Normalized entropy of the Bayes predictor on test: {facts['bayes_ne']:.4f}")
    return "\n\n".join([title, heading, *tables])


def _table(rows: list[tuple[str, ...]], numeric: frozenset[int] | set[int] = frozenset()) -> str:
    """Align columns; the numeric ones to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in numeric else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
