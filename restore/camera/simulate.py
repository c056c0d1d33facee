"""A simulated sensor whose truth is known, to check that calibration finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.camera import tukey
from restore.camera.frames import tiled
from restore.camera.profile import Table
from restore.errors import ArrayError, nearest
from restore.picture import Floats, Meta, RawImage

Family = Literal["gaussian", "tukey", "student", "outliers", "telegraph"]
FAMILIES: tuple[Family, ...] = ("gaussian", "tukey", "student", "outliers", "telegraph")
"""Pixel noise: Gaussian; Tukey-lambda; Student t of 4 degrees; skewed with 3 % Laplace outliers before the amplifier
and logistic after it; two levels, as of random telegraph signals."""

RGGB = ((0, 1), (1, 2))
_LOW, _HIGH = (0.53, 0.295, 3.9, 0.94), (0.223, 0.5, 1.2, 1.4)
"""Of the low and the high gain: sigma of the maps k (per ISO 1000) and b in DN, read noise before the amplifier in
electrons and after it in DN."""
_SHARES = {"smooth": 0.5, "row": 0.15, "column": 0.15, "pixel": 0.2}


@dataclass(frozen=True, eq=False)
class Sensor:
    """A sensor and its hidden truth; `Sensor.draw` makes one.

    Parameters
    ----------
    black
        Black level in DN as its files say; ``black_error`` is by how much each ISO misses it at each site.
    split
        First ISO of the high gain; None for a sensor with one.
    shading
        For each gain the maps ``k, b`` ``(H, W)``: dark shading is ``k iso / 1000 + b``, mean 0.
    hot
        Electrons that each pixel adds to every frame: 0 for good ones.
    shape
        Lambda of the ``tukey`` family.
    bands
        Sigma of row and of column offsets, as fractions of the pixel sigma.
    """

    family: Family
    cfa: tuple[tuple[int, ...], ...]
    black: Table
    black_error: dict[float, tuple[float, ...]]
    white: float
    split: float | None
    shading: tuple[tuple[Floats, Floats], ...]
    hot: Floats
    shape: float
    bands: tuple[float, float]
    K_per_iso: float = 9.5e-4
    camera: str = "Restore Simulated"
    drift: float = 0.0

    @staticmethod
    def draw(
        rng: np.random.Generator,
        *,
        family: Family = "outliers",
        size: tuple[int, int] = (512, 768),
        cfa: tuple[tuple[int, ...], ...] = RGGB,
        isos: tuple[float, ...] = (100, 200, 400, 800, 1600, 3200, 6400, 12800),
        split: float | None = 3200,
        black: Table | None = None,
        bands: tuple[float, float] = (0.16, 0.03),
    ) -> Sensor:
        """Draw a sensor; every number that calibration must find comes from ``rng``.

        Raises
        ------
        ArrayError
            An unknown family.
        """
        if family not in FAMILIES:
            raise ArrayError(f"unknown noise family {family!r}.{nearest(family, FAMILIES)}")
        period = len(cfa)
        hot = np.where(rng.random(size) < 2e-4, rng.uniform(30, 300, size), 0).astype(np.float32)
        jumps = {iso: rng.normal(0, 1.5) for iso in isos}
        return Sensor(
            family=family,
            cfa=cfa,
            black=black or ((512.0,) * period,) * period,
            black_error={iso: tuple(jumps[iso] + rng.normal(0, 0.3, period * period)) for iso in isos},
            white=16383.0,
            split=split,
            shading=tuple(
                (_pattern(size, period, rng, gain[0]), _pattern(size, period, rng, gain[1])) for gain in (_LOW, _HIGH)
            ),
            hot=hot,
            shape=float(rng.uniform(-0.15, 0.1)),
            bands=bands,
        )

    def _is_high(self, iso: float) -> bool:
        return self.split is not None and iso >= self.split

    def K(self, iso: float) -> float:  # noqa: N802 - the field's symbol
        """Return DN per electron."""
        return self.K_per_iso * iso

    def sigma(self, iso: float) -> float:
        """Return the standard deviation of the pixel noise in DN, before rounding."""
        *_, before, after = _HIGH if self._is_high(iso) else _LOW
        return float(np.hypot(self.K(iso) * before, after))

    def dark_shading(self, iso: float) -> Floats:
        """Return the true fixed pattern in DN without black error and hot pixels."""
        k, b = self.shading[self._is_high(iso)]
        return np.asarray(k * np.float32(iso / 1000) + b)

    def pixel_noise(self, iso: float, rng: np.random.Generator) -> Floats:
        """Draw pixel noise in DN, before rounding."""
        size = self.hot.shape
        if self.family != "outliers":
            return np.asarray(self.sigma(iso) * standard(self.family, size, self.shape, rng), np.float32)
        *_, before, after = _HIGH if self._is_high(iso) else _LOW
        first = self.K(iso) * before * standard("outliers", size, self.shape, rng)
        return np.asarray(first + rng.logistic(0, after * np.sqrt(3) / np.pi, size), np.float32)

    def frame(
        self, iso: float, rng: np.random.Generator, *, light: Floats | float = 0.0, exposure_s: float = 0.01
    ) -> RawImage:
        """Expose a frame; ``light`` in DN above black, one number or ``(H, W)``; 0 for a dark frame."""
        size, gain, sigma = self.hot.shape, self.K(iso), self.sigma(iso)
        height, width = size
        error = np.reshape(np.array(self.black_error[iso]), (len(self.cfa), -1))
        signal = gain * rng.poisson(np.broadcast_to(light, size) / gain) if np.any(light) else 0.0
        dn = signal + self.pixel_noise(iso, rng) + self.dark_shading(iso) + gain * self.hot
        dn += sigma * self.bands[0] * rng.standard_normal((height, 1))
        dn += sigma * self.bands[1] * rng.standard_normal((1, width))
        dn += rng.normal(0, 0.002 * np.sqrt(iso)) + self.drift * exposure_s
        black = tiled(self.black, size)
        dn += tiled(cast("Table", tuple(map(tuple, error))), size) + black
        values = np.rint(dn).clip(0, self.white)
        mosaic = ((values - black) / (np.float32(self.white) - black)).astype(np.float32)
        meta = Meta(format="raw", bits=14, iso=float(iso), exposure_s=exposure_s, camera=self.camera)
        return RawImage(mosaic, self.cfa, self.black, self.white, meta=meta)


def standard(family: Family, size: tuple[int, ...], shape: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise of a family with mean 0 and standard deviation 1.

    >>> rng = np.random.default_rng(1)
    >>> [round(float(standard(family, (400000,), 0.1, rng).std()), 1) for family in FAMILIES]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if family == "gaussian":
        return rng.standard_normal(size)
    if family == "tukey":
        p = (np.arange(1 << 20) + 0.5) / (1 << 20)
        scale = 1 / float(np.std(tukey.quantile(p, shape)))
        return tukey.draw(size, shape, scale, rng).astype(np.float64)
    if family == "student":
        return np.asarray(rng.standard_t(4, size) / np.sqrt(2))
    if family == "telegraph":
        levels = rng.random(size) < 0.3
        return np.asarray((rng.standard_normal(size) + 3 * (levels - 0.3)) / np.sqrt(1 + 9 * 0.21))
    skewed = (rng.standard_gamma(9, size) - 9) / 3
    noise = np.where(rng.random(size) < 0.03, rng.laplace(0, 3 / np.sqrt(2), size), skewed)
    return np.asarray(noise / np.sqrt(0.97 + 0.03 * 9))


def _pattern(size: tuple[int, int], period: int, rng: np.random.Generator, sigma: float) -> Floats:
    """Draw a smooth field, and row, column and pixel patterns; mean 0 at each site."""
    height, width = size
    coarse = rng.standard_normal((5, 6)).astype(np.float32)
    parts = {
        "smooth": cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC),
        "row": np.broadcast_to(rng.standard_normal((height, 1)), size),
        "column": np.broadcast_to(rng.standard_normal((1, width)), size),
        "pixel": rng.standard_normal(size),
    }
    whole = np.zeros(size, np.float32)
    for name, part in parts.items():
        whole += np.float32(sigma * np.sqrt(_SHARES[name])) * ((part - part.mean()) / part.std()).astype(np.float32)
    for row in range(period):
        for column in range(period):
            whole[row::period, column::period] -= whole[row::period, column::period].mean()
    return whole
