"""ScoreDVI: fits a variational posterior to one noisy picture, with a blind denoiser as the prior's score."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from pydantic import field_validator
from torch import Tensor

from restore import tiling
from restore.errors import RecipeError
from restore.method import Compute, Method, Scene, Settings, State, knob
from restore.nets.blind_prior import BlindPrior, apart, denoised, priors, stride_for, together
from restore.nets.dvi import PictureNet, Posterior, PosteriorNet, standard_error, surrogate
from restore.noise import Noise
from restore.picture import Domain
from restore.tiling import Seams, TileOp

RATE = 1e-3
"""Learning rate of Adam at the published width of 64; narrower networks take larger steps (:func:`rate_for`)."""
KEPT = 0.9
"""Share of the running average kept at each step."""
SHAPE, RATES = 1.0, (0.003, 0.03)
"""Shape of the prior of the noise's precision, and least and largest rate: about the noise's variance."""
CONVERGED = 0.05
"""Mean deviation above which a fit has failed and starts again."""
QUIET = 0.0316
"""Mean deviation at which a fit ends where the prior's weight is 1."""
ONE_PASS = 0.15
"""Share of one pass of the same denoiser in the answer where the prior weighs 1; weak noise deserves more of it."""
TILE, OVERLAP = 256, 32
"""Side of the tiles of large pictures, and how far they overlap."""
WARM_STEPS, TIMED_STEPS = 2, 3
"""Steps before the speed is measured, and by which it is."""


class ScoreDviSettings(Settings):
    """Knobs of ``scoredvi``."""

    steps: int = knob(400, "Most steps of optimisation for each tile", low=1, high=2000)
    width: int = knob(
        16, "Features of the network that draws the picture: 64 as published, 16 four times faster", low=4, high=64
    )
    components: int = knob(1, "Components of the noise's mixture: 3 as published", low=1, high=5)
    samples: int = knob(1, "Samples of the prior's score in a step: 5 as published", low=1, high=8)
    region: str = knob("", "Restore only this part: left, top, width, height in pixels, as 800,600,256,256")
    minutes: float = knob(120, "Refuse pictures that would take longer than this on this machine", low=1, high=10000)

    @field_validator("region")
    @classmethod
    def _is_region(cls, value: str) -> str:
        if value.strip() and not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*){3}", value):
            raise ValueError(f"region {value!r} is not four numbers: left, top, width, height in pixels")
        return value


@dataclass(frozen=True)
class Prior:
    """What the noise level decides.

    Parameters
    ----------
    weight
        Of the prior of the picture: lambda.
    rate
        Of the Gamma prior of the noise's precision: beta0, about the noise's variance.
    """

    weight: float
    rate: float

    @property
    def quiet(self) -> float:
        """Mean deviation at which a fit ends, the more the weight the sooner.

        Further on, what the denoiser has wrong is divided by an ever smaller variance, and the picture gets worse
        again, by decibels in twice the steps. On free photos with simulated noise of cameras, of 3 to 30 of 255, the
        picture was best near this deviation at weights from 0.25 to 2.

        >>> round(Prior(0.5, 0.003).quiet, 3)
        0.022
        """
        return QUIET * math.sqrt(self.weight)


def prior_for(sigma: float) -> Prior:
    """Return the prior for a noise level, a fraction of white.

    >>> prior_for(5 / 255).weight, prior_for(20 / 255).weight, prior_for(0.3)
    (0.5, 1.0, Prior(weight=2.0, rate=0.03))
    """
    weight = next((w for limit, w in ((10, 0.5), (25, 1.0)) if 255 * sigma <= limit), 2.0)
    return Prior(weight, min(max(sigma**2, RATES[0]), RATES[1]))


def rate_for(width: int) -> float:
    """Return the learning rate for a width: at 16, three times the published one settles in half the steps.

    >>> rate_for(64), round(rate_for(16), 4)
    (0.001, 0.003)
    """
    return float(RATE * (64 / width) ** 0.8)


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit ended: the picture and its posterior deviation ``(3, H, W)``."""

    picture: Tensor
    deviation: Tensor
    mean_deviation: float
    steps: int


@dataclass(frozen=True, eq=False)
class ScoreDvi:
    """Variational inference with a mixture of Gaussians of unequal variance for the noise.

    References
    ----------
    Cheng et al., "Score priors guided deep variational inference for unsupervised real-world single image denoising"
    (ICCV 2023, arXiv 2308.04682).
    """

    settings: ScoreDviSettings
    net: BlindPrior
    grey: BlindPrior | None
    compute: Compute
    restarts: int = 1

    def prepare(self, scene: Scene, /) -> TileOp:
        """Fit all tiles of the region; what is handed back is the answer."""
        if self.grey is not None and scene.planes.shape[0] == 1:
            return replace(self, net=self.grey, grey=None).prepare(scene)
        rows, columns = region(self.settings.region, scene.planes)
        part = scene.planes[:, rows, columns]
        colour = part.expand(3, -1, -1)
        side = min(scene.tile, TILE) if scene.tile else None
        multiple = PictureNet.multiple if min(part.shape[1:]) > PictureNet.multiple else 2 * PictureNet.multiple
        work = _Work(self, scene, len(tiling.plan(colour, tile=side, halo=OVERLAP // 2, multiple=multiple)))
        op = TileOp(work.tile, halo=OVERLAP // 2, multiple=multiple, seams=Seams.BLEND)
        both = tiling.apply(op, torch.cat([colour, colour]), tile=side, device=str(self.compute.device))
        found = [half if part.shape[0] == 3 else half.mean(0, keepdim=True) for half in both.chunk(2)]
        work.tell()
        answer, deviation = scene.planes.clone(), torch.full_like(scene.planes, scene.noise.sigma)
        answer[:, rows, columns], deviation[:, rows, columns] = found

        def stored(values: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda tile: values.to(tile.device)

        return TileOp(stored(answer), seams=Seams.WHOLE, deviation=stored(deviation))

    def fit(self, noisy: Tensor, prior: Prior, rng: torch.Generator, on_step: Callable[[int, float], None]) -> Fit:
        """Fit the posterior of one tile ``(3, H, W)``; ``on_step`` gets the step and the mean deviation."""
        net = PosteriorNet(self.settings.components, self.settings.width, rng)
        optimiser = torch.optim.Adam(net.parameters(), lr=rate_for(self.settings.width))
        average = noisy
        for step in range(1, self.settings.steps + 1):
            posterior = net(noisy[None])
            loss = self.loss(posterior, noisy, prior, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                average = torch.lerp(posterior.picture, average, KEPT)
                mean_deviation = float(posterior.variance.sqrt().mean())
            on_step(step, mean_deviation)
            if mean_deviation < prior.quiet:
                break
        deviation = posterior.spread.detach().clamp(min=0).sqrt()
        return Fit(average, deviation, mean_deviation, step)

    def loss(self, posterior: Posterior, noisy: Tensor, prior: Prior, rng: torch.Generator) -> Tensor:
        """Negative evidence lower bound."""
        log_prior = surrogate(posterior, self._denoise, self.settings.samples, rng)
        value: Tensor = posterior.reconstruction(noisy) - prior.weight * (posterior.entropy() + log_prior)
        value = value + posterior.precision_divergence(SHAPE, prior.rate)
        if self.settings.components > 1:
            value = value + posterior.share_divergence() + posterior.concentration_divergence()
        return value

    def one_pass(self, noisy: Tensor, noise: Noise) -> Tensor:
        """Return what ``blind`` makes of a tile ``(3, H, W)``."""
        stride = stride_for(noise.correlation)
        parts = apart(noisy, stride)
        with torch.no_grad():
            return together(self._denoise(parts, torch.full_like(parts, noise.sigma)), stride)

    def _denoise(self, sample: Tensor, deviation: Tensor) -> Tensor:
        return denoised(self.net, sample.to(self.compute.dtype), deviation.to(self.compute.dtype)).float()


class _Work:
    """The fits of one picture's tiles: seeds, progress, restarts, and the time they will take."""

    def __init__(self, method: ScoreDvi, scene: Scene, tiles: int) -> None:
        self.method, self.scene, self.tiles = method, scene, tiles
        self.prior = prior_for(scene.noise.sigma)
        self.fits: list[Fit] = []
        self.restarts = 0
        self.started = 0.0
        self.minutes = 0.0

    def tile(self, both: Tensor) -> Tensor:
        """Fit a tile given twice ``(6, H, W)``; return its picture and its deviation, ``(6, H, W)``."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            rng = torch.Generator(both.device).manual_seed(int(self.scene.rng.integers(2**63)))
            noisy = both[:3].clone()
            found = self.method.fit(noisy, self.prior, rng, self._on_step)
            for _ in range(self.method.restarts):
                if found.mean_deviation > CONVERGED:
                    self.restarts += 1
                    again = self.method.fit(noisy, self.prior, rng, self._on_step)
                    found = min(found, again, key=lambda fit: fit.mean_deviation)
        self.fits.append(found)
        quick = self.method.one_pass(noisy, self.scene.noise)
        picture = torch.lerp(found.picture, quick, ONE_PASS / self.prior.weight)
        return torch.cat([picture, standard_error(picture, noisy, found.deviation)])

    def _on_step(self, step: int, _: float) -> None:
        """Report progress; after some steps of the first tile, refuse what would take too long."""
        done, steps = len(self.fits), self.method.settings.steps
        self.scene.progress((done + step / steps) / self.tiles)
        if done or self.restarts:
            return
        if step == WARM_STEPS:
            self.started = time.monotonic()
        if step == WARM_STEPS + TIMED_STEPS:
            self.minutes = (time.monotonic() - self.started) / TIMED_STEPS * steps * self.tiles / 60
            if self.minutes > self.method.settings.minutes:
                raise RecipeError(
                    f"scoredvi may need up to {self.minutes:.0f} minutes for this picture on this machine, more than "
                    f"the {self.method.settings.minutes:g} allowed: choose a region (--set scoredvi.region=left,top,"
                    "width,height), allow more (--set scoredvi.minutes=...), or take the method blind, which needs "
                    "seconds"
                )

    def tell(self) -> None:
        """Put into the report what the fits came to."""
        mean_deviation = sum(fit.mean_deviation for fit in self.fits) / len(self.fits)
        self.scene.report.update(
            {
                "prior_weight": self.prior.weight,
                "noise_rate": round(self.prior.rate, 6),
                "tiles": len(self.fits),
                "steps": [fit.steps for fit in self.fits],
                "restarts": self.restarts,
                "mean_deviation": round(mean_deviation, 5),
            }
        )
        if self.minutes >= 1:
            self.scene.note(f"up to {self.minutes:.0f} minutes were foreseen: each picture is learnt from anew")
        failed = sum(fit.mean_deviation > CONVERGED for fit in self.fits)
        if failed:
            self.scene.note(f"{failed} of {len(self.fits)} tiles did not settle: try more steps")


def region(text: str, planes: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns that a region names in ``(C, H, W)``; all for an empty text.

    >>> region("2,1,3,2", torch.zeros(3, 8, 8))
    (slice(1, 3, None), slice(2, 5, None))

    Raises
    ------
    RecipeError
        The region is empty or leaves the picture.
    """
    _, height, width = planes.shape
    left, top, across, down = map(int, text.split(",")) if text.strip() else (0, 0, width, height)
    if across < 1 or down < 1 or left + across > width or top + down > height:
        raise RecipeError(f"region {text!r} does not lie in a picture of {width} x {height} pixels; give one that does")
    return slice(top, top + down), slice(left, left + across)


def load(settings: ScoreDviSettings, state: State | None, compute: Compute) -> ScoreDvi:
    """Build the blind denoiser that the state dict describes; without one, a tiny seeded one and a tiny fit."""
    nets = priors(state, compute.device, compute.dtype, may_be_told=True)
    if state is None:
        tiny = settings.model_copy(update={"steps": min(settings.steps, 5), "width": 4})
        return ScoreDvi(tiny, *nets, compute, restarts=0)
    return ScoreDvi(settings, *nets, compute)


METHOD = Method(
    name="scoredvi",
    title="Learn from the picture (ScoreDVI)",
    summary="Learns noise and picture from this picture alone, with an uncertainty map; slow: minutes.",
    domain=Domain.SRGB,
    settings=ScoreDviSettings,
    load=load,
    weights="blind",
    paper="Cheng et al., ICCV 2023 (arXiv:2308.04682)",
    fits_per_image=True,
)
