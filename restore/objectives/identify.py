"""Find the law of the noise, and its level, from one noisy picture and a network that removes noise of a given law."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from restore.objectives import sure
from restore.objectives.family import Family

Remove = Callable[[Tensor, Family], Tensor]
"""Maps pictures ``(B, C, H, W)`` and the law of their noise to the noise in them."""

DARK = 0.03
"""Share of the picture's white below which the signal says too little about its own power."""


FEW = 5.0
"""Counts below which the mean square tells the brightness of one: there is more noise in them than texture."""

MOST = 4.0
"""Factor by which a fitted dispersion may differ from the first guess: an untrained network says anything."""

SAMPLE = 96
"""Side of the parts of a picture that are looked at."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to a picture.

    Parameters
    ----------
    misfit
        How far the power that what was removed follows is from the power that the network was told.
    gain
        SURE gain (:func:`restore.objectives.sure.gain`) at the level that was told at first.
    """

    law: Family
    misfit: float
    gain: float

    @property
    def doubt(self) -> float:
        """How badly the law fits: by the power, and by the gain, which is one where the law is right.

        In much noise what is removed follows any power that a network is told, and the gain decides.
        """
        return self.misfit + abs(math.log(self.gain)) if self.gain > 0 else math.inf


def start(noisy: Tensor, power: float) -> Family:
    """Return a first guess of the level: the median of finest wavelets over the power of what they lie on.

    References
    ----------
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage" (1994).
    """
    blocks = F.pixel_unshuffle(noisy[..., : noisy.shape[-2] // 2 * 2, : noisy.shape[-1] // 2 * 2], 2)
    a, b, c, d = blocks.reshape(len(noisy), noisy.shape[1], 4, *blocks.shape[-2:]).unbind(2)
    below = ((a + b + c + d) / 4).clamp_min(0)
    is_lit = below > DARK * below.max() if power else torch.ones_like(below, dtype=torch.bool)
    detail = (a - b - c + d)[is_lit].abs() / 2 / below[is_lit] ** (power / 2)
    found = (float(detail.median()) / 0.6745) ** 2 if detail.numel() else 0.0
    if power == 1 and found > 0 and float(below[is_lit].mean()) < FEW * found:  # so few steps have no median
        found = float(detail.square().clamp_max(9 * found).mean())
    return Family(power, found)


def refine(remove: Remove, noisy: Tensor, law: Family, generator: torch.Generator, *, rounds: int = 1) -> Fit:
    """Fit the level of a law so that SURE is least at a gain of one.

    What a posterior mean removes has the power ``E[removed**2] = E[variance * slope]``, so their ratio tells by how
    much the level that the network was told is wrong; a fixed point is reached in a few rounds.
    """
    signs = sure.probe(noisy, generator)
    local = F.avg_pool2d(noisy, 5, stride=1, padding=2, count_include_pad=False)  # the same for all laws
    white = float(noisy.mean((2, 3)).max().clamp_min(1e-6))
    gain, seen = 1.0, law.power
    first = law.dispersion
    for turn in range(rounds + 1):
        removed, slope = _removed(remove, noisy, law, signs)
        clean = noisy - removed
        found = sure.gain(removed, law.variance(clean), slope)
        gain = found if turn == 0 else gain
        counted = local > DARK * white
        if counted.sum() < 64 or found <= 0:
            return Fit(law, float("inf"), gain)
        seen = power_of(removed[counted], local[counted])
        law = replace(law, dispersion=min(max(law.dispersion / found, first / MOST), first * MOST))
    return Fit(law, abs(seen - law.power), gain)


def power_of(removed: Tensor, signal: Tensor) -> float:
    """Return the power of the signal that the variance of what was removed follows best, in -0.5...2.5.

    By the likelihood of Gaussian noise, with squares beyond three sigma held, so that texture counts little.

    >>> signal = torch.linspace(0.1, 1, 1000)
    >>> round(power_of(signal * torch.tensor([1.0, -1.0]).repeat(500), signal), 1)
    2.0
    """
    grid = torch.arange(-0.5, 2.51, 0.1).tolist()
    squares, height = removed**2, float(signal.log().mean())

    def misfit(power: float) -> float:
        shaped = squares / signal**power
        held = shaped.clamp_max(9 * 2.2 * float(shaped.median()))  # three sigma, by the median
        return math.log(max(float(held.mean()), 1e-30)) + power * height

    return float(min(grid, key=misfit))


def _removed(remove: Remove, noisy: Tensor, law: Family, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is removed and its divergence, by a step of a twentieth of the noise."""
    removed = remove(noisy, law)
    step = 0.05 * float(law.variance(noisy).mean().sqrt())
    return removed, sure.divergence(lambda y: remove(y, law), noisy, signs, step=step, at=removed)


def identify(remove: Remove, noisy: Tensor, sigma: float, generator: torch.Generator) -> list[Fit]:
    """Fit the Gaussian, the Poisson and the Gamma law to a picture; the one that confirms itself best first.

    Parameters
    ----------
    noisy
        ``(B, C, H, W)``: the picture, or parts of it.
    sigma
        RMS noise, measured.
    """
    guesses = [Family(0, sigma**2), start(noisy, 1), start(noisy, 2)]
    fits = [refine(remove, noisy, law, generator) for law in guesses if law.dispersion > 0]
    return sorted(fits, key=lambda fit: fit.doubt)


def sample(planes: Tensor) -> Tensor:
    """Return up to four evenly spread parts of a picture ``(B, C, h, w)``, sides multiples of 32.

    A smaller picture is continued by itself.
    """
    thin = planes
    sides = [min(SAMPLE, n // 32 * 32) for n in thin.shape[1:]]
    if 0 in sides:
        index = [torch.from_numpy(np.pad(np.arange(n), (0, -n % 32), "wrap")) for n in thin.shape[1:]]
        thin = thin[:, index[0]][:, :, index[1]]
        sides = [min(SAMPLE, n // 32 * 32) for n in thin.shape[1:]]
    starts = [sorted({0, n - side}) if n < 3 * side else [n // 5, n - n // 5 - side]
              for n, side in zip(thin.shape[1:], sides, strict=True)]  # fmt: skip
    return torch.stack([thin[:, r : r + sides[0], c : c + sides[1]] for r in starts[0] for c in starts[1]])
