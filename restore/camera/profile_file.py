"""Noise profiles as files: safetensors bytes whose metadata hold the rest as JSON."""

from __future__ import annotations

import hashlib
import json
import stat
import struct
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from restore.camera.converter import Converter
from restore.camera.iso import IsoNoise
from restore.camera.profile import Branch, Maps, Profile
from restore.camera.proxy import Proxy, expected_shapes
from restore.errors import ArrayError, ReadError
from restore.files.atomic import replacing

SCHEMA = 1
MODEL_LIMIT = 64 * 1024
"""The noise model without maps never takes more bytes: there is no room for a frame in it."""

LARGEST = 2 * 2**30
"""Bytes of the largest profile that is read: maps of 250 megapixels."""

_DAMAGE = (
    SafetensorError, ArrayError, struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError,
    RecursionError,
)  # fmt: skip


def save(profile: Profile, path: Path) -> Path:
    """Write a profile so that ``path`` holds all of it or what it held before.

    Raises
    ------
    WriteError
        The file cannot be written there.
    """
    with replacing(path) as part:
        part.write_bytes(to_bytes(profile))
    return path


def load(path: Path) -> Profile:
    """Read a profile.

    Raises
    ------
    ReadError
        The file is missing, damaged, or not a noise profile.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise ReadError(path, f"not a noise profile: those are files of at most {LARGEST / 2**30:g} GiB")
        content = path.read_bytes()
    except OSError as error:
        advice = "check the path: a relative one counts from the folder you are in"
        raise ReadError(path, f"cannot be read ({error.strerror or error}); {advice}") from error
    try:
        return replace(from_bytes(content), sha256=hashlib.sha256(content).hexdigest())
    except _DAMAGE as error:
        raise ReadError(path, "not a noise profile, or damaged; make one with restore calibrate") from error


def to_bytes(profile: Profile) -> bytes:
    """Return the content of the file."""
    tensors: dict[str, NDArray[Any]] = {}
    branches = []
    for index, branch in enumerate(profile.branches):
        about: dict[str, Any] = {"isos": branch.isos}
        if branch.proxy is not None:
            tensors |= {f"model.{index}.{key}": value for key, value in branch.proxy.weights.items()}
            about |= {"at": branch.proxy.isos, "scaler": branch.proxy.scaler, "gain": branch.proxy.gain}
        branches.append(about)
    if profile.maps is not None:
        maps = profile.maps
        tensors |= {"maps.k": maps.k, "maps.b": maps.b, "maps.bad": maps.bad}
    header = {
        name: getattr(profile, name) for name in ("maker", "model", "body", "bits", "cfa", "black", "white", "notes")
    }
    header |= {"schema": SCHEMA, "isos": [asdict(noise) for noise in profile.isos], "branches": branches}
    header["converter"] = None if profile.converter is None else asdict(profile.converter)
    kept = {key: np.ascontiguousarray(value) for key, value in tensors.items()} or {"model.none": np.zeros(1)}
    content: bytes = tensor_bytes(kept, metadata={"restore.noise": json.dumps(header)})
    return content


def from_bytes(content: bytes) -> Profile:
    """Return the profile of a file's content."""
    (length,) = struct.unpack_from("<Q", content)
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["restore.noise"])
    if about["schema"] != SCHEMA:
        raise ArrayError(f"noise profile of schema {about['schema']}; this version reads {SCHEMA}")
    tensors = read_tensors(content)
    branches = tuple(_branch(index, item, tensors) for index, item in enumerate(about["branches"]))
    maps = Maps(tensors["maps.k"], tensors["maps.b"], tensors["maps.bad"]) if "maps.k" in tensors else None
    isos: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in item.items()}
        for item in about["isos"]
    ]
    steps = about["converter"]
    return Profile(
        converter=None if steps is None else Converter(steps["first"], tuple(steps["edges"])),
        maker=about["maker"],
        model=about["model"],
        body=about["body"],
        bits=about["bits"],
        cfa=tuple(tuple(row) for row in about["cfa"]),
        black=tuple(tuple(row) for row in about["black"]),
        white=about["white"],
        notes=tuple(about["notes"]),
        isos=tuple(IsoNoise(**item) for item in isos),
        branches=branches,
        maps=maps,
    )


def _branch(index: int, about: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Branch:
    isos = tuple(about["isos"])
    if "scaler" not in about:
        return Branch(isos)
    weights = {key: tensors[f"model.{index}.{key}"] for key in expected_shapes()}
    return Branch(isos, Proxy(weights, tuple(about["at"]), tuple(about["scaler"]), tuple(about["gain"])))
