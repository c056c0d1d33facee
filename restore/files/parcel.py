"""A picture as a tree of plain values and one block of bytes: how it comes back from a decoder's process.

Nothing is unpickled: whoever takes a decoder over can make it send wrong pixels, but no code.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore.files.ifd import Entry
from restore.files.levels import SensorRecord
from restore.gain_map import GainMap
from restore.picture import Image, Meta, RawImage

_RECORDS = {record.__name__: record for record in (Image, RawImage, Meta, SensorRecord, GainMap, Entry)}
_TYPES = {"|u1", "<u2", "<f4"}
_ALIGNED, _SMALL = 64, 4096


class Writer:
    """Appends to a file what a tree refers to."""

    def __init__(self, file: int) -> None:
        self._file, self._end = file, 0
        self._kept: dict[int, tuple[np.ndarray, int]] = {}

    def put(self, data: memoryview) -> int:
        """Write bytes; return where they begin."""
        start = at = -(-self._end // _ALIGNED) * _ALIGNED
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        self._end = at
        return start

    def place(self, array: np.ndarray) -> int:
        """Write an array, unless it was kept here before; return where it begins."""
        if id(array) in self._kept:
            return self._kept[id(array)][1]
        return self.put(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Write an array, and return it as it lies in the file: read-only, and written no second time."""
        at = self.place(array)
        block = mmap.mmap(self._file, self._end, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        found = np.frombuffer(block, array.dtype, array.size, at).reshape(array.shape)
        self._kept[id(found)] = found, at
        return found


_writer: Writer | None = None


@contextmanager
def sent_to(file: int) -> Iterator[Writer]:
    """Have what is read meanwhile written to an open file."""
    global _writer  # noqa: PLW0603 - a worker reads one file at a time
    _writer = Writer(file)
    try:
        yield _writer
    finally:
        _writer = None


def kept(values: np.ndarray) -> np.ndarray:
    """Copy what a decoder lets go of; in a worker to where it is sent from, so that it is copied only once."""
    return values.copy() if _writer is None else _writer.keep(values)


def pack(value: Any, writer: Writer) -> Any:
    """Return a tree for JSON of a picture, or of a list of them; its arrays and bytes go to the writer.

    A path is left out: whoever asked knows it.

    Raises
    ------
    TypeError
        There is something in it that has no place in a picture.
    OSError
        There is no room.
    """
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
            return {"array": [value.dtype.str, list(value.shape), writer.place(value)]}
        case tuple() | list():
            return {type(value).__name__: [pack(item, writer) for item in value]}
        case dict():
            return {"dict": [[key, pack(item, writer)] for key, item in value.items()]}
    if not is_dataclass(value) or type(value).__name__ not in _RECORDS:
        raise TypeError(f"{type(value)} has no place in a picture")
    values = dict(vars(value))
    if isinstance(value, RawImage) and "sensor" in value.meta.extra:
        del values["mosaic"]  # made again from the sensor's values, which are half as many bytes
    parts = {name: pack(part, writer) for name, part in values.items()}
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
