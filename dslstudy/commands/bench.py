"""``dslstudy bench``: measure the engine and its peers side by side, each in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dslstudy.errors import InputError

if TYPE_CHECKING:
    from dslstudy.data import Split
    from dslstudy.study.benchmarks import BenchmarkRecord, Comparison, Contender
    from dslstudy.study.suites import Plan

#: what a suite's contenders are mainly compared by
HEADLINES = {
    "rate": ("updates_per_second", "interactions_per_second", "peak_memory_mb"),
    "train": ("seconds_to_target", "test_ndcg", "peak_memory_mb"),
    "evaluate": ("users_per_second", "memory_above_model_mb", "peak_memory_mb"),
}


class Bench:
    """Measures plans on this machine.

    Args:
        folder: the checkout's ``benchmarks``.
        peers: the environment of the peers, made by ``make peers``.
        threads: processor cores each contender may use.
        device: ``cpu`` or ``cuda``; peers and their like are measured on the CPU.
        progress: show a progress bar on standard error.
    """

    def __init__(self, folder: Path, *, peers: Path, threads: int, device: str, progress: bool) -> None:
        self.folder, self.peers, self.threads, self.device = folder, peers, threads, device
        self.progress = progress

    def measure(self, plan: Plan, command: str) -> BenchmarkRecord:
        """All rounds of a plan.

        Raises:
            InputError: the peers are not installed, or a contender failed.
        """
        from tqdm.auto import tqdm

        from dslstudy.study.benchmarks import BenchmarkRecord, code_description, machine

        described, code = machine(self.device, self.threads), code_description()
        for contender in plan.contenders:
            self._interpreter(contender)
        trials: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in plan.contenders}
        with (
            tempfile.TemporaryDirectory(prefix="dslstudy-bench-") as name,
            tqdm(total=plan.repeats * len(trials), desc=plan.suite, unit="trial", disable=not self.progress) as bar,
        ):
            place = Path(name)
            data = _Data(plan, place)
            ceilings = self._ceilings(plan, place) if plan.mode == "rate" else {}
            for repeat in range(plan.repeats):
                # one round measures everyone once, so that a slow minute of the machine meets all of them alike;
                # who comes first changes from round to round
                shift = repeat % len(trials)
                for contender in (*plan.contenders[shift:], *plan.contenders[:shift]):
                    bar.set_postfix_str(contender.title)
                    trials[contender.name].append(self._trial(plan, contender, repeat, data))
                    bar.update()
        return BenchmarkRecord(
            suite=plan.suite,
            title=plan.title,
            mode=plan.mode,
            command=command,
            data=data.described,
            protocol=plan.protocol,
            contenders=[replace(contender, trials=trials[contender.name]) for contender in plan.contenders],
            ratios=plan.ratios,
            differences=plan.differences,
            limits=plan.limits,
            ceilings=ceilings,
            environment=described,
            code=code,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _interpreter(self, contender: Contender) -> str:
        if contender.environment != "peers":
            return sys.executable
        for path in (self.peers / "bin" / "python", self.peers / "Scripts" / "python.exe"):
            if path.exists():
                return str(path.absolute())
        raise InputError(
            f"{contender.title} is measured in the peers' environment, and {self.peers} is none:"
            " run `make peers`, or name it with --peers, or choose contenders with --only"
        )

    def _run(self, interpreter: str, script: Path, spec: Mapping[str, Any], place: Path) -> dict[str, Any]:
        """One process; its result, or an error with the last thing it said."""
        task, result = place / "task.json", place / "result.json"
        task.write_text(json.dumps(spec), encoding="utf-8")
        result.unlink(missing_ok=True)
        threads = {f"{name}_NUM_THREADS": str(self.threads) for name in ("OMP", "MKL", "OPENBLAS")}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | threads
        # two copies of OpenMP in one process (torch's and another package's) are usual among the peers
        environment |= {"PYTHONPATH": str(self.folder), "KMP_DUPLICATE_LIB_OK": "TRUE"}
        ended = subprocess.run(
            [interpreter, str(script), str(task), str(result)],
            env=environment,
            cwd=place,
            text=True,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if ended.returncode or not result.exists():
            said = ended.stderr.strip().splitlines() or ["it said nothing"]
            raise InputError(f"{script.name} ended with exit code {ended.returncode}: {said[-1]}")
        return json.loads(result.read_text(encoding="utf-8"))

    def _ceilings(self, plan: Plan, place: Path) -> dict[str, float]:
        spec = {"device": self.device, "seconds": plan.seconds}
        return _rounded(self._run(sys.executable, self.folder / "ceilings.py", spec, place))

    def _trial(self, plan: Plan, contender: Contender, repeat: int, data: _Data) -> dict[str, Any]:
        spec = {
            "mode": plan.mode,
            "settings": {name: v for name, v in contender.settings.items() if name not in data.axes},
            "seed": repeat,
            "threads": self.threads,
            "device": "cpu" if contender.environment == "peers" else self.device,
            "data": str(data.file(contender)),
            **{
                name: getattr(plan, name) for name in ("seconds", "warmup", "least_updates", "epochs", "evaluate_every")
            },
        }
        try:
            measured = self._run(self._interpreter(contender), self.folder / contender.script, spec, data.place)
        except InputError as error:
            raise InputError(f"suite {plan.suite}, {contender.title}: {error}") from error
        if plan.mode == "train":
            data.evaluate(measured, plan.target)
        return _rounded(measured)


class _Data:
    """The interactions of a plan as plain files, which every contender can read; and who judges their tables."""

    def __init__(self, plan: Plan, place: Path) -> None:
        from dslstudy.study.suites import DATA_AXES

        self.plan, self.place, self.axes = plan, place, DATA_AXES
        self.split: Split | None = None
        self.files: dict[tuple[int, ...], Path] = {}
        if plan.dataset:
            self._load()
        else:
            self.described = {"name": "made for measurements of speed", **plan.synthetic}

    def _load(self) -> None:
        import numpy as np

        from dslstudy.data import load_split
        from dslstudy.study.study import evaluators

        split = self.split = load_split(self.plan.dataset)
        self.validation, self.test = evaluators(split)
        pairs = [np.stack([part.users, part.items], axis=1) for part in (split.train, split.validation)]
        self.files[()] = self._write("data.npz", *pairs, split.train.num_users, split.train.num_items)
        self.described = {
            "name": self.plan.dataset,
            "fingerprint": split.fingerprint,
            "users": split.train.num_users,
            "items": split.train.num_items,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        }

    def _write(self, name: str, train: Any, validation: Any, num_users: int, num_items: int) -> Path:
        import numpy as np

        path = self.place / name
        np.savez(path, train=train, validation=validation, num_users=num_users, num_items=num_items)
        return path

    def file(self, contender: Contender) -> Path:
        """What a contender trains on; made on first use if it is generated."""
        if self.plan.dataset:
            return self.files[()]
        from dslstudy.study.suites import synthetic_pairs

        sizes = {name: contender.settings.get(name, value) for name, value in self.plan.synthetic.items()}
        key = tuple(sizes.values())
        if key not in self.files:
            name = "x".join(map(str, key)) + ".npz"
            self.files[key] = self._write(name, *synthetic_pairs(**sizes), sizes["num_users"], sizes["num_items"])
        return self.files[key]

    def evaluate(self, measured: dict[str, Any], target: float | None) -> None:
        """Validation after every epoch, test at the best of them, and when the target was reached."""
        import numpy as np
        import torch

        best = -1.0
        for entry in measured["history"]:
            path = self.place / entry.pop("tables")
            with np.load(path) as arrays:
                tables = torch.from_numpy(arrays["users"]), torch.from_numpy(arrays["items"])
            path.unlink()
            entry["validation_ndcg"] = round(self.validation.evaluate(*tables)[0].mean()["ndcg@20"], 6)
            if entry["validation_ndcg"] > best:
                best = entry["validation_ndcg"]
                measured["best_epoch"] = entry["epoch"]
                measured["test_ndcg"] = self.test.evaluate(*tables)[0].mean()["ndcg@20"]
        measured["validation_ndcg"] = best
        if target is not None:
            reached = (entry["seconds"] for entry in measured["history"] if entry["validation_ndcg"] >= target)
            measured["seconds_to_target"] = next(reached, None)


def _rounded(values: Any) -> Any:
    """Six significant digits: more would be noise in a file that people compare."""
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return float(f"{values:.6g}") if isinstance(values, float) else values


def report(record: BenchmarkRecord) -> str:
    """A record as text: medians with the smallest and the largest repeat, then what was to be met."""
    measures = [m for m in HEADLINES[record.mode] if all(m in trial for c in record.contenders for trial in c.trials)]
    rows = [["", *(measure.replace("_", " ") for measure in measures)]]
    for contender in record.contenders:
        name = contender.title if contender.axis is None else f"{contender.title}, {contender.name.partition(', ')[2]}"
        rows.append([name, *(_spread_text(contender, measure) for measure in measures)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [_comparison_text(record, c) for c in (*record.ratios, *record.limits) if record.has(c)]
    if record.protocol["repeats"] > 1:
        for c in filter(record.has, record.differences):
            interval = record.difference(c)
            lines.append(
                f"{c.of} - {c.over}, {c.measure}: {interval.estimate:+.5f} [{interval.low:+.5f}, {interval.high:+.5f}]"
            )
    return "\n".join([f"{record.suite}: {record.title} ({record.data['name']})", *(f"  {line}" for line in lines)])


def _spread_text(contender: Contender, measure: str) -> str:
    spread = contender.spread(measure)
    return "-" if spread is None else f"{spread.median:.4g} [{spread.low:.4g}, {spread.high:.4g}]"


def _comparison_text(record: BenchmarkRecord, comparison: Comparison) -> str:
    spread = record.ratio(comparison) if comparison.over else record.contender(comparison.of).spread(comparison.measure)
    met = comparison.met(spread.median)
    wanted = ""
    if met is not None:
        bound = f">= {comparison.at_least:g}" if comparison.at_least is not None else f"<= {comparison.at_most:g}"
        wanted = f"; wanted {bound}: {'met' if met else 'MISSED'}"
    sides = f"{comparison.of} / {comparison.over}" if comparison.over else comparison.of
    return f"{sides}, {comparison.measure}: {spread.median:.4g} [{spread.low:.4g}, {spread.high:.4g}]{wanted}"


def default_threads() -> int:
    """The processor cores that this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@click.command("bench")
@click.option("--suite", "suites", multiple=True, metavar="NAME", help="Which suite; repeatable, or `all`.")
@click.option("--list", "listing", is_flag=True, help="Name the suites and their contenders.")
@click.option("--only", multiple=True, metavar="CONTENDER", help="Measure these contenders only. Repeatable.")
@click.option("--dataset", default=None, help="Other data than the suite's own (see `dslstudy data list`).")
@click.option("--repeats", default=None, type=click.IntRange(1), help="Rounds; everyone is measured once in each.")
@click.option("--seconds", default=None, type=float, help="How long one measurement lasts; of a training, at most.")
@click.option("--threads", default=None, type=click.IntRange(1), help="Cores a contender may use.  [default: all]")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto; peers always use the CPU.")
@click.option("--peers", default=".venv-peers", show_default=True, metavar="FOLDER", help="Made by `make peers`.")
@click.option("--smoke", is_flag=True, help="Everything small, on generated data, in seconds.")
@click.option(
    "--out",
    default=None,
    metavar="FOLDER",
    help="Where records go.  [default: results/benchmarks;"
    " _build/benchmarks if --only, --dataset or --smoke made another suite of it]",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def COMMAND(  # noqa: N802 - the name the command line looks for
    suites: tuple[str, ...],
    listing: bool,
    only: tuple[str, ...],
    dataset: str | None,
    repeats: int | None,
    seconds: float | None,
    threads: int | None,
    device: str,
    peers: str,
    smoke: bool,
    out: str | None,
    quiet: bool,
) -> None:
    """Measure the engine and its peers side by side.

    Contenders take turns, each in a process of its own, so that their ratios share the machine's mood. Prints medians
    with the smallest and the largest repeat, and keeps one record per suite.

    Example: dslstudy bench --suite steps
    """
    from dslstudy.study.suites import checkout_folder, read_plan, suite_names

    folder = checkout_folder()
    if listing or not suites:
        for name in suite_names():
            plan = read_plan(name)
            click.echo(f"{name}: {plan.title}")
            click.echo("  " + ", ".join(dict.fromkeys(c.name.partition(",")[0] for c in plan.contenders)))
        if not listing:
            raise InputError("say what to measure: --suite NAME, or --suite all")
        return
    names = suite_names() if "all" in suites else list(suites)
    if dataset and any(read_plan(name).synthetic for name in names):
        raise InputError("--dataset fits no suite that makes its own data; leave scaling and crossover out")
    plans = []
    for name in names:
        plan = read_plan(name)
        plan = plan.only(only) if only else plan
        plan = plan.smoke() if smoke else plan
        given = {"dataset": dataset, "repeats": repeats, "seconds": seconds}
        plans.append(replace(plan, **{key: value for key, value in given.items() if value is not None}))
    where = Path(out) if out else _default_out(folder.parent, other=bool(only or dataset or smoke))

    from dslstudy.engine.ranking import training_device
    from dslstudy.study.benchmarks import write_benchmark

    bench = Bench(
        folder,
        peers=Path(peers),
        threads=threads or default_threads(),
        device=str(training_device(device)),
        progress=not quiet,
    )
    for plan in plans:
        record = bench.measure(plan, _command(plan.suite))
        path = write_benchmark(record, where)
        click.echo(report(record))
        click.echo(f"  record: {path}")


def _default_out(root: Path, *, other: bool) -> Path:
    from dslstudy.study.benchmarks import benchmarks_folder

    return root / "_build" / "benchmarks" if other else benchmarks_folder()


def _command(suite: str) -> str:
    """What was typed, for one suite and without where this machine keeps things."""
    context = click.get_current_context()
    words = ["dslstudy", "bench", "--suite", suite]
    for option in context.command.params:
        given = context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
        if not given or option.name in ("suites", "out", "peers", "quiet"):
            continue
        value = context.params[option.name]
        for one in value if isinstance(value, tuple) else (value,):
            words += [option.opts[0]] if one is True else [option.opts[0], str(one)]
    return shlex.join(words)
