"""Noise that all colours of a picture have in common: film grain, and what cameras and JPEG leave of other noise."""

from __future__ import annotations

from restore.noise.level import estimate, greyed
from restore.noise.record import Noise
from restore.noise.spectra import measure, share_of_colours
from restore.picture import Image

_ALONE, _SURE = 0.06, 0.4
"""Share of colours up to which noise is of brightness alone, and confidence that it needs."""


def in_brightness(picture: Image) -> tuple[Noise, bool]:
    """Return the noise of the mean of a picture's colours, and whether that is surely there and nearly all there is."""
    found = estimate(greyed(picture))
    spectra = measure(picture.pixels)
    if spectra is None or found.confidence < _SURE or not found.is_visible:
        return found, False
    return found, share_of_colours(spectra) <= _ALONE
