"""Toned black and white (sepia, selenium, scans of old prints): pictures whose colours follow from one channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats, Image

_LEVELS, _FEWEST = 64, 32
"""Points of the curves, and how many of them a photo has at the least: few colours lie on any curve."""

_MOST = 2.5 / 255
"""RMS distance of all colours from the curves: rounding, and what JPEG does to colours."""

_SPAN = 0.02
"""Contrast that a picture needs at the least to show a tone."""


@dataclass(frozen=True, eq=False)
class Tone:
    """The colour of each grey.

    Parameters
    ----------
    greys, colours
        Points of the curves: mean of the channels ``(K,)``, and the channels ``(K, 3)``.
    slopes
        How steep each channel's curve is on the whole.
    rest
        RMS distance of the picture's colours from the curves.
    """

    greys: NDArray[np.float64]
    colours: NDArray[np.float64]
    slopes: tuple[float, float, float]
    rest: float

    def grey(self, picture: Image) -> Image:
        """Return a picture of one channel, the mean of all."""
        return replace(picture, pixels=_mean(picture.pixels))

    def moved(self, pixels: Floats, grey: Floats) -> Floats:
        """Return pixels ``(H, W, 3)`` as a grey ``(H, W, 1)`` in place of their own makes them."""
        before, after = _mean(pixels)[..., 0], grey[..., 0]
        found = np.empty_like(pixels)
        for channel, curve in enumerate(self.colours.T):
            change = np.interp(after, self.greys, curve) - np.interp(before, self.greys, curve)
            found[..., channel] = pixels[..., channel] + change.astype(np.float32)
        return found


def tone_of(picture: Image) -> Tone | None:
    """Return the tone of a picture of three channels that has one, else None."""
    if picture.pixels.shape[2] != 3 or picture.unit() is not None:
        return None
    tone, (height, width) = None, picture.size
    for most in (64, 512):  # few tell most pictures apart
        few = picture.pixels[:: max(1, height // most), :: max(1, width // most)]
        tone = _fitted(few.reshape(-1, 3).astype(np.float64))
        if tone is None:
            return None
    return tone


def _fitted(pixels: NDArray[np.float64]) -> Tone | None:
    """Fit curves to pixels ``(N, 3)``, and go on straight beyond them; None where they lie too far off."""
    grey = pixels.mean(1)
    low, high = float(grey.min(initial=np.inf)), float(grey.max(initial=-np.inf))
    if not (np.isfinite(high - low) and high - low > _SPAN):
        return None
    place = ((grey - low) / (high - low) * (_LEVELS - 1e-6)).astype(np.intp)
    count = np.bincount(place)
    if (count > 0).sum() < _FEWEST:
        return None
    sums = [np.bincount(place, values)[count > 0] for values in (grey, *pixels.T)]
    greys, *curves = (total / count[count > 0] for total in sums)
    away = grey - grey.mean()
    slopes = away @ (pixels - pixels.mean(0)) / (away @ away)
    colours = np.stack(curves, 1)
    colours = np.concatenate([colours[:1] - slopes, colours, colours[-1:] + slopes])
    greys = np.concatenate([greys[:1] - 1, greys, greys[-1:] + 1])
    off = np.stack([np.interp(grey, greys, curve) for curve in colours.T], 1) - pixels
    rest = float(np.sqrt((off**2).mean()))
    red, green, blue = (float(slope) for slope in slopes)
    return Tone(greys, colours, (red, green, blue), rest) if rest <= _MOST else None


def _mean(pixels: Floats) -> Floats:
    return np.asarray(pixels.mean(2, keepdims=True, dtype=np.float32), np.float32)
