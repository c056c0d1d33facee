"""A picture as a tree of plain values and one block of bytes: how it comes back from a decoder's process.

Nothing is unpickled: whoever takes a decoder over can make it send wrong pixels, but no code.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore.files.ifd import Entry
from restore.files.levels import SensorRecord
from restore.picture import Image, Meta, RawImage

_RECORDS = {record.__name__: record for record in (Image, RawImage, Meta, SensorRecord, Entry)}
_TYPES = {"|u1", "<u2", "<f4"}
_ALIGNED, _SMALL = 64, 4096


class _Writer:
    """Appends to a file what a tree refers to."""

    def __init__(self, file: int) -> None:
        self._file, self._end = file, 0

    def put(self, data: memoryview) -> int:
        """Write bytes; return where they begin."""
        start = at = -(-self._end // _ALIGNED) * _ALIGNED
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        self._end = at
        return start


def pack(value: Any, file: int) -> Any:
    """Return a tree for JSON of a picture, or of a list of them; its arrays and bytes go into an open file.

    A path is left out: whoever asked knows it.

    Raises
    ------
    TypeError
        There is something in it that has no place in a picture.
    OSError
        There is no room.
    """
    return _packed(value, _Writer(file))


def _packed(value: Any, writer: _Writer) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return None
        case np.generic():
            return value.item()
        case bytes():
            if len(value) <= _SMALL:
                return {"small": value.decode("latin-1")}
            return {"bytes": [writer.put(memoryview(value)), len(value)]}
        case np.ndarray():
            data = np.ascontiguousarray(value)
            where = writer.put(data.reshape(-1).view(np.uint8).data)
            return {"array": [data.dtype.str, list(data.shape), where]}
        case tuple() | list():
            return {type(value).__name__: [_packed(item, writer) for item in value]}
        case dict():
            return {"dict": [[key, _packed(item, writer)] for key, item in value.items()]}
    if not is_dataclass(value) or type(value).__name__ not in _RECORDS:
        raise TypeError(f"{type(value)} has no place in a picture")
    values = dict(vars(value))
    if isinstance(value, RawImage) and "sensor" in value.meta.extra:
        del values["mosaic"]  # made again from the sensor's values, which are half as many bytes
    parts = {name: _packed(part, writer) for name, part in values.items()}
    return {type(value).__name__: parts}


def unpack(tree: Any, file: int) -> Any:
    """Return what was packed; its arrays are read-only and lie in the file's own memory.

    Raises
    ------
    ValueError, TypeError, LookupError, AttributeError, OSError
        The tree or the file is not what `pack` makes.
    """
    size = os.fstat(file).st_size
    if os.name != "posix" or not size:
        raise ValueError("an empty parcel")
    return _unpacked(tree, mmap.mmap(file, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))


def _unpacked(tree: Any, block: mmap.mmap) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((name, content),) = tree.items()
    match name:
        case "small":
            return str(content).encode("latin-1")
        case "bytes":
            at, size = content
            return block[at : at + size]
        case "array":
            kind, shape, at = content
            if kind not in _TYPES:
                raise ValueError(f"an array of {kind}")
            return np.frombuffer(block, kind, int(np.prod(shape, dtype=object)), at).reshape(shape)
        case "tuple":
            return tuple(_unpacked(item, block) for item in content)
        case "list":
            return [_unpacked(item, block) for item in content]
        case "dict":
            return {key: _unpacked(item, block) for key, item in content}
    parts = {key: _unpacked(item, block) for key, item in content.items()}
    if name == RawImage.__name__ and "mosaic" not in parts:
        parts["mosaic"] = parts["meta"].extra["sensor"].mosaic()
    return _RECORDS[name](**parts)
