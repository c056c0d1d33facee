"""Fill in the two colours that each site of a mosaic lacks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats
from restore.raw.bayer import Cfa, pad_to_red, red_site

REACH = 12
"""No output pixel depends on mosaic pixels further away than this."""

_GREEN = np.array([[-0.25, 0.5, 0.5, 0.5, -0.25]], np.float32)
_PAIR = np.array([[0.5, 0.0, 0.5]], np.float32)
_THREE = np.full((1, 3), 1 / 3, np.float32)
_ACTIVITY = np.array(
    [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [3, 0, 3, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0]],
    np.float32,
)


def demosaic(mosaic: Floats, cfa: Cfa) -> Floats:
    """Estimate all three colours ``(H, W, 3)`` of a mosaic ``(H, W)``; its samples are kept as they are.

    Bayer mosaics are interpolated along the smoother direction, other patterns by normalised convolution.
    Nothing is clipped: values may leave the range of the input.

    References
    ----------
    D. Menon, S. Andriani, G. Calvagno, "Demosaicing with directional filtering and a posteriori decision",
    IEEE Transactions on Image Processing 16(1), 2007.
    """
    return _directional(mosaic, cfa) if len(cfa) == 2 else _convolved(mosaic, cfa)


def _directional(mosaic: Floats, cfa: Cfa) -> Floats:
    """Menon's algorithm; red is at even rows and columns of everything inside."""
    row, column = red_site(cfa)
    height, width = mosaic.shape
    known = pad_to_red(mosaic, cfa, REACH)
    green, horizontal = _green(known)
    red, blue = _chroma(known, green, horizontal, _PAIR)
    for colour, site in ((red, (0, 0)), (blue, (1, 1))):
        smooth = _along(colour, horizontal, _THREE)
        green[site[0] :: 2, site[1] :: 2] = (known - smooth)[site[0] :: 2, site[1] :: 2]
    red, blue = _chroma(known, green, horizontal, _THREE, red - blue)
    whole = np.stack([green + red, green, green + blue], axis=2)
    return whole[REACH + row :, REACH + column :][:height, :width]


def _along(plane: Floats, horizontal: NDArray[np.bool_], kernel: Floats) -> Floats:
    """Filter each pixel along its own direction."""
    return np.where(horizontal, _filtered(plane, kernel), _filtered(plane, kernel.T))


def _filtered(plane: Floats, kernel: Floats) -> Floats:
    return np.asarray(cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _coloured(plane: Floats) -> Floats:
    """Copy with the green sites set to zero."""
    copy = plane.copy()
    copy[0::2, 1::2] = 0
    copy[1::2, 0::2] = 0
    return copy


def _green(known: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Green everywhere, and whether each site is interpolated along its row.

    Both directions are tried; the one whose colour differences change less around the site wins.
    """
    across, down = _filtered(known, _GREEN), _filtered(known, _GREEN.T)
    change_across, change_down = _coloured(known - across), _coloured(known - down)
    change_across[:, :-2] = np.abs(change_across[:, :-2] - change_across[:, 2:])
    change_down[:-2] = np.abs(change_down[:-2] - change_down[2:])
    horizontal = _filtered(change_across, _ACTIVITY) <= _filtered(change_down, _ACTIVITY.T)
    green = np.where(horizontal, across, down)
    green[0::2, 1::2] = known[0::2, 1::2]
    green[1::2, 0::2] = known[1::2, 0::2]
    return green, horizontal


def _chroma(
    known: Floats, green: Floats, horizontal: NDArray[np.bool_], kernel: Floats, before: Floats | None = None
) -> tuple[Floats, Floats]:
    """Red minus green and blue minus green at every site.

    At green sites the neighbours in row and column give one each. At red and blue sites the missing one
    follows from red minus blue, filtered along the site's direction; ``before`` is its former estimate there.
    """
    measured = _coloured(known - green)
    row_mean, column_mean = _filtered(measured, _PAIR), _filtered(measured, _PAIR.T)
    red, blue = measured.copy(), measured
    red[0::2, 1::2], blue[0::2, 1::2] = row_mean[0::2, 1::2], column_mean[0::2, 1::2]
    red[1::2, 0::2], blue[1::2, 0::2] = column_mean[1::2, 0::2], row_mean[1::2, 0::2]
    difference = red - blue
    if before is not None:
        difference[0::2, 0::2] = before[0::2, 0::2]
        difference[1::2, 1::2] = before[1::2, 1::2]
    smooth = _along(difference, horizontal, kernel)
    blue[0::2, 0::2] = red[0::2, 0::2] - smooth[0::2, 0::2]
    red[1::2, 1::2] = blue[1::2, 1::2] + smooth[1::2, 1::2]
    return red, blue


def _convolved(mosaic: Floats, cfa: Cfa) -> Floats:
    """Green by a narrow normalised convolution of its samples, then the colour differences by a wider one."""
    height, width = mosaic.shape
    pattern = np.tile(np.array(cfa), (-(-height // len(cfa)), -(-width // len(cfa))))[:height, :width]
    green = _spread(mosaic, pattern == 1, 0.6)
    green[pattern == 1] = mosaic[pattern == 1]
    planes = [green, green, green]
    for colour in (0, 2):
        planes[colour] = green + _spread(mosaic - green, pattern == colour, 1.4)
        planes[colour][pattern == colour] = mosaic[pattern == colour]
    return np.stack(planes, axis=2)


def _spread(plane: Floats, sites: NDArray[np.bool_], sigma: float) -> Floats:
    """Gaussian mean of the samples at ``sites``, whatever their number; 0 where none is in reach."""

    def blurred(values: Floats) -> Floats:
        side = 2 * REACH - 1
        return np.asarray(cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_CONSTANT), np.float32)

    weight = sites.astype(np.float32)
    total = np.maximum(blurred(weight), np.float32(1e-12))
    return np.asarray(blurred(plane * weight) / total, np.float32)
