"""Wavelet shrinkage with cycle spinning: the classical denoiser that needs no weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from restore.colour import Floats
from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.picture import Domain
from restore.tiling import Seams, TileOp

QUIET = 0.5 / 255
"""Noise below half an 8-bit step is not worth a change."""

MARGIN = 16
"""Pixels by which a picture is continued on every side: shifted grids wrap around, and wavelets need room."""

SHIFTS = sorted(product(range(4), repeat=2), key=lambda shift: sum(shift) % 2)
"""Grid shifts, the most different first."""


class WaveletSettings(Settings):
    """Knobs of ``wavelet``."""

    threshold: float = knob(1.0, "Multiplies the noise level: above 1 smooths more", low=0.1, high=4)
    shifts: int = knob(0, "Cycle spins averaged, 0 chooses by the noise", low=0, high=16)
    wavelet: Literal["haar", "db2", "db4", "sym4", "sym8"] = knob("db2", "Longer wavelets are smoother and ring more")


@dataclass(frozen=True)
class Wavelet:
    """BayesShrink thresholds on an orthogonal wavelet, averaged over shifted grids.

    References
    ----------
    Chang, Yu, Vetterli, "Adaptive wavelet thresholding for image denoising and compression" (2000): BayesShrink;
    Coifman, Donoho, "Translation-invariant de-noising" (1995): cycle spinning.
    """

    settings: WaveletSettings

    def prepare(self, scene: Scene, /) -> TileOp:
        """Take the noise level of each channel; thresholds then adapt to each tile."""
        levels = [sigma * self.settings.threshold for sigma in scene.noise.channels]
        if max(levels, default=0.0) < QUIET / 2:
            scene.note("no noise found: left unchanged")
            return TileOp(lambda tile: tile)
        count = self.settings.shifts or (4 if max(levels) < 10 / 255 else 9)
        scene.report["shifts"] = count

        def run(tile: Tensor) -> Tensor:
            pixels = tile.cpu().numpy()
            planes = [
                _shrunk(plane, sigma, count, self.settings.wavelet) for plane, sigma in zip(pixels, levels, strict=True)
            ]
            return torch.from_numpy(np.stack(planes)).to(tile.device)

        return TileOp(run, halo=32, multiple=1, seams=Seams.BLEND, tile=1024, bytes_per_pixel=96)


def _shrunk(plane: Floats, sigma: float, count: int, wavelet: str) -> Floats:
    """Shrink ``(H, W)`` on ``count`` shifted grids and average."""
    from skimage.restoration import denoise_wavelet  # a second to import, and every run lists all methods

    if sigma < QUIET / 2:
        return plane
    height, width = plane.shape
    padded = np.pad(plane, MARGIN, mode="symmetric")
    total = np.zeros_like(padded)
    for shift in SHIFTS[:count]:
        rolled = np.roll(padded, shift, (0, 1))
        with np.errstate(over="ignore"):  # coefficients next to zero: the quotient is clipped anyway
            clean = denoise_wavelet(
                rolled, sigma=sigma, wavelet=wavelet, mode="soft", method="BayesShrink", rescale_sigma=False
            )
        total += np.roll(clean, (-shift[0], -shift[1]), (0, 1))
    return total[MARGIN : MARGIN + height, MARGIN : MARGIN + width] / np.float32(min(count, len(SHIFTS)))


def load(settings: WaveletSettings, state: State | None, compute: Compute) -> Wavelet:
    """Return the shrinker."""
    del state, compute
    return Wavelet(settings)


def offer(look: Look) -> Offer | None:
    """Offer for any visible noise; networks that know more bid higher."""
    if not look.noise.is_visible:
        return None
    return Offer(1.0, f"noise of {look.noise.sigma * 255:.1f}/255 measured")


METHOD = Method(
    name="wavelet",
    title="Wavelet shrinkage",
    summary="Classical denoising that needs no weights: BayesShrink thresholds averaged over shifted grids.",
    domain=Domain.SRGB,
    settings=WaveletSettings,
    load=load,
    role=Role.DENOISE,
    offer=offer,
    keeps_level=0.0005,
    keeps_edges=1.5,
    paper="Chang, Yu, Vetterli 2000 (doi:10.1109/83.862633)",
)
