"""Gains over a picture that a DNG asks for, to even out what its lens shades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from restore.picture import Floats


@dataclass(frozen=True, eq=False)
class GainMap:
    """How much a DNG wants sites of its mosaic brightened, for the shading of the lens.

    Parameters
    ----------
    area, pitch
        Top, left, bottom, right of the sites, counted from the visible area, and every how many rows and columns.
    size, moved
        Height and width that the points' places are fractions of, and where that area begins.
    origin, step
        Where the first point lies, and how far it is to the next, as fractions of height and width.
    points
        ``(V, H)`` gains, linear in between and constant beyond.
    """

    area: tuple[int, ...]
    pitch: tuple[int, int]
    size: tuple[int, int]
    moved: tuple[int, int]
    origin: tuple[float, float]
    step: tuple[float, float]
    points: Floats

    def apply(self, strip: Floats, start: int) -> None:
        """Brighten rows ``(h, W)`` of the visible area, the first of which is ``start``, in place."""
        rows, columns = self._sites(0, start, start + strip.shape[0]), self._sites(1, 0, strip.shape[1])
        if rows and columns:
            down, across = (slice(place.start, place.stop, place.step) for place in (rows, columns))
            gains = self._weights(0, rows) @ self.points @ self._weights(1, columns).T
            strip[down.start - start : down.stop - start : down.step, across] *= gains

    def _sites(self, axis: int, start: int, stop: int) -> range:
        first, pitch = self.area[axis], self.pitch[axis]
        first += -(-max(0, start - first) // pitch) * pitch
        return range(first, min(self.area[axis + 2], stop), pitch)

    def _weights(self, axis: int, places: range) -> Floats:
        """Share ``(sites, points)`` that each point has in the gain of each site."""
        count = self.points.shape[axis]
        fractions = (np.array(places) - self.moved[axis] + 0.5) / self.size[axis]
        at = ((fractions - self.origin[axis]) / self.step[axis]).clip(0, count - 1)
        return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))), np.float32)
