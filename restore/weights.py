"""From a weights key to a checked state dict: manifest, path, checksum, safetensors."""

from __future__ import annotations

import hashlib
import json
import struct
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from restore.errors import WeightsError, nearest

if TYPE_CHECKING:
    from torch import Tensor


class Entry(BaseModel):
    """What the manifest says of one weight file: ``weights/<key>.safetensors``.

    Parameters
    ----------
    sha256, bytes
        Of the file; both are checked before a byte of it is used.
    licence, data, command
        Terms of the weights, what they were trained on, and the command that trained them.
    steps, hours
        How long.
    scores
        Name of a test with its protocol to the figure measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    licence: str
    data: str
    command: str
    steps: int = 0
    hours: float = 0.0
    seed: int = 0
    contract: str = ""
    scores: Mapping[str, float] = {}


def folder() -> Path:
    """Return where shipped weights lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "_weights"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "weights"


@cache
def manifest() -> Mapping[str, Entry]:
    """Return every shipped weight file by key.

    Raises
    ------
    WeightsError
        The manifest is missing or malformed.
    """
    path = folder() / "manifest.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {key: Entry(**fields) for key, fields in table.items()}
    except (OSError, tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        raise WeightsError(
            f"{path}: the weights manifest cannot be used ({error}); install the package again"
        ) from error


def verify(key: str) -> Path:
    """Return the path of a shipped weight file after checking its size and sha256.

    Raises
    ------
    WeightsError
        Unknown key, missing file, or another content than the manifest promises.
    """
    entries = manifest()
    if key not in entries:
        raise WeightsError(f"there are no weights {key!r}.{nearest(key, entries)}")
    path = folder() / f"{key}.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path}: the weight file is missing; install the package again")
    size = path.stat().st_size
    if size != entries[key].bytes or sha256(path) != entries[key].sha256:
        raise WeightsError(f"{path}: is not the file that the manifest promises; install the package again")
    return path


def load(source: str) -> tuple[dict[str, Tensor], str]:
    """Return a state dict on the CPU, floats as float32, and the sha256 of its file.

    Parameters
    ----------
    source
        A key of the manifest, or the path of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        Missing, damaged, not safetensors, or not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    is_path = source.endswith(".safetensors") or "/" in source
    path = Path(source) if is_path else verify(source)
    try:
        _check_header(path)
        stored: dict[str, Tensor] = load_file(path)
        state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{path}: weights are not finite ({', '.join(broken[:3])}); train or import them again")
    return state, sha256(path)


def metadata(path: Path) -> dict[str, str]:
    """Return the text metadata in the header of a safetensors file."""
    return {str(k): str(v) for k, v in _check_header(path).get("__metadata__", {}).items()}


def _check_header(path: Path, limit: int = 16_000_000) -> dict[str, Any]:
    """Read the JSON header after checking that its stated length is sane."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(limit, path.stat().st_size - 8):
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
