"""What an EXIF block says about a picture, and the block with another orientation."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

from restore.files import ifd
from restore.picture import Meta

MAKE, MODEL, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT = 271, 272, 274, 282, 283, 296
_EXPOSURE, _ISO = 33434, 34855
_INCHES = {2: 1.0, 3: 2.54}


def exif_body(block: bytes | None) -> bytes | None:
    r"""Return an EXIF block that starts with its TIFF header, or None when there is none.

    >>> exif_body(b"Exif\0\0II*\0")
    b'II*\x00'
    """
    body = (block or b"").removeprefix(b"Exif\0\0")
    return body or None


def exif_tree(exif: bytes | None) -> tuple[ifd.Tree, ifd.Layout]:
    """Return the tags of an EXIF block and its byte order; nothing for a missing or damaged one."""
    try:
        how, first = ifd.layout(exif or b"")
        return ifd.tree(exif or b"", how, first), how
    except (ValueError, struct.error):
        return {}, ifd.Layout()


def meta_from(
    source: Path,
    container: str,
    exif: bytes | None,
    *,
    bits: int = 8,
    is_float: bool = False,
    dpi: tuple[float, float] | None = None,
    icc: bytes | None = None,
    xmp: bytes | None = None,
    extra: dict[str, Any] | None = None,
) -> Meta:
    """Return the record of a file: what its container says, completed by what its EXIF block says."""
    exif = exif_body(exif)
    tags, how = exif_tree(exif)
    photo = tags.get(ifd.EXIF)
    shot = tags | photo if isinstance(photo, dict) else tags
    return Meta(
        source=source,
        format=container,
        bits=bits,
        is_float=is_float,
        iso=_number(shot, _ISO, how),
        exposure_s=_number(shot, _EXPOSURE, how),
        camera=_camera(tags, how),
        orientation=orientation(tags, how),
        dpi=dpi or resolution(tags, how),
        icc=icc or None,
        exif=exif,
        xmp=xmp or None,
        extra=extra or {},
    )


def orientation(tags: ifd.Tree, how: ifd.Layout) -> int:
    """Return the orientation 1...8; a missing or impossible one counts as 1."""
    found = _number(tags, ORIENTATION, how)
    return int(found) if found is not None and found in range(1, 9) else 1


def resolution(tags: ifd.Tree, how: ifd.Layout) -> tuple[float, float] | None:
    """Return horizontal and vertical pixels per inch, or None when unknown or without a unit."""
    inch = _INCHES.get(int(_number(tags, UNIT, how) or 2))
    across, down = _number(tags, X_RESOLUTION, how), _number(tags, Y_RESOLUTION, how)
    return (across * inch, down * inch) if inch and across and down else None


def resolution_tags(dpi: tuple[float, float] | None, how: ifd.Layout) -> ifd.Tree:
    """Return the three tags that state a resolution in pixels per inch."""
    if dpi is None:
        return {}
    across, down = (Fraction(value).limit_denominator(10_000) for value in dpi)
    return {
        X_RESOLUTION: how.make(ifd.RATIONAL, across.numerator, across.denominator),
        Y_RESOLUTION: how.make(ifd.RATIONAL, down.numerator, down.denominator),
        UNIT: how.make(ifd.SHORT, 2),
    }


def exif_with_orientation(exif: bytes | None, turn: int) -> bytes | None:
    """Return the block saying ``turn``; every other byte keeps its place, so maker notes stay readable.

    >>> block = exif_with_orientation(None, 6)
    >>> orientation(*exif_tree(block)), exif_with_orientation(block, 6) == block
    (6, True)
    >>> orientation(*exif_tree(exif_with_orientation(block, 1)))
    1
    """
    tags, how = exif_tree(exif)
    if exif is not None and tags and orientation(tags, how) == turn:
        return exif
    known = tags.get(ORIENTATION)
    if exif is not None and isinstance(known, ifd.Entry) and known.type in (ifd.SHORT, ifd.LONG):
        value = how.make(known.type, turn).data
        return exif[: known.place] + value + exif[known.place + len(value) :]
    if turn == 1:
        return exif
    if exif is None or not tags:
        return how.header(8) + ifd.pack({ORIENTATION: how.make(ifd.SHORT, turn)}, how, 8)
    return _with_entry(exif, how, ORIENTATION, how.make(ifd.SHORT, turn))


def _with_entry(exif: bytes, how: ifd.Layout, tag: int, entry: ifd.Entry) -> bytes:
    """Append a copy of the first directory that has one more entry and point the header at it."""
    at = ifd.layout(exif)[1]
    size = how.entry.size + how.offset.size
    start = at + how.count.size
    end = start + how.count.unpack_from(exif, at)[0] * size
    rows = [exif[place : place + size] for place in range(start, end, size)]
    rows = [row for row in rows if struct.unpack_from(how.order + "H", row)[0] != tag]
    rows.append(how.entry.pack(tag, entry.type, entry.count) + entry.data.ljust(how.offset.size, b"\0"))
    rows.sort(key=lambda row: int(struct.unpack_from(how.order + "H", row)[0]))
    body = exif + b"\0" * (len(exif) % 2)
    header = how.header(len(body))
    following = exif[end : end + how.offset.size]
    return header + body[len(header) :] + how.count.pack(len(rows)) + b"".join(rows) + following


def _number(tags: ifd.Tree, tag: int, how: ifd.Layout) -> float | None:
    """Return a tag's first value if it is a positive finite number."""
    entry = tags.get(tag)
    if not isinstance(entry, ifd.Entry):
        return None
    value = ifd.values(entry, how)[0]
    usable = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return float(value) if usable else None


def _camera(tags: ifd.Tree, how: ifd.Layout) -> str | None:
    """Return "maker model", the maker once."""
    words = []
    for tag in (MAKE, MODEL):
        entry = tags.get(tag)
        value = ifd.values(entry, how)[0] if isinstance(entry, ifd.Entry) else b""
        text = value.split(b"\0")[0].decode("latin-1").strip() if isinstance(value, bytes) else ""
        words.append(text)
    make, model = words
    return (model if make and model.startswith(make) else f"{make} {model}".strip()) or None
