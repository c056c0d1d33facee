"""The one table of colour patterns, and the packing of a Bayer mosaic into four planes and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import ArrayError, nearest

Cfa = tuple[tuple[int, ...], ...]

PHASES: dict[str, Cfa] = {
    "RGGB": ((0, 1), (1, 2)),
    "GRBG": ((1, 0), (2, 1)),
    "GBRG": ((1, 2), (0, 1)),
    "BGGR": ((2, 1), (1, 0)),
}
"""Bayer patterns by name, read row by row from the top left pixel; 0 = R, 1 = G, 2 = B.

OpenCV and kornia name a pattern by its *second* row and column: what is RGGB here is their ``BayerBG``.
"""


def phase_name(cfa: Cfa) -> str:
    """Name of a Bayer pattern, ``"X-Trans"`` for any 6x6 pattern.

    >>> phase_name(((1, 0), (2, 1)))
    'GRBG'
    """
    names = [name for name, pattern in PHASES.items() if pattern == cfa]
    return names[0] if names else "X-Trans" if len(cfa) == 6 else f"unknown {cfa}"


def red_site(cfa: Cfa) -> tuple[int, int]:
    """Row and column of the red site of a Bayer pattern.

    >>> [red_site(cfa) for cfa in PHASES.values()]
    [(0, 0), (0, 1), (1, 0), (1, 1)]

    Raises
    ------
    ArrayError
        The pattern is not a Bayer pattern.
    """
    if cfa not in PHASES.values():
        raise ArrayError(f"{phase_name(cfa)} is not a 2x2 Bayer pattern; known: {', '.join(PHASES)}")
    return next((row, column) for row in (0, 1) for column in (0, 1) if cfa[row][column] == 0)


def phase(name: str) -> Cfa:
    """Pattern of a phase name.

    >>> phase("bggr")
    ((2, 1), (1, 0))
    """
    if name.upper() not in PHASES:
        raise ArrayError(f"unknown Bayer phase {name!r}.{nearest(name.upper(), PHASES)}")
    return PHASES[name.upper()]


def pad_to_red(mosaic: NDArray[Any], cfa: Cfa, halo: int = 0) -> NDArray[Any]:
    """Reflect a mosaic outwards so that red is top left and both sides are even.

    Reflection about the outermost pixel keeps every colour on its site. ``halo`` (even) more pixels are added
    on each side. A side of one pixel holds no second phase: its only row or column is repeated.

    >>> pad_to_red(np.array([[1, 2, 3], [4, 5, 6]]), PHASES["GRBG"]).tolist()
    [[2, 1, 2, 3], [5, 4, 5, 6]]
    """
    row, column = red_site(cfa)
    height, width = mosaic.shape
    below, right = (height + row) % 2, (width + column) % 2
    margins = ((row + halo, below + halo), (column + halo, right + halo))
    return np.pad(mosaic, margins, mode="reflect")


def pack(mosaic: NDArray[Any], cfa: Cfa) -> NDArray[Any]:
    """Split a Bayer mosaic ``(H, W)`` into planes ``(4, h, w)``: R, G on red rows, G on blue rows, B.

    The order is the same for all four phases, and plane pixel ``(y, x)`` stands for one 2x2 cell with red at
    its top left. Where the mosaic begins or ends inside such a cell, it is continued by phase-keeping
    reflection, so ``h = ceil((H + row of red) / 2)``, likewise ``w``; `unpack` cuts that off again and is
    exact for any size.

    >>> scene = np.array([[10, 20, 11, 21], [30, 40, 31, 41], [12, 22, 13, 23], [32, 42, 33, 43]])
    >>> for name, (row, column) in {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}.items():
    ...     planes = pack(scene[row:, column:], PHASES[name])
    ...     print(name, planes[:, 1, 1].tolist(), planes.shape)
    RGGB [13, 23, 33, 43] (4, 2, 2)
    GRBG [13, 23, 33, 43] (4, 2, 2)
    GBRG [13, 23, 33, 43] (4, 2, 2)
    BGGR [13, 23, 33, 43] (4, 2, 2)

    Raises
    ------
    ArrayError
        The mosaic is empty or not two-dimensional, or the pattern is not a Bayer pattern.
    """
    if mosaic.ndim != 2 or 0 in mosaic.shape:
        raise ArrayError(f"a mosaic must be (H, W) with at least one pixel, got shape {mosaic.shape}")
    whole = pad_to_red(mosaic, cfa)
    return np.stack([whole[0::2, 0::2], whole[0::2, 1::2], whole[1::2, 0::2], whole[1::2, 1::2]])


def unpack(planes: NDArray[Any], cfa: Cfa, size: tuple[int, int]) -> NDArray[Any]:
    """Put the planes of `pack` back into a mosaic of ``size`` (height, width).

    >>> mosaic = np.arange(15).reshape(3, 5)
    >>> all((unpack(pack(mosaic, cfa), cfa, (3, 5)) == mosaic).all() for cfa in PHASES.values())
    True

    Raises
    ------
    ArrayError
        The planes do not fit the size and the pattern.
    """
    row, column = red_site(cfa)
    height, width = size
    expected = (4, (height + row + 1) // 2, (width + column + 1) // 2)
    if planes.shape != expected:
        raise ArrayError(f"planes of a {height}x{width} {phase_name(cfa)} mosaic are {expected}, got {planes.shape}")
    whole = np.empty((2 * expected[1], 2 * expected[2]), planes.dtype)
    whole[0::2, 0::2], whole[0::2, 1::2], whole[1::2, 0::2], whole[1::2, 1::2] = planes
    return whole[row : row + height, column : column + width]
