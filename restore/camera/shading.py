"""Dark shading of a gain branch: a straight line in ISO at every pixel, without the noise of the frames it is from."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.camera.frames import sites
from restore.camera.stack import StackNoise
from restore.picture import Floats

SMOOTH = 8
"""Sigma, in pixels of one site, of the blur whose result is taken as it is."""

SURE_FROM = 4.0
"""A pixel that stands out by more than this many standard errors is a warm one, and is kept."""


@dataclass(eq=False)
class Shading:
    """Weighted sums of a straight line in ISO at every pixel of one gain branch."""

    isos: list[float] = field(default_factory=list)
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)
    level: Floats | None = None
    moment: Floats | None = None

    def add(self, stack: StackNoise) -> None:
        """Take in the mean dark frame of one more ISO, weighted by how well it is known."""
        x, weight = stack.iso / 1000, stack.frames / stack.read**2
        self.isos.append(stack.iso)
        self.sums = (self.sums[0] + weight, self.sums[1] + weight * x, self.sums[2] + weight * x * x)
        first = np.float32(weight) * stack.shading
        self.level = first if self.level is None else self.level + first
        second = np.float32(weight * x) * stack.shading
        self.moment = second if self.moment is None else self.moment + second

    def line(self, bad: NDArray[np.bool_], period: int) -> tuple[Floats, Floats]:
        """Return slope per ISO 1000 and intercept at each pixel; one ISO gives slope 0.

        The value at the mean ISO and the slope have independent errors of known size, and :func:`calmed` takes them
        out of both.
        """
        assert self.level is not None
        assert self.moment is not None
        s0, s1, s2 = self.sums
        centre = s1 / s0
        value = calmed(np.asarray(self.level / np.float32(s0), np.float32), s0**-0.5, bad, period)
        if len(self.isos) == 1:
            return np.zeros_like(value), value
        spread = s2 - s1 * centre
        rise = np.asarray((self.moment - self.level * np.float32(centre)) / np.float32(spread), np.float32)
        slope = calmed(rise, spread**-0.5, bad, period)
        return slope, np.asarray(value - slope * np.float32(centre), np.float32)


def calmed(fixed: Floats, error: float, bad: NDArray[np.bool_], period: int) -> Floats:
    """Return a fixed pattern with less of the noise that a mean of few frames leaves in it.

    A smooth part and the means of rows and columns are of many pixels, and stay. Of each pixel's rest the share stays
    that is no noise: its variance is known. Subtracting the mean frame as it is adds a tenth of the noise's variance
    when it is of ten frames, often more than the pattern of single pixels that it takes away.

    Parameters
    ----------
    fixed
        ``(H, W)``.
    error
        Standard error of each pixel.
    bad
        Pixels that are left as they are and count for nothing.
    period
        Of the colour pattern; each of its sites has a pattern of its own.

    References
    ----------
    Efron and Morris, "Stein's estimation rule and its competitors: an empirical Bayes approach" (1973), and "Limiting
    the risk of Bayes and empirical Bayes estimators" (1971): what stands out is not shrunk.
    """
    found = fixed.copy()
    for plane, is_bad in zip(sites(found, period), sites(bad, period), strict=True):
        good = (~is_bad).astype(np.float32)
        rest = plane * good
        for blur in (_smooth, _rows, _columns):
            mean = blur(rest) / np.maximum(blur(good), 1e-6)
            rest = (rest - mean) * good
        spread = 1.4826 * float(np.median(np.abs(rest[~is_bad]))) if good.any() else 0.0
        kept = max(0.0, 1 - (error / max(spread, 1e-12)) ** 2)
        stands_out = 1 - (SURE_FROM * error / np.maximum(np.abs(rest), 1e-12)) ** 2
        plane -= (1 - np.maximum(kept, stands_out)) * rest
    return found


def _smooth(plane: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), SMOOTH, borderType=cv2.BORDER_REFLECT), np.float32)


def _rows(plane: Floats) -> Floats:
    return np.asarray(plane.mean(axis=1, keepdims=True), np.float32)


def _columns(plane: Floats) -> Floats:
    return np.asarray(plane.mean(axis=0, keepdims=True), np.float32)
