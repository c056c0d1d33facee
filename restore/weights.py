"""From a weights key to a checked state dict: manifest, path, checksum, safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from restore.errors import WeightsError, nearest
from restore.paths import is_file

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 4 * 2**30
"""Bytes of the largest weight file that is read."""

LONGEST_HEADER = 16_000_000
"""Bytes of the longest header that is read: enough for a hundred thousand tensors."""

FREE = ("Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "CC-BY-4.0")
"""Licences under which weights may be used for anything, so that nobody needs to be told."""


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


def path_of(source: str) -> Path:
    """Return where weights lie that are given as a key of the manifest, or by their path."""
    return Path(source) if _is_path(source) else folder() / f"{source}.safetensors"


def verify(key: str) -> Path:
    """Return the path of a shipped weight file after checking its size and sha256.

    Raises
    ------
    WeightsError
        Unknown key, missing file, or another content than the manifest promises.
    """
    entry = _entry(key)
    path = path_of(key)
    if not is_file(path):
        raise WeightsError(f"{path}: the weight file is missing; install the package again")
    if path.stat().st_size != entry.bytes or sha256(path) != entry.sha256:
        raise WeightsError(f"{path}: is not the file that the manifest promises; install the package again")
    return path


def _entry(key: str) -> Entry:
    entries = manifest()
    if key not in entries:
        raise WeightsError(f"there are no weights {key!r}.{nearest(key, entries)}")
    return entries[key]


class Weights(NamedTuple):
    """A state dict on the CPU, floats as float32, the sha256 of the bytes it was made of, and the file's own words."""

    state: dict[str, Tensor]
    sha256: str
    metadata: dict[str, str]


def load(source: str) -> tuple[dict[str, Tensor], str]:
    """Return state dict and sha256 of :func:`read`."""
    found = read(source)
    return found.state, found.sha256


def read(source: str) -> Weights:
    """Read weights; the checksum is taken of the very bytes that are used, so nothing can be swapped in between.

    Parameters
    ----------
    source
        A key of the manifest, or the path of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        Missing, damaged, not safetensors, not what the manifest promises, or not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors

    promised, path = None if _is_path(source) else _entry(source), path_of(source)
    try:
        content = _bytes(path)
        found = hashlib.sha256(content).hexdigest()
        if promised and (len(content), found) != (promised.bytes, promised.sha256):
            raise WeightsError(f"{path}: is not the file that the manifest promises; install the package again")
        header = _header(content)
        state = {name: t.float() if t.is_floating_point() else t for name, t in tensors(content).items()}
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: the weight file is missing; {_where(source)}") from error
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error}); {_where(source)}") from error
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{path}: weights are not finite ({', '.join(broken[:3])}); train or import them again")
    return Weights(state, found, _texts(header))


def _is_path(source: str) -> bool:
    return source.endswith(".safetensors") or "/" in source


def _where(source: str) -> str:
    """Say what to do about a file that is missing or damaged."""
    return "check the path, or import the weights again" if _is_path(source) else "install the package again"


def notice(source: str, found: Weights) -> str | None:
    """Return what a user must be told before these weights are used: terms that are not free; None where they are.

    Files without a stated licence are the user's own business: only what ``restore weights import`` brought in says
    that nothing is known.
    """
    terms = found.metadata.get("licence") if _is_path(source) else manifest()[source].licence
    if terms is None or terms in FREE:
        return None
    return f"weights {Path(source).name}: licence {terms}; check that your use is allowed"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, so that it needs no import."""
    try:
        metadata(path)
    except WeightsError:
        return False
    return True


def metadata(path: Path) -> dict[str, str]:
    """Return the text metadata in the header of a safetensors file.

    Raises
    ------
    WeightsError
        It cannot be read as safetensors.
    """
    try:
        return _texts(_header(_bytes(path)))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error


def _texts(header: Mapping[str, Any]) -> dict[str, str]:
    stored = header.get("__metadata__")
    return {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}


def _bytes(path: Path) -> bytes:
    """Return the content of a file after looking at its size and at the length that its header claims."""
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise ValueError(f"it has {size} bytes, more than any weights we know")
        start = file.read(8)
        _check_length(start, size)
        return start + file.read(size - len(start))


def _check_length(start: bytes, size: int) -> int:
    length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(LONGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {length} bytes")
    return length


def _header(content: bytes) -> dict[str, Any]:
    """Read the JSON header."""
    length = _check_length(content[:8], len(content))
    try:
        header = json.loads(content[8 : 8 + length])
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
