"""The record of a picture's noise, and levels that a user states."""

from __future__ import annotations

from dataclasses import dataclass, replace

from restore.errors import RecipeError

CORRELATED = 0.15
"""Correlation of neighbouring pixels' noise from which it counts as camera noise."""


@dataclass(frozen=True)
class Noise:
    """Noise of a picture, in fractions of white.

    The variance at signal ``x`` is ``gain * x + read**2`` (Poisson-Gaussian); ``sigma`` is its root mean
    square over the picture and its channels.

    Parameters
    ----------
    sigma
        RMS noise over all channels.
    channels
        RMS noise of each channel; of a mosaic, of each site of its pattern, row by row.
    gain, read
        Shot gain and read sigma, averaged over channels; gain 0 means white Gaussian noise.
    correlation
        Correlation of the noise of neighbouring pixels: 0 for white noise, above 0.2 for most camera JPEGs.
    confidence
        0...1: how sure the estimate is; 1 when the level was given.
    """

    sigma: float
    channels: tuple[float, ...]
    gain: float = 0.0
    read: float = 0.0
    correlation: float = 0.0
    confidence: float = 1.0

    @property
    def is_visible(self) -> bool:
        """Whether there is noise worth removing: clearly some, or a little that is surely noise and not texture.

        >>> Noise(0.01, (0.01,)).is_visible, Noise(0.003, (0.003,), confidence=0.1).is_visible
        (True, False)
        """
        return self.sigma >= 1.5 / 255 or (self.sigma >= 0.5 / 255 and self.confidence >= 0.5)

    def scaled(self, factor: float) -> Noise:
        """Return the noise of the picture multiplied by ``factor``.

        >>> Noise(0.1, (0.1,), gain=0.02, read=0.01).scaled(2.0)
        Noise(sigma=0.2, channels=(0.2,), gain=0.04, read=0.02, correlation=0.0, confidence=1.0)
        """
        levels = {name: getattr(self, name) * factor for name in ("sigma", "gain", "read")}
        return replace(self, channels=tuple(level * factor for level in self.channels), **levels)


def given(sigma: float, channels: int) -> Noise:
    """Return white Gaussian noise of a level that the user states.

    >>> given(0.1, 3)
    Noise(sigma=0.1, channels=(0.1, 0.1, 0.1), gain=0.0, read=0.1, correlation=0.0, confidence=1.0)

    Raises
    ------
    RecipeError
        ``sigma`` is outside 0...1.
    """
    if not 0 <= sigma <= 1:
        raise RecipeError(f"noise level {sigma} is out of range; give a fraction of white in 0...1, as 25/255")
    return Noise(sigma, (sigma,) * channels, read=sigma)


def parse_level(text: str) -> float | None:
    """Read a noise level: a fraction of white as number or quotient, or None for "auto".

    >>> parse_level("51/255"), parse_level("0.098"), parse_level("auto")
    (0.2, 0.098, None)

    Raises
    ------
    RecipeError
        Neither "auto" nor a number in 0...1.
    """
    if text.strip().lower() == "auto":
        return None
    top, _, bottom = text.partition("/")
    try:
        return given(float(top) / float(bottom if "/" in text else 1), 1).sigma
    except (ValueError, ZeroDivisionError) as error:
        raise RecipeError(f"noise level {text!r} is not 'auto' or a number in 0...1, as 0.098 or 25/255") from error
