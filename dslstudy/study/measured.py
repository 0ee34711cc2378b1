"""What was measured on a trained model: a small file beside the searches, with the code that trained the model."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from dslstudy.data.fetch import write_atomically
from dslstudy.errors import InputError
from dslstudy.study.config import RunConfig
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.store import RunStore
from dslstudy.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What kinds of measurement have in common.

    Attributes:
        fingerprint: of the code that trained the model.
    """

    suffix: ClassVar[str]
    fingerprint: str

    def stale(self, run: RunConfig) -> bool:
        """Whether the code that decides the run's result has changed since."""
        return self.fingerprint != code_fingerprint(run)


def keep(study: Study, run: RunConfig, found: Measured) -> None:
    """Write a measurement of a run's model into the study's store."""
    write_atomically(_path(study.store, run, found.suffix), (json.dumps(asdict(found), indent=1) + "\n").encode())


def kept(study: Study, run: RunConfig, kind: type[Measured]) -> Measured | None:
    """What was measured on a run: a fresh measurement if there is one, else a stale one, else ``None``.

    Args:
        study: whose stores are read.
        run: whose model was looked at.
        kind: of measurement.

    Raises:
        InputError: the file is damaged.
    """
    found = []
    for store in (study.store, study.committed):
        path = _path(store, run, kind.suffix)
        if path.exists():
            try:
                found.append(kind(**json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path} is damaged ({error}); delete it and run again") from error
    fresh = [each for each in found if not each.stale(run)]
    return (fresh or found or [None])[0]


def _path(store: RunStore, run: RunConfig, suffix: str) -> Path:
    return store.root / "search" / f"{run.key}.{suffix}"
