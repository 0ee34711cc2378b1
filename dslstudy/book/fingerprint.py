"""What an executed notebook depends on, as hashes: equal hashes mean that it need not be executed again."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dslstudy
from dslstudy.book.layout import Layout

PACKAGE = Path(dslstudy.__file__).parent


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_hash(*texts: str) -> str:
    """sha256 of strings; their boundaries count."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def tree_hash(folder: Path) -> str:
    """sha256 over the names and bytes of all files below a folder, byte code and hidden files aside."""
    files = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return text_hash(*(f"{path.relative_to(folder).as_posix()} {file_hash(path)}" for path in files))


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions that are installed of the named distributions (``"missing"`` where there is none)."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def locked_names(lock: Path) -> list[str]:
    """Names that a requirements file pins."""
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    return [line.split("==")[0].strip() for line in lines if "==" in line and not line.lstrip().startswith("#")]


def shared_parts(layout: Layout, package: Path = PACKAGE) -> dict[str, str]:
    """What all notebooks depend on.

    The data are in it too: their sha256 are in the package's ``registry.toml``, and no file that differs is ever read.
    """
    lock = layout.root / "requirements.lock"
    installed = installed_versions(locked_names(lock))
    return {
        "package code": tree_hash(package),
        "lock file": file_hash(lock) if lock.is_file() else "none",
        "installed libraries": text_hash(sys.version, json.dumps(installed)),
        "committed results": tree_hash(layout.root / "results"),
    }


def notebook_parts(
    path: Path, parameters: Mapping[str, Any], shared: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, str]:
    """Everything one notebook depends on.

    Args:
        path: the notebook as written.
        parameters: what papermill will inject; the profile is one of them.
        shared: from :func:`shared_parts`.
        after: fingerprints of the chapters that it comes after.
    """
    return {
        "notebook": file_hash(path),
        "parameters": text_hash(json.dumps(parameters, sort_keys=True)),
        **shared,
        **{f"chapter {name}": digest for name, digest in after.items()},
    }


def digest(parts: Mapping[str, str]) -> str:
    """One hash for all parts."""
    return text_hash(json.dumps(parts, sort_keys=True))


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Which parts differ, in words."""
    return ", ".join(name for name in {**new, **old} if old.get(name) != new.get(name))
