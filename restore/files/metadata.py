"""What an EXIF block says about a picture, and the block with another orientation."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from restore.files import ifd
from restore.files.pieces import Whole
from restore.picture import Meta

FINEST = 5e7
"""Pixels per inch, of half a nanometre: finer resolutions are faults of a file."""

_BOX = struct.Struct(">HH")
_SRGB_PRIMARIES, _SRGB_CURVES = {1, 2}, {1, 2, 6, 13}
"""Code points of ITU-T H.273: those of sRGB, those that say nothing, and BT.709's curve, which is shown as sRGB's."""
_GAMUTS, _CURVES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}, {8: "linear", 16: "PQ", 18: "HLG"}
_INCHES = {2: 1.0, 3: 2.54}
_COLOUR_SPACE, _PIXELS_ACROSS, _PIXELS_DOWN, _SRGB = 40961, 40962, 40963, 1
_WIDE_ISO, _FULL = (34866, 34867, 34865), 65535
"""Recommended exposure index, ISO speed and standard output sensitivity."""
_BODY_SERIAL, _DNG_SERIAL = 42033, 50735
_OF_SENSITIVITY = range(34864, 34870)
_RAW_SETTINGS = b"http://ns.adobe.com/camera-raw-settings/1.0/"
_DESCRIPTION = {270, ifd.MAKE, ifd.MODEL, ifd.ORIENTATION, ifd.SOFTWARE, 306, 315, 33432, 18246, 18249}
_DESCRIPTION |= {*range(40091, 40096)}
"""Also description, date, artist, copyright, ratings, and what Windows' own program notes."""
_TIFF_EP = {ifd.EXPOSURE, 33437, 34850, ifd.ISO, 36867, 36868, *range(37377, 37397)}
"""EXIF tags that TIFF/EP files keep in their first directory."""


def exif_body(block: bytes | None) -> bytes | None:
    r"""Return an EXIF block that starts with its TIFF header, or None when there is none.

    >>> exif_body(b"Exif\0\0II*\0")
    b'II*\x00'
    """
    body = (block or b"").removeprefix(b"Exif\0\0")
    return body or None


def foreign_colours(primaries: int, curve: int) -> tuple[str, ...]:
    """Say in a phrase, if so, that colours given by code points (ITU-T H.273) are not those of sRGB.

    >>> foreign_colours(9, 16), foreign_colours(1, 13)
    (('what its colours mean (BT.2020, PQ)',), ())
    """
    words = [] if primaries in _SRGB_PRIMARIES else [_GAMUTS.get(primaries, f"primaries {primaries}")]
    words += [] if curve in _SRGB_CURVES else [_CURVES.get(curve, f"transfer {curve}")]
    return (f"what its colours mean ({', '.join(words)})",) if words else ()


def boxed_colours(view: Whole, icc: bytes | None) -> tuple[str, ...]:
    """Say the same of an AVIF or HEIC that has no profile, by its colour box."""
    found = bytes(view[: 1 << 16]).partition(b"colrnclx")[2]
    return () if icc or len(found) < _BOX.size else foreign_colours(*_BOX.unpack_from(found))


def exif_tree(exif: ifd.Buffer | None) -> tuple[ifd.Tree, ifd.Layout]:
    """Return the tags of an EXIF block and its byte order; nothing for a missing or damaged one."""
    try:
        how, first = ifd.layout(exif or b"")
        return ifd.tree(exif or b"", how, first), how
    except ValueError:
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
    tags, _ = exif_tree(exif)
    shot = tags | ifd.branch(tags, ifd.EXIF)
    return Meta(
        source=source,
        format=container,
        bits=bits,
        is_float=is_float,
        iso=_iso(shot),
        exposure_s=_number(shot, ifd.EXPOSURE),
        camera=_camera(tags),
        orientation=orientation(tags),
        dpi=_plausible(dpi) or _plausible(resolution(tags)),
        icc=icc or None,
        exif=exif,
        xmp=xmp or None,
        extra=extra or {},
    )


def _plausible(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return pixels per inch that every format can hold; None for those of a damaged file.

    >>> _plausible((300.0, 300.0)), _plausible((1e300, 300.0))
    ((300.0, 300.0), None)
    """
    return dpi if dpi and min(dpi) > 0 and max(dpi) <= FINEST else None


def orientation(tags: ifd.Tree) -> int:
    """Return the orientation 1...8; a missing or impossible one counts as 1."""
    found = _number(tags, ifd.ORIENTATION)
    return int(found) if found is not None and found in range(1, 9) else 1


def resolution(tags: ifd.Tree) -> tuple[float, float] | None:
    """Return horizontal and vertical pixels per inch, or None when unknown or without a unit."""
    inch = _INCHES.get(int(_number(tags, ifd.UNIT) or 2))
    across, down = _number(tags, ifd.X_RESOLUTION), _number(tags, ifd.Y_RESOLUTION)
    return (across * inch, down * inch) if inch and across and down else None


def resolution_tags(dpi: tuple[float, float] | None) -> ifd.Entries:
    """Return the three tags that state a resolution in pixels per inch."""
    if dpi is None:
        return {}
    across, down = map(ifd.rational, dpi)
    return {ifd.X_RESOLUTION: across, ifd.Y_RESOLUTION: down, ifd.UNIT: ifd.make(ifd.SHORT, 2)}


def described(tags: ifd.Tree) -> ifd.Tree:
    """Return the tags of a raw file or EXIF block about the photograph: description, EXIF and GPS.

    Maker notes and the interoperability directory hold offsets of their old place and are left out.
    """
    found = {tag: item for tag, item in tags.items() if tag in _DESCRIPTION | {ifd.GPS}}
    photo = {tag: item for tag, item in tags.items() if tag in _TIFF_EP} | ifd.branch(tags, ifd.EXIF)
    photo = {tag: item for tag, item in photo.items() if tag not in (ifd.MAKER_NOTE, ifd.INTEROP)}
    return found | ({ifd.EXIF: photo} if photo else {})


def as_developed(meta: Meta, size: tuple[int, int]) -> Meta:
    """Return the record of a raw's sRGB picture of ``size`` (height, width), without what was true of the raw alone.

    EXIF says the size and sRGB where it said another size or colour space, which was to be the camera's JPEG's; and no
    raw converter takes the raw's settings in XMP for those of the picture, as their namespace gets another name.
    """
    tags, how = exif_tree(meta.exif)
    photo = ifd.branch(tags, ifd.EXIF)
    height, width = size
    true = {_COLOUR_SPACE: ifd.make(ifd.SHORT, _SRGB)}
    true |= {_PIXELS_ACROSS: ifd.make(ifd.LONG, width), _PIXELS_DOWN: ifd.make(ifd.LONG, height)}
    photo |= {tag: true[tag] for tag in true.keys() & photo.keys()}
    exif = ifd.block(tags | {ifd.EXIF: photo}, how.order) if photo else meta.exif
    xmp = meta.xmp and meta.xmp.replace(_RAW_SETTINGS, _RAW_SETTINGS.replace(b"1.0", b"raw"))
    return replace(meta, exif=exif, xmp=xmp)


def exif_with_orientation(exif: bytes | None, turn: int) -> bytes | None:
    """Return the block saying ``turn``; every other byte keeps its place, so maker notes stay readable.

    >>> block = exif_with_orientation(None, 6)
    >>> orientation(exif_tree(block)[0]), exif_with_orientation(block, 6) == block
    (6, True)
    >>> orientation(exif_tree(exif_with_orientation(block, 1))[0])
    1
    """
    tags, how = exif_tree(exif)
    if exif is not None and tags and orientation(tags) == turn:
        return exif
    known = tags.get(ifd.ORIENTATION)
    if exif is not None and isinstance(known, ifd.Entry) and known.type in (ifd.SHORT, ifd.LONG):
        value = how.turned(known.type, ifd.make(known.type, turn).data)
        return exif[: known.place] + value + exif[known.place + len(value) :]
    if turn == 1 and known is None:
        return exif
    if exif is None or not tags:
        return ifd.block({ifd.ORIENTATION: ifd.make(ifd.SHORT, turn)}, how.order)
    return _with_entry(exif, how, ifd.ORIENTATION, ifd.make(ifd.SHORT, turn))


def exif_without_thumbnail(exif: bytes | None) -> bytes | None:
    """Return the block whose first directory is its last: the second tells where a thumbnail of the old picture lies.

    Every other byte keeps its place, so maker notes stay readable.
    """
    tags, how = exif_tree(exif)
    if exif is None or not tags:
        return exif
    _, end = _first_rows(exif, how)
    return exif[:end] + bytes(how.offset.size) + exif[end + how.offset.size :]


def _first_rows(exif: bytes, how: ifd.Layout) -> tuple[int, int]:
    """Return where the rows of the first directory begin and end; the offset of the next directory follows."""
    at = ifd.layout(exif)[1]
    start = at + how.count.size
    return start, start + how.count.unpack_from(exif, at)[0] * (how.entry.size + how.offset.size)


def _with_entry(exif: bytes, how: ifd.Layout, tag: int, entry: ifd.Entry) -> bytes:
    """Append a copy of the first directory that has one more entry and point the header at it."""
    size = how.entry.size + how.offset.size
    start, end = _first_rows(exif, how)
    rows = [exif[place : place + size] for place in range(start, end, size)]
    rows = [row for row in rows if struct.unpack_from(how.order + "H", row)[0] != tag]
    rows.append(how.row(tag, entry.type, entry.count, how.turned(entry.type, entry.data)))
    rows.sort(key=lambda row: int(struct.unpack_from(how.order + "H", row)[0]))
    body = exif + b"\0" * (len(exif) % 2)
    header = how.header(len(body))
    following = exif[end : end + how.offset.size]
    return header + body[len(header) :] + how.count.pack(len(rows)) + b"".join(rows) + following


def _number(tags: ifd.Tree, tag: int) -> float | None:
    """Return a tag's first value if it is a positive finite number."""
    value = (*ifd.numbers(tags, tag), 0.0)[0]
    return float(value) if math.isfinite(value) and value > 0 else None


def _iso(shot: ifd.Tree) -> float | None:
    """Return the ISO speed: from the wider fields where the usual one, of two bytes, is at its end."""
    iso = _number(shot, ifd.ISO)
    wide = (_number(shot, tag) for tag in _WIDE_ISO)
    return iso if iso != _FULL else next(filter(None, wide), iso)


def with_iso(photo: ifd.Tree, iso: float) -> ifd.Tree:
    """Return the tags of EXIF with another ISO speed: where two bytes do not hold it, in the wide field too.

    >>> _iso(with_iso({}, 102400)), _iso(with_iso(with_iso({}, 102400), 200))
    (102400.0, 200.0)
    """
    kept: ifd.Tree = {tag: entry for tag, entry in photo.items() if tag not in _OF_SENSITIVITY}
    kept[ifd.ISO] = ifd.make(ifd.SHORT, min(round(iso), _FULL))
    if round(iso) >= _FULL:
        kept |= {34864: ifd.make(ifd.SHORT, 3), 34867: ifd.make(ifd.LONG, min(round(iso), 2**32 - 1))}  # an ISO speed
    return kept


def body_of(meta: Meta) -> str:
    """Return a hash of the serial number of a camera's body, empty where the file does not say it."""
    record = meta.extra.get("sensor")
    serial = ifd.text(ifd.branch(exif_tree(meta.exif)[0], ifd.EXIF), _BODY_SERIAL)
    serial = serial or (ifd.text(record.tags, _DNG_SERIAL) if record else "")
    return hashlib.sha256(serial.encode()).hexdigest()[:16] if serial else ""


def _camera(tags: ifd.Tree) -> str | None:
    """Return "maker model", the maker once."""
    make, model = ifd.text(tags, ifd.MAKE), ifd.text(tags, ifd.MODEL)
    return (model if model.startswith(make.split(" ")[0]) else f"{make} {model}").strip() or None
