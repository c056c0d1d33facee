"""Noise2Score: the noise's law and level found by itself, and removed by a network that never saw a clean picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from restore import noise as measure
from restore.errors import ArrayError, WeightsError
from restore.method import Compute, Method, Role, Scene, Settings, State, knob
from restore.nets.noise2score_unet import Noise2ScoreUNet
from restore.nets.score_unet import REACH, conditions
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.noise import Noise
from restore.objectives import tweedie
from restore.objectives.family import Family
from restore.objectives.identify import Fit, identify, refine
from restore.picture import Domain, Image
from restore.tiling import TileOp

CORRELATED = 0.15
"""Correlation of neighbouring pixels' noise from which the network, which knows white noise, is not shown it."""

STRIDES = (2, 3, 4)
SAMPLE = 128
"""Side of the four parts of a picture from which the law of its noise is found."""

HEALTHY = (0.8, 1.25)
"""SURE gains that a network which fits the noise has."""

Net = UnshuffleUNet | Noise2ScoreUNet


class Noise2ScoreSettings(Settings):
    """Knobs of ``noise2score``."""

    kind: Literal["auto", "gaussian", "poisson", "gamma", "mixed"] = knob(
        "auto", "Law of the noise: even, of counted light, of speckle, or of counted light and a sensor's own"
    )
    level: float = knob(
        0.0, "Its level, 0 measures it: sigma, brightness of one count, or number of looks (gamma)", low=0, high=1e4
    )
    stride: int = knob(0, "Takes every n-th pixel together where noise is correlated, 0 chooses", low=0, high=4)


@dataclass(frozen=True, eq=False)
class Noise2Score:
    """A score network with Tweedie's formula.

    References
    ----------
    Kim and Ye, "Noise2Score" (2021); Kim, Kwon, Ye, "Noise distribution adaptive self-supervised image denoising using
    Tweedie distribution and score matching" (2022); Zhou et al., "When AWGN-based denoiser meets real noises" (2020)
    for pixel-shuffle down-sampling.
    """

    settings: Noise2ScoreSettings
    nets: tuple[Net, ...]
    compute: Compute

    def prepare(self, scene: Scene, /) -> TileOp:
        """Find law and level of the noise, once for the picture."""
        if not torch.isfinite(scene.planes).all():
            raise ArrayError("the picture holds values that are not finite (NaN or infinite); replace them first")
        noise = _noise(scene)
        is_told = _is_given(scene.noise) or self.settings.level > 0
        if not (noise.is_visible or (is_told and (noise.sigma > 0 or self.settings.level > 0))):
            scene.note("no noise found: left unchanged")
            return TileOp(_same)
        stride = self.settings.stride or (1 if is_told else _stride(scene.planes, noise))
        if stride == 0:
            scene.note("the noise is correlated over more than four pixels, which this method cannot remove: unchanged")
            return TileOp(_same)
        if stride > 1:
            scene.note(f"the noise is correlated between neighbours: every {stride}th pixel is taken together")
        net = self._net(scene.planes.shape[0])
        scene.report["stride"] = stride
        if self.settings.kind == "mixed":
            removal = self._mixed(net, scene, noise)
        else:
            fit = self._fit(net, _sample(scene.planes, stride).to(self.compute.device), noise, scene)
            removal = _Removal(net, self.compute.dtype, fit.law, _trusted(fit.gain) if _is_score(net) else 1.0)

        def run(tile: Tensor) -> Tensor:
            parts = F.pixel_unshuffle(tile[:, None], stride).transpose(0, 1)  # stride**2, C, h / stride, w / stride
            clean = parts - removal(parts)
            return F.pixel_shuffle(clean.transpose(0, 1), stride)[:, 0]

        return TileOp(
            run,
            halo=(net.radius + REACH) * stride,
            multiple=net.multiple * stride,
            bytes_per_pixel=80 * self.compute.dtype.itemsize,
        )

    def _net(self, channels: int) -> Net:
        """Return the network for this many channels, else one for single channels, else what there is."""
        return next((net for wanted in (channels, 1) for net in self.nets if net.channels == wanted), self.nets[0])

    def _fit(self, net: Net, parts: Tensor, noise: Noise, scene: Scene) -> Fit:
        """Return the law of the noise, from what the user says or from the picture, and report it."""
        generator = torch.Generator().manual_seed(int(scene.rng.integers(2**31)))
        powers = {"gaussian": 0, "poisson": 1, "gamma": 2}
        kind, level = self.settings.kind, self.settings.level

        def remove(noisy: Tensor, law: Family) -> Tensor:
            with torch.inference_mode():
                return _Removal(net, self.compute.dtype, law)(noisy)

        if level > 0 or _is_given(scene.noise):
            power = powers.get(kind, 0)
            level = level or noise.sigma
            told = Family(power, _dispersion(power, level))
            fit = replace(refine(remove, parts, told, generator, rounds=0), law=told)
        else:
            fits = identify(remove, parts, noise.sigma, generator)
            fits = [fit for fit in fits if kind == "auto" or fit.law.power == powers[kind]]
            fit = refine(remove, parts, fits[0].law, generator)
            fit = replace(fit, gain=fits[0].gain)
        scene.progress(1.0)
        _report(scene, fit)
        return fit

    def _mixed(self, net: Net, scene: Scene, noise: Noise) -> Callable[[Tensor], Tensor]:
        """Return the removal of Poisson-Gaussian noise: by the generalised Anscombe transform made Gaussian."""
        gain = max(noise.gain, 1e-4 * noise.sigma)
        read = noise.read if noise.gain > 0 else noise.sigma
        unit = float(tweedie.stabilise(scene.planes.max().clamp_min(gain), gain, read))
        removal = _Removal(net, self.compute.dtype, Family(0, unit**-2))
        scene.report.update(kind="mixed", gain=gain, read=read)

        def remove(noisy: Tensor) -> Tensor:
            stable = tweedie.stabilise(noisy, gain, read)
            return noisy - tweedie.unstabilise(stable - unit * removal(stable / unit), gain, read)

        return remove


@dataclass(frozen=True, eq=False)
class _Removal:
    """Maps pictures ``(B, C, H, W)`` to the noise in them."""

    net: Net
    dtype: torch.dtype
    law: Family
    gain: float = 1.0

    def __call__(self, noisy: Tensor) -> Tensor:
        wanted = self.net.channels
        batch, channels = noisy.shape[:2]
        if channels == wanted:
            return self._of(noisy)
        single = noisy.reshape(batch * channels, 1, *noisy.shape[2:])  # one by one, as grey pictures
        found = self._of(single.expand(-1, wanted, -1, -1)).mean(1, keepdim=True)
        return found.reshape(noisy.shape)

    def _of(self, noisy: Tensor) -> Tensor:
        if isinstance(self.net, Noise2ScoreUNet):
            score = self.gain * self.net(noisy.to(self.dtype)).float()
            return noisy - tweedie.restore(noisy, score, self.law)
        power, dispersion = (
            torch.full((1, 1, 1, 1), float(v), device=noisy.device) for v in (self.law.power, self.law.dispersion)
        )
        told = conditions(noisy, power, dispersion)
        found: Tensor = self.net(noisy.to(self.dtype), told.to(self.dtype)).float()
        return found


def _is_score(net: Net) -> bool:
    return isinstance(net, Noise2ScoreUNet)


def _trusted(gain: float) -> float:
    return min(max(gain, 0.5), 2.0)


def _same(tile: Tensor) -> Tensor:
    return tile


def _is_given(noise: Noise) -> bool:
    """Whether a user stated the level: see :func:`restore.noise.given`."""
    return noise.confidence == 1 and noise.gain == 0 and noise.read == noise.sigma and noise.sigma > 0


def _dispersion(power: int, level: float) -> float:
    """Return what a level stated by a user means: sigma, the brightness of one count, or the number of looks.

    >>> _dispersion(0, 0.1) == 0.1**2, _dispersion(1, 0.01), _dispersion(2, 50)
    (True, 0.01, 0.02)
    """
    return level**2 if power == 0 else level if power == 1 else 1 / level


def _noise(scene: Scene) -> Noise:
    """Return the noise, measured anew where the picture's white is far from one (counts, temperatures, HDR)."""
    white = float(scene.planes.abs().flatten()[:: max(1, scene.planes.numel() // 100_000)].quantile(0.99))
    if _is_given(scene.noise) or 0.1 <= white <= 4 or white == 0:
        return scene.noise
    pixels = (scene.planes / white).numpy().transpose(1, 2, 0)
    found = measure.estimate(Image(pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]))
    return replace(
        found if found.is_visible else replace(found, sigma=0.0),
        sigma=found.sigma * white if found.is_visible else 0.0,
        gain=found.gain * white,
        read=found.read * white,
    )


def _stride(planes: Tensor, noise: Noise) -> int:
    """Return the smallest stride at which neighbours' noise is independent, 0 if there is none."""
    if noise.correlation <= CORRELATED:
        return 1
    pixels = planes.numpy().transpose(1, 2, 0)
    pixels = pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]
    for stride in STRIDES:
        if measure.estimate(Image(np.ascontiguousarray(pixels[::stride, ::stride]))).correlation <= CORRELATED:
            return stride
    return 0


def _sample(planes: Tensor, stride: int) -> Tensor:
    """Return up to four evenly spread parts of a picture ``(B, C, h, w)``, sides multiples of 32."""
    thin = planes[:, ::stride, ::stride]
    sides = [min(SAMPLE, n // 32 * 32) for n in thin.shape[1:]]
    if 0 in sides:
        index = [torch.from_numpy(np.pad(np.arange(n), (0, -n % 32), "wrap")) for n in thin.shape[1:]]
        thin = thin[:, index[0]][:, :, index[1]]
        sides = [min(SAMPLE, n // 32 * 32) for n in thin.shape[1:]]
    starts = [sorted({0, n - side}) if n < 3 * side else [n // 5, n - n // 5 - side]
              for n, side in zip(thin.shape[1:], sides, strict=True)]  # fmt: skip
    return torch.stack([thin[:, r : r + sides[0], c : c + sides[1]] for r in starts[0] for c in starts[1]])


def _report(scene: Scene, fit: Fit) -> None:
    """Tell the user what was found."""
    law = fit.law
    level = math.sqrt(law.dispersion) if law.power == 0 else law.dispersion if law.power == 1 else 1 / law.dispersion
    scene.report.update(kind=law.name, level=level, gain=round(fit.gain, 3))
    if not HEALTHY[0] <= fit.gain <= HEALTHY[1]:
        scene.note(f"g = {fit.gain:.2f}: the noise is not quite of the kind {law.name!r} at this level")


def load(settings: Noise2ScoreSettings, state: State | None, compute: Compute) -> Noise2Score:
    """Build the networks that the state dict describes; without one, a tiny seeded one.

    Shipped weights hold two networks, ``colour.*`` and ``grey.*``; weights fitted to a user's pictures hold one, and
    so do published checkpoints of Noise2Score.
    """
    nets: list[Net] = []
    if state is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tiny = UnshuffleUNet(3, 5, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
            torch.nn.init.normal_(tiny.tail.weight, std=0.01)
        nets = [tiny]
    elif any(name.startswith(("_block1.", "shadow_params.")) for name in state):
        nets = [Noise2ScoreUNet.from_state(state)]
    else:
        for prefix in ("colour.", "grey.", ""):
            inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if prefix + "head.weight" in state:
                nets.append(UnshuffleUNet.from_state(inner))
    if not nets:
        raise WeightsError("these weights are not of noise2score: they hold no score network")
    ready = [net.to(compute.device, compute.dtype, memory_format=torch.channels_last).eval() for net in nets]  # type: ignore[call-overload]
    return Noise2Score(settings, tuple(net.requires_grad_(False) for net in ready), compute)


METHOD = Method(
    name="noise2score",
    title="Noise2Score",
    summary="Learnt from noisy pictures alone: even noise, counted light or speckle, found by itself; can be adapted.",
    domain=Domain.SRGB,
    settings=Noise2ScoreSettings,
    load=load,
    weights="noise2score",
    role=Role.DENOISE,
    paper="Kim and Ye, Noise2Score: Tweedie's approach to self-supervised image denoising without clean images (2021)",
)
