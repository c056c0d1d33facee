"""Directories of TIFF tags, byte for byte: what raw files, DNG and EXIF blocks are made of."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import BinaryIO

import numpy as np

Tags = dict[int, tuple[int, bytes]]
"""Tag code -> (TIFF type, values in little-endian order)."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
_ITEMS = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    5: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    10: "i",
    11: "f",
    12: "d",
    13: "I",
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

SUB_IFDS, EXIF_IFD, GPS_IFD = 330, 34665, 34853
_MAKER_NOTE, _INTEROP = 37500, 40965
_DESCRIPTION = (270, 271, 272, 274, 305, 306, 315, 33432)
"""Description, maker, model, orientation, software, date, artist, copyright."""
_PHOTO_TAGS = (33434, 33437, 34850, 34855, 36867, 36868, *range(37377, 37397))
"""EXIF tags that TIFF/EP files keep in their first directory."""
_MOST_DIRECTORIES = 64


def ascii_tag(text: str) -> tuple[int, bytes]:
    r"""Tag of a text.

    >>> ascii_tag("EOS")
    (2, b'EOS\x00')
    """
    return ASCII, text.encode("ascii", "replace") + b"\0"


def tag(kind: int, *values: int) -> tuple[int, bytes]:
    r"""Tag of BYTE, SHORT or LONG values.

    >>> tag(SHORT, 1, 258)
    (3, b'\x01\x00\x02\x01')
    """
    return kind, struct.pack(f"<{len(values)}{_ITEMS[kind]}", *values)


def rational(*values: float, signed: bool = False) -> tuple[int, bytes]:
    """Tag of fractions, each the nearest with a denominator up to a million.

    >>> numbers(rational(0.5, 1 / 3))
    (0.5, 0.3333333333333333)
    """
    parts = [Fraction(value).limit_denominator(1_000_000).as_integer_ratio() for value in values]
    flat = [number for part in parts for number in part]
    kind = SRATIONAL if signed else RATIONAL
    return kind, struct.pack(f"<{len(flat)}{_ITEMS[kind]}", *flat)


def numbers(entry: tuple[int, bytes]) -> tuple[float, ...]:
    r"""Values of a numeric tag; a fraction n/0 reads as 0.

    >>> numbers((RATIONAL, b"\x01\0\0\0\x3c\0\0\0"))[0] == 1 / 60
    True
    """
    kind, data = entry
    items = np.frombuffer(data, "<" + _ITEMS[kind]).tolist()
    if kind in (RATIONAL, SRATIONAL):
        return tuple(top / bottom if bottom else 0.0 for top, bottom in zip(items[::2], items[1::2], strict=True))
    return tuple(items)


def text(tags: Tags, code: int) -> str:
    """Text of a tag without its end mark and surrounding blanks, empty if absent."""
    return tags.get(code, (ASCII, b""))[1].split(b"\0")[0].decode("latin-1").strip()


def read_ifd(file: BinaryIO, offset: int, order: str) -> tuple[Tags, int]:
    """Read one directory: its tags and the offset of the next (0 = last).

    Entries of unknown type and entries that point outside the file are left out; a directory that is itself
    outside is empty.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(offset)
    head = file.read(2)
    count = struct.unpack(order + "H", head)[0] if len(head) == 2 else 0
    table = file.read(12 * count + 4)
    tags: Tags = {}
    for start in range(0, min(len(table) // 12, count) * 12, 12):
        code, kind, items, where = struct.unpack(order + "HHII", table[start : start + 12])
        if kind not in _SIZES:
            continue
        size = items * _SIZES[kind]
        data = table[start + 8 : start + 8 + size]
        if size > 4:
            file.seek(where)
            data = file.read(size) if size <= length else b""
        if len(data) == size:
            item = _ITEMS[kind]
            tags[code] = kind, np.frombuffer(data, order + item).astype("<" + item).tobytes()
    after = table[12 * count :]
    return tags, struct.unpack(order + "I", after)[0] if len(after) == 4 else 0


def read_ifds(file: BinaryIO) -> list[Tags]:
    """Read every directory of a TIFF-like file, the first one first, then its chain and sub-directories.

    TIFF itself and the raw formats that only changed its magic number are understood; anything else gives
    ``[]``.
    """
    file.seek(0)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or head[2:4] in (b"+\0", b"\0+"):
        return []
    waiting, seen, found = [struct.unpack(order + "I", head[4:])[0]], set[int](), list[Tags]()
    while waiting and len(found) < _MOST_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen or offset == 0:
            continue
        seen.add(offset)
        tags, after = read_ifd(file, offset, order)
        found.append(tags)
        waiting += [after, *(int(sub) for sub in numbers(tags.get(SUB_IFDS, (LONG, b""))))]
    return found


def read_child(file: BinaryIO, tags: Tags, code: int) -> Tags:
    """Read the directory that a pointer tag (`EXIF_IFD`, `GPS_IFD`) names; empty if there is none."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    return read_ifd(file, int(numbers(tags[code])[0]), order)[0] if code in tags else {}


def pack_ifd(tags: Tags, offset: int) -> bytes:
    """Serialise a directory that will stand at ``offset``, its values behind it; the length is even.

    >>> pack_ifd({274: tag(SHORT, 6)}, 8).hex(" ", 2)
    '0100 1201 0300 0100 0000 0600 0000 0000 0000'
    """
    table, values = struct.pack("<H", len(tags)), b""
    behind = offset + 2 + 12 * len(tags) + 4
    for code, (kind, data) in sorted(tags.items()):
        table += struct.pack("<HHI", code, kind, len(data) // _SIZES[kind])
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack("<I", behind + len(values))
            values += data + b"\0" * (len(data) % 2)
    return table + b"\0" * 4 + values


def pack_exif(ifds: Sequence[Tags]) -> bytes:
    """Serialise a first directory and, where not empty, its EXIF and GPS directories as a TIFF block."""
    first = dict(ifds[0])
    children = [(code, tags) for code, tags in zip((EXIF_IFD, GPS_IFD), ifds[1:], strict=False) if tags]
    first.update({code: tag(LONG, 0) for code, _ in children})
    offset, blocks = 8 + len(pack_ifd(first, 8)), b""
    for code, tags in children:
        first[code] = tag(LONG, offset + len(blocks))
        blocks += pack_ifd(tags, offset + len(blocks))
    return b"II*\0\x08\0\0\0" + pack_ifd(first, 8) + blocks


def read_exif(block: bytes | None) -> tuple[Tags, Tags, Tags]:
    """Read the description, EXIF and GPS tags of an EXIF block or of the start of a TIFF-like file.

    Maker notes and the interoperability directory hold offsets of their old place and are left out.
    """
    return describe(io.BytesIO(block or b""))


def describe(file: BinaryIO) -> tuple[Tags, Tags, Tags]:
    """Collect description, EXIF and GPS tags of a TIFF-like file or a Canon CR3; see `read_exif`."""
    file.seek(0)
    if file.read(12)[4:] == b"ftypcrx ":
        return _describe_cr3(file)
    ifds = read_ifds(file)
    if not ifds:
        return {}, {}, {}
    first = ifds[0]
    exif = {code: entry for code, entry in first.items() if code in _PHOTO_TAGS}
    exif |= read_child(file, first, EXIF_IFD)
    gps = read_child(file, first, GPS_IFD)
    kept = {code: entry for code, entry in exif.items() if code not in (_MAKER_NOTE, _INTEROP)}
    return {code: entry for code, entry in first.items() if code in _DESCRIPTION}, kept, gps


def _describe_cr3(file: BinaryIO) -> tuple[Tags, Tags, Tags]:
    """Collect the same of a CR3: three boxes near its beginning, each a TIFF block of one directory."""
    file.seek(0)
    data = file.read(1 << 16)
    blocks = [data[data.find(name) + 4 :] if name in data else b"" for name in (b"CMT1", b"CMT2", b"CMT4")]
    about, photo, gps = ((read_ifds(io.BytesIO(block)) or [{}])[0] for block in blocks)
    kept = {code: entry for code, entry in photo.items() if code not in (_MAKER_NOTE, _INTEROP)}
    return {code: entry for code, entry in about.items() if code in _DESCRIPTION}, kept, gps
