"""Generalised recorrupted-to-recorrupted: split a noisy picture in two with independent noise, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.objectives.family import Family


def split(noisy: Tensor, noise: Family, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split ``noisy`` into two pictures of the same scene with independent noise of the same family.

    The first has the dispersion ``noise.dispersion / (1 - share)``, the second ``noise.dispersion / share``; so a
    network that predicts the second from the first learns the posterior mean of the first, without a clean picture.
    For Gaussian noise this is denoising score matching with the perturbation ``sqrt(share / (1 - share)) * sigma``
    (see :mod:`restore.objectives.ardae`).

    Parameters
    ----------
    noise
        Power 0, 1 or 2, as it is in ``noisy``; Poisson: values are multiples of the dispersion.
    share
        0...1, of the information that goes into the second.

    References
    ----------
    Monroy, Bacca and Tachella, "Generalized recorrupted-to-recorrupted" (2025), table 1; Pang et al.,
    "Recorrupted-to-recorrupted" (2021) for the Gaussian case.
    """
    if noise.power == 0:
        extra = (noise.dispersion * share / (1 - share)) ** 0.5
        first = noisy + extra * torch.randn(noisy.shape, generator=generator)
    elif noise.power == 1:
        counts = (noisy / noise.dispersion).round().clamp_min(0)
        taken = torch.binomial(counts, torch.full_like(counts, share), generator=generator)
        first = noise.dispersion * (counts - taken) / (1 - share)
    else:
        looks = 1 / noise.dispersion
        second, rest = (
            torch._standard_gamma(torch.full_like(noisy, looks * part), generator=generator)
            for part in (share, 1 - share)
        )
        first = noisy * (rest / (second + rest)) / (1 - share)
    return first, (noisy - (1 - share) * first) / share
