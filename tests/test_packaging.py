"""What a stranger installs: the wheel, the lock file, the conda environment, the two commands."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = {
    "torch",
    "pandas",
    "scipy",
    "matplotlib",
    "seaborn",
    "pyarrow",
    "papermill",
    "jupyter_book",
    "sphinx",
    "IPython",
}


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def own_requirements(*, build=True):
    """What pyproject.toml asks for, extras and build backend among it."""
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups += [PROJECT["build-system"]["requires"]] if build else []
    return [Requirement(text) for group in groups for text in group]


def locked():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    markers = {r.name: str(r.marker) for r in own_requirements() if r.marker}
    pins = {}
    for line in lines:
        name, version = line.partition(";")[0].split("==")
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s+]+", f"{name}=={version}"), "one exact version, no local label"
        assert str(Requirement(line).marker or "") == markers.get(name, ""), f"{name}: the marker of pyproject.toml"
        assert canonicalize_name(name) not in pins
        pins[canonicalize_name(name)] = Version(version)
    return pins


def needed_by(requirements):
    """Every distribution that the requirements bring along, found by walking the installed metadata."""
    found, queue = set(), [(r.name, frozenset(r.extras)) for r in requirements]
    seen = set()
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(canonicalize_name(name))
        try:
            texts = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, texts):
            environments = [{"extra": extra} for extra in ("", *extras)]
            if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
                queue.append((requirement.name, frozenset(requirement.extras)))
    return found


def test_the_lock_file_satisfies_every_requirement():
    pins = locked()
    for requirement in own_requirements():
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked at {version}"


def test_the_lock_file_holds_all_that_is_needed_and_nothing_else():
    needed = needed_by(own_requirements())
    # on a machine with another build of torch, that build brings its own libraries
    needed = {name for name in needed if not name.startswith(("nvidia-", "cuda-"))}
    assert set(locked()) == needed


def test_the_conda_environment_asks_for_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    (by_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert by_pip[-1] == "--editable ."
    requirements = {}
    for requirement in map(Requirement, [*lines, *by_pip[:-1]]):
        assert requirement.name not in requirements
        requirements[requirement.name] = requirement.specifier
    assert requirements.pop("python") == PROJECT["project"]["requires-python"]
    assert str(requirements.pop("pip")) == ""
    requirements["torch"] = requirements.pop("pytorch")
    assert requirements == {r.name: r.specifier for r in own_requirements(build=False)}


@pytest.mark.parametrize("name", ["Makefile", "requirements.lock", "environment.yml", "pyproject.toml", ".ci/run"])
def test_no_package_index_is_named(name):
    assert not re.search(r"index-url|find-links|https?://(?!arxiv\.org)", (ROOT / name).read_text())


def test_version_and_licences_agree():
    project = PROJECT["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"].split(" AND ")
    assert "MIT License" in (ROOT / "LICENSE").read_text()
    assert "Attribution 4.0 International" in (ROOT / "LICENSE-CC-BY-4.0").read_text()


def test_ci_runs_the_two_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\$ (make \w+)", readme, flags=re.MULTILINE) == ["make book", "make test"]
    assert "for target in test book; do" in (ROOT / ".ci" / "run").read_text()
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step.get("run") for step in workflow["jobs"]["test-and-book"]["steps"]]
    assert "bash .ci/run" in commands


def test_importing_the_package_is_fast_and_light():
    program = (
        "import sys, time\nstart = time.process_time()\nimport dslstudy\n"
        "print(time.process_time() - start, *{name.split('.')[0] for name in sys.modules})"
    )
    seconds, *modules = run(sys.executable, "-c", program).split()
    assert float(seconds) < 1
    assert not HEAVY & set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["book", "--help"], ["data", "--help"]])
def test_help_needs_no_heavy_library(arguments):
    program = (
        f"import sys\nfrom dslstudy.cli import main\nsys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\nfinally:\n    print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip()
    assert not HEAVY & set(result.stderr.split())


def test_the_wheel_builds_and_works_elsewhere(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-CC-BY-4.0"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dslstudy", source / "dslstudy", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"))
    python = tmp_path / "venv" / "bin" / "python"
    run(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))

    # the wheel's dependencies are those of this environment; the package itself is not taken from it
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(run(sys.executable, "-c", "import site; print(site.getsitepackages()[0])"))
    elsewhere = {"cwd": tmp_path, "env": {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}}
    assert run(python, "-c", "import dslstudy; print(dslstudy.__file__)", **elsewhere).startswith(str(site))
    assert "book" in run(tmp_path / "venv" / "bin" / "dslstudy", "--help", **elsewhere)
    program = "from dslstudy.data import dataset_names; print(dataset_names())"
    assert "movielens-100k" in run(python, "-c", program, **elsewhere)
    installed = {path.relative_to(site).as_posix() for path in (site / "dslstudy").rglob("*") if path.is_file()}
    assert {"dslstudy/data/registry.toml", "dslstudy/py.typed", "dslstudy/losses/softmax.py"} <= installed
    assert not [name for name in installed if "test" in name.split("/")]
