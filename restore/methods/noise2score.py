"""Noise2Score: the noise's law and level found by itself, and removed by a network that never saw a clean picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from restore import noise as measure
from restore.errors import ArrayError, RecipeError
from restore.method import Compute, Method, Role, Scene, Settings, State, knob
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.noise import Noise
from restore.objectives import tweedie
from restore.objectives.family import Family
from restore.objectives.identify import Fit, identify, refine, sample
from restore.objectives.removal import Net, Removal, for_channels, networks, origin
from restore.picture import Domain, Image
from restore.tiling import TileOp

CORRELATED = 0.15
"""Correlation of neighbouring pixels' noise from which the network, which knows white noise, is not shown it."""

TOO_CORRELATED = 0.35
"""Correlation at the best stride from which the noise is left: texture taken apart is correlated, too."""

FAINT = 0.05
"""Share of the variance of read noise that photon noise must have at white, to be told from it."""

STRIDES = (2, 3, 4)
HEALTHY = (0.8, 1.25)
"""SURE gains that a network which fits the noise has."""


class Noise2ScoreSettings(Settings):
    """Knobs of ``noise2score``."""

    kind: Literal["auto", "gaussian", "poisson", "gamma", "mixed"] = knob(
        "auto", "Law of the noise: even, of counted light, of speckle, or of counted light and a sensor's own"
    )
    level: float = knob(
        0.0, "Its level, 0 measures it: sigma, brightness of one count, or number of looks (gamma)", low=0, high=1e4
    )
    stride: int = knob(0, "Takes pixels so far apart together, where noise is correlated; 0 chooses", low=0, high=4)


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
        black, white = origin(scene.planes) if self.settings.kind in ("auto", "gaussian") else (0.0, 1.0)
        if (black, white) != (0.0, 1.0):
            return self._between(black, white, scene)
        noise = _noise(scene)
        if self.settings.kind == "mixed" and self.settings.level > 0:
            raise RecipeError("mixed noise has two levels, which are measured: leave noise2score.level at 0")
        is_told = _is_given(scene.noise) or self.settings.level > 0
        if noise.sigma == 0 and self.settings.level == 0:
            scene.note("no noise found: left unchanged")
            return TileOp(_same)
        stride = self.settings.stride or (1 if is_told else _stride(scene.planes / _white(scene.planes), noise))
        if stride == 0:
            scene.note("the noise is correlated over more than four pixels, which this method cannot remove: unchanged")
            return TileOp(_same)
        if stride > 1:
            scene.note(f"the noise is correlated between neighbours: pixels {stride} apart are taken together")
        net = for_channels(list(self.nets), scene.planes.shape[0])
        removal = Removal(net, self.compute.dtype)
        scene.report["stride"] = stride
        if self.settings.kind == "mixed":
            removed = _mixed(removal, scene, noise)
        else:
            fit = self._fit(removal, sample(scene.planes[:, ::stride, ::stride]), noise, scene)
            removed = partial(removal, law=fit.law, gain=_trusted(fit.gain))

        def run(tile: Tensor) -> Tensor:
            parts = F.pixel_unshuffle(tile[:, None], stride).transpose(0, 1)  # stride**2, C, h / stride, w / stride
            clean = parts - removed(parts)
            return F.pixel_shuffle(clean.transpose(0, 1), stride)[:, 0]

        return TileOp(
            run,
            halo=removal.radius * stride,
            multiple=net.multiple * stride,
            bytes_per_pixel=80 * self.compute.dtype.itemsize,
        )

    def _between(self, black: float, white: float, scene: Scene) -> TileOp:
        """Bring values far from 0...1 there and back; counts are taken to begin at ``black``."""
        span = white - black
        planes = (scene.planes - black) / span
        within = self.settings.model_copy(update={"level": self.settings.level / span})
        noise = _in_span(scene, planes, span)
        inner = replace(self, settings=within).prepare(replace(scene, planes=planes, noise=noise))
        if inner.run is _same:
            return inner
        scene.report["level"] *= span if scene.report["kind"] != "gamma" else 1
        scene.note(f"the network saw {black:.4g} as black and {white:.4g} as white")
        return replace(inner, run=lambda tile: inner.run((tile - black) / span) * span + black)

    def _fit(self, removal: Removal, parts: Tensor, noise: Noise, scene: Scene) -> Fit:
        """Return the law of the noise, from what the user says or from the picture, and report it."""
        generator = torch.Generator().manual_seed(int(scene.rng.integers(2**31)))
        kind, level = self.settings.kind, self.settings.level

        def remove(noisy: Tensor, law: Family) -> Tensor:
            with torch.inference_mode():
                return removal(noisy.to(self.compute.device), law).cpu()

        if level > 0 or _is_given(scene.noise):
            told = Family.of(kind, level) if level > 0 else _with_sigma(kind, noise.sigma, scene.planes)
            fit = replace(refine(remove, parts, told, generator, rounds=0), law=told)
        else:
            fits = identify(remove, parts, noise.sigma, generator)
            fits = [fit for fit in fits if kind == "auto" or fit.law.name == kind]
            fit = refine(remove, parts, fits[0].law, generator)
            fit = replace(fit, gain=fits[0].gain)
        scene.progress(1.0)
        _report(scene, fit)
        return fit


def _with_sigma(kind: str, sigma: float, noisy: Tensor) -> Family:
    """Return the law of a name whose noise has, over a picture, the root mean square ``sigma``.

    >>> round(_with_sigma("gamma", 0.1, torch.full((1, 8, 8), 0.5)).level)  # 0.25 - 0.01 is the square of the signal
    24
    """
    unit = Family.of(kind, 1.0)
    signal = float(noisy.clamp_min(0).double().pow(unit.power).mean()) - (sigma**2 if unit.power == 2 else 0.0)
    return Family(unit.power, sigma**2 / max(signal, 1e-6))


def _mixed(removal: Removal, scene: Scene, noise: Noise) -> Callable[[Tensor], Tensor]:
    """Return the removal of Poisson-Gaussian noise: by the generalised Anscombe transform made Gaussian."""
    gain, read, white = noise.gain, noise.read, float(scene.planes.max())
    if gain * white < FAINT * read**2:  # nothing to make even, and the transform would be lost in rounding
        scene.report.update(kind="mixed", gain=0.0, read=noise.sigma)
        return partial(removal, law=Family(0, noise.sigma**2))
    unit = float(tweedie.stabilise(scene.planes.max().clamp_min(gain), gain, read))
    scene.report.update(kind="mixed", gain=gain, read=read)

    def removed(noisy: Tensor) -> Tensor:
        stable = tweedie.stabilise(noisy, gain, read)
        clean = stable - unit * removal(stable / unit, Family(0, unit**-2))
        return noisy - tweedie.unstabilise(clean, gain, read)

    return removed


def _trusted(gain: float) -> float:
    return min(max(gain, 0.5), 2.0)


def _same(tile: Tensor) -> Tensor:
    return tile


def _is_given(noise: Noise) -> bool:
    """Whether a user stated the level: see :func:`restore.noise.given`."""
    return noise.confidence == 1 and noise.gain == 0 and noise.read == noise.sigma and noise.sigma > 0


def _noise(scene: Scene) -> Noise:
    """Return the noise in the picture's unit; none where it cannot be seen.

    It is measured anew where the picture's white is far from one (counts, temperatures, HDR).
    """
    planes, white, found = scene.planes, _white(scene.planes), scene.noise
    if _is_given(found):
        white = _span(scene)
    elif (white, _span(scene)) != (1, 1):
        found = _measured(planes / white)
    sigma = found.sigma * white if found.is_visible or _is_given(found) else 0.0
    return replace(found, sigma=sigma, gain=found.gain * white, read=found.read * white)


def _in_span(scene: Scene, planes: Tensor, span: float) -> Noise:
    """Return the noise in fractions of ``span``; ``planes`` are the scene's, brought there."""
    factor = _span(scene) / span
    if factor == 1:
        return scene.noise
    found = scene.noise
    return (
        replace(found, sigma=found.sigma * factor, read=found.read * factor) if _is_given(found) else _measured(planes)
    )


def _measured(planes: Tensor) -> Noise:
    pixels = planes.numpy().transpose(1, 2, 0)
    return measure.estimate(Image(pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]))


def _span(scene: Scene) -> float:
    """Return what the noise of a scene is told in fractions of."""
    black, white = Image(scene.planes.numpy().transpose(1, 2, 0), meta=scene.meta).unit() or (0.0, 1.0)
    return white - black


def _white(planes: Tensor) -> float:
    """Return what nearly all values lie below in magnitude, where that is far from one; else one."""
    white = float(planes.abs().flatten()[:: max(1, planes.numel() // 100_000)].quantile(0.99))
    return 1.0 if 0.1 <= white <= 4 or white == 0 else white


def _stride(planes: Tensor, noise: Noise) -> int:
    """Return the smallest stride at which neighbours' noise is independent, else the best, 0 if none is good."""
    if noise.correlation <= CORRELATED:
        return 1
    pixels = planes.numpy().transpose(1, 2, 0)
    pixels = pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]
    left = {}
    for stride in STRIDES:
        thin = np.ascontiguousarray(pixels[::stride, ::stride])
        left[stride] = measure.estimate(Image(thin)).correlation
        if left[stride] <= CORRELATED:
            return stride
    best = min(left, key=lambda stride: left[stride])
    return best if left[best] <= TOO_CORRELATED else 0


def _report(scene: Scene, fit: Fit) -> None:
    """Tell the user what was found."""
    scene.report.update(kind=fit.law.name, level=fit.law.level, gain=round(fit.gain, 3))
    if not HEALTHY[0] <= fit.gain <= HEALTHY[1]:
        scene.note(f"g = {fit.gain:.2f}: the noise is not quite of the kind {fit.law.name!r} at this level")


def load(settings: Noise2ScoreSettings, state: State | None, compute: Compute) -> Noise2Score:
    """Build the networks that the state dict describes; without one, a tiny seeded one."""
    if state is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tiny = UnshuffleUNet(3, 5, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
            torch.nn.init.normal_(tiny.tail.weight, std=0.01)
    nets: list[Net] = [tiny] if state is None else networks(state)
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
    keeps_level=0.002,
    keeps_edges=1.0,
    takes_any_unit=True,
    paper="Kim and Ye, Noise2Score: Tweedie's approach to self-supervised image denoising without clean images (2021)",
)
