"""Noise of simple statistics, blur, and lossy or coarse coding."""

from __future__ import annotations

import math

import cv2
import numpy as np

from restore.colour import Floats
from restore.errors import ArrayError


def gaussian(clean: Floats, rng: np.random.Generator, *, sigma: float) -> Floats:
    """Add white Gaussian noise of ``sigma`` (fraction of white); neither clipped nor rounded."""
    return clean + np.float32(sigma) * rng.standard_normal(clean.shape, np.float32)


def poisson(clean: Floats, rng: np.random.Generator, *, peak: float | None = None) -> Floats:
    """Count photons: ``peak`` of them where the picture is white (drawn from 5...30 if not given).

    Raises
    ------
    ArrayError
        Values are so large that they cannot be counted.
    """
    peak = rng.uniform(5, 30) if peak is None else peak
    try:
        counts = rng.poisson(np.maximum(clean, 0) * np.float64(peak))
    except ValueError as error:
        raise ArrayError(f"values up to {clean.max():.3g} are too many photons; give a picture of 0...1") from error
    return (counts / peak).astype(np.float32)


def salt_pepper(clean: Floats, rng: np.random.Generator, *, amount: float | None = None) -> Floats:
    """Turn ``amount`` of the pixels (drawn from 0.02...0.08 if not given) black or white, half each."""
    amount = rng.uniform(0.02, 0.08) if amount is None else amount
    draw = rng.random(clean.shape[:2])[..., None]
    return np.asarray(np.where(draw < amount / 2, 0, np.where(draw < amount, 1, clean)), np.float32)


def speckle(clean: Floats, rng: np.random.Generator, *, sigma: float | None = None) -> Floats:
    """Multiply by ``1 + n`` with Gaussian ``n`` of ``sigma`` (drawn from 0.15...0.3 if not given)."""
    sigma = rng.uniform(0.15, 0.3) if sigma is None else sigma
    factors = 1 + np.float32(sigma) * rng.standard_normal(clean.shape, np.float32)
    return np.asarray(clean * factors, np.float32)


def blur(clean: Floats, rng: np.random.Generator, *, radius: float | None = None) -> Floats:
    """Blur by an isotropic Gaussian of ``radius`` (its sigma in pixels; drawn from 2...3 if not given)."""
    radius = rng.uniform(2, 3) if radius is None else radius
    size = max(15, 2 * math.ceil(3 * radius) + 1)
    blurred = cv2.GaussianBlur(clean, (size, size), radius, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred.reshape(clean.shape), np.float32)


def jpeg(picture: Floats, *, quality: int, is_subsampled: bool = True) -> Floats:
    """Encode as 8-bit JPEG and decode again; ``quality`` in 1...100, 4:2:0 or 4:4:4 chroma."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if is_subsampled else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)[..., ::-1]
    coded = cv2.imencode(".jpg", pixels, options)[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR if picture.shape[-1] == 3 else cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return np.asarray(decoded.reshape(picture.shape)[..., ::-1].astype(np.float32) / 255, np.float32)


def quantise(picture: Floats, *, bits: int = 8) -> Floats:
    """Clip to 0...1 and round to ``bits``.

    >>> quantise(np.array([-0.5, 0.4, 0.6, 1.5], np.float32), bits=1).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    steps = np.float32(2**bits - 1)
    return np.asarray(np.rint(np.clip(picture, 0, 1) * steps) / steps, np.float32)
