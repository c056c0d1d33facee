"""NoiSER: lights dark pictures with a network of 1,763 numbers that has seen nothing but noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from restore import tiling
from restore.colour import LUMA
from restore.errors import WeightsError
from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.nets.noiser import Noiser
from restore.picture import Domain
from restore.tiling import TileOp

DARK = 0.2
"""Mean luma below which ``auto`` lights a picture: photos that are meant to be dark lie mostly above."""
BRIGHT = 0.9
"""Lights from which a dark picture is no underexposed one: a night, a stage, a studio's shadows."""
WELL_EXPOSED = (0.35, 0.75)
"""Mean luma between which ``protect`` leaves a picture alone."""
FLAT = 1e-3
"""Pictures that deviate less than this from their mean have nothing to bring out."""
RADIUS = 4
"""Of the box over which the gain of ``preserve`` is averaged, in pixels."""
GAINS = (0.5, 12.0)
"""Least and largest gain of ``preserve``."""
FLOOR = 2 / 255
"""Luma below this counts as this when a gain is taken."""
EPS = 1e-8
STRIP_PIXELS = 1 << 15
"""Of the strips that statistics are summed over: their neighbourhoods stay in a processor's cache."""
CPU_TILE = 256
"""Side of tiles on a processor: large enough to be worth two threads, small enough for little memory."""


class NoiserSettings(Settings):
    """Knobs of ``noiser``."""

    colour: Literal["preserve", "gray-world"] = knob(
        "preserve", "preserve: one gain for all channels, hues are kept; gray-world: the paper, every channel to grey"
    )
    target_mean: float = knob(0.5, "Mean brightness aimed at: 0.25 to 0.35 for a night sky", low=0.05, high=0.95)
    contrast: float = knob(1.0, "Contrast of what the network draws, before it is limited", low=0.2, high=4)
    local: float = knob(
        0.4, "For preserve: 0 lights the picture evenly, 1 lights shadows most, as the network does", low=0, high=1
    )
    protect: bool = knob(True, "Leave a well exposed picture alone")


@dataclass(frozen=True)
class Exposure:
    """How bright a picture is.

    Parameters
    ----------
    mean
        Of the luma.
    white
        The 99.5th percentile of each pixel's largest channel.
    deviation
        Standard deviation of the channel that varies most.
    """

    mean: float
    white: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Lighter:
    """The network as published (``gray-world``), or its luma as a local gain (``preserve``).

    ``preserve`` multiplies all channels of a pixel by one gain, so hue stays. The gain is a weighted geometric mean of
    the network's, luma out over luma in, and of one gain for the whole picture, which brings the mean to
    ``target_mean`` unless the highlights reach white before. Arithmetic is float32 whatever the recipe says: the
    network is small, and its statistics need it.

    References
    ----------
    Zhang et al., "Noise Self-Regression" (TPAMI 2025, arXiv 2211.04700): network and training. The gain form and
    the limits are ours.
    """

    settings: NoiserSettings
    net: Noiser

    def prepare(self, scene: Scene, /) -> TileOp:
        """Measure the exposure, then the statistics of the first convolution over the whole picture."""
        exposure = measured(scene.planes)
        scene.report["brightness"] = round(exposure.mean, 4)
        reason = self._refusal(exposure)
        if reason:
            scene.note(reason)
            return TileOp(_same)
        network = frozen(self.net, scene.planes, self.settings)
        gain = None if self.settings.colour == "gray-world" else self._even_gain(exposure)
        if gain is not None:
            scene.report["gain"] = round(gain, 3)
            if scene.noise.sigma * gain > 8 / 255:
                level = scene.noise.sigma * gain * 255
                scene.note(
                    f"its noise is lifted with it, to about {level:.0f}/255: a denoiser takes it before or after"
                )

        def run(tile: Tensor) -> Tensor:
            light = network(tile.expand(3, -1, -1))
            if gain is None:
                return light if tile.shape[0] == 3 else light.mean(0, keepdim=True)
            return tile * local_gain(tile, light, gain, self.settings.local)

        halo = 2 if gain is None else 2 + RADIUS
        side = CPU_TILE if scene.compute.device.type == "cpu" else None
        return TileOp(run, halo=halo, tile=side, bytes_per_pixel=640)

    def _refusal(self, exposure: Exposure) -> str | None:
        if exposure.deviation < FLAT:
            return "the picture is one flat colour: left unchanged"
        low, high = WELL_EXPOSED
        if self.settings.protect and low <= exposure.mean <= high:
            return f"well exposed (mean brightness {exposure.mean:.2f}): left unchanged; turn protect off to light it"
        return None

    def _even_gain(self, exposure: Exposure) -> float:
        """One gain for the whole picture: to the wanted mean, but highlights no further than white."""
        return min(self.settings.target_mean / max(exposure.mean, FLOOR), 1 / max(exposure.white, FLOOR))


def measured(planes: Tensor) -> Exposure:
    """Return the exposure of ``(3 or 1, H, W)``: the mean of all pixels, the rest of about a million."""
    pixels = planes.numpy()
    weights = LUMA if pixels.shape[0] == 3 else np.ones(1, np.float32)
    step = math.ceil(math.sqrt(pixels[0].size / 1e6))
    some = pixels[:, ::step, ::step]
    mean = float(pixels.mean((1, 2), dtype=np.float64) @ weights)
    return Exposure(mean, float(np.percentile(some.max(0), 99.5)), float(some.std((1, 2), dtype=np.float64).max()))


def frozen(net: Noiser, planes: Tensor, settings: NoiserSettings) -> Callable[[Tensor], Tensor]:
    """Return the network with the instance norm of the whole picture built into its first convolution.

    It maps ``(3, h, w)`` in 0...1 to ``(3, h, w)`` in 0...1, replicating pixels at the tile's border: at the
    picture's border that is right, elsewhere it stays within the halo. The picture's mean colour, which the norm
    removes anyway, is taken away first, so that dark pictures lose no digits.

    The second convolution is a matrix product: a processor's library is slow at three channels out.
    """
    first, last = net.convolutions()
    means = planes.numpy().mean((1, 2), dtype=np.float64).astype(np.float32)
    colour = torch.from_numpy(means)[:, None, None].expand(3, 1, 1)
    mean, square = feature_moments(planes, colour, first.weight)
    scale = 2 / torch.sqrt(4 * (square - mean**2).clamp(min=0) + EPS)  # the network sees 2 x - 1
    w1, b1 = (first.weight * scale[:, None, None, None]).float(), (-mean * scale).float()
    weight, bias = last.parameters()
    taps = weight.permute(2, 3, 0, 1).flatten(0, 2)  # (9 places x 3 channels, features)
    shift = math.atanh(2 * settings.target_mean - 1)

    def run(tile: Tensor) -> Tensor:
        height, width = tile.shape[1:]
        w1_, b1_, w2, b2, centre = (part.to(tile.device) for part in (w1, b1, taps, bias, colour))
        features = F.gelu(convolved(tile - centre, w1_, b1_).flatten(0, 1))
        drawn = F.pad((w2 @ features.T).view(9, 3, height, width), (1, 1, 1, 1), mode="replicate")
        light = b2[:, None, None].expand(3, height, width).clone()
        for place in range(9):
            top, left = divmod(place, 3)
            light += drawn[place, :, top : top + height, left : left + width]
        return light.mul_(settings.contrast).add_(shift).tanh_().div_(2).add_(0.5)

    return run


def convolved(planes: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the convolution of ``(C, h, w)``, pixels replicated at the border, as ``(h, w, F)``."""
    padded = F.pad(planes[None], (1, 1, 1, 1), mode="replicate").contiguous(memory_format=torch.channels_last)
    return F.conv2d(padded, weight, bias)[0].permute(1, 2, 0).contiguous()


@torch.inference_mode()
def feature_moments(planes: Tensor, colour: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and mean square, float64 ``(F,)``, of the first convolution's features over a whole picture.

    They are summed over strips of fixed size, and strips in float64: the recipe's tile cannot change them.
    """
    total, square = torch.zeros(2, weight.shape[0], dtype=torch.float64)
    strip = max(1, STRIP_PIXELS // planes.shape[2])
    for part, (rows, columns) in tiling.tiles(planes, tile=(strip, planes.shape[2]), halo=1):
        features = convolved(part - colour, weight)[rows, columns].flatten(0, 1)
        total += features.sum(0)
        square += (features * features).sum(0)
    return total.clone() / planes[0].numel(), square.clone() / planes[0].numel()


def local_gain(tile: Tensor, light: Tensor, even: float, local: float) -> Tensor:
    """Return the gain ``(1, h, w)`` of a picture ``(3 or 1, h, w)`` that the network draws as ``light``.

    No pixel's largest channel is lifted above white, so hue is kept in highlights too.
    """
    before = _box(_luma(tile)).clamp(min=FLOOR)
    own = _box(_luma(light)).clamp(min=1e-3) / before
    gain = (own.pow(local) * math.pow(even, 1 - local)).clamp(*GAINS)
    brightest = tile.amax(0, keepdim=True)
    return torch.minimum(gain, brightest.clamp(min=FLOOR / 2).reciprocal().clamp(min=1))


def _luma(tile: Tensor) -> Tensor:
    """Rec. 601 luma ``(1, h, w)`` of ``(3 or 1, h, w)``."""
    weights = LUMA.tolist() if tile.shape[0] == 3 else [1.0]
    return torch.stack([weight * plane for weight, plane in zip(weights, tile, strict=True)]).sum(0, keepdim=True)


def _box(plane: Tensor) -> Tensor:
    """Mean of ``(1, h, w)`` over a box of ``RADIUS``, pixels at the border replicated."""
    _, height, width = plane.shape
    side = 2 * RADIUS + 1
    total = F.pad(plane[None], (RADIUS,) * 4, mode="replicate")[0]
    total = torch.stack([total[:, :, i : i + width] for i in range(side)]).sum(0)
    return torch.stack([total[:, i : i + height] for i in range(side)]).sum(0) / (side * side)


def _same(tile: Tensor) -> Tensor:
    return tile


def load(settings: NoiserSettings, state: State | None, compute: Compute) -> Lighter:
    """Return the lighter; the number of features is read off the weights."""
    del compute
    if state is None:
        net, rng = Noiser(4), torch.Generator().manual_seed(0)
        state = {name: 0.3 * torch.randn(value.shape, generator=rng) for name, value in net.state_dict().items()}
    try:
        with torch.device("meta"):  # no random numbers are drawn for it: those of the caller stay as they are
            net = Noiser(state["network.0.bias"].shape[0])
        net.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(
            f"these are not weights of noiser ({str(error).splitlines()[0]}); use the shipped ones, or train others"
        ) from error
    return Lighter(settings, net.requires_grad_(requires_grad=False))


def offer(look: Look) -> Offer | None:
    """Offer for really dark pictures; not where lights reach white: it was exposed for them, and is meant to be dark.

    Not where noise is stronger than the picture, which comes out in blotches of wrong colour; nor for pictures of one
    channel: many are measurements, of which nobody wants the values changed.
    """
    is_drowned = look.noise.sigma > look.brightness
    if look.channels == 1 or look.brightness >= DARK or look.lights >= BRIGHT or is_drowned:
        return None
    return Offer(1.0, f"the picture is dark: mean brightness {look.brightness:.2f} of 1")


METHOD = Method(
    name="noiser",
    title="Light from noise (NoiSER)",
    summary="Lights dark pictures with a tiny network that learnt from noise alone; keeps hues unless told otherwise.",
    domain=Domain.SRGB,
    settings=NoiserSettings,
    load=load,
    weights="noiser",
    role=Role.LIGHT,
    offer=offer,
    paper="Zhang et al., TPAMI 2025 (arXiv:2211.04700)",
)
