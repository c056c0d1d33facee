"""What is known about a picture's noise: the record, its estimate from the picture, and samples of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noise:
    """Noise of a picture, in fractions of white.

    The variance at signal ``x`` is ``gain * x + read**2`` (Poisson-Gaussian); ``sigma`` is its root mean square over
    the picture and its channels.

    Parameters
    ----------
    sigma
        RMS noise over all channels.
    channels
        RMS noise of each channel.
    gain, read
        Shot gain and read sigma, averaged over channels; gain 0 means white Gaussian noise.
    correlation
        Correlation of the noise of neighbouring pixels, 0 for white noise.
    confidence
        0...1: how sure the estimate is; 1 when the level was given.
    """

    sigma: float
    channels: tuple[float, ...]
    gain: float = 0.0
    read: float = 0.0
    correlation: float = 0.0
    confidence: float = 1.0
