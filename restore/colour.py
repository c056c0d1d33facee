"""Colour arithmetic on float arrays: the sRGB transfer curve and luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601 luma weights of R, G, B."""


def srgb_to_linear(encoded: Floats) -> Floats:
    """Undo the sRGB transfer curve, extended to negative values by symmetry (IEC 61966-2-1).

    >>> srgb_to_linear(np.array([0.0, 0.5, 1.0], np.float32)).round(4).tolist()
    [0.0, 0.21400000154972076, 1.0]
    """
    size = np.abs(encoded)
    linear = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(linear, encoded).astype(np.float32)


def linear_to_srgb(linear: Floats) -> Floats:
    """Apply the sRGB transfer curve, extended to negative values by symmetry (IEC 61966-2-1).

    >>> linear_to_srgb(srgb_to_linear(np.array([-0.1, 0.02, 0.7], np.float32))).round(4).tolist()
    [-0.10000000149011612, 0.019999999552965164, 0.699999988079071]
    """
    size = np.abs(linear)
    encoded = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(encoded, linear).astype(np.float32)


def luma(rgb: Floats) -> Floats:
    """Rec. 601 luma of ``(..., 3)`` or the plane itself of ``(..., 1)``: shape ``(...)``."""
    if rgb.shape[-1] == 1:
        return rgb[..., 0]
    return np.asarray(rgb @ LUMA, np.float32)
