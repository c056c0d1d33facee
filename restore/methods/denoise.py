"""The workhorse denoiser: a small network told how noisy the picture is, for white noise and for camera noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.nets import int8
from restore.nets.unshuffle_unet import GREY, UnshuffleUNet, grey_part
from restore.noise import CORRELATED, Noise, estimate, in_brightness
from restore.picture import Domain, Image
from restore.tiling import TileOp

QUIET = 0.5 / 255
"""Noise below half an 8-bit step is not worth a change."""

TAUGHT_SIGMA, TAUGHT_BEYOND = 0.25, 1.25
"""Noise, and values beyond black and white, up to which 8-bit integers serve."""


_MORE, _SURE = 0.7, 0.2
"""Share of the noise from which on that of brightness is more than independent colours have (0.58), and confidence from
which on what is left of it is taken, too."""

_PARTS, _SAMPLE, _LEAST = 6, 192, 16
"""Parts of a picture that show what one network leaves for another, their side, and what sides are multiples of."""


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
        """Decide which kind of noise there is, how much of it the network shall remove, and whether in two passes."""
        noise = scene.noise
        scene.report["kind"] = "camera" if self._is_camera(noise) else "white"
        if noise.sigma < QUIET:
            scene.note("no noise found: left unchanged")
            return TileOp(_same)
        passes = self._passes(scene.planes, noise)
        if not passes[0].is_of_brightness and len(scene.planes) != passes[0].net.channels:
            scene.note("these weights have no network for grey pictures: much of the noise stays")
        if len(scene.planes) == 3 and any(one.is_of_brightness for one in passes):
            scene.report["brightness"] = True
            scene.note("noise that all colours have in common, as cameras and films leave it, was removed as of grey")

        def run(tile: Tensor) -> Tensor:
            for one in passes:
                tile = one(tile)
            return tile

        bytes_per_pixel = 75 * self.compute.dtype.itemsize  # measured: 260 in float32, 150 in bfloat16
        return TileOp(
            run,
            halo=sum(one.net.radius for one in passes),
            multiple=passes[0].net.multiple,
            bytes_per_pixel=bytes_per_pixel,
            is_int8=any(one.is_int8 for one in passes),
        )

    def _is_camera(self, noise: Noise) -> bool:
        return self.settings.kind == "camera" or (self.settings.kind == "auto" and noise.correlation > CORRELATED)

    def _pass(self, nets: Nets, planes: Tensor, noise: Noise, *, is_of_brightness: bool = False) -> _Pass:
        told = noise.sigma * (1 - 0.5 * self.settings.detail)
        levels = torch.tensor([0.0, told] if self._is_camera(noise) else [told, 0.0])[None, :, None, None]
        net = nets.fitting(planes, told)
        levels = levels.to(self.compute.device, self.compute.dtype)
        return _Pass(net, levels, self.compute.dtype, is_of_brightness, net is nets.in_int8)

    def _passes(self, planes: Tensor, noise: Noise) -> list[_Pass]:
        """Return one pass for most pictures, two where brightness has noise of its own.

        The network for colour tells noise by how colours differ, and leaves what they have in common: film grain, and
        what cameras and JPEG leave, which smooth colours most. That for grey takes it from the mean of the colours.
        """
        if len(planes) == 1 and self.grey is not None:
            return [self._pass(self.grey, planes, noise)]
        colour = self._pass(self.colour, planes, noise)
        if len(planes) == 1 or self.grey is None or min(planes.shape[1:]) < _LEAST:
            return [colour]
        parts = _parts(planes)
        seen = _together(parts)
        found, is_all = in_brightness(seen)
        if found.sigma < _MORE * max(noise.sigma, estimate(seen).sigma):
            return [colour]
        if is_all:
            first = self._pass(self.grey, planes, _at_most(found, noise.sigma), is_of_brightness=True)
            rest = estimate(_together([first.on(part) for part in parts]))
            return [first, self._pass(self.colour, planes, rest)] if rest.is_visible else [first]
        left, _ = in_brightness(_together([colour.on(part) for part in parts]))
        if left.sigma < QUIET or left.confidence < _SURE:
            return [colour]
        return [colour, self._pass(self.grey, planes, left, is_of_brightness=True)]


@dataclass(frozen=True, eq=False)
class _Pass:
    """One network over a tile, and what it is told."""

    net: UnshuffleUNet
    levels: Tensor
    dtype: torch.dtype
    is_of_brightness: bool
    is_int8: bool

    def __call__(self, tile: Tensor) -> Tensor:
        """Return a tile ``(C, H, W)`` without the noise."""
        is_mean = self.is_of_brightness and len(tile) > 1
        seen = (tile.mean(0, keepdim=True) if is_mean else tile).expand(self.net.channels, -1, -1)
        found = self.net(seen[None].to(self.dtype), self.levels)[0].float()
        clean: Tensor = tile - (found if len(found) == len(tile) else found.mean(0, keepdim=True))
        return clean

    def on(self, part: Tensor) -> Tensor:
        """Return a part of the picture, which lies on the processor, without the noise."""
        with torch.inference_mode():
            return self(part.to(self.levels.device)).cpu()


def _parts(planes: Tensor) -> list[Tensor]:
    """Cut `_PARTS` parts of one size from anywhere in a picture; a small one is a part itself."""
    height, width = planes.shape[1:]
    if min(height, width) < _SAMPLE or height * width <= _PARTS * _SAMPLE**2:
        return [planes[:, : height // _LEAST * _LEAST, : width // _LEAST * _LEAST]]
    spots = [(y, x) for y in range(0, height - _SAMPLE + 1, _SAMPLE) for x in range(0, width - _SAMPLE + 1, _SAMPLE)]
    chosen = [spots[i] for i in np.random.default_rng(0).permutation(len(spots))[:_PARTS]]
    return [planes[:, y : y + _SAMPLE, x : x + _SAMPLE] for y, x in chosen]


def _together(parts: list[Tensor]) -> Image:
    return Image(np.ascontiguousarray(torch.cat(parts, 1).permute(1, 2, 0).numpy()))


def _at_most(noise: Noise, sigma: float) -> Noise:
    return noise if noise.sigma <= sigma else noise.scaled(sigma / noise.sigma)


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
