"""What can be said of the peers' scripts without the peers: they are pinned, and hand over what the others do."""

import ast
import re
import sys
from pathlib import Path

import pytest
from trial import Contender

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted((BENCHMARKS / "peers").glob("*.py"))
#: distribution -> module where they are called differently
MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}


def pins():
    lines = [line for line in (BENCHMARKS / "requirements-peers.txt").read_text().splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s+]+", line) for line in lines), "one exact version a line"
    return {name.lower(): version for name, version in (line.split("==") for line in lines)}


def test_the_three_peers_are_pinned_with_what_they_need():
    assert {"recbole", "cornac", "implicit", "torch", "numpy", "scipy"} <= set(pins())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_peer_imports_nothing_but_what_its_environment_has(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    available = {MODULES.get(name, name) for name in pins()} | set(sys.stdlib_module_names) | {"trial"}
    assert imported <= available


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_peer_offers_what_a_trial_asks_for(path):
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    wanted = {name for name in vars(Contender) if not name.startswith("_")}
    (contender,) = (c for c in classes if wanted <= {node.name for node in c.body if isinstance(node, ast.FunctionDef)})
    assert ast.get_docstring(contender)
