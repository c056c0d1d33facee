"""Shot gain and read sigma of a mosaic: the lowest line under what its flattest blocks show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating[Any]]

_QUANTILE = 0.12
"""Texture can only add to what is measured: about this share of the measurements lies below the line."""

_UNBIASED = 1.06
"""What a low quantile of pure noise lacks to its mean, for groups of the size that `spectra.measure` takes."""

_ROUNDED = 3 / 12
"""Below this variance in squared DN rounding hides the noise: it does not simply add to it any more."""


def shot_and_read(brightness: Reals, variance: Reals, step: float = 0.0) -> tuple[float, float]:
    """Fit ``variance = gain x + read**2`` as a low quantile, with both terms at least 0.

    Iteratively reweighted least squares in relative units; measurements above the line weigh little, because
    texture may have raised them.

    Parameters
    ----------
    brightness, variance
        ``(N,)``: mean and variance of each group of blocks, of all sites of the pattern.
    step
        One DN. Groups whose noise drowns in rounding are left out where others are left: a sensor that clips at
        black, or smooths there, would pull the whole line down.

    References
    ----------
    Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data" (2008): the
    model; Koenker, "Quantile regression" (2005).

    >>> x = np.linspace(0.01, 0.5, 40)
    >>> textured = 0.002 * x + 1e-4 + np.where(np.arange(40) % 4, 0.01 * x, 0)
    >>> gain, read = shot_and_read(x, textured)
    >>> bool(abs(gain / 0.002 - 1) < 0.1), bool(abs(read / 0.01 - 1) < 0.1)
    (True, True)
    """
    is_live = variance > 1e-12  # coarse rounding makes dark blocks constant
    if not is_live.any():
        return 0.0, 0.0
    is_clear = variance > _ROUNDED * step**2
    is_live = is_clear if is_clear.mean() > 0.25 else is_live
    brightness, variance = brightness[is_live], variance[is_live]
    table = np.stack([np.maximum(brightness, 0), np.ones_like(brightness)], 1).astype(np.float64)
    weights = 1 / np.maximum(variance.astype(np.float64), 1e-14)
    line = np.zeros(2)
    for _ in range(60):
        line = least_squares(table * weights[:, None], variance * weights)
        fitted = np.maximum(table @ line, 1e-16)
        relative = variance / fitted - 1
        share = np.where(relative > 0, _QUANTILE, 1 - _QUANTILE)
        weights = np.sqrt(share / np.maximum(np.abs(relative), 0.02)) / fitted
    gain, square = line * _UNBIASED
    return float(gain), float(np.sqrt(square))


def least_squares(table: Reals, target: Reals) -> NDArray[np.float64]:
    """Solve for two unknowns that are at least 0.

    >>> least_squares(np.eye(2), np.array([3.0, -1.0])).tolist()
    [3.0, 0.0]
    """
    both = np.asarray(np.linalg.lstsq(table, target, rcond=None)[0], np.float64)
    if (both >= 0).all():
        return both
    alone = np.diag(np.maximum(table.T @ target, 0) / np.maximum((table**2).sum(0), 1e-300))
    errors = [float(np.sum((table @ line - target) ** 2)) for line in alone]
    return np.asarray(alone[int(np.argmin(errors))])
