"""Amortised residual denoising auto-encoder: the score of noisy pictures, learnt by denoising a little noise more."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]

RATIO = 0.5
"""Standard deviation of the perturbation over that of the noise."""


def loss(score: Score, noisy: Tensor, std: Tensor | float, generator: torch.Generator) -> Tensor:
    """Return ``mean((u + std * score(noisy + std * u))**2)`` with ``u`` standard normal.

    Its minimum is the score of ``noisy + std * u``: for Gaussian noise of ``sigma``, with ``clean`` given that picture,
    ``(E[clean] - picture) / (sigma**2 + std**2)``. The value stays near one and says nothing about quality.

    Parameters
    ----------
    noisy
        ``(B, C, H, W)``.
    std
        Of the perturbation: a number, or of a shape that fits.

    References
    ----------
    Lim et al., "AR-DAE" (2020), eq. 9; Kim and Ye, "Noise2Score" (2021), eq. 12.
    """
    drawn = torch.randn(noisy.shape, generator=generator)
    return ((drawn + std * score(noisy + std * drawn)) ** 2).mean()


def share(ratio: float) -> float:
    """Return the share of :func:`restore.objectives.gr2r.split` that a perturbation of ``ratio * sigma`` is.

    >>> share(0.5)
    0.2
    """
    return ratio**2 / (1 + ratio**2)


def annealed(step: int, steps: int, *, first: float = 0.05, last: float = 0.001) -> float:
    """Return the perturbation of the published schedule: linear from ``first`` to ``last``.

    >>> [round(annealed(step, 100), 4) for step in (0, 50, 100, 200)]
    [0.05, 0.0255, 0.001, 0.001]
    """
    return first + (last - first) * min(1.0, step / max(steps, 1))


def geometric(place: float, *, first: float = 0.1, last: float = 0.001) -> float:
    """Return the perturbation of the published successor: geometric in a place drawn from 0...1.

    >>> round(geometric(0.5), 4)
    0.01
    """
    return first * math.exp(place * math.log(last / first))
