"""The Tukey-lambda distribution: one shape parameter from heavy tails (below 0) over Gaussian (0.14) to bounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
_SHAPES = np.arange(-0.8, 0.61, 0.1)


def quantile(p: Doubles, shape: float) -> Doubles:
    """Return the quantiles of levels ``p`` in (0, 1) for scale 1.

    >>> quantile(np.array([0.5, 0.75]), 1.0).tolist()
    [0.0, 0.5]
    >>> bool(abs(quantile(np.array([0.9]), 1e-12) - np.log(9)) < 1e-9)
    True
    """
    if abs(shape) < 1e-9:
        return np.asarray(np.log(p) - np.log1p(-p))
    return np.asarray((p**shape - (1 - p) ** shape) / shape)


def draw(size: tuple[int, ...], shape: float, scale: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw independent samples of ``size``."""
    levels = rng.random(size)
    np.clip(levels, 1e-12, 1 - 1e-12, out=levels)
    return np.asarray(scale * quantile(levels, shape), np.float32)


def fit(samples: NDArray[np.float32], levels: int = 4000) -> tuple[float, float, float]:
    """Return shape, scale and correlation of the distribution whose quantiles go straightest with the samples'.

    The shape has the largest probability-plot correlation; the scale is the slope of that plot.

    References
    ----------
    Filliben, "The probability plot correlation coefficient test for normality" (Technometrics 1975).
    """
    p = (np.arange(levels) + 0.5) / levels
    found = np.quantile(samples, p).astype(np.float64)

    def straightness(shape: float) -> float:
        return float(np.corrcoef(quantile(p, shape), found)[0, 1])

    best = float(max(_SHAPES, key=straightness))
    for step in (0.02, 0.004, 0.001):
        best = float(max(best + step * np.arange(-5, 6), key=straightness))
    x = quantile(p, best)
    return best, float(np.dot(x, found - found.mean()) / np.dot(x, x)), straightness(best)
