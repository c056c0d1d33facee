"""Hot pixels are told from the smallest stars."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from restore.raw import bayer, hot


def spots(height: float, width: float) -> np.ndarray:
    """Mosaic of noise one with 256 spots of light, Gaussians of this width at half height in pixels; 0: of charge."""
    rng = np.random.default_rng(0)
    mosaic, places = rng.standard_normal((192, 192)), np.arange(6, 192, 12)
    for top in places:
        for left in places:
            y, x = top + rng.uniform(-0.5, 0.5), left + rng.uniform(-0.5, 0.5)
            edges = np.arange(-4.5, 5)
            light = [np.diff(erf((edges + round(at) - at) / (max(width, 0.1) / 2.355 * 2**0.5))) for at in (y, x)]
            spot = np.outer(*light) if width else np.eye(9)[:, 4:5] @ np.eye(9)[4:5]
            mosaic[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5] += height * spot / spot.max()
    return mosaic.astype(np.float32)


def changed(mosaic: np.ndarray, name: str = "RGGB") -> int:
    planes = torch.from_numpy(bayer.pack(mosaic, bayer.PHASES[name]))
    return int((hot.cooled(planes) != planes).sum())


@pytest.mark.parametrize("name", bayer.PHASES)
def test_charge_is_repaired_at_every_site(name: str) -> None:
    for height in (20, 100, 1000):
        assert changed(spots(height, 0)[1:-1, 1:-1], name) >= 255


@pytest.mark.parametrize("width", [1.3, 2.0, 3.0])
@pytest.mark.parametrize("height", [15, 100, 1000])
def test_light_is_left(width: float, height: float) -> None:
    assert changed(spots(height, width)) <= 2


def test_noise_and_edges_are_left() -> None:
    mosaic = spots(0, 0)
    mosaic[40:90, 40:90] += 200
    mosaic[120:123] += 300
    mosaic[:, 150] += 300
    assert changed(mosaic) == 0
    assert changed(mosaic[:4, :4]) == 0


def test_corners_are_repaired_too() -> None:
    mosaic = spots(0, 0)
    for y, x in ((0, 0), (0, 191), (191, 0), (191, 191), (1, 90), (60, 0)):
        mosaic[y, x] += 50
    assert changed(mosaic) == 6
