"""Single frames in DN: from raw pictures, and with dark shading and bad pixels taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.camera.profile import Profile, Table
from restore.errors import ArrayError
from restore.picture import Floats, RawImage

Scalar = TypeVar("Scalar", bound=np.generic)


def tiled(table: Table, size: tuple[int, int]) -> Floats:
    """Repeat a table of sites over a frame of ``size``.

    >>> tiled(((1.0, 2.0), (3.0, 4.0)), (3, 3)).tolist()
    [[1.0, 2.0, 1.0], [3.0, 4.0, 3.0], [1.0, 2.0, 1.0]]
    """
    rows, columns = len(table), len(table[0])
    whole = np.tile(np.array(table, np.float32), (-(-size[0] // rows), -(-size[1] // columns)))
    return np.asarray(whole[: size[0], : size[1]])


def above_black(raw: RawImage) -> Floats:
    """Return ``(H, W)`` whole DN of a raw picture minus its black level; below it, negative.

    >>> raw = RawImage(np.array([[-0.1004, 0.5]], np.float32), ((1,),), ((10.0,),), 110.0)
    >>> above_black(raw).tolist()
    [[-10.0, 50.0]]
    """
    black = tiled(raw.black, raw.size)
    return np.asarray(np.rint(raw.mosaic * (np.float32(raw.white) - black) + black) - black)


def sites(frame: NDArray[Scalar], period: int) -> Iterator[NDArray[Scalar]]:
    """Yield the plane of each site of a pattern of ``period`` x ``period``, row by row, as views."""
    for row in range(period):
        for column in range(period):
            yield frame[row::period, column::period]


def repaired(frame: Floats, bad: NDArray[np.int32], period: int) -> Floats:
    """Replace bad pixels by the median of their eight neighbours of the same site.

    >>> frame = np.full((6, 6), 2.0, np.float32)
    >>> frame[2, 3] = 90
    >>> repaired(frame, np.array([[2, 3]], np.int32), 2).max().item()
    2.0
    """
    if not len(bad):
        return frame
    margin = 2 * period
    around = np.pad(frame, margin, mode="symmetric" if min(frame.shape) < 2 * margin else "reflect")
    around[bad[:, 0] + margin, bad[:, 1] + margin] = np.nan
    steps = [(y, x) for y in (-period, 0, period) for x in (-period, 0, period) if (y, x) != (0, 0)]
    near = np.stack([around[bad[:, 0] + margin + y, bad[:, 1] + margin + x] for y, x in steps])
    is_lone = np.isnan(near).all(axis=0)
    near[:, is_lone] = 0
    out = frame.copy()
    out[bad[:, 0], bad[:, 1]] = np.nanmedian(near, axis=0)
    return out


def corrected(raw: RawImage, profile: Profile, iso: float | None = None) -> RawImage:
    """Take the dark shading of its body off a raw picture and repair its bad pixels.

    Raises
    ------
    ArrayError
        The profile is of another camera or body or has no maps, or no ISO is known.
    """
    reason = profile.misfit(raw)
    speed = iso or raw.meta.iso
    if reason:
        raise ArrayError(f"{reason}; use the profile of this camera")
    if not profile.is_of(raw.meta):
        raise ArrayError("the noise profile is of another body of this camera; calibrate this one")
    if speed is None or profile.maps is None:
        lacks = "its ISO speed is unknown; say it" if speed is None else "the profile has no dark-shading maps"
        raise ArrayError(f"dark shading cannot be taken off: {lacks}")
    span = np.float32(raw.white) - tiled(raw.black, raw.size)
    mosaic = raw.mosaic - profile.dark_shading(speed, raw.meta.exposure_s or 0.0) / span
    return replace(raw, mosaic=repaired(mosaic, profile.maps.bad, len(raw.cfa)))


def unlit_dn(raw: RawImage, profile: Profile, iso: float) -> Floats:
    """Return ``(H, W)`` what a dark frame holds beside dark shading and bad pixels, in DN: what ``sfrn`` draws from.

    Raises
    ------
    ArrayError
        As of `corrected`; or the frame is of another ISO.
    """
    if raw.meta.iso not in (None, iso):
        raise ArrayError(f"a dark frame of ISO {raw.meta.iso:g}, not {iso:g}; give those of the ISO asked for")
    span = np.float32(raw.white) - tiled(raw.black, raw.size)
    return np.asarray(corrected(raw, profile, iso).mosaic * span)


def bad_pixels(even: Floats, odd: Floats, period: int, factor: float = 6.0) -> NDArray[np.bool_]:
    """Return where both means, of even and of odd frames, stand out from the median of 5x5 of their own site.

    That both must agree keeps single outliers of heavy-tailed noise out. ``factor`` counts in robust sigmas.
    """
    found = np.zeros(even.shape, bool)
    for row in range(period):
        for column in range(period):
            site = slice(row, None, period), slice(column, None, period)
            one, two = (half[site] - _median(half[site]) for half in (even, odd))
            low, high = np.percentile((one + two) / 2, (15.8655, 84.1345))
            limit = factor * max(float(high - low) / 2, 1e-3)
            found[site] = (np.minimum(np.abs(one), np.abs(two)) > limit) & (one * two > 0)
    return found


def _median(plane: Floats) -> Floats:
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(plane), 5))
