"""Corrections that a DNG asks for in its opcode lists: the gain maps, which are applied, and what else there is."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from restore.files import ifd
from restore.gain_map import GainMap

LISTS = {51008, 51009, 51022}
"""Tags of what is to be done to the sensor's values as stored, to the linear mosaic, and to the colours."""

_AS_STORED, _OF_MOSAIC, _TABLE = 51008, 51009, 50712
_MARKED_BAD, _GAIN_MAP = 4, 9
_HEADER = struct.Struct(">10I4dI")
_MOST_POINTS, _MOST_MAPS = 512, 64


def corrections(tags: ifd.Entries, top: int, left: int) -> tuple[tuple[GainMap, ...], tuple[str, ...]]:
    """Return the gain maps of a mosaic, and what else is asked for, in phrases.

    Maps count from the active area; those returned from the visible one, which begins at row ``top`` and column
    ``left`` of the sensor.
    """
    area, maps, others = _area(tags), list[GainMap](), set[int]()
    for place in LISTS & tags.keys():
        for code, _, data in _opcodes(tags[place].data):
            found = _gain_map(data, area, top, left) if (place, code) == (_OF_MOSAIC, _GAIN_MAP) else None
            if found and len(maps) < _MOST_MAPS:
                maps.append(found)
            else:
                others.add(code)
    codes = ", ".join(map(str, sorted(others)[:10]))
    return tuple(maps), ((f"corrections of lens or sensor that the DNG asks for (opcodes {codes})",) if codes else ())


def marks_of_bad(tags: ifd.Entries) -> tuple[int, ...]:
    """Return the values in DN, as a linearisation table makes them, of pixels that readers are to repair."""
    stored = _opcodes(tags[_AS_STORED].data) if _AS_STORED in tags else ()
    return tuple(_linear(tags, data) for code, _, data in stored if code == _MARKED_BAD and len(data) >= 4)


def fitted(tags: ifd.Entries, corners: tuple[int, ...]) -> tuple[ifd.Entries, tuple[int, ...]]:
    """Return a DNG's lists as they are true of linear values in an area of the sensor, and numbers of opcodes left out.

    Gain maps are counted from the area's first site, and constants are as the table makes them that is used up. What
    else counts from an area that is now another one is left out.

    Parameters
    ----------
    corners
        Top, left, bottom, right of the area that is written as active.
    """
    area, lists, lost = _area(tags), ifd.Entries(), set[int]()
    for place in LISTS & tags.keys():
        if _TABLE not in tags if place == _AS_STORED else area == corners:
            lists[place] = tags[place]
            continue
        parts = list[bytes]()
        for code, head, data in _opcodes(tags[place].data):
            if place == _AS_STORED:
                is_mark = code == _MARKED_BAD and len(data) >= 4
                parts.append(head + (struct.pack(">I", _linear(tags, data)) + data[4:] if is_mark else data))
            elif code == _GAIN_MAP and len(data) >= _HEADER.size and min(_HEADER.unpack_from(data)[6:8]) > 0:
                parts.append(head + _moved(data, area, corners))
            else:
                lost.add(code)
        if parts:
            lists[place] = ifd.Entry(ifd.UNDEFINED, struct.pack(">I", len(parts)) + b"".join(parts))
    return lists, tuple(sorted(lost))


def _moved(data: bytes, old: tuple[int, ...], new: tuple[int, ...]) -> bytes:
    """Return a gain map of one area as another one in the same sensor counts its sites and points."""
    head = [*_HEADER.unpack_from(data)]
    for axis in (0, 1):
        pitch, shift = head[6 + axis], old[axis] - new[axis]
        before, side = old[axis + 2] - old[axis], new[axis + 2] - new[axis]
        first = head[axis] + shift
        head[axis] = min(first if first >= 0 else first % pitch, side)
        head[axis + 2] = max(head[axis], min(head[axis + 2] + shift, side))
        head[10 + axis] *= before / side
        head[12 + axis] = (head[12 + axis] * before + shift) / side
    return _HEADER.pack(*head) + data[_HEADER.size :]


def _area(tags: ifd.Entries) -> tuple[int, ...]:
    """Return top, left, bottom and right of the active area."""
    height, width = (*ifd.integers(tags, ifd.HEIGHT), 0)[0], (*ifd.integers(tags, ifd.WIDTH), 0)[0]
    area = ifd.integers(tags, ifd.ACTIVE_AREA)
    return area if len(area) == 4 else (0, 0, height, width)


def _linear(tags: ifd.Entries, data: bytes) -> int:
    """Return the first parameter of an opcode, a value as stored, as the linearisation table makes it."""
    value, table = int.from_bytes(data[:4], "big"), ifd.integers(tags, _TABLE)
    return max(0, table[min(value, len(table) - 1)]) if table else value


def _opcodes(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Give number, head and parameters of each opcode; in all files the most significant byte comes first."""
    at = 4
    while at + 16 <= len(data):
        code, _, _, size = struct.unpack_from(">4I", data, at)
        yield code, data[at : at + 16], data[at + 16 : at + 16 + size]
        at += 16 + size


def _gain_map(data: bytes, area: tuple[int, ...], top: int, left: int) -> GainMap | None:
    """Return a gain map of the only plane that a mosaic has; None for any other and for damaged ones."""
    if len(data) < _HEADER.size:
        return None
    *bounds, plane, _, down, across, rows, columns, step_v, step_h, from_v, from_h, planes = _HEADER.unpack_from(data)
    numbers = data[_HEADER.size :][: 4 * rows * columns * planes]
    size = area[2] - area[0], area[3] - area[1]
    is_sane = (
        min(size) > 0
        and 0 < rows <= _MOST_POINTS
        and 0 < columns <= _MOST_POINTS
        and down > 0
        and across > 0
        and planes > 0
    )
    if plane or not is_sane or len(numbers) < 4 * rows * columns * planes or not (step_v > 0 and step_h > 0):
        return None
    points = np.frombuffer(numbers, ">f4").reshape(rows, columns, planes)[..., 0].astype(np.float32)
    if not (np.isfinite(points).all() and np.isfinite([step_v, step_h, from_v, from_h]).all() and points.min() > 0):
        return None
    moved = area[0] - top, area[1] - left
    return GainMap(
        area=tuple(side + moved[i % 2] for i, side in enumerate(bounds)),
        pitch=(down, across),
        size=size,
        moved=moved,
        origin=(from_v, from_h),
        step=(step_v, step_h),
        points=points,
    )
