"""Tweedie's formula for each law of noise: the clean picture from a noisy one and its score.

The score is the gradient of the log density of noisy pictures. For an exponential family with the statistic ``T`` and
the base measure ``p0`` it gives the mean of the natural parameter, ``E[eta | y] T'(y) = score - d/dy ln p0(y)``; what
follows are its solutions (Efron, "Tweedie's formula and selection bias", 2011; Kim and Ye, "Noise2Score", 2021, table
1; Kim et al., "Noise distribution adaptive self-supervised image denoising", 2022, eq. 9). All are per value, of any
shape, and stay finite for every input: exponents and denominators are held where true scores never are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restore.objectives.family import Family

_MOST = 5.0  # largest exponent
_LEAST = 0.1  # smallest share of a denominator
_TINY = 1e-6


def gaussian(noisy: Tensor, score: Tensor, variance: Tensor | float) -> Tensor:
    """Return the posterior mean under Gaussian noise.

    >>> gaussian(torch.tensor(2.0), torch.tensor(-1.0), 0.5)
    tensor(1.5000)
    """
    return noisy + variance * score


def poisson(noisy: Tensor, score: Tensor, count: float, *, is_exact: bool = False) -> Tensor:
    """Return ``exp(E[ln clean])`` under Poisson noise, ``count`` being the brightness of one count.

    ``is_exact`` takes the digamma function in place of its limit for many counts, ``noisy + count / 2``.
    """
    base = count * torch.special.digamma(noisy / count + 1).exp() if is_exact else noisy + count / 2
    return base.clamp_min(_TINY * count) * (count * score).clamp(-_MOST, _MOST).exp()


def robbins(noisy: Tensor, score_ahead: Tensor, count: float) -> Tensor:
    """Return the posterior mean under Poisson noise; the score is that at ``noisy + count / 2``."""
    return (noisy + count).clamp_min(_TINY * count) * (count * score_ahead).clamp(-_MOST, _MOST).exp()


def gamma(noisy: Tensor, score: Tensor, looks: float) -> Tensor:
    """Return ``1 / E[1 / clean]`` under Gamma noise of mean one, that is speckle of intensity with ``looks > 1``."""
    return gamma_of_shape(noisy, score, looks, looks)


def gamma_of_shape(noisy: Tensor, score: Tensor, shape: float, rate: float) -> Tensor:
    """Return ``1 / E[1 / clean]`` where the picture was multiplied by Gamma noise of any ``shape > 1`` and ``rate``."""
    return rate * noisy / ((shape - 1) - noisy * score).clamp_min(_LEAST * (shape - 1))


def rayleigh(noisy: Tensor, score: Tensor) -> Tensor:
    """Return ``E[clean**-2] ** -0.5`` for Rayleigh amplitudes of scale ``clean``."""
    return noisy / (1 - noisy * score).clamp_min(_LEAST / 2).sqrt()


def amplitude(noisy: Tensor, score: Tensor, looks: float) -> Tensor:
    """Return ``E[clean**-2] ** -0.5`` for the amplitude of speckle of ``looks``: its square is Gamma noise."""
    return noisy * (2 * looks / ((2 * looks - 1) - noisy * score).clamp_min(_LEAST * (2 * looks - 1))).sqrt()


def exponential(score: Tensor) -> Tensor:
    """Return the mean rate of exponential noise."""
    return -score


def restore(noisy: Tensor, score: Tensor, noise: Family) -> Tensor:
    """Return the clean picture under noise of any power: the saddle point formula, continuous in the power.

    At 0, 1 and 2 it is :func:`gaussian`, :func:`poisson` (for many counts) and :func:`gamma`.
    """
    if noise.power == 0:
        return gaussian(noisy, score, noise.dispersion)
    y = noisy.clamp_min(_TINY)
    a = noise.dispersion * y ** (noise.power - 1) * (noise.power / (2 * y) + score)
    if abs(noise.power - 1) < 1e-3:
        return y * a.clamp(-_MOST, _MOST).exp()
    return y * (1 + (1 - noise.power) * a).clamp_min(_LEAST) ** (1 / (1 - noise.power))


def score_of(noisy: Tensor, clean: Tensor, noise: Family) -> Tensor:
    """Return the score that :func:`restore` turns into ``clean``.

    >>> law = Family(2, 0.02)
    >>> restore(torch.tensor(0.5), score_of(torch.tensor(0.5), torch.tensor(0.4), law), law)
    tensor(0.4000)
    """
    if noise.power == 0:
        return (clean - noisy) / noise.dispersion
    y = noisy.clamp_min(_TINY)
    ratio = (clean.clamp_min(_TINY) / y).log()
    bend = 1 - noise.power
    a = ratio if abs(bend) < 1e-3 else torch.expm1(bend * ratio) / bend
    return a * y**bend / noise.dispersion - noise.power / (2 * y)


def first_order(noisy: Tensor, score: Tensor, variance: Tensor, slope: Tensor | float) -> Tensor:
    """Return the clean picture for any small noise whose variance is a function of the signal with this slope."""
    return noisy + slope + variance * score


def stabilise(noisy: Tensor, gain: float, read: float) -> Tensor:
    """Return the generalised Anscombe transform: noise of variance ``gain * x + read**2`` becomes that of variance 1.

    >>> stabilise(torch.tensor(1.0), 0.01, 0.0)
    tensor(20.0375)
    """
    return 2 / gain * (gain * noisy + 0.375 * gain**2 + read**2).clamp_min(0).sqrt()


def unstabilise(stable: Tensor, gain: float, read: float) -> Tensor:
    """Return the signal whose stabilised mean is ``stable``.

    References
    ----------
    Makitalo and Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise" (2013),
    eq. 10: the closed form of the exact unbiased inverse.
    """
    d = stable.clamp_min(2 * math.sqrt(0.375))
    root = math.sqrt(1.5)
    counts = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 0.125
    return gain * (counts - (read / gain) ** 2)
