"""Noise that all colours of a picture have in common: film grain, and what cameras and JPEG leave of other noise."""

from __future__ import annotations

import numpy as np

from restore.noise.level import estimate, greyed
from restore.noise.record import Noise
from restore.noise.spectra import RINGS, measure
from restore.picture import Image

_ALONE, _SURE = 0.06, 0.4
"""Power of colours, as a share of that of brightness, up to which noise is of brightness alone, at each length of waves
but the finest, where soft grain has hardly any; and confidence that it needs."""


def in_brightness(picture: Image) -> tuple[Noise, bool]:
    """Return the noise of the mean of a picture's colours, and whether that is surely there and nearly all there is."""
    found = estimate(greyed(picture))
    spectra = measure(picture.pixels)
    if spectra is None or found.confidence < _SURE or not found.is_visible:
        return found, False
    bright, colours = (np.array([axis[ring].mean() for ring in RINGS[1:-1]]) for axis in spectra.opponent[0].mean(0))
    return found, bool((colours <= _ALONE * bright).all())
