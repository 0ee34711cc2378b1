"""``dslstudy run``: train one run, store its record, print it."""

import json
from typing import Any

import click

from dslstudy.errors import InputError


def parse_setting(text: str) -> tuple[str, Any]:
    """``temperature=0.2`` as a name and a number, or a word where it is none.

    Raises:
        InputError: no ``=`` in it, or nothing on one of its sides.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--set takes NAME=VALUE, for example --set temperature=0.2; got {text!r}")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    return name.strip(), value


def parse_settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """All settings of a command line.

    Raises:
        InputError: one is given twice.
    """
    settings: dict[str, Any] = {}
    for name, value in map(parse_setting, texts):
        if name in settings:
            raise InputError(f"--set {name} is given twice; leave one of them out")
        settings[name] = value
    return settings


@click.command("run")
@click.option("--dataset", required=True, help="Name of a data set (see `dslstudy data list`) or path of your own.")
@click.option("--split", default="default", show_default=True, help="published, iid, popularity-shift or temporal.")
@click.option(
    "--backbone",
    default="mf",
    show_default=True,
    help="mf, lightgcn or xsimgcl; or a baseline: popularity, item-knn, ease.",
)
@click.option("--loss", default=None, help="bpr, softmax, bsl, psl or dsl.  [default: softmax; none for a baseline]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the run (learning_rate, num_negatives, epochs, ...) or a hyperparameter of its loss"
    " (temperature, alpha, ...) or backbone. Repeatable.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Of initialisation, order and negatives.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--store", default=None, metavar="FOLDER", help="Where the record goes.  [default: the user's cache]")
@click.option("--json", "as_json", is_flag=True, help="Print the record as one JSON object on standard output.")
@click.option("--force", is_flag=True, help="Train even if a fresh record is there.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def COMMAND(  # noqa: N802 - the name the command line looks for
    dataset: str,
    split: str,
    backbone: str,
    loss: str | None,
    settings: tuple[str, ...],
    seed: int,
    device: str,
    store: str | None,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Train one run and print its record.

    A run that has a fresh record already is not trained again (--force does).

    Example: dslstudy run --dataset movielens-100k --loss softmax --set temperature=0.2 --set learning_rate=0.1
    """
    from dslstudy.models import BASELINES
    from dslstudy.study import open_study, with_settings

    values: dict[str, Any] = {"dataset": dataset, "split": split, "backbone": backbone, "seed": seed}
    values["loss"] = loss or ("none" if backbone in BASELINES else "softmax")
    config = with_settings(values, parse_settings(settings))
    study = open_study("paper", store=store, device=device, progress=not quiet)
    record = study.retrain(config) if force else study.obtain([config])[0]
    if as_json:
        click.echo(json.dumps(record.to_dict() | {"path": str(record.path)}))
        return
    click.echo(f"run {record.key}: {config.title}")
    for part in ("validation", "test"):
        metrics = getattr(record, part)
        click.echo(f"  {part:<11}" + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    if not config.is_baseline:
        click.echo(f"  best epoch {record.selection['best_epoch']} of {record.selection['epochs']}")
    click.echo(f"  {record.cost['seconds']:.1f} s on {record.environment['device']}")
    click.echo(f"  record: {record.path}")
