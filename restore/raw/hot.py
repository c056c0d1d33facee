"""Defective pixels of a sensor: hot ones are told from stars by what surrounds them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

REACH = 2
"""Packed pixels that `cooled` reads around a pixel."""

_FAR, _TIMES, _CALM = 8.0, 1.5, (1.5, 0.02)
"""How far a hot site lies above every neighbour of its colour, in units of the noise, and how many times their median;
and by how much the sites that touch it may differ from theirs, on average: so much, and this share of its height. Light
spreads, charge does not."""

_SAME = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]
_BESIDE = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def cooled(planes: Tensor) -> Tensor:
    """Give single sites that shine far out of calm surroundings the median of their neighbours of the same colour.

    A star, however small, lights the sites beside it, too.

    Parameters
    ----------
    planes
        ``(4, H, W)``, packed as by `restore.raw.bayer.pack`, with noise of standard deviation one.

    >>> planes = torch.zeros(4, 8, 8)
    >>> planes[1, 3, 4] = 20
    >>> float(cooled(planes).max())
    0.0
    """
    if min(planes.shape[1:]) <= REACH:
        return planes
    padded = F.pad(planes[None], (REACH,) * 4, mode="reflect")[0]
    sides = padded[:, 1:-1, 1:-3] + padded[:, 1:-1, 2:-2] + padded[:, 1:-1, 3:-1]
    mean = (sides[:, :-2] + sides[:, 1:-1] + sides[:, 2:]) / 9  # of nine sites, of which eight lie `_FAR` below
    plane, row, column = (planes - mean > 8 / 9 * _FAR).nonzero().T

    def near(places: list[tuple[int, int]], rows: Tensor, columns: Tensor) -> Tensor:
        """Return what lies beside sites of the mosaic, ``(places, N)``."""
        sites = [(rows + y, columns + x) for y, x in places]
        return torch.stack([padded[y % 2 * 2 + x % 2, y // 2 + REACH, x // 2 + REACH] for y, x in sites])

    def where(plane: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * row + plane // 2, 2 * column + plane % 2

    is_far = planes[plane, row, column] - near(_SAME, *where(plane, row, column)).amax(0) > _FAR
    plane, row, column = plane[is_far], row[is_far], column[is_far]
    rows, columns = where(plane, row, column)
    median = near(_SAME, rows, columns).median(0).values
    height = planes[plane, row, column] - median
    unrest = torch.zeros_like(height)
    for y, x in _BESIDE:
        beside = near([(0, 0)], rows + y, columns + x)[0] - near(_SAME, rows + y, columns + x).median(0).values
        unrest += beside.abs() / len(_BESIDE)
    is_hot = (height > (_TIMES - 1) * median) & (unrest < _CALM[0] + _CALM[1] * height)
    cool = planes.clone()
    cool[plane[is_hot], row[is_hot], column[is_hot]] = median[is_hot]
    return cool


def median_of_neighbours(planes: Tensor) -> Tensor:
    """Median of the eight neighbours of the same colour, ``(4, H, W)``; at the border, of those there are."""
    padded = F.pad(planes[None], (1, 1, 1, 1), mode="replicate")[0]
    height, width = planes.shape[1:]
    moved = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return torch.stack(moved).median(0).values
