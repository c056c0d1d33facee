"""The score network: a noise predictor that is told, at every pixel, how noisy it is and by what law."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

REACH = 2
"""Pixels around a pixel whose mean brightness decides how noisy it is told to be."""


def conditions(picture: Tensor, power: Tensor, dispersion: Tensor) -> Tensor:
    """Return the planes that tell :class:`~restore.nets.unshuffle_unet.UnshuffleUNet` the noise of a picture.

    The noise has the variance ``dispersion * x**power``. The planes are its standard deviation for each channel, at
    the mean of 5x5 pixels of the noisy picture, and the mean of those over channels times two weights that tell the
    power: ``(0, 0)`` for 0, ``(1, 0)`` for 1, ``(0, 1)`` for 2. All are in the unit of the picture, so that a network
    without biases stays homogeneous: it works in every unit.

    Parameters
    ----------
    picture
        ``(B, C, H, W)``.
    power, dispersion
        ``(B, 1, 1, 1)``.

    Returns
    -------
    Tensor
        ``(B, C + 2, H, W)``.
    """
    local = F.avg_pool2d(picture, 2 * REACH + 1, stride=1, padding=REACH, count_include_pad=False)
    spread = (dispersion * local.clamp_min(0) ** power).sqrt()
    mean = spread.mean(1, keepdim=True)
    return torch.cat([spread, mean * (1 - (power - 1).abs()).clamp_min(0), mean * (power - 1).clamp(0, 1)], 1)
