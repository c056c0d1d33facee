"""Between a file's integers and the pipeline's floats: the one quantiser, and its inverse, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats, Image

Samples = NDArray[Any]
STRIP = 1 << 20
"""Samples converted at a time, so that no second copy of a large picture is ever held."""

_FEW, _ROUNDED = 0.005, 0.02
"""Share of float values that may be cut to black and white without a word, and share of its mean by which rounding may
move a picture."""


def quantise(values: Floats, bits: int) -> Samples:
    """Clip to 0...1 and round to integers of ``bits`` = 8 or 16: with `develop`, the only places that clip.

    >>> quantise(np.array([-0.1, 0.5, 1.0, 7.0], np.float32), 8).tolist()
    [0, 128, 255, 255]
    """
    scaled = np.clip(values, 0.0, 1.0) * np.float32((1 << bits) - 1)
    whole: Samples = np.rint(scaled, out=scaled).astype(np.uint8 if bits == 8 else np.uint16)
    return whole


def not_whole(image: Image, bits: int) -> list[str]:
    """Say in phrases what `quantise` takes from a picture that makes a difference.

    Rounding moves the mean where there are few steps, as of counted photons.

    >>> not_whole(Image(np.full((2, 2, 1), 0.4 / 255, np.float32)), 8)
    ['fractions of whole numbers: rounding moves the mean by -100% (a TIFF with --depth 32 keeps them)']
    """
    pixels, is_float = image.pixels, image.meta.is_float
    beyond = float(((pixels < 0) | (pixels > 1)).mean()) if is_float else 0.0
    if beyond > _FEW:
        return [f"values beyond 0 to 1, {beyond:.0%} of all, which only floats hold (TIFF with --depth 32)"]
    few = np.minimum(pixels[:: max(1, len(pixels) // 512), :: max(1, pixels.shape[1] // 512)], 1)
    mean = float(few.mean(dtype=np.float64))
    moved = float(quantise(few, bits).mean()) / ((1 << bits) - 1) / mean - 1 if mean > 0 else 0.0
    if abs(moved) < _ROUNDED:
        return []
    return [f"fractions of whole numbers: rounding moves the mean by {moved:+.0%} (a TIFF with --depth 32 keeps them)"]


def spans(height: int, width: int, channels: int) -> Iterator[slice]:
    """Cut the rows of a picture into strips of about `STRIP` samples.

    >>> list(spans(3, 1 << 20, 1))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    rows = max(1, STRIP // max(1, width * channels))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def strips(image: Image) -> Iterator[Floats]:
    """Give a picture's rows in strips ``(h, W, C)``, alpha joined as the last channel."""
    for rows in spans(*image.pixels.shape):
        part = image.pixels[rows]
        yield part if image.alpha is None else np.dstack([part, image.alpha[rows]])


class Canvas:
    """A picture under construction from a file's samples.

    Parameters
    ----------
    shape
        Height, width and colour channels.
    has_alpha
        Whether one more channel, alpha, follows the colours.
    white
        The sample that means 1.
    """

    def __init__(self, shape: tuple[int, int, int], *, has_alpha: bool, white: float) -> None:
        self.pixels = np.empty(shape, np.float32)
        self.alpha = np.empty(shape[:2], np.float32) if has_alpha else None
        self.white = np.float32(white)

    def put(self, samples: Samples, top: int, left: int = 0, channel: int = 0) -> None:
        """Store samples ``(h, w, channels)``, the first of which is ``channel``, and crop what sticks out."""
        height, width, colours = self.pixels.shape
        block = samples[: height - top, : width - left]
        area = slice(top, top + block.shape[0]), slice(left, left + block.shape[1])
        inside = max(0, min(block.shape[2], colours - channel))
        if inside:
            target = self.pixels[area][..., channel : channel + inside]
            np.divide(block[..., :inside], self.white, out=target, casting="unsafe")
        if self.alpha is not None and block.shape[2] > inside:
            np.divide(block[..., inside], self.white, out=self.alpha[area], casting="unsafe")

    def put_all(self, samples: Samples) -> None:
        """Store a whole array ``(H, W, channels)``, strip by strip."""
        for rows in spans(*samples.shape):
            self.put(samples[rows], rows.start)
