"""Training pictures: decoded once, cut into random crops, flipped and turned."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.colour import Floats
from restore.errors import RecipeError, printable

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}

MOST = 2 * 2**30
"""Bytes that the pictures of a folder may take together."""


class Photos:
    """The pictures of a folder in memory as 8-bit RGB: every 40th is held out for validation, of fewer the last.

    A single one serves for both. What cannot be decoded is named on standard error and left out. Of pictures that are
    too many and large for `MOST` the middle is kept.

    Raises
    ------
    RecipeError
        No folder, or one without a picture that OpenCV reads.
    """

    def __init__(self, folder: Path, *, held_out: bool = False, every: int = 40) -> None:
        if not folder.is_dir():
            raise RecipeError(f"{folder}: no folder of pictures; give one to learn from")
        names = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        every = max(2, min(every, len(names)))
        wanted = [name for i, name in enumerate(names) if (i % every == every - 1) is held_out]
        self.pictures = _decoded(wanted) or _decoded([name for name in names if name not in wanted])
        if not self.pictures:
            raise RecipeError(f"{folder}: no training picture found; give a folder of JPEG, PNG or TIFF files")

    @property
    def side(self) -> int:
        """Side of the largest square that some picture holds."""
        return max(int(min(p.shape[:2])) for p in self.pictures)

    def crop(self, size: int, rng: np.random.Generator, *, of: int = 1) -> Floats:
        """Return a random crop ``(size, size, 3)`` in 0...1, flipped and turned at random.

        Of ``of`` candidates the one with most texture is taken: flat crops teach little.

        Raises
        ------
        RecipeError
            No picture is that large.
        """
        large = [p for p in self.pictures if min(p.shape[:2]) >= size]
        if not large:
            raise RecipeError(f"no picture has {size} pixels on each side, which training needs; give larger ones")
        candidates = []
        for _ in range(of):
            picture = large[rng.integers(len(large))]
            top, left = (int(rng.integers(n - size + 1)) for n in picture.shape[:2])
            candidates.append(picture[top : top + size, left : left + size])
        crop = np.rot90(max(candidates, key=_texture), int(rng.integers(4)))
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        return as_floats(crop)

    def parts(self, side: int, *, every: int = 1) -> list[Floats]:
        """Return the upper left of pictures, ``(H, W, 3)`` in 0...1, at most ``side`` long and multiples of 8.

        Raises
        ------
        RecipeError
            None is 8 pixels long.
        """
        shapes = [tuple(min(n, side) // 8 * 8 for n in p.shape[:2]) for p in self.pictures]
        found = zip(self.pictures, shapes, strict=True)
        parts = [as_floats(p[:height, :width]) for p, (height, width) in found if min(height, width)]
        if not parts:
            raise RecipeError("the pictures held out for validation are smaller than 8x8 pixels; take them away")
        return parts[::every]

    def soft(self, size: int, rng: np.random.Generator, *, of: int = 1, zoom_max: float = 2.5) -> Floats:
        """Return a crop that in half of the draws is an enlarged smaller one.

        Pictures of many megapixels are softer, pixel for pixel, than reduced ones.
        """
        zoom = rng.uniform(1, zoom_max) if rng.random() < 0.5 else 1.0
        scene = self.crop(int(size / zoom), rng, of=of)
        if zoom == 1:
            return scene
        return np.asarray(cv2.resize(scene, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def as_floats(pixels: NDArray[np.uint8]) -> Floats:
    """Return 8-bit pixels as float32 in 0...1."""
    return np.ascontiguousarray(pixels, np.float32) / np.float32(255)


def _texture(crop: NDArray[np.uint8]) -> float:
    green = crop[::2, ::2, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def _decoded(names: list[Path]) -> list[NDArray[np.uint8]]:
    side, found, cut = math.isqrt(MOST // 3 // max(1, len(names))), [], 0
    for name in names:
        picture = cv2.imread(str(name), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            sys.stderr.write(f"left out: {printable(str(name))}: cannot be decoded\n")
            continue
        middle = picture.astype(np.uint8, copy=False)
        if picture.size > 3 * side**2:
            top, left = (max(0, (n - side) // 2) for n in picture.shape[:2])
            middle, cut = middle[top : top + side, left : left + side].copy(), cut + 1
        found.append(middle)
    if cut:
        sys.stderr.write(
            f"the middle {side}x{side} pixels of {cut} pictures are used, as all would not fit in memory\n"
        )
    return found
