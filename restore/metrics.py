"""How near a result is to its reference: PSNR, SSIM and MS-SSIM, their range and channels stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.colour import LUMA, Floats
from restore.errors import ArrayError

Channels = Literal["rgb", "luma"]
Doubles = NDArray[np.float64]

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
_WINDOW = 11
_WINDOW_SIGMA = 1.5


@dataclass(frozen=True)
class Scores:
    """How near a result is to its reference.

    Parameters
    ----------
    psnr
        Decibels; ``inf`` for equal pictures.
    ssim
        At most 1; NaN where a side is shorter than the window of 11 pixels.
    ms_ssim
        0...1; NaN where a side is shorter than the 176 pixels that five scales need.
    """

    psnr: float
    ssim: float
    ms_ssim: float


def psnr(
    result: Floats,
    reference: Floats,
    *,
    data_range: float = 1.0,
    channels: Channels = "rgb",
    crop: int = 0,
    quantise: bool = False,
) -> float:
    """Peak signal to noise ratio in decibels over all pixels and channels; ``inf`` for equal pictures.

    Parameters
    ----------
    result, reference
        ``(H, W, C)``, C = 3 or 1, nominal 0...``data_range``; not clipped here unless ``quantise``.
    channels
        ``"rgb"``: as they are; ``"luma"``: of the Rec. 601 luma.
    crop
        Pixels left out along each border.
    quantise
        Clip both to 0...``data_range`` and round them to 8 bits first, as published protocols do.

    Raises
    ------
    ArrayError
        The shapes differ or are not pictures, nothing is left after ``crop``, a value is not finite, integers have no
        ``data_range``, or unknown channels.

    Examples
    --------
    >>> round(psnr(np.full((8, 8, 1), 0.6, np.float32), np.full((8, 8, 1), 0.5, np.float32)), 3)
    20.0
    """
    return _psnr(*_prepared(result, reference, data_range, channels, crop, quantise))


def ssim(
    result: Floats,
    reference: Floats,
    *,
    data_range: float = 1.0,
    channels: Channels = "rgb",
    crop: int = 0,
    quantise: bool = False,
) -> float:
    """Structural similarity, at most 1: Gaussian window of sigma 1.5 over 11x11 pixels, mean over channels.

    Parameters and errors are those of `psnr`.

    Raises
    ------
    ArrayError
        As in `psnr`, or a side is shorter than 11 pixels.

    References
    ----------
    Wang et al., "Image quality assessment: from error visibility to structural similarity" (TIP 2004).
    """
    a, b = _prepared(result, reference, data_range, channels, crop, quantise)
    _check_side(a, _WINDOW, "SSIM")
    return _ssim(a, b)


def ms_ssim(
    result: Floats,
    reference: Floats,
    *,
    data_range: float = 1.0,
    channels: Channels = "rgb",
    crop: int = 0,
    quantise: bool = False,
) -> float:
    """Structural similarity over five scales, 0...1, mean over channels.

    Contrast and structure of all scales and the luminance of the coarsest are averaged over the picture,
    raised to the published weights and multiplied; a negative mean counts
    as 0. Parameters are those of `psnr`.

    Raises
    ------
    ArrayError
        As in `psnr`, or a side is shorter than 176 pixels.

    References
    ----------
    Wang et al., "Multiscale structural similarity for image quality assessment" (Asilomar 2003), equation 7.
    """
    a, b = _prepared(result, reference, data_range, channels, crop, quantise)
    _check_side(a, _WINDOW << (len(_SCALE_WEIGHTS) - 1), "MS-SSIM")
    return _ms_ssim(a, b)


def compare(
    result: Floats,
    reference: Floats,
    *,
    data_range: float = 1.0,
    channels: Channels = "rgb",
    crop: int = 0,
    quantise: bool = False,
) -> Scores:
    """All scores at once; one that needs a larger picture is NaN. Parameters are those of `psnr`."""
    a, b = _prepared(result, reference, data_range, channels, crop, quantise)
    side = min(a.shape[:2])
    return Scores(
        psnr=_psnr(a, b),
        ssim=_ssim(a, b) if side >= _WINDOW else float("nan"),
        ms_ssim=_ms_ssim(a, b) if side >= _WINDOW << (len(_SCALE_WEIGHTS) - 1) else float("nan"),
    )


def _prepared(
    result: Floats, reference: Floats, data_range: float, channels: Channels, crop: int, quantise: bool
) -> tuple[Doubles, Doubles]:
    """Return both pictures checked, cropped, in float64 and in units of ``data_range``."""
    if result.shape != reference.shape:
        raise ArrayError(
            f"result {result.shape} and reference {reference.shape} must have one shape; crop or resize one"
        )
    if result.ndim != 3 or result.shape[2] not in (1, 3):
        raise ArrayError(f"pictures must be (H, W, 3) or (H, W, 1), got shape {result.shape}")
    if not data_range > 0:
        raise ArrayError(f"data_range must be above 0, got {data_range}")
    if data_range == 1 and (result.dtype.kind, reference.dtype.kind) != ("f", "f"):
        raise ArrayError(f"of {result.dtype} and {reference.dtype} white is hardly 1; give data_range, as 255")
    if channels not in get_args(Channels):
        raise ArrayError(f"channels are 'rgb' or 'luma', got {channels!r}")
    if crop < 0 or min(result.shape[:2]) <= 2 * crop:
        raise ArrayError(f"crop={crop} leaves nothing of a picture of {result.shape[:2]}; give a smaller border")
    inner = slice(crop, -crop or None)

    def one(picture: Floats, what: str) -> Doubles:
        if not np.isfinite(picture).all():
            raise ArrayError(f"{what} holds values that are not finite; no score exists")
        values = picture[inner, inner].astype(np.float64) / data_range
        values = np.rint(np.clip(values, 0, 1) * 255) / 255 if quantise else values
        return values if channels == "rgb" or values.shape[2] == 1 else values @ LUMA.astype(np.float64)[:, None]

    return one(result, "result"), one(reference, "reference")


def _check_side(picture: Doubles, least: int, what: str) -> None:
    if min(picture.shape[:2]) < least:
        raise ArrayError(f"{what} needs sides of {least} pixels or more, got {picture.shape[:2]}")


def _psnr(a: Doubles, b: Doubles) -> float:
    error = float(np.mean((a - b) ** 2))
    return float(-10 * np.log10(error)) if error else float("inf")


def _windowed(plane: Doubles) -> Doubles:
    """Gaussian mean over each whole window inside the plane: ``(H - 10, W - 10)``."""
    edge = _WINDOW // 2
    blurred = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _WINDOW_SIGMA)
    return np.asarray(blurred[edge:-edge, edge:-edge], np.float64)


def _similarity(a: Doubles, b: Doubles) -> tuple[float, float]:
    """Means over one plane of the whole index, and of its contrast and structure alone."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    both = _windowed(a * b) - mean_a * mean_b
    structure = (2 * both + 0.03**2) / (var_a + var_b + 0.03**2)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return float(np.mean(luminance * structure)), float(np.mean(structure))


def _ssim(a: Doubles, b: Doubles) -> float:
    return float(np.mean([_similarity(a[..., c], b[..., c])[0] for c in range(a.shape[2])]))


def _ms_ssim(a: Doubles, b: Doubles) -> float:
    return float(np.mean([_ms_ssim_of_plane(a[..., c], b[..., c]) for c in range(a.shape[2])]))


def _ms_ssim_of_plane(a: Doubles, b: Doubles) -> float:
    product, last = 1.0, len(_SCALE_WEIGHTS) - 1
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        whole, structure = _similarity(a, b)
        product *= max(whole if scale == last else structure, 0.0) ** weight
        a, b = _halved(a), _halved(b)
    return product


def _halved(plane: Doubles) -> Doubles:
    """Mean of each 2x2 block; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in plane.shape)
    plane = plane[:height, :width]
    total = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    return np.asarray(total / 4, np.float64)
