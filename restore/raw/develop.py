"""Develop a raw mosaic into a picture: white balance, demosaicing, camera colours, exposure, tone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import cv2
import numpy as np

from restore.colour import linear_to_srgb
from restore.errors import ArrayError
from restore.gain_map import GainMap
from restore.memory import pages_kept
from restore.picture import Floats, Image, RawImage
from restore.raw.demosaic import demosaic
from restore.threads import together

STRIP = 192
"""Rows developed at once; a multiple of every pattern's period."""
_ROWS = 8
"""Rows coloured and toned at once: what stays in the cache."""
_MARGIN = 24
"""Rows read on both sides of a strip: beyond the demosaicing's reach, a multiple of every period."""

LIFT = 2.0
"""Brightening of the shadows by the standard tone curve."""

Gains = tuple[float, float, float]
WhiteBalance = Literal["camera", "auto", "none"] | Gains
Tone = Literal["standard", "linear"]


def develop(
    raw: RawImage,
    *,
    exposure_ev: float = 0.0,
    white_balance: WhiteBalance = "camera",
    tone: Tone = "standard",
) -> Image:
    """Develop a mosaic into an sRGB picture ``(H, W, 3)`` in 0...1.

    White balance scales so that the smallest gain is 1, and light beyond the sensor's white counts as white
    in all channels: blown areas stay neutral. Gain maps that a DNG holds come first. Negative values (noise
    below black) are carried through to the one clip at the end. The work goes by strips of rows; their height
    cannot change the result.

    Parameters
    ----------
    raw
        Bayer or X-Trans mosaic.
    exposure_ev
        Brightening in stops, before the tone curve.
    white_balance
        ``"camera"``: as shot; ``"auto"``: what makes the picture grey on average; ``"none"``: ones; or gains
        of R, G, B.
    tone
        ``"standard"``: `standard_tone`; ``"linear"``: only the sRGB encoding.

    Raises
    ------
    ArrayError
        The gains are not three positive numbers.
    """
    gains = np.array(_gains(raw, white_balance), np.float32)
    if gains.shape != (3,) or not (np.isfinite(gains).all() and gains.min() > 0):
        raise ArrayError(f"white balance must be three positive gains of R, G, B, got {white_balance}")
    gains /= gains.min()
    matrix = np.asarray(raw.camera_to_srgb * np.float32(2.0**exposure_ev), np.float32)
    height, width = raw.size
    pixels = np.empty((height, width, 3), np.float32)

    def strip(top: int) -> None:
        camera = _camera_rgb(raw, gains, top)
        for row in range(0, len(camera), _ROWS):
            linear = np.asarray(cv2.transform(camera[row : row + _ROWS], matrix), np.float32)
            toned = standard_tone(linear) if tone == "standard" else linear
            pixels[top + row : top + row + len(toned)] = linear_to_srgb(toned.clip(0, 1))

    with pages_kept():
        together(*(partial(strip, top) for top in range(0, height, STRIP)))
    dropped = (*raw.meta.extra.get("dropped", ()), *raw.meta.extra.get("undeveloped", ()))
    return Image(pixels, meta=replace(raw.meta, extra={"dropped": dropped} if dropped else {}))


def standard_tone(linear: Floats) -> Floats:
    """Brighten as cameras do: slope `LIFT` at black, white stays white, smooth and rising throughout.

    It is ``L x / (1 + (L - 1) x)``: middle grey 0.18 goes to 0.305, about 3/4 stop up, and highlights are
    compressed instead of clipped. Below 0 it goes on as a straight line.

    >>> standard_tone(np.array([-0.1, 0.0, 0.18, 1.0], np.float32)).round(3).tolist()
    [-0.20000000298023224, 0.0, 0.3050000071525574, 1.0]
    """
    return np.float32(LIFT) * linear / (1 + np.float32(LIFT - 1) * np.maximum(linear, 0))


def _camera_rgb(raw: RawImage, gains: Floats, top: int) -> Floats:
    """White-balanced camera colours ``(h, W, 3)`` of the strip that begins at row ``top``."""
    start = max(0, top - _MARGIN)
    strip = raw.mosaic[start : top + STRIP + _MARGIN].copy()
    for shading in _gain_maps(raw):
        shading.apply(strip, start)
    period = len(raw.cfa)
    for row, sites in enumerate(raw.cfa):
        for column, colour in enumerate(sites):
            strip[row::period, column::period] *= gains[colour]
    np.minimum(strip, 1, out=strip)
    return demosaic(strip, raw.cfa)[top - start :][:STRIP]


def _gain_maps(raw: RawImage) -> tuple[GainMap, ...]:
    """Gain maps of a mosaic that is still the whole visible area, which is what they count from."""
    maps: tuple[GainMap, ...] = raw.meta.extra.get("gain_maps", ())
    return maps if maps and raw.meta.extra["sensor"].size == raw.size else ()


def _gains(raw: RawImage, white_balance: WhiteBalance) -> Gains:
    """Gains of R, G, B of a choice."""
    if white_balance == "camera":
        return raw.white_balance
    if white_balance == "none":
        return 1.0, 1.0, 1.0
    if white_balance == "auto":
        return grey_gains(raw)
    if isinstance(white_balance, str):
        raise ArrayError(f"white balance must be camera, auto, none or three gains, got {white_balance!r}")
    return white_balance


def grey_gains(raw: RawImage) -> Gains:
    """Gains that give the pixels below saturation the same mean in R, G and B; green = 1.

    A cell of the pattern counts only if none of its sites is near saturation: dropping single sites would
    favour the channel that saturates first.
    """
    period = len(raw.cfa)
    height, width = (side - side % period for side in raw.size)
    if not height or not width:
        return raw.white_balance
    cells = raw.mosaic[:height, :width].reshape(height // period, period, width // period, period)
    usable = cells.max(axis=(1, 3)) < 0.95
    if not usable.any():
        return raw.white_balance
    sites = cells.transpose(0, 2, 1, 3)[usable].mean(axis=0, dtype=np.float64)
    colours = np.array(raw.cfa)
    red, green, blue = (float(sites[colours == colour].mean()) for colour in (0, 1, 2))
    return (green / red, 1.0, green / blue) if min(red, green, blue) > 0 else raw.white_balance
