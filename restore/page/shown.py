"""Pictures as a screen shows them: upright, 8 bits, lossless, with their profile; crops and differences."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from restore.picture import Image, Picture, RawImage
from restore.raw.develop import develop
from restore.recipe import Develop

LARGEST = 12_000_000
"""Pixels a browser is given at once; larger pictures are shown reduced by a whole factor."""
CROP = 480
"""Side of the crop at 100 %."""
AMPLIFIED = 4
"""How much differences are amplified to be seen."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Screen:
    """A picture for the screen.

    Parameters
    ----------
    pixels
        uint8 ``(H, W, C)``, upright, every pixel of the picture.
    """

    pixels: Bytes
    icc: bytes | None = None


def seen(
    picture: Picture, settings: Develop | None = None, like: Picture | None = None, white: float | None = None
) -> Image:
    """Return a picture developed, upright, and with what counts as black and white at 0 and 1, in full depth.

    Parameters
    ----------
    settings
        How to develop a mosaic; None takes the defaults.
    like
        The picture whose black and white count, where both hold floats: the input's, for whatever is set beside it.
        None takes the picture's own.
    white
        What the visitor calls white, see `Image.unit`.
    """
    if isinstance(picture, RawImage):
        how = settings or Develop()
        picture = develop(picture, exposure_ev=how.exposure_ev, white_balance=how.white_balance)
    if white is not None:
        return picture.between(*picture.unit(white) or (0, 1)).upright()
    unit = like.unit() if isinstance(like, Image) else None if like else picture.unit()
    return (picture.between(*unit) if unit and picture.meta.is_float else picture).upright()


def screen(picture: Picture, settings: Develop | None = None, like: Picture | None = None) -> Screen:
    """Return a picture as the screen shows it; for the parameters see `seen`."""
    image = seen(picture, settings, like)
    pixels = np.ascontiguousarray(np.rint(np.clip(image.pixels, 0, 1) * 255).astype(np.uint8))
    return Screen(pixels, image.meta.icc)


def reduced(shown: Screen, largest: int = LARGEST) -> tuple[Screen, int]:
    """Return a picture of at most ``largest`` pixels, and the whole factor by which it was reduced.

    >>> small, factor = reduced(Screen(np.zeros((40, 60, 3), np.uint8)), 700)
    >>> small.pixels.shape, factor
    ((20, 30, 3), 2)
    """
    height, width = shown.pixels.shape[:2]
    factor = 1
    while (height // factor) * (width // factor) > largest:
        factor += 1
    if factor == 1:
        return shown, 1
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(shown.pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    return Screen(np.asarray(small, np.uint8), shown.icc), factor


def write_png(path: Path, shown: Screen) -> Path:
    """Write a PNG whose samples are exactly the screen's; packed for speed, not for size."""
    pixels = shown.pixels[..., 0] if shown.pixels.shape[2] == 1 else shown.pixels
    Pillow.fromarray(pixels).save(path, "PNG", compress_level=1, compress_type=zlib.Z_RLE, icc_profile=shown.icc)
    return path


def crop(shown: Screen, across: float, down: float, side: int = CROP) -> Screen:
    """Cut a square at 100 %; ``across`` and ``down`` in 0...100 move it from one edge to the other."""
    height, width = shown.pixels.shape[:2]
    top = round(max(0, height - side) * min(max(down, 0), 100) / 100)
    left = round(max(0, width - side) * min(max(across, 0), 100) / 100)
    return Screen(shown.pixels[top : top + side, left : left + side], shown.icc)


def difference(before: Screen, after: Screen) -> Screen:
    """Show what was taken away, amplified around mid grey."""
    removed = before.pixels.astype(np.int16) - after.pixels.astype(np.int16)
    return Screen(np.clip(128 + AMPLIFIED * removed, 0, 255).astype(np.uint8))


def keep(folder: Path, name: str, shown: Screen) -> None:
    """Keep a picture in a folder so that crops of it can be cut without reading all of it."""
    np.save(folder / f"{name}.npy", shown.pixels)
    (folder / f"{name}.icc").write_bytes(shown.icc or b"")


def kept(folder: Path, name: str) -> Screen:
    """Return a picture that was kept, mapped from its file.

    Raises
    ------
    OSError
        It is not there any more.
    """
    pixels: Any = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return Screen(pixels, (folder / f"{name}.icc").read_bytes() or None)
