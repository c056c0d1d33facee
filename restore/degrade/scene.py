"""Weather, darkness and shake: degradations that follow the scene."""

from __future__ import annotations

import cv2
import numpy as np

from restore.colour import Floats, linear_to_srgb, luma, srgb_to_linear


def haze(
    clean: Floats, rng: np.random.Generator, *, beta: float | None = None, airlight: float | None = None
) -> Floats:
    """Cover the picture with haze: ``y = x t + A (1 - t)``, ``t = exp(-beta d)``.

    The depth ``d`` (0.1...1.3) is made up: a ramp that is far at the top in most draws, plus smooth noise,
    guided by luma so that its edges follow objects.

    Parameters
    ----------
    beta
        Density of the haze; drawn from 0.6...2.2 if not given.
    airlight
        Colour ``A`` of the haze, equal in all channels to within 0.03; drawn from 0.75...1 if not given.

    References
    ----------
    Koschmieder's law as used by Li et al., "Benchmarking single-image dehazing and beyond" (TIP 2019).
    """
    beta = rng.uniform(0.6, 2.2) if beta is None else beta
    airlight = rng.uniform(0.75, 1) if airlight is None else airlight
    colour = np.clip(airlight + rng.uniform(-0.03, 0.03, clean.shape[2]), 0, 1).astype(np.float32)
    through = np.exp(np.float32(-beta) * _depth(clean, rng))[..., None]
    return np.asarray(clean * through + colour * (1 - through), np.float32)


def _depth(clean: Floats, rng: np.random.Generator) -> Floats:
    """Make up a depth map ``(H, W)`` of 0.1...1.3."""
    height, width = clean.shape[:2]
    bumps = cv2.resize(rng.random((4, 4), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None] if rng.random() < 0.7 else np.float32(0.5)
    rough = 0.1 + 0.6 * ramp + 0.6 * np.clip(bumps, 0, 1)
    return np.clip(_guided(rough, luma(clean), max(4, min(height, width) // 16)), 0.1, 1.3)


def _guided(plane: Floats, guide: Floats, radius: int) -> Floats:
    """Smooth ``plane`` keeping the edges of ``guide`` (He et al., "Guided image filtering", TPAMI 2013)."""

    def mean(x: Floats) -> Floats:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1)).astype(np.float32, copy=False)

    guide_mean, plane_mean = mean(guide), mean(plane)
    slope = (mean(guide * plane) - guide_mean * plane_mean) / (mean(guide * guide) - guide_mean**2 + 1e-3)
    return mean(slope) * guide + mean(plane_mean - slope * guide_mean)


def rain(
    clean: Floats,
    rng: np.random.Generator,
    *,
    layers: int | None = None,
    angle: float | None = None,
    length: float | None = None,
) -> Floats:
    """Draw rain streaks over the picture.

    Parameters
    ----------
    layers
        1: light rain, added; more: heavy rain, blended as on a screen, with a veil of haze behind it. If not
        given, 1 in six of ten draws, else 2...4.
    angle
        Degrees from the vertical, drawn from -35...35 if not given; layers differ by a few degrees.
    length
        Streak length in pixels; drawn from 9...25 (heavy: 40) if not given.
    """
    drawn = 1 if rng.random() < 0.6 else int(rng.integers(2, 5))
    count = drawn if layers is None else layers
    angle = rng.uniform(-35, 35) if angle is None else angle

    def streaks() -> Floats:
        pixels = rng.uniform(9, 25 if count == 1 else 40) if length is None else length
        return _streaks(clean.shape[:2], rng, angle=angle + rng.normal(0, 4) * (count > 1), length=pixels)[..., None]

    if count == 1:
        return np.clip(clean + np.float32(rng.uniform(0.7, 1)) * streaks(), 0, 1)
    rainy = np.clip(haze(clean, rng, beta=rng.uniform(0.2, 0.6)), 0, 1)
    for _ in range(count):
        rainy = 1 - (1 - rainy) * (1 - streaks())
    return rainy


def _streaks(size: tuple[int, int], rng: np.random.Generator, *, angle: float, length: float) -> Floats:
    """Sparse drops smeared along a line: ``(H, W)`` in 0...0.8."""
    drops = (rng.random(size, np.float32) < rng.uniform(0.004, 0.03)) * rng.random(size, np.float32)
    smooth = cv2.GaussianBlur(drops, (0, 0), 0.6)
    half = round(length / 2)
    along = np.linspace(-length / 2, length / 2, 4 * half + 1)
    turn = np.deg2rad(angle)
    kernel = _drawn(half + along * np.sin(turn), half + along * np.cos(turn), 2 * half + 1)
    smeared = cv2.filter2D(smooth, -1, kernel, borderType=cv2.BORDER_REFLECT_101).reshape(size)
    return np.asarray(np.clip(smeared * rng.uniform(3, 8), 0, 0.8), np.float32)


def _drawn(x: Floats, y: Floats, size: int) -> Floats:
    """Spread points over the four pixels around each: a ``(size, size)`` kernel of sum 1."""
    kernel = np.zeros((size + 1, size + 1), np.float64)
    left, top = (np.clip(np.floor(v), 0, size - 1).astype(int) for v in (x, y))
    right, low = np.clip(x - left, 0, 1), np.clip(y - top, 0, 1)
    for row, column, share in (
        (top, left, (1 - low) * (1 - right)),
        (top, left + 1, (1 - low) * right),
        (top + 1, left, low * (1 - right)),
        (top + 1, left + 1, low * right),
    ):
        np.add.at(kernel, (row, column), share)
    inner = kernel[:size, :size]
    return np.asarray(inner / inner.sum(), np.float32)


def motion_blur(clean: Floats, rng: np.random.Generator, *, size: int | None = None) -> Floats:
    """Shake the camera: blur in linear light along a random path with inertia.

    Parameters
    ----------
    size
        Side in pixels of the square that the path fills, at least 3; drawn from 5...31 if not given.
    """
    size = int(rng.integers(5, 32)) if size is None else size
    linear = srgb_to_linear(clean)
    blurred = cv2.filter2D(linear, -1, _path(size, rng), borderType=cv2.BORDER_REFLECT_101).reshape(clean.shape)
    return linear_to_srgb(np.maximum(blurred, 0))


def _path(size: int, rng: np.random.Generator) -> Floats:
    """Draw the kernel of a random walk whose direction changes slowly and that fills the square's side."""
    turns = np.cumsum(rng.normal(0, 0.25, 48)) + rng.uniform(0, 2 * np.pi)
    steps = rng.uniform(0.4, 1.6, 48)
    x, y = np.cumsum(np.cos(turns) * steps), np.cumsum(np.sin(turns) * steps)
    fine = np.linspace(0, 47, 16 * size)
    x, y = (np.interp(fine, np.arange(48), v) for v in (x, y))
    scale = (size - 1) / max(np.ptp(x), np.ptp(y))
    x, y = ((v - (v.min() + v.max()) / 2) * scale + (size - 1) / 2 for v in (x, y))
    return _drawn(x, y, size)


def low_light(
    clean: Floats, rng: np.random.Generator, *, gamma: float | None = None, sigma: float | None = None
) -> Floats:
    """Darken as too short an exposure does, and add its noise: ``a x**gamma`` with noise, clipped at 0.

    Parameters
    ----------
    gamma
        Drawn from 2...3.5 if not given; the factor ``a`` is drawn from 0.45...1.
    sigma
        Noise at the level 0.1; its variance grows with the signal. Drawn from 0...6/255 if not given.
    """
    gamma = rng.uniform(2, 3.5) if gamma is None else gamma
    sigma = rng.uniform(0, 6 / 255) if sigma is None else sigma
    factor = rng.uniform(0.9, 1) * rng.uniform(0.5, 1) * rng.uniform(0.95, 1.05, clean.shape[2])
    dark = (np.clip(clean, 0, None) ** gamma * factor).astype(np.float32)
    noise = rng.standard_normal(dark.shape, np.float32) * np.sqrt(0.5 + 5 * dark) * np.float32(sigma)
    return np.asarray(np.maximum(dark + noise, 0), np.float32)
