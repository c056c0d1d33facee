"""One pass of a denoiser that is told nothing: the quick mode of ``scoredvi``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.nets.blind_prior import BlindPrior, apart, priors, stride_for, together
from restore.noise import CORRELATED
from restore.picture import Domain
from restore.tiling import TileOp

PLAIN, GROWS = 6 / 255, 3.0
"""Sigma from which on this is better where noise grows with light, and by how much its variance grows, over black's."""


class BlindSettings(Settings):
    """Knobs of ``blind``."""

    stride: Literal["auto", "1", "2", "3", "4"] = knob(
        "auto", "Takes every n-th pixel apart, so that grain wider than a pixel looks like white noise; auto measures"
    )


@dataclass(frozen=True, eq=False)
class Blind:
    """A blind denoiser on the picture taken apart into every n-th pixel.

    References
    ----------
    Zhou et al., "When AWGN-based denoiser meets real noises" (2020): pixel-shuffle downsampling.
    """

    settings: BlindSettings
    net: BlindPrior
    grey: BlindPrior | None
    compute: Compute

    def prepare(self, scene: Scene, /) -> TileOp:
        """Choose the stride by the correlation of the noise."""
        correlation = scene.noise.correlation
        wanted = self.settings.stride
        stride = stride_for(correlation) if wanted == "auto" else int(wanted)
        scene.report["stride"] = stride
        why = f"neighbouring pixels' noise correlates by {correlation:.2f}" if wanted == "auto" else "as told"
        scene.note(f"taken apart with stride {stride}: {why}")
        channels = scene.planes.shape[0]
        net = self.grey if self.grey is not None and channels == 1 else self.net
        is_expanded = channels != net.channels
        if is_expanded:
            scene.note("these weights have no network for grey pictures: much of the noise stays")

        def run(tile: Tensor) -> Tensor:
            parts = apart(tile.expand(net.channels, -1, -1), stride).to(self.compute.dtype)
            found = together(net(parts).float(), stride)
            clean: Tensor = tile - (found.mean(0, keepdim=True) if is_expanded else found)
            return clean

        halo, multiple = stride * net.radius, stride * net.multiple
        return TileOp(run, halo=halo, multiple=multiple, bytes_per_pixel=60 * self.compute.dtype.itemsize)


def load(settings: BlindSettings, state: State | None, compute: Compute) -> Blind:
    """Build the blind denoiser that the state dict describes; without one, a tiny seeded one."""
    return Blind(settings, *priors(state, compute.device, compute.dtype), compute)


def offer(look: Look) -> Offer | None:
    """Offer for grey whose white noise grows with light, as counts do: ``denoise`` is told one level for all of it."""
    noise = look.noise
    is_white = noise.correlation <= CORRELATED and noise.sigma >= PLAIN
    if look.domain is not Domain.SRGB or look.channels != 1 or not is_white or noise.gain <= GROWS * noise.read**2:
        return None
    return Offer(2.5, f"noise of {noise.sigma * 255:.1f}/255 measured, growing with light")


METHOD = Method(
    name="blind",
    title="Denoise blindly",
    summary="One pass of a network that needs no noise level; takes coarse grain apart first.",
    domain=Domain.SRGB,
    settings=BlindSettings,
    load=load,
    weights="blind",
    role=Role.DENOISE,
    offer=offer,
    keeps_level=0.002,
    keeps_edges=1.0,
    paper="Zhou et al., AAAI 2020 (arXiv:1904.03485)",
)
