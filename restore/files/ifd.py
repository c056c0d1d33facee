"""TIFF directories, the structure that TIFF files and EXIF blocks share: parse them and pack them."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any

Buffer = bytes | mmap.mmap
Tree = dict[int, "Entry | Tree"]
"""Tags of one directory; a sub-directory (EXIF, GPS, interoperability) stands under its pointer's tag."""

EXIF, GPS, INTEROP = 34665, 34853, 40965
SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16
_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_CODES |= {5: "II", 10: "ii", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True)
class Entry:
    """One tag's value as stored: field type, number of values, bytes, and where they lay."""

    type: int
    count: int
    data: bytes
    place: int = 0


@dataclass(frozen=True)
class Layout:
    """Byte order (``"<"`` or ``">"``) of a file, and whether it is a BigTIFF with 64-bit offsets."""

    order: str = "<"
    is_big: bool = False

    @property
    def offset(self) -> struct.Struct:
        """An offset."""
        return struct.Struct(self.order + ("Q" if self.is_big else "I"))

    @property
    def count(self) -> struct.Struct:
        """The number of entries in front of a directory."""
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type and number of values; the value or its offset follows."""
        return struct.Struct(self.order + ("HHQ" if self.is_big else "HHI"))

    def header(self, first: int) -> bytes:
        r"""Return the file header that points at the first directory.

        >>> Layout("<").header(8)
        b'II*\x00\x08\x00\x00\x00'
        """
        mark = b"II" if self.order == "<" else b"MM"
        version = (43, 8, 0) if self.is_big else (42,)
        return mark + struct.pack(f"{self.order}{len(version)}H", *version) + self.offset.pack(first)

    def make(self, kind: int, *values: int) -> Entry:
        """Return an entry of integers (numerator and denominator in turn for rationals)."""
        code = _CODES[kind]
        data = struct.pack(f"{self.order}{len(values)}{code[0]}", *values)
        return Entry(kind, len(values) // len(code), data)


def layout(buffer: Buffer) -> tuple[Layout, int]:
    """Return the layout and the offset of the first directory.

    Raises
    ------
    ValueError
        There is no TIFF header.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(buffer[:2]))
    if order is None or len(buffer) < 8:
        raise ValueError("no TIFF header")
    (version,) = struct.unpack_from(order + "H", buffer, 2)
    if version not in (42, 43) or (version == 43 and len(buffer) < 16):
        raise ValueError(f"no TIFF header (version {version})")
    found = Layout(order, is_big=version == 43)
    return found, found.offset.unpack_from(buffer, 8 if found.is_big else 4)[0]


def directory(buffer: Buffer, how: Layout, at: int, *, is_strict: bool = False) -> tuple[dict[int, Entry], int]:
    """Return the entries of the directory at ``at`` and the offset of the next one (0 = none).

    Entries of unknown types, and unless ``is_strict`` those whose values lie outside, are left out.

    Raises
    ------
    ValueError
        The directory itself lies outside, or with ``is_strict`` a value.
    """
    size = how.entry.size + how.offset.size
    start = at + how.count.size
    if at <= 0 or start > len(buffer):
        raise ValueError("a directory lies outside the file")
    number = how.count.unpack_from(buffer, at)[0]
    end = start + number * size
    if number > 65535 or end + how.offset.size > len(buffer):
        raise ValueError("a directory is cut off")
    found = {}
    for place in range(start, end, size):
        tag, kind, count = how.entry.unpack_from(buffer, place)
        length = count * struct.calcsize("<" + _CODES.get(kind, "x")) if kind in _CODES else 0
        value = place + how.entry.size
        if length > how.offset.size:
            value = how.offset.unpack_from(buffer, value)[0]
        if is_strict and value + length > len(buffer):
            raise ValueError(f"the value of tag {tag} is cut off")
        if length and value + length <= len(buffer):
            found[tag] = Entry(kind, count, bytes(buffer[value : value + length]), value)
    return found, how.offset.unpack_from(buffer, end)[0]


def tree(buffer: Buffer, how: Layout, at: int) -> Tree:
    """Return a directory with its EXIF, GPS and interoperability directories; damaged ones are left out."""
    return _branch(buffer, how, at, (EXIF, GPS, INTEROP))


def _branch(buffer: Buffer, how: Layout, at: int, pointers: tuple[int, ...]) -> Tree:
    found: Tree = dict(directory(buffer, how, at)[0])
    for tag in set(pointers) & set(found):
        inner = tuple(pointer for pointer in pointers if pointer != tag)
        try:
            found[tag] = _branch(buffer, how, int(values(found[tag], how)[0]), inner)
        except (ValueError, TypeError):
            del found[tag]
    return found


def values(entry: Entry | Tree, how: Layout) -> tuple[Any, ...]:
    """Return an entry's numbers (rationals as quotients), or a one-tuple of its bytes.

    >>> values(Entry(RATIONAL, 1, struct.pack("<II", 1, 4)), Layout())
    (0.25,)
    """
    if not isinstance(entry, Entry):
        raise TypeError("a directory has no value")
    code = _CODES[entry.type]
    if code == "s":
        return (entry.data,)
    numbers = struct.unpack(f"{how.order}{entry.count * len(code)}{code[0]}", entry.data)
    if len(code) == 1:
        return numbers
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(above / below if below else float("nan") for above, below in pairs)


def pack(what: Tree, how: Layout, at: int) -> bytes:
    """Return the bytes of a directory tree that will lie at offset ``at``: the inverse of `tree`.

    >>> how = Layout("<")
    >>> block = how.header(8) + pack({274: how.make(SHORT, 6), EXIF: {34855: how.make(SHORT, 100)}}, how, 8)
    >>> values(tree(block, how, 8)[EXIF][34855], how)
    (100,)
    """
    size = how.offset.size
    body, tail = bytearray(how.count.pack(len(what))), bytearray()
    end = at + how.count.size + len(what) * (how.entry.size + size) + size
    for tag, item in sorted(what.items()):
        kind, count = (LONG8 if how.is_big else LONG, 1)
        if isinstance(item, Entry):
            kind, count, data = item.type, item.count, item.data
        else:
            place = end + len(tail)
            tail += pack(item, how, place)
            data = how.offset.pack(place)
        if len(data) > size:
            place = end + len(tail)
            tail += data + b"\0" * (len(data) % 2)
            data = how.offset.pack(place)
        body += how.entry.pack(tag, kind, count) + data.ljust(size, b"\0")
    return bytes(body + how.offset.pack(0) + tail)
