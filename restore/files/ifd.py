"""Directories of tags, what TIFF, raw and DNG files and EXIF blocks are made of: parse them and pack them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from restore.files.pieces import Pieces

Buffer = bytes | Pieces
Entries = dict[int, "Entry"]
"""Tags of one directory as they stand in it."""
Tree = dict[int, "Entry | Tree"]
"""Tags of one directory; a sub-directory (EXIF, GPS, interoperability) stands under its pointer's tag."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE, LONG8 = 1, 2, 3, 4, 5, 7, 10, 12, 16
_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_CODES |= {5: "II", 10: "ii", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _CODES.items()}

SUBFILE, WIDTH, HEIGHT, BITS, CODEC, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
MAKE, MODEL, PLACES, ORIENTATION, SAMPLES, ROWS, LENGTHS = 271, 272, 273, 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANAR, UNIT, SOFTWARE, PREDICTOR = 282, 283, 284, 296, 305, 317
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, ICC = 330, 338, 339, 700, 34675
EXIF, GPS, INTEROP, MAKER_NOTE = 34665, 34853, 40965, 37500
EXPOSURE, ISO, EXIF_VERSION, LENS_LIMITS, LENS = 33434, 34855, 36864, 42034, 42036
DNG_VERSION, BLACK_REPEAT, BLACK, ACTIVE_AREA, NOISE_PROFILE = 50706, 50713, 50714, 50829, 51041

_VERSIONS = {42, 43, 0x55, 0x4F52, 0x5352}
"""TIFF, BigTIFF, and the raw files of Panasonic and Olympus, which are TIFF but for this number."""
_MOST_DIRECTORIES = 64
_LARGEST = (1 << 31) - 1


@dataclass(frozen=True)
class Entry:
    """One tag's value: field type, bytes in little-endian order, and where they lay in the file."""

    type: int
    data: bytes
    place: int = field(default=0, compare=False)

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.data) // _SIZES[self.type]


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

    def row(self, tag: int, kind: int, count: int, value: bytes) -> bytes:
        """Return a directory's row; ``value`` is the value as stored, or its offset."""
        return self.entry.pack(tag, kind, count) + value.ljust(self.offset.size, b"\0")

    def turned(self, kind: int, data: bytes) -> bytes:
        r"""Turn values of a type from little-endian into this byte order, or back.

        >>> Layout(">").turned(SHORT, b"\1\2\3\4")
        b'\x02\x01\x04\x03'
        """
        width = struct.calcsize("<" + _CODES[kind][0])
        return data if self.order == "<" else np.frombuffer(data, f"u{width}").byteswap().tobytes()


def layout(buffer: Buffer) -> tuple[Layout, int]:
    """Return the layout and the offset of the first directory.

    Raises
    ------
    ValueError
        There is no TIFF header.
    """
    order = {b"II": "<", b"MM": ">"}.get(buffer[:2])
    if order is None or len(buffer) < 8:
        raise ValueError("no TIFF header")
    head = buffer[:16]
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version not in _VERSIONS or (version == 43 and len(head) < 16):
        raise ValueError(f"no TIFF header (version {version})")
    found = Layout(order, is_big=version == 43)
    return found, found.offset.unpack_from(head, 8 if found.is_big else 4)[0]


def directory(buffer: Buffer, how: Layout, at: int, *, is_strict: bool = False) -> tuple[Entries, int]:
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
    number = how.count.unpack(buffer[at:start])[0]
    end = start + number * size
    if number > 65535 or end + how.offset.size > len(buffer):
        raise ValueError("a directory is cut off")
    found, block = {}, buffer[start : end + how.offset.size]
    for place in range(start, end, size):
        tag, kind, count = how.entry.unpack_from(block, place - start)
        length = count * _SIZES.get(kind, 0)
        value = place + how.entry.size
        if length > how.offset.size:
            value = how.offset.unpack_from(block, value - start)[0]
        if is_strict and value + length > len(buffer):
            raise ValueError(f"the value of tag {tag} is cut off")
        if length and value + length <= len(buffer):
            found[tag] = Entry(kind, how.turned(kind, buffer[value : value + length]), value)
    return found, how.offset.unpack_from(block, end - start)[0]


def directories(buffer: Buffer) -> Iterator[Entries]:
    """Give a file's first directory, then its chain and sub-directories; damaged ones are left out."""
    try:
        how, first = layout(buffer)
    except ValueError:
        return
    waiting, seen = [first], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        try:
            tags, following = directory(buffer, how, at)
        except ValueError:
            continue
        yield tags
        waiting += [following, *integers(tags, SUB_IFDS)]


def tree(buffer: Buffer, how: Layout, at: int) -> Tree:
    """Return a directory with its EXIF, GPS and interoperability directories; damaged ones are left out.

    Raises
    ------
    ValueError
        The directory itself lies outside.
    """
    return _branch(buffer, how, at, (EXIF, GPS, INTEROP))


def _branch(buffer: Buffer, how: Layout, at: int, pointers: tuple[int, ...]) -> Tree:
    found: Tree = dict(directory(buffer, how, at)[0])
    for tag in set(pointers) & set(found):
        inner = tuple(pointer for pointer in pointers if pointer != tag)
        try:
            found[tag] = _branch(buffer, how, (*integers(found, tag), 0)[0], inner)
        except ValueError:
            del found[tag]
    return found


def branch(tags: Tree, tag: int) -> Tree:
    """Return a copy of the sub-directory under a tag, empty if there is none."""
    item = tags.get(tag)
    return dict(item) if isinstance(item, dict) else {}


def numbers(tags: Mapping[int, Entry | Tree], tag: int) -> tuple[float, ...]:
    r"""Return a tag's numbers: fractions as quotients, 0 for n/0; none if it is absent or not numeric.

    >>> numbers({282: Entry(RATIONAL, b"\x01\0\0\0\x04\0\0\0")}, 282), numbers({}, 282)
    ((0.25,), ())
    """
    item = tags.get(tag)
    if not isinstance(item, Entry) or _CODES[item.type] == "s":
        return ()
    code = _CODES[item.type]
    found = struct.unpack(f"<{item.count * len(code)}{code[0]}", item.data)
    if len(code) == 1:
        return found
    return tuple(above / below if below else 0.0 for above, below in zip(found[::2], found[1::2], strict=True))


def integers(tags: Mapping[int, Entry | Tree], tag: int) -> tuple[int, ...]:
    """Return those of a tag's numbers that are stored as integers."""
    return tuple(number for number in numbers(tags, tag) if isinstance(number, int))


def text(tags: Mapping[int, Entry | Tree], tag: int) -> str:
    """Return a tag's text without its end mark and surrounding blanks, empty if it is absent or a number."""
    item = tags.get(tag)
    if not isinstance(item, Entry) or _CODES[item.type] != "s":
        return ""
    return item.data.split(b"\0")[0].decode("latin-1").strip()


def make(kind: int, *values: float) -> Entry:
    r"""Return an entry of numbers (numerator and denominator in turn for rationals).

    >>> make(SHORT, 1, 258).data
    b'\x01\x00\x02\x01'
    """
    return Entry(kind, struct.pack(f"<{len(values)}{_CODES[kind][0]}", *values))


def rational(*values: float, signed: bool = False) -> Entry:
    """Return an entry of fractions, each the nearest with a denominator up to a million that fits.

    >>> numbers({282: rational(0.5, 1 / 3, 16383.123456)}, 282)
    (0.5, 0.3333333333333333, 16383.123456)
    """
    limits = (min(1_000_000, _LARGEST // max(1, math.ceil(abs(value)))) for value in values)
    parts = (Fraction(value).limit_denominator(max(1, limit)) for value, limit in zip(values, limits, strict=True))
    flat = [number for part in parts for number in part.as_integer_ratio()]
    return make(SRATIONAL if signed else RATIONAL, *flat)


def ascii_text(words: str) -> Entry:
    r"""Return an entry of text.

    >>> ascii_text("EOS").data
    b'EOS\x00'
    """
    return Entry(ASCII, words.encode("ascii", "replace") + b"\0")


def pack(what: Mapping[int, Entry | Tree], how: Layout, at: int) -> bytes:
    """Return the bytes of a directory tree that will lie at offset ``at``: the inverse of `tree`.

    >>> how = Layout(">")
    >>> block = how.header(8) + pack({274: make(SHORT, 6), EXIF: {34855: make(SHORT, 100)}}, how, 8)
    >>> numbers(tree(block, how, 8)[EXIF], 34855)
    (100,)
    """
    size = how.offset.size
    body, tail = bytearray(how.count.pack(len(what))), bytearray()
    end = at + how.count.size + len(what) * (how.entry.size + size) + size
    for tag, item in sorted(what.items()):
        kind, count, place = (LONG8 if how.is_big else LONG), 1, end + len(tail)
        if isinstance(item, Entry):
            kind, count, data = item.type, item.count, how.turned(item.type, item.data)
            if len(data) > size:
                tail += data + b"\0" * (len(data) % 2)
                data = how.offset.pack(place)
        else:
            tail += pack(item, how, place)
            data = how.offset.pack(place)
        body += how.row(tag, kind, count, data)
    return bytes(body + how.offset.pack(0) + tail)


def block(tags: Mapping[int, Entry | Tree], order: str = "<") -> bytes:
    """Return a whole TIFF block: header and directory tree."""
    how = Layout(order)
    return how.header(8) + pack(tags, how, 8)
