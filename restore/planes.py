"""From pictures to the planes that methods work on, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from restore.errors import RecipeError
from restore.picture import Domain, Image, Picture
from restore.raw import bayer


def planes_of(picture: Picture, domain: Domain | None) -> Tensor:
    """Return float32 ``(C, H, W)``, a copy."""
    if isinstance(picture, Image):
        return torch.from_numpy(picture.pixels.transpose(2, 0, 1).copy())
    if domain is None:
        return torch.from_numpy(picture.mosaic[None].copy())
    if not picture.is_bayer:
        raise RecipeError(
            f"{bayer.phase_name(picture.cfa)} is not a 2x2 Bayer mosaic, which methods on the mosaic need;"
            " leave them out: the picture is developed first, then use --method denoise"
        )
    return torch.from_numpy(np.ascontiguousarray(bayer.pack(picture.mosaic, picture.cfa)))


def is_finite(planes: Tensor) -> bool:
    """Return whether every value is finite; by the extremes, which are not where any value is not.

    >>> [is_finite(torch.tensor([0.0, x, 1.0])) for x in (0.5, float("nan"), float("inf"), -float("inf"))]
    [True, False, False, False]
    """
    return planes.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(planes))).all())


def with_planes(picture: Picture, planes: Tensor) -> Picture:
    """Return the picture with other pixels, everything else kept."""
    values = planes.numpy()
    if isinstance(picture, Image):
        return replace(picture, pixels=values.transpose(1, 2, 0))
    mosaic = values[0] if len(values) == 1 else bayer.unpack(values, picture.cfa, picture.size)
    return replace(picture, mosaic=mosaic)
