"""Where a record came from: code, libraries, machine."""

import ast
import hashlib
import json
import platform
import resource
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dslstudy
from dslstudy.c2al.methods import method_class
from dslstudy.data.registry import registry
from dslstudy.engine.rivals import RIVALS
from dslstudy.models import model_class
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.config import RunConfig
from dslstudy.study.equivalent_edits import before_equivalent_edits

PACKAGE = Path(dslstudy.__file__).parent
#: the files that every run's result depends on; the loss's and the backbone's own files come on top. Not among them:
#: the fused kernels, the compiled losses and the worker threads, which compute what these files say, the first two to a
#: tolerance that their tests hold; whoever mends a kernel has to retrain what was trained with it
SHARED_CODE = (
    "data/interactions.py",
    "data/splits.py",
    "engine/log_sums.py",
    "engine/objectives.py",
    "engine/optimizer.py",
    "engine/part.py",
    "engine/ranking.py",
    "engine/sampler.py",
    "engine/scores.py",
    "engine/stack.py",
    "engine/streams.py",
    "metrics/topk.py",
)

#: the same of click runs; the method's own files, the world or the parser, and the cohorts come on top
CLICK_CODE = (
    "c2al/attention.py",
    "c2al/method.py",
    "data/click_columns.py",
    "data/click_logs.py",
    "data/click_spec.py",
    "engine/clicks.py",
    "metrics/_checks.py",
    "metrics/calibration.py",
    "metrics/normalized_entropy.py",
    "models/fm_attention.py",
)
#: rows that are drawn from a world
CLICK_WORLD = ("data/click_truth.py", "data/click_world.py")
#: rows that are read from files
CLICK_FILES = ("data/click_formats.py", "data/formats.py", "data/local.py")


@cache
def _code_of(path: Path) -> str:
    """A file's code without comments, layout, docstrings and edits that alter no result: they change no record."""
    name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
    tree = ast.parse(before_equivalent_edits(name, path.read_text(encoding="utf-8")))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)


def code_fingerprint(config: RunConfig | ClickRunConfig) -> str:
    """Twelve hexadecimal digits over the code that decides this run's result; comments do not count."""
    if isinstance(config, ClickRunConfig):
        return _click_fingerprint(config)
    classes = [cls.__module__ for cls in model_class(config.backbone).__mro__ if cls.__module__.startswith("dslstudy.")]
    files = [*SHARED_CODE, *(name.removeprefix("dslstudy.").replace(".", "/") + ".py" for name in classes)]
    if config.dataset.startswith("synthetic"):
        files.append("data/synthetic.py")
    if config.hides:
        files.append("engine/false_negatives.py")
    if not config.is_baseline:
        files += sorted(f"losses/{path.name}" for path in (PACKAGE / "losses").glob("_*.py"))
        files += losses_code(config.loss)
        companion = f"engine/companions/{config.loss}.py"
        if (PACKAGE / companion).is_file():
            files += ["engine/companions/companion.py", companion]
    digest = hashlib.sha256()
    for name in files:
        if not name.endswith("__init__.py"):
            digest.update(f"{name}\n{_code_of(PACKAGE / name)}\n".encode())
    return digest.hexdigest()[:12]


@cache
def losses_code(loss: str) -> list[str]:
    """A loss's own file, then those of other losses that it is made of and, for a rival of DSL, how it is trained."""
    own, waiting, found = f"losses/{loss}.py", [f"dslstudy.losses.{loss}"], []
    while waiting:
        name = waiting.pop().replace(".", "/").removeprefix("dslstudy/") + ".py"
        if name in found:
            continue
        found.append(name)
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            source = getattr(node, "module", None) or ""
            if source.startswith("dslstudy.losses.") and not source.startswith("dslstudy.losses._"):
                waiting.append(source)
    return [own, *sorted(set(found) - {own}), *(["engine/rivals.py"] if loss in RIVALS else [])]


def _click_fingerprint(config: ClickRunConfig) -> str:
    spec = registry("clicks").get(config.dataset)
    declared = json.dumps(dict(spec.clicks) if spec else {}, sort_keys=True)  # label, features and axes
    digest = hashlib.sha256(declared.encode())
    for name in click_code(config):
        digest.update(f"{name}\n{_code_of(PACKAGE / name)}\n".encode())
    return digest.hexdigest()[:12]


def click_code(config: ClickRunConfig) -> list[str]:
    """The files that a click run's result depends on, below the package."""
    spec = registry("clicks").get(config.dataset)
    files = {*CLICK_CODE, *_imported(method_class(config.method).__module__)}
    files |= set(CLICK_WORLD if spec and spec.generator else CLICK_FILES)
    if config.axis:
        files.add("c2al/cohorts.py")
    if config.pair == "discover":
        files.add("c2al/divergences.py")
    return sorted(files)


@cache
def _imported(module: str) -> set[str]:
    """A method's file and, at any depth, those of the training methods and models that it imports."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop().removeprefix("dslstudy.").replace(".", "/") + ".py"
        if name in found or not (PACKAGE / name).is_file():
            continue
        found.add(name)
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            source = getattr(node, "module", None) or ""
            if source.startswith(("dslstudy.c2al.", "dslstudy.models.")):
                waiting.append(source)
    return found


@cache
def code_commit() -> str | None:
    """The commit of the checkout, ``+`` behind it if files changed since; ``None`` outside a checkout."""
    git = ["git", "-C", str(PACKAGE.parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "dslstudy"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def environment(device: str) -> dict[str, Any]:
    """Libraries and machine, as far as a result or its cost may depend on them."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "threads": torch.get_num_threads(),
    }


@cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb(device: str) -> float:
    """Most memory in use so far, in MiB: the device's for CUDA, this process's otherwise."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)
