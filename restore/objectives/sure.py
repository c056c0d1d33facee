"""Stein's unbiased risk estimate: the error of a denoiser, and the gain of a score, without a clean picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]


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


def loss(change: Change, noisy: Tensor, variance: Tensor | float, generator: torch.Generator, step: float) -> Tensor:
    """Return :func:`risk` for training: both evaluations of the network are differentiated."""
    removed = change(noisy)
    signs = probe(noisy, generator)
    return risk(removed, variance, divergence(change, noisy, signs, step=step, at=removed))
