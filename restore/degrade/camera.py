"""Noise as a camera makes it, from a simulated mosaic to the stored JPEG."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from restore.colour import Floats, linear_to_srgb, srgb_to_linear
from restore.degrade.simple import jpeg, quantise


class Pair(NamedTuple):
    """A degraded picture, its clean target, and the RMS of their difference (same unit as the pictures)."""

    noisy: Floats
    clean: Floats
    sigma: float


_CAMERA_FROM_SRGB = np.array([[0.62, 0.30, 0.08], [0.14, 0.72, 0.14], [0.04, 0.26, 0.70]], np.float32)
_DEMOSAIC = (cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2RGB_EA)  # OpenCV names RGGB by its second row: "BG"


def _mosaic(rgb: Floats) -> Floats:
    """Keep one colour a pixel, RGGB."""
    mosaic = rgb[..., 1].copy()
    mosaic[0::2, 0::2] = rgb[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = rgb[1::2, 1::2, 2]
    return mosaic


def _demosaic(mosaic: Floats, code: int) -> Floats:
    """Demosaic RGGB through OpenCV's 16-bit code, keeping values from -0.25 to 1.5."""
    scaled = np.rint(np.clip((mosaic + 0.25) / 1.75, 0, 1) * 65535).astype(np.uint16)
    rgb = cv2.cvtColor(scaled, code).astype(np.float32)
    return np.asarray(rgb / 65535 * 1.75 - 0.25, np.float32)


def _in_camera_smoothing(noise: Floats, rng: np.random.Generator) -> Floats:
    """Blur noise as in-camera noise reduction does: luma a little, chroma more."""
    grey = noise.mean(-1, keepdims=True)
    fine = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, 1.6))[..., None]
    chroma = cv2.GaussianBlur(noise - grey, (0, 0), rng.uniform(0.4, 4.0))
    return np.asarray(fine + chroma, np.float32)


def _edge_preserving(noisy: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    """Smooth flat parts and leave the noise where there are edges, as other in-camera noise reduction does."""
    smooth = cv2.bilateralFilter(noisy, 5, sigma * rng.uniform(1, 4), rng.uniform(0.7, 2.0))
    return np.asarray(noisy + np.float32(rng.uniform(0.4, 1)) * (smooth - noisy), np.float32)


def camera(clean: Floats, rng: np.random.Generator) -> Pair:
    """Noise as a camera makes it: added on a simulated mosaic, then developed (and often stored as JPEG).

    Photon and read noise with row noise on the mosaic, demosaicing, white balance, colour matrix, tone
    curve; in part of the draws in-camera noise reduction, a change of size and JPEG. The target goes through the
    same development without noise, noise reduction and JPEG.

    Parameters
    ----------
    clean
        ``(H, W, 3)``, even sides, at least 16.

    References
    ----------
    Brooks et al., "Unprocessing images for learned raw denoising" (CVPR 2019): noise levels and inversion.
    """
    gains = rng.uniform((1.2, 1.0, 1.2), (2.4, 1.0, 2.4)).astype(np.float32)
    mix = rng.uniform(0.2, 1.0)
    matrix = (1 - mix) * np.eye(3, dtype=np.float32) + mix * _CAMERA_FROM_SRGB
    scene = srgb_to_linear(clean) @ matrix.T.astype(np.float32) / gains
    shot = np.exp(rng.uniform(np.log(1e-4), np.log(2.5e-2)))
    read = np.exp(2.18 * np.log(shot) + 1.2 + rng.normal(0, 0.26))
    mosaic = _mosaic(scene)
    noise = rng.standard_normal(mosaic.shape, np.float32) * np.sqrt(shot * np.clip(mosaic, 0, None) + read)
    if rng.random() < 0.3:
        noise += rng.standard_normal((mosaic.shape[0], 1), np.float32) * np.float32(
            np.sqrt(read) * rng.uniform(0.1, 0.4)
        )
    code = _DEMOSAIC[int(rng.random() < 0.6)]
    back = np.linalg.inv(matrix).T.astype(np.float32)
    is_toned = rng.random() < 0.5

    def develop(raw: Floats) -> Floats:
        encoded = linear_to_srgb(np.clip((_demosaic(raw, code) * gains) @ back, 0, 1))
        return encoded * encoded * (3 - 2 * encoded) if is_toned else encoded

    noisy, target = develop(mosaic + noise.astype(np.float32)), develop(mosaic)
    if (reduction := rng.random()) < 0.45:
        noisy = target + _in_camera_smoothing(noisy - target, rng)
    elif reduction < 0.65:
        noisy = _edge_preserving(noisy, _rms(noisy - target), rng)
    if (resized := rng.random()) < 0.3:
        scale, way = (
            (rng.uniform(0.5, 0.9), cv2.INTER_AREA) if resized < 0.2 else (rng.uniform(1.1, 1.8), cv2.INTER_CUBIC)
        )
        size = tuple(int(s * scale) // 2 * 2 for s in clean.shape[1::-1])
        noisy, target = (np.asarray(cv2.resize(x, size, interpolation=way), np.float32) for x in (noisy, target))
    noisy = quantise(noisy)
    if rng.random() < 0.5:
        noisy = jpeg(noisy, quality=int(rng.integers(70, 99)), is_subsampled=bool(rng.random() < 0.5))
    return Pair(noisy, target, _rms(noisy - target))


def _rms(difference: Floats) -> float:
    return float(np.sqrt(np.mean(difference**2)))
