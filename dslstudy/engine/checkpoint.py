"""Checkpoints of a stack in flight: killed at any moment, it loses at most what came after the last one.

Every random number depends on its place alone (``streams``), so a run's whole state is its parameters, its optimizer's
moments, its best tables and its history.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dslstudy.data.fetch import replacing

FORMAT = 1
#: writing may take this share of the time
WRITING_SHARE = 0.05


class Checkpoint:
    """The file that keeps the runs of one call of the trainer.

    Args:
        path: the file.
        identity: what the runs depend on besides their configurations (code, data, device); a file written under
            another identity is not used.
        seconds: least time between two writes.
    """

    def __init__(self, path: Path | str, identity: str, *, seconds: float = 60.0) -> None:
        self.path, self.identity, self.seconds = Path(path), identity, seconds
        self.runs: dict[str, dict[str, Any]] = self._read()
        self._written = time.monotonic()
        self._took = 0.0

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["format"] == FORMAT and content["identity"] == self.identity:
                return content["runs"]
        except Exception as error:  # a damaged file fails in many ways, and none is a reason to stop
            warnings.warn(
                f"the checkpoint {self.path} is damaged ({type(error).__name__}); its runs start anew",
                RuntimeWarning,
                stacklevel=3,
            )
        return {}

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last write."""
        return time.monotonic() - self._written >= max(self.seconds, self._took / WRITING_SHARE)

    def write(self, runs: Mapping[str, dict[str, Any]]) -> None:
        """Put states in place of the ones kept so far, atomically.

        Args:
            runs: by key; a state holds tensors, numbers, strings, lists and dictionaries.
        """
        started = time.monotonic()
        self.runs.update(runs)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            torch.save({"format": FORMAT, "identity": self.identity, "runs": self.runs}, temporary)
        self._written = time.monotonic()
        self._took = self._written - started

    def remove(self) -> None:
        """Delete the file: its runs have been recorded elsewhere."""
        self.path.unlink(missing_ok=True)
