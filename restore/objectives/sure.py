"""Stein's unbiased risk estimate: the error of a denoiser, and the gain of a score, without a clean picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]

OUTLIER = 8.0
"""What is taken beyond so many times the noise (hot pixels) says nothing about the rest."""


def probe(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return random signs of the shape of a picture, for :func:`divergence`."""
    return torch.randint(0, 2, like.shape, generator=generator).to(like.device, like.dtype) * 2 - 1


def divergence(change: Change, noisy: Tensor, signs: Tensor, *, step: float, at: Tensor | None = None) -> Tensor:
    """Return ``d change(y)[i] / d y[i]`` at every value, plus noise of mean zero (Hutchinson's probe).

    Parameters
    ----------
    signs
        From :func:`probe`.
    step
        Of the finite difference: small against the noise, large against rounding.
    at
        ``change(noisy)``, where it is known.

    References
    ----------
    Ramani, Blu and Unser, "Monte-Carlo SURE" (2008).
    """
    here = change(noisy) if at is None else at
    return signs * (change(noisy + step * signs) - here) / step


def risk(removed: Tensor, variance: Tensor | float, slope: Tensor) -> Tensor:
    """Return the estimated mean squared error of ``noisy - removed``.

    Parameters
    ----------
    removed
        What the denoiser took away.
    variance
        Of the noise, at every value or in all.
    slope
        Divergence of ``removed``.

    References
    ----------
    Stein, "Estimation of the mean of a multivariate normal distribution" (1981); for noise that depends on the
    signal the first-order form of Le Montagner et al., "An unbiased risk estimator for Poisson-Gaussian" (2014).
    """
    return (removed**2 + variance - 2 * variance * slope).mean()


def gain(removed: Tensor, variance: Tensor | float, slope: Tensor) -> float:
    """Return the factor on ``removed`` that makes :func:`risk` least; one for a true score."""
    power = float((removed**2).mean())
    return float((variance * slope).mean()) / power if power > 0 else 1.0


def trust(change: Change, parts: Sequence[Tensor], weigh: Change, *, step: float, enough: float) -> float:
    """Return which share, 0...1, of what a denoiser of noise of unit variance takes brings the weighted risk down most.

    Parameters
    ----------
    change
        Maps noisy values to what is taken from them.
    parts
        Of a noisy picture.
    weigh
        Maps a part to weights of its squared errors.
    step
        As in :func:`divergence`.
    enough
        Where at least this share of the noise's power is taken, a denoiser is not doubted, and not asked twice.
    """
    taken = [change(part) for part in parts]
    weights = [weigh(part) * (x.abs() < OUTLIER) for part, x in zip(parts, taken, strict=True)]
    power = sum(float((w * x**2).sum()) for w, x in zip(weights, taken, strict=True))
    total = sum(float(w.sum()) for w in weights)
    if power >= enough * total or power == 0:
        return 1.0
    generator, slope = torch.Generator().manual_seed(0), 0.0
    for part, x, w in zip(parts, taken, weights, strict=True):
        signs = probe(part, generator)
        slope += float((w * divergence(change, part, signs, step=step, at=x)).sum())
    return min(max(slope / power, 0.0), 1.0)


def loss(change: Change, noisy: Tensor, variance: Tensor | float, generator: torch.Generator, step: float) -> Tensor:
    """Return :func:`risk` for training: both evaluations of the network are differentiated."""
    removed = change(noisy)
    signs = probe(noisy, generator)
    return risk(removed, variance, divergence(change, noisy, signs, step=step, at=removed))
