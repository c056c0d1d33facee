"""The workhorse denoiser: a small network told how noisy the picture is, for white noise and for camera noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.nets import int8
from restore.nets.unshuffle_unet import GREY, UnshuffleUNet, grey_part
from restore.noise import CORRELATED
from restore.picture import Domain
from restore.tiling import TileOp

QUIET = 0.5 / 255
"""Noise below half an 8-bit step is not worth a change."""

TAUGHT_SIGMA, TAUGHT_BEYOND = 0.25, 1.25
"""Noise, and values beyond black and white, up to which 8-bit integers serve."""


class DenoiseSettings(Settings):
    """Knobs of ``denoise``."""

    kind: Literal["auto", "white", "camera"] = knob(
        "auto", "Noise of independent pixels (scans, renderings), or as cameras leave it after development and JPEG"
    )
    detail: float = knob(0.0, "Keeps fine detail and some of the noise with it", low=0, high=1)


@dataclass(frozen=True, eq=False)
class Nets:
    """A network, and the same in 8-bit integers where the processor and the weights have them."""

    net: UnshuffleUNet
    in_int8: UnshuffleUNet | None

    @classmethod
    def of(cls, state: State, compute: Compute, channels: int) -> Nets:
        """Build them from a state dict, made ready."""
        net = UnshuffleUNet.from_state(state).checked(2, channels)
        is_int8 = compute.is_int8 and int8.is_fit(state)
        in_int8 = _ready(int8.network(state), compute) if is_int8 else None
        return cls(_ready(net, compute), in_int8)

    def fitting(self, planes: Tensor, told: float) -> UnshuffleUNet:
        """Return the network in 8-bit integers, if there is one and the picture lies where it was taught."""
        low, high = (float(end) for end in planes.aminmax())
        is_taught = told <= TAUGHT_SIGMA and max(-low, high - 1) <= TAUGHT_BEYOND
        return self.in_int8 if self.in_int8 is not None and is_taught else self.net


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A network that is told the noise level as a plane; another one for grey, whose noise is in all it sees.

    Weights without that one show a grey picture to the network for colour, three times, which is worth little.

    References
    ----------
    Zhang et al., "FFDNet" (2018) and "Plug-and-play image restoration with deep denoiser prior" (2021): noise map as
    input; Brooks et al., "Unprocessing images for learned raw denoising" (2019): camera noise for training.
    """

    settings: DenoiseSettings
    colour: Nets
    grey: Nets | None
    compute: Compute

    def prepare(self, scene: Scene, /) -> TileOp:
        """Decide which kind of noise there is and how much of it the network shall remove."""
        noise = scene.noise
        is_camera = self.settings.kind == "camera" or (self.settings.kind == "auto" and noise.correlation > CORRELATED)
        scene.report["kind"] = "camera" if is_camera else "white"
        if noise.sigma < QUIET:
            scene.note("no noise found: left unchanged")
            return TileOp(_same)
        told = noise.sigma * (1 - 0.5 * self.settings.detail)
        levels = torch.tensor([0.0, told] if is_camera else [told, 0.0])[None, :, None, None]
        levels = levels.to(self.compute.device, self.compute.dtype)
        channels = scene.planes.shape[0]
        nets = self.grey if self.grey is not None and channels == 1 else self.colour
        net = nets.fitting(scene.planes, told)
        is_expanded = channels != net.channels
        if is_expanded:
            scene.note("these weights have no network for grey pictures: much of the noise stays")

        def run(tile: Tensor) -> Tensor:
            colour = tile.expand(net.channels, -1, -1)
            found = net(colour[None].to(self.compute.dtype), levels)[0].float()
            clean: Tensor = tile - (found.mean(0, keepdim=True) if is_expanded else found)
            return clean

        bytes_per_pixel = 75 * self.compute.dtype.itemsize  # measured: 260 in float32, 150 in bfloat16
        return TileOp(
            run,
            halo=net.radius,
            multiple=net.multiple,
            bytes_per_pixel=bytes_per_pixel,
            is_int8=net is nets.in_int8,
        )


def _same(tile: Tensor) -> Tensor:
    return tile


def load(settings: DenoiseSettings, state: State | None, compute: Compute) -> Denoiser:
    """Build the network that the state dict describes; without one, a tiny seeded one."""
    if state is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tiny = UnshuffleUNet(widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
            torch.nn.init.normal_(tiny.tail.weight, std=0.01)
        return Denoiser(settings, Nets(_ready(tiny, compute), None), None, compute)
    grey = grey_part(state)
    colour = {name: value for name, value in state.items() if not name.startswith(GREY)}
    return Denoiser(settings, Nets.of(colour, compute, 3), Nets.of(grey, compute, 1) if grey else None, compute)


def _ready(net: UnshuffleUNet, compute: Compute) -> UnshuffleUNet:
    net = net.to(compute.device, compute.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False)


def offer(look: Look) -> Offer | None:
    """Offer for any visible noise of a developed picture."""
    if not look.noise.is_visible:
        return None
    return Offer(2.0, f"noise of {look.noise.sigma * 255:.1f}/255 measured")


METHOD = Method(
    name="denoise",
    title="Denoise",
    summary="The default: our own small network for any noise level, white or as cameras make it.",
    domain=Domain.SRGB,
    settings=DenoiseSettings,
    load=load,
    weights="denoise",
    role=Role.DENOISE,
    offer=offer,
    keeps_level=0.0015,
    keeps_edges=1.0,
)
