"""Levels, pattern and colours of a sensor, as LibRaw and the file's own tags tell them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import UnsupportedError
from restore.files import ifd
from restore.picture import Floats, RawImage

XYZ_OF_SRGB = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
"""Linear sRGB to XYZ under D65, with the digits LibRaw uses."""

_KODAK_MATRIX, _WHITE_XY = 37400, 50729
BLACK_OF_COLUMNS, BLACK_OF_ROWS, WHITE = 50715, 50716, 50717
"""How far black of each column and row of the active area lies above the level, and white."""
OF_LEVELS = {ifd.BLACK_REPEAT, ifd.BLACK, BLACK_OF_COLUMNS, BLACK_OF_ROWS, WHITE}
"""Tags of black and white levels."""
_LARGEST = 64
"""Sides of a table of black levels that are believed."""
Cfa = tuple[tuple[int, ...], ...]
Black = tuple[tuple[float, ...], ...]
Offsets = tuple[Floats, Floats] | None
"""What is added to black in each row and each column of the visible area, in DN; None where it is nothing."""


@dataclass(frozen=True, eq=False)
class SensorRecord:
    """What the file held beside the picture; ``meta.extra["sensor"]`` carries it to the DNG writer.

    Parameters
    ----------
    values
        ``(H, W)`` uint16, the whole sensor in DN, masked border included.
    top, left, size
        Where the visible area begins in ``values``; its height and width.
    cfa, black, white, white_balance
        As read, to notice that somebody changed them.
    daylight
        Gains of R, G, B that make a white card in D65 neutral: the scale of a DNG's ColorMatrix1.
    tags, raw_tags
        Tags of a DNG's first and of its raw directory, verbatim; empty for other formats.
    offsets
        What a DNG adds to ``black`` in each row and column of the visible area.
    """

    values: NDArray[np.uint16]
    top: int
    left: int
    size: tuple[int, int]
    cfa: Cfa
    black: Black
    white: float
    white_balance: tuple[float, float, float]
    daylight: tuple[float, float, float]
    tags: ifd.Entries = field(default_factory=dict)
    raw_tags: ifd.Entries = field(default_factory=dict)
    offsets: Offsets = None

    def mosaic(self) -> Floats:
        """Return the visible area, black subtracted, white = 1."""
        (height, width), top, left = self.size, self.top, self.left
        return scaled(self.values[top : top + height, left : left + width], self.black, self.white, self.offsets)


def record_of(raw: RawImage) -> SensorRecord | None:
    """Return the record of a mosaic that is the visible area of its sensor, as it was read."""
    record: SensorRecord | None = raw.meta.extra.get("sensor")
    return record if record and (record.size, record.cfa) == (raw.size, raw.cfa) else None


def scaled(values: NDArray[np.uint16], black: Black, white: float, offsets: Offsets = None) -> Floats:
    """Subtract black and divide by ``white - black`` site by site."""
    mosaic = values.astype(np.float32)
    for site, level in _levels(black, offsets):
        part = mosaic[site]
        part -= np.float32(level)
        part /= np.float32(white - level)
    return mosaic


def _levels(black: Black, offsets: Offsets) -> Iterator[tuple[tuple[slice, slice], Any]]:
    """Give the places of each site of the pattern and their black level: one, or those of its rows and columns."""
    rows, columns = np.shape(black)
    for row, column in np.ndindex(rows, columns):
        places = np.s_[row::rows, column::columns]
        level = np.float64(black[row][column])
        yield places, level if offsets is None else level + offsets[0][places[0], None] + offsets[1][places[1]]


def sensor_values(raw: RawImage) -> NDArray[np.uint16]:
    """Undo the scaling: the visible mosaic in whole DN, rounded to nearest and held within 16 bits.

    >>> RGGB, flat = ((0, 1), (1, 2)), ((10.0, 10.0), (10.0, 10.0))
    >>> mosaic = np.array([[-0.1, 0.0], [0.1004, 1.0]], np.float32)
    >>> sensor_values(RawImage(mosaic, RGGB, flat, 110.0)).tolist()
    [[0, 10], [20, 110]]
    """
    values, record = np.empty(raw.size, np.uint16), record_of(raw)
    for site, level in _levels(raw.black, record.offsets if record else None):
        black = np.float32(level)
        values[site] = np.rint(raw.mosaic[site] * (np.float32(raw.white) - black) + black).clip(0, 65535)
    return values


def pattern(raw: Any, path: Path, raw_tags: ifd.Entries) -> tuple[Cfa, Black, Offsets]:
    """Colour and black level of each site of the pattern, from the visible area's top left pixel; offsets of black.

    Raises
    ------
    UnsupportedError
        Neither Bayer nor X-Trans.
    """
    period = raw.raw_pattern.shape[0]
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    places = [[raw.raw_color(top + row, left + column) for column in range(period)] for row in range(period)]
    levels = raw.black_level_per_channel
    cfa = tuple(tuple((0, 1, 2, 1)[colour] for colour in row) for row in places)
    if raw.color_desc != b"RGBG" or not _is_known(cfa):
        colours = raw.color_desc.decode("ascii", "replace")
        problem = f"a sensor of colours {colours} in a pattern that is neither Bayer nor X-Trans"
        raise UnsupportedError(path, f"{problem}; convert it to linear DNG")
    black = tuple(tuple(float(levels[colour]) for colour in row) for row in places)
    offsets = _offsets_of_dng(raw_tags, raw.raw_image_visible.shape, top, left)
    return cfa, *_black_of_dng(raw_tags, black, offsets, top, left)


def _is_known(cfa: Cfa) -> bool:
    """Whether a pattern is Bayer, or 6x6 with all three colours."""
    colours = sorted(colour for row in cfa for colour in row)
    if len(cfa) == 2:
        return colours == [0, 1, 1, 2] and cfa[0][0] + cfa[1][1] == 2 and cfa[0][1] + cfa[1][0] == 2
    return len(cfa) == 6 and {0, 1, 2} == set(colours)


def _black_of_dng(raw_tags: ifd.Entries, black: Black, offsets: Offsets, top: int, left: int) -> tuple[Black, Offsets]:
    """Black of each site by a DNG's own tag, where LibRaw's is not enough, and what to add in rows and columns.

    rawpy has no more than one level a colour, cut to whole numbers, which is too few for 6x6 and for tables larger
    than the pattern (of which each site gets its mean); where LibRaw moves the visible area by a pixel against
    the active area (it makes odd Bayer margins even), it forgets to move the levels; of offsets it knows the mean.
    """
    table, period, shift = _table(raw_tags, offsets), len(black), _shift(raw_tags, top, left)
    if table is None:
        return black, _centred(offsets)
    is_enough = period <= 2 and shift == (0, 0) and max(table.shape) <= period
    height, width = (math.lcm(period, side) for side in table.shape)
    table = np.tile(table, (height // table.shape[0], width // table.shape[1]))
    table = np.roll(table, shift, (0, 1)).reshape(height // period, period, width // period, period).mean((0, 2))
    mean = sum(float(each.mean()) for each in offsets or ())
    if is_enough and not (np.abs(table + mean - black) < (2 if offsets else 1)).all():  # LibRaw measured it at the mask
        return black, _centred(offsets)
    return tuple(tuple(row) for row in table.tolist()), offsets


def grey_levels(raw: Any, raw_tags: ifd.Entries) -> tuple[Black, Offsets]:
    """Black of a sensor without colours: of each site of a DNG's table, else one by LibRaw; offsets of black."""
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    offsets = _offsets_of_dng(raw_tags, raw.raw_image_visible.shape[:2], top, left)
    table = _table(raw_tags, offsets)
    if table is None or table.size == 1:
        return _black_of_dng(raw_tags, ((float(raw.black_level_per_channel[0]),),), offsets, top, left)
    return tuple(tuple(row) for row in np.roll(table, _shift(raw_tags, top, left), (0, 1)).tolist()), offsets


def _table(raw_tags: ifd.Entries, offsets: Offsets) -> NDArray[np.float64] | None:
    """Return a DNG's table of black levels, counted from its active area; None if there is none that makes sense."""
    repeat = ifd.integers(raw_tags, ifd.BLACK_REPEAT) or (1, 1)
    levels = ifd.numbers(raw_tags, ifd.BLACK) or (0.0,) * (offsets is not None)
    if not levels or len(repeat) != 2 or len(levels) != math.prod(repeat) or max(repeat) > _LARGEST:
        return None
    return np.reshape(np.array(levels, float), repeat)


def _shift(raw_tags: ifd.Entries, top: int, left: int) -> tuple[int, int]:
    """Return how far down and right of the visible area a DNG's active area begins."""
    area = (*ifd.integers(raw_tags, ifd.ACTIVE_AREA), 0, 0)
    return area[0] - top, area[1] - left


def _offsets_of_dng(raw_tags: ifd.Entries, size: tuple[int, int], top: int, left: int) -> Offsets:
    """Return what a DNG adds to black in each row and column of the visible area."""
    area, found = ifd.integers(raw_tags, ifd.ACTIVE_AREA), list[Floats]()
    for axis, (tag, start) in enumerate(((BLACK_OF_ROWS, top), (BLACK_OF_COLUMNS, left))):
        values = np.array(ifd.numbers(raw_tags, tag), np.float32)
        begin = start - (area[axis] if len(area) == 4 else 0)
        part = values[max(0, begin) :][: size[axis]] if begin >= 0 else values[:0]
        is_whole = len(part) == size[axis] and bool(np.isfinite(part).all())
        found.append(part if is_whole else np.zeros(size[axis], np.float32))
    return (found[0], found[1]) if any(part.any() for part in found) else None


def _centred(offsets: Offsets) -> Offsets:
    """Return offsets from a level that holds their mean already."""
    return offsets and (offsets[0] - offsets[0].mean(), offsets[1] - offsets[1].mean())


def white_level(raw: Any, *, is_dng: bool) -> float:
    """White level: LibRaw's, or the camera's own where that is lower and believable.

    Of a DNG, rawpy gives as the camera's own where its response ends to be linear, and of a Nikon white / 1.07.
    """
    white = float(raw.white_level)
    own = () if is_dng else raw.camera_white_level_per_channel or ()
    return min([white, *(float(level) for level in own if level > white / 2 and abs(level - white / 1.07) > 1)])


def linear_white(raw: Any, tags: ifd.Entries) -> int:
    """White of linear light once black is subtracted, as LibRaw's ``user_sat`` wants it.

    LibRaw lowers white by the least of four levels of black, the last of which is 0 where there are three colours.
    Where these have unequal spans from black to white, it scales their gains to the largest, and then divides by the
    least.
    """
    black, gains = np.array(raw.black_level_per_channel), np.array(raw.camera_whitebalance[:3])
    named = ifd.numbers(tags, WHITE)
    if raw.white_level > 16 * max(named, default=0) > 0:  # of values before a curve, as in lossy files
        named = ()
    white = np.array(named or [raw.white_level - black[0] + black[:3].min()])
    if len(white) not in (1, 3) or black.min() > 0 or gains.min() <= 0:
        return int(raw.white_level - black[0] + black.min())
    return round(float((gains * (white - black[:3])).min() / gains.min()))


def gains_of(*candidates: list[float]) -> tuple[float, float, float]:
    """First complete triple of R, G, B gains, scaled to green = 1; ones if there is none.

    >>> gains_of([0.0, 1.0, 0.0, 0.0], [4.0, 2.0, 3.0, 0.0])
    (2.0, 1.0, 1.5)
    """
    for gains in candidates:
        red, green, blue = (float(gain) for gain in gains[:3])
        if min(red, green, blue) > 0:
            return red / green, 1.0, blue / green
    return 1.0, 1.0, 1.0


def gains_by_white(raw: Any, tags: ifd.Entries) -> list[float]:
    """Return the gains for the light whose chromaticity a DNG states in place of gains; zeros if it does not."""
    x, y = (*ifd.numbers(tags, _WHITE_XY), 0.0, 0.0)[:2]
    if not (x > 0 and y > 0 and x + y <= 1):
        return [0.0] * 3
    camera = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3] @ (x / y, 1, (1 - x - y) / y)
    return [1 / float(response) if response > 0 else 0.0 for response in camera]


def camera_to_srgb(raw: Any, raw_tags: ifd.Entries) -> Floats:
    """Matrix from white-balanced camera RGB to linear sRGB, identity if the camera is unknown.

    LibRaw's own conversion (from the file or its tables) if it has one, or that of a Kodak file, which rawpy
    does not pass on; else from LibRaw's XYZ-to-camera matrix in dcraw's way: through sRGB's primaries, rows
    normalised so that white stays white, inverted.
    """
    kodak = np.array(ifd.numbers(raw_tags, _KODAK_MATRIX))
    own = np.asarray(raw.color_matrix, np.float64)[:, :3]
    own = kodak.reshape(3, 4)[:, 1:] if not own.any() and kodak.size == 12 else own
    if _is_usable(own):
        return np.asarray(own / own.sum(axis=1, keepdims=True), np.float32)
    return invert_to_srgb(np.asarray(raw.rgb_xyz_matrix, np.float64)[:3])


def invert_to_srgb(xyz_to_camera: NDArray[np.float64]) -> Floats:
    """Matrix from white-balanced camera RGB to linear sRGB of a D65 ColorMatrix; identity for zeros.

    >>> bool(np.allclose(invert_to_srgb(np.linalg.inv(XYZ_OF_SRGB)), np.eye(3), atol=1e-6))
    True
    """
    camera = xyz_to_camera @ XYZ_OF_SRGB
    if not _is_usable(camera):
        return np.eye(3, dtype=np.float32)
    inverse = np.linalg.inv(camera / camera.sum(axis=1, keepdims=True))
    return np.asarray(inverse, np.float32)


def _is_usable(matrix: NDArray[np.float64]) -> bool:
    """Whether a colour matrix can be inverted and gives white a positive response in every channel."""
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
        return False
    return bool((matrix.sum(axis=1) > 0).all())
