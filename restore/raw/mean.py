"""The coarse mean of the planes of a mosaic, which a denoiser has no business to move."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

COARSE = 8
"""The mean of a plane is measured in cells of this many packed pixels."""

_REACH = 8
"""Cells read around a cell, three standard deviations of the weights."""

HALO = COARSE * (_REACH + 2)
"""Packed pixels that `lost_mean` reads around a pixel."""


def lost_mean(tile: Tensor, clean: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    """Return what the network took from the coarse local mean of each plane, so that no colour cast comes of it.

    A mean over some thousand pixels holds next to no noise, but any bias of the network. Differences beyond four
    times the noise (hot pixels) do not count.
    """
    sigma = (gain * clean.clamp_min(0) + read * read).sqrt()
    taken = torch.maximum(torch.minimum(tile - clean, 4 * sigma), -4 * sigma)
    taken = torch.where(tile >= 1, 0, taken)
    cells = F.avg_pool2d(taken[None], COARSE)
    places = torch.arange(-_REACH, _REACH + 1, device=tile.device, dtype=tile.dtype)
    weights = torch.exp(-0.5 * (places / (_REACH / 3)) ** 2)
    down = (weights / weights.sum()).reshape(1, 1, -1, 1).repeat(4, 1, 1, 1)
    rows, columns = (  # mirrored at the edge itself, so that smoothing keeps the sum
        torch.from_numpy(np.pad(np.arange(n), _REACH, mode="symmetric")).to(tile.device) for n in cells.shape[2:]
    )
    smooth = F.conv2d(cells[:, :, rows], down, groups=4)
    smooth = F.conv2d(smooth[..., columns], down.transpose(2, 3), groups=4)
    return F.interpolate(smooth, scale_factor=COARSE, mode="bilinear", align_corners=False)[0]
