"""Trained click models as files that hold numbers and plain text, never code.

A file is a numpy archive: a header that says what it is, the architecture, what the caller wants to remember, and one
array per parameter. Loading builds the model from the architecture and copies the arrays in; nothing is unpickled
(book: Does it help?).
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dslstudy.data.fetch import write_atomically
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FMAttention, from_architecture

FORMAT = "dslstudy-click-model"
VERSION = 1
TEXTS = ("header", "architecture", "metadata")

_PARAMETER = "parameter/"


def save_model(path: str | Path, model: nn.Module, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model to a file; equal models give equal bytes.

    Args:
        path: where to; what is there is replaced.
        model: an ``FMAttention``, which is what every method that throws its heads away exports.
        metadata: anything that JSON can hold.

    Raises:
        InputError: another kind of model, a parameter that is not finite, metadata that JSON cannot hold, no folder.
    """
    if not isinstance(model, FMAttention):
        raise InputError(
            f"only an FMAttention can be saved, not a {type(model).__name__}; export it from its method first"
        )
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"parameter {name} is not finite: the training has failed; lower the learning rate")
    values = ({"format": FORMAT, "version": VERSION}, model.architecture(), dict(metadata or {}))
    file = io.BytesIO()
    np.savez(
        file,
        **{name: _as_bytes(name, value) for name, value in zip(TEXTS, values, strict=True)},
        **{_PARAMETER + name: array for name, array in arrays.items()},
    )
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} into; make it first")
    write_atomically(path, file.getvalue())


def load_model(path: str | Path) -> tuple[FMAttention, dict[str, Any]]:
    """Read a model that ``save_model`` wrote.

    Returns:
        The model on the CPU, and the metadata.

    Raises:
        InputError: no such file, no model of ours, another version of the format, or damage.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no model file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in archive.files}
        header, architecture, metadata = (
            _as_text(entries.pop(name)) for name in ("header", "architecture", "metadata")
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged or no model file of dslstudy; export the model again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path} is no click model of dslstudy")
    if header.get("version") != VERSION:
        raise InputError(
            f"{path} has format version {header.get('version')}, this dslstudy reads version {VERSION}; "
            "export the model again or install the dslstudy that wrote it"
        )
    try:
        model = from_architecture(architecture)
        state = {name.removeprefix(_PARAMETER): torch.from_numpy(array) for name, array in entries.items()}
        model.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: its parameters do not fit its architecture") from error
    return model, metadata


def architecture_bytes(path: str | Path) -> bytes:
    """The stored description of the architecture, as it lies in the file; equal for equal architectures."""
    with np.load(path, allow_pickle=False) as archive:
        return archive["architecture"].tobytes()


def _as_bytes(name: str, value: Any) -> np.ndarray:
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {name} of a model must be plain numbers, text, lists and mappings: {error}") from error
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _as_text(array: np.ndarray) -> Any:
    return json.loads(array.tobytes().decode())
