"""Raw mosaics made from photographs, and the noise of cameras that do not exist but might."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from restore.colour import Floats, srgb_to_linear

_CAMERA_FROM_SRGB = np.array([[0.62, 0.30, 0.08], [0.14, 0.72, 0.14], [0.04, 0.26, 0.70]], np.float32)
"""An average of how cameras see the primaries of sRGB."""


@dataclass(frozen=True)
class RawNoise:
    """Noise of one exposure, in fractions of white.

    Parameters
    ----------
    gain, read
        Shot gain K and standard deviation of all noise of single pixels that light does not make.
    row, column
        Standard deviation of the offsets that all pixels of a sensor row or column share.
    tail
        Shape of the pixels' read noise: Tukey's lambda, 0.14 is nearly Gaussian, below 0 has heavy tails.
    bias
        Standard deviation of the error of the black level of each plane.
    step
        One DN; 0 for no quantisation.
    outliers
        Share of pixels that are far off in this exposure.
    """

    gain: float
    read: float
    row: float = 0.0
    column: float = 0.0
    tail: float = 0.14
    bias: float = 0.0
    step: float = 0.0
    outliers: float = 0.0

    @property
    def told(self) -> tuple[float, float]:
        """Shot gain and read sigma with quantisation noise: what calibration would find."""
        return self.gain, float(np.hypot(self.read, self.step / np.sqrt(12)))


def draw_camera(rng: np.random.Generator) -> RawNoise:
    """Draw a camera and an ISO speed at random, over and beyond the range of calibrated ones.

    The read noise follows the gain by ``ln sigma = a ln K + b`` in DN of a 14-bit sensor.

    References
    ----------
    Wei et al., "Physics-based noise modeling for extreme low-light photography" (TPAMI 2021): five cameras.
    """
    units = float(rng.choice([959.0, 3840.0, 15871.0], p=[0.15, 0.25, 0.6]))  # DN between black and white
    gain = np.exp(rng.uniform(np.log(0.08), np.log(30)))
    slope, height = rng.uniform(0.45, 0.95), rng.uniform(0.1, 2.1)
    read = np.exp(slope * np.log(gain) + height + rng.normal(0, 0.3))
    is_banded = rng.random() < 0.6
    row = read * np.exp(rng.uniform(np.log(0.02), np.log(0.4))) * is_banded
    return RawNoise(
        gain=float(gain / 15871),
        read=float(read / 15871),
        row=float(row / 15871),
        column=float(row / 15871 * rng.uniform(0, 0.4)),
        tail=float(rng.uniform(-0.25, 0.25)),
        bias=float(read / 15871 * rng.uniform(0, 0.05)),
        step=1 / units,
        outliers=float(rng.choice([0.0, np.exp(rng.uniform(np.log(1e-5), np.log(5e-4)))])),
    )


def add_raw_noise(clean: Floats, noise: RawNoise, rng: np.random.Generator) -> Floats:
    """Expose a clean mosaic: photons, read noise, banding, black level error, rounding; never clipped below.

    Parameters
    ----------
    clean
        Packed planes ``(4, H, W)``: R, G on red rows, G on blue rows, B; black 0, white 1.

    Returns
    -------
    Floats
        ``(4, H, W)``, saturated at 1.
    """
    shape = clean.shape
    light = np.maximum(clean, 0).astype(np.float64)
    signal = rng.poisson(light / noise.gain) * noise.gain if noise.gain > 0 else light
    rows = rng.normal(0, noise.row, (2, shape[1], 1))[[0, 0, 1, 1]] if noise.row else 0.0
    columns = rng.normal(0, noise.column, (2, 1, shape[2]))[[0, 1, 0, 1]] if noise.column else 0.0
    pixels = noise.read * tukey_lambda(shape, noise.tail, rng)
    values = signal + pixels + rows + columns + rng.normal(0, 1, (4, 1, 1)) * noise.bias
    if noise.outliers:
        is_off = rng.random(shape) < noise.outliers
        values[is_off] += rng.exponential(10, int(is_off.sum())) * noise.read
    if noise.step:
        values = np.rint(values / noise.step) * noise.step
    return np.minimum(values, 1).astype(np.float32)


def tukey_lambda(shape: tuple[int, ...], tail: float, rng: np.random.Generator) -> Floats:
    """Draw Tukey-lambda numbers of unit variance; ``tail`` is lambda, above -1/2.

    >>> draws = tukey_lambda((200_000,), -0.1, np.random.default_rng(0))
    >>> bool(abs(draws.std() - 1) < 0.02)
    True
    """
    u = np.clip(rng.random(shape), 1e-7, 1 - 1e-7)
    if abs(tail) < 1e-3:
        return np.asarray(np.log(u / (1 - u)) * (np.sqrt(3) / np.pi), np.float32)
    variance = 2 / tail**2 * (1 / (1 + 2 * tail) - math.gamma(tail + 1) ** 2 / math.gamma(2 * tail + 2))
    return np.asarray((u**tail - (1 - u) ** tail) / (tail * math.sqrt(variance)), np.float32)


def unprocess(photo: Floats, rng: np.random.Generator) -> Floats:
    """Turn a photograph into the clean mosaic of a random camera.

    The tone curve and sRGB are undone, colours are mixed as sensors see them, and white balance is divided out,
    but less where the photo is white: what was saturated in a channel stays so (Brooks et al., equation 9).

    Parameters
    ----------
    photo
        sRGB-encoded ``(H, W, 3)``, even sides.

    Returns
    -------
    Floats
        Packed planes ``(4, H/2, W/2)`` in 0...1.

    References
    ----------
    Brooks et al., "Unprocessing images for learned raw denoising" (CVPR 2019).
    """
    encoded = np.clip(photo, 0, 1)
    if rng.random() < 0.5:  # the inverse of the smooth step 3 x^2 - 2 x^3
        encoded = np.asarray(0.5 - np.sin(np.arcsin(1 - 2 * encoded) / 3), np.float32)
    mix = rng.uniform(0.1, 1.0)
    matrix = (1 - mix) * np.eye(3, dtype=np.float32) + mix * _CAMERA_FROM_SRGB
    camera = srgb_to_linear(encoded) @ matrix.T.astype(np.float32)
    gains = rng.uniform((1.2, 1.0, 1.2), (2.6, 1.0, 2.6)).astype(np.float32)
    grey = camera.mean(-1, keepdims=True)
    is_white = (np.maximum(grey - 0.9, 0) / 0.1) ** 2
    camera *= np.maximum(is_white + (1 - is_white) / gains, 1 / gains)
    red, green, blue = np.clip(camera, 0, 1).transpose(2, 0, 1)
    planes = red[0::2, 0::2], green[0::2, 1::2], green[1::2, 0::2], blue[1::2, 1::2]
    return np.ascontiguousarray(np.stack(planes), np.float32)


def resized(photo: Floats, side: int) -> Floats:
    """Resize ``(S, S, C)`` to ``(side, side, C)``: averaged when made smaller, cubic when made larger."""
    how = cv2.INTER_AREA if side < photo.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(photo, (side, side), interpolation=how), np.float32)
