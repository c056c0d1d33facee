"""The unequal steps of a real analog-to-digital converter around black, seen in dark frames as uneven histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.camera.divergence import Counts
from restore.picture import Floats

FINE = 32
"""Bins a DN of the histogram of values before the converter."""
_LOWEST = -4096
_WINDOW, _ENOUGH, _LEAST = 8, 10_000, 0.01


@dataclass(frozen=True)
class Converter:
    """Edges in DN of the codes ``first``, ``first + 1``, ...; codes beyond them have edges at halves.

    Parameters
    ----------
    edges
        Ascending, one more than codes; the first and the last lie on halves.
    """

    first: int
    edges: tuple[float, ...]


def rounded(values: Floats, converter: Converter | None) -> Floats:
    """Return the codes that values in DN, black included, are converted to.

    >>> uneven = Converter(10, (9.5, 10.9, 11.5))
    >>> rounded(np.array([9.4, 10.8, 11.0, 11.6], np.float32), uneven).tolist()
    [9.0, 10.0, 11.0, 12.0]
    """
    codes = np.rint(values)
    if converter is None:
        return codes
    edges = np.array(converter.edges, np.float32)
    inside = (values > edges[0]) & (values < edges[-1])
    codes[inside] = converter.first - 1 + np.searchsorted(edges, values[inside])
    return codes


def fine_histogram(values: Floats) -> Counts:
    """Count values in DN before conversion, black included, in `FINE` bins a DN."""
    bins = np.floor((values.astype(np.float64).ravel() + 0.5 - _LOWEST) * FINE).astype(np.int64)
    return np.bincount(bins.clip(0, FINE * (1 << 17) - 1), minlength=FINE * (1 << 17))


def fit(real: Counts, offset: int, made: NDArray[np.float64]) -> Converter | None:
    """Fit the widths of codes; None where they do not differ by more than chance and 1 %.

    Only what changes from code to code counts: the shape of the noise itself is smooth over eight codes.

    Parameters
    ----------
    real
        Histogram of codes of dark frames, code 0 at index ``offset``.
    made
        Expected counts before conversion of an ideal model, as `fine_histogram`, scaled to the size of ``real``.

    References
    ----------
    IEEE 1241, code transition levels by the histogram method.
    """
    below = np.concatenate([[0.0], np.cumsum(made)])
    at = np.arange(len(below)) / FINE + _LOWEST - 0.5
    ideal = np.diff(np.interp(np.arange(_LOWEST, (1 << 16) - _LOWEST) - 0.5, at, below))
    codes = np.flatnonzero(ideal >= _ENOUGH) + _LOWEST
    if len(codes) < 2 * _WINDOW:
        return None
    first, last = int(codes[0]), int(codes[-1])
    counts = real[first + offset : last + 1 + offset].astype(np.float64)
    widths = np.ones(len(counts))
    for _ in range(4):
        edges = first - 0.5 + np.concatenate([[0.0], np.cumsum(widths)])
        expected = np.diff(np.interp(edges, at, below))
        widths *= _without_trend(counts / np.maximum(expected, 1), expected)
        widths *= len(widths) / widths.sum()
    chance = np.sqrt(np.mean(1 / np.maximum(counts, 1)))
    if np.std(widths) < max(_LEAST, 3 * chance):
        return None
    edges = first - 0.5 + np.concatenate([[0.0], np.cumsum(widths)])
    edges[-1] = last + 0.5
    return Converter(first, tuple(float(edge) for edge in edges))


def _without_trend(ratios: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide ratios by their weighted mean over the codes around."""
    kernel = np.ones(_WINDOW + 1)
    kernel[[0, -1]] = 0.5
    root = np.sqrt(weights)
    return ratios / (np.convolve(ratios * root, kernel, "same") / np.convolve(root, kernel, "same"))
