"""How far a denoised value may be off: a standard error for each, for methods that know none of their own.

The method is run on four mirror images of a tile; where their answers differ it guesses. That spread, the structure of
the result, what was removed around a pixel and the noise level give the error by a model that was fitted to photos
with known noise (``tests/benchmarks/uncertainty.py`` makes ``uncertainty.json``). It holds for noise like that of
the fit: white, or as cameras leave it after development and JPEG, of 3 to 60 of 255; not for detail that no method
could tell from noise, nor for blur, haze or JPEG blocks, which a denoiser keeps on purpose. Methods without a fitted
model of their own get none: one for all did not hold. Wavelets on camera noise have none either: on photos of other
sets 75 % of the errors lay within one standard error in place of 68 %, whatever was tried.

References
----------
Wang et al., "Aleatoric uncertainty estimation with test-time augmentation" (2019), for the spread.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.noise import CORRELATED, Noise
from restore.tiling import Seams, TileOp

MIRRORS = ((), (1,), (2,), (1, 2))
"""Axes of ``(C, h, w)`` along which a tile is mirrored."""

REACH = 8
"""Pixels around a pixel that the model looks at."""


@cache
def constants() -> dict[str, dict[str, list[float] | None]]:
    """Return the fitted weights of each method, for white and for camera noise; None: do not hold.

    Those for pictures of one channel have the name of the method and " grey".
    """
    found: dict[str, dict[str, list[float] | None]] = json.loads(
        files("restore").joinpath("uncertainty.json").read_text()
    )
    return found


def operation(op: TileOp, method: str, noise: Noise) -> TileOp | None:
    """Return an operation that gives the standard error of what ``op`` gives; None where that cannot be had.

    It costs four runs of ``op``. It cannot be had for methods that no model was fitted to, nor for an operation that
    needs the whole picture, which holds a fitted answer and cannot be asked again.
    """
    if op.seams is Seams.WHOLE or noise.sigma <= 0:
        return None
    name = f"{method} grey" if len(noise.channels) == 1 else method
    fitted = constants().get(name, {}).get("camera" if noise.correlation > CORRELATED else "white")
    if fitted is None:
        return None
    weights = torch.tensor(fitted)

    def run(tile: Tensor) -> Tensor:
        terms = features(op, tile, noise)[: len(weights)]
        return torch.einsum("f,fchw->chw", weights.to(terms), terms).exp().clamp(max=3 * noise.sigma)

    return TileOp(
        run,
        halo=op.halo + REACH,
        multiple=op.multiple,
        seams=op.seams,
        tile=op.tile,
        bytes_per_pixel=op.bytes_per_pixel + 600,
    )


def features(op: TileOp, tile: Tensor, noise: Noise) -> Tensor:
    """Return what the model sees of a tile ``(C, h, w)``: ``(F, C, h, w)``, logarithms in fractions of white.

    The last four, of a channel by itself and of brightness, are for cameras, whose channels differ; models fitted
    without them have fewer weights.
    """
    answers = torch.stack([op.run(tile.flip(axes)).flip(axes) for axes in MIRRORS])
    result, removals = answers[0], (tile - answers[0]).square()
    spreads = (answers - answers.mean(0)).square().sum(0) / (len(MIRRORS) - 1)
    spread, removed = _around(spreads, 2), _around(removals, REACH)
    across, down = result.diff(dim=2), result.diff(dim=1)
    slope = _around(F.pad(across, (0, 1)).square() + F.pad(down, (0, 0, 0, 1)).square(), 2)
    level = torch.full_like(result, log(max(noise.sigma, 1e-4)))
    one = torch.ones_like(result)
    own = (_mean(removals, REACH), 1e-4), (_mean(spreads, 2), 1e-4)
    a, b, c, d, e = (
        0.5 * torch.log(x + floor**2) - level for x, floor in ((spread, 1e-4), (slope, 1e-3), (removed, 1e-4), *own)
    )
    light = _around(result, 2)
    of_all = [one, level, a, b, c, a * a, b * b, c * c, a * b, level * a, level * b, level * level]
    return torch.stack([*of_all, d - c, e - a, light, light * light])


def _around(planes: Tensor, radius: int) -> Tensor:
    """Mean over a square around each pixel and over all channels, for each channel again."""
    return _mean(planes.mean(0, keepdim=True), radius).expand_as(planes)


def _mean(planes: Tensor, radius: int) -> Tensor:
    """Mean over a square around each pixel of ``(C, h, w)``."""
    return F.avg_pool2d(planes[None], 2 * radius + 1, 1, radius, count_include_pad=False)[0]
