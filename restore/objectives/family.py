"""Noise whose variance is a power of the signal: Gaussian, Poisson, speckle and what lies between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

POWERS = {"gaussian": 0, "poisson": 1, "gamma": 2}


@dataclass(frozen=True)
class Family:
    """Unbiased noise with the variance ``dispersion * x**power`` at the signal ``x`` (a Tweedie distribution).

    Parameters
    ----------
    power
        0 Gaussian, 1 Poisson, 2 Gamma.
    dispersion
        Gaussian: sigma squared. Poisson: the brightness of one count. Gamma: one over the number of looks.

    References
    ----------
    Jorgensen, "Exponential dispersion models" (1987).
    """

    power: float
    dispersion: float

    @property
    def name(self) -> str:
        """``"gaussian"``, ``"poisson"`` or ``"gamma"``: the nearest of the three.

        >>> Family(0.2, 0.01).name, Family(1.4, 0.01).name, Family(2.3, 0.01).name
        ('gaussian', 'poisson', 'gamma')
        """
        return list(POWERS)[min(max(round(self.power), 0), 2)]

    @property
    def level(self) -> float:
        """What people call the level: sigma, the brightness of one count, or the number of looks.

        >>> Family(0, 0.25).level, Family(1, 0.01).level, Family(2, 0.02).level
        (0.5, 0.01, 50.0)
        """
        return {"gaussian": math.sqrt(self.dispersion), "poisson": self.dispersion}.get(self.name, 1 / self.dispersion)

    @classmethod
    def of(cls, kind: str, level: float) -> Family:
        """Return a law by its name, Gaussian for any other word, and :attr:`level`.

        >>> Family.of("gamma", 50), Family.of("auto", 0.5)
        (Family(power=2, dispersion=0.02), Family(power=0, dispersion=0.25))
        """
        power = POWERS.get(kind, 0)
        return cls(power, (level**2, level, 1 / level)[power])

    def variance(self, signal: Tensor) -> Tensor:
        """Return the variance of the noise where the picture without noise has the value ``signal``."""
        return torch.pow(signal.clamp_min(0), self.power) * self.dispersion

    def variance_in(self, noisy: Tensor) -> Tensor:
        """Return what has the noise's variance as its mean, of noisy values: exact for the powers 0, 1 and 2.

        A noisy value's square is larger than the signal's by the variance itself.

        >>> looks, seeded = Family(2, 0.25), torch.Generator().manual_seed(0)
        >>> noisy = looks.draw(torch.full((100_000,), 2.0), seeded)
        >>> round(float(looks.variance_in(noisy).mean()), 2)
        1.0
        """
        excess = 1 + self.dispersion if self.power == 2 else 1.0
        return torch.pow(noisy.clamp_min(0), self.power) * (self.dispersion / excess)

    def scaled(self, factor: float) -> Family:
        """Return the noise of the picture multiplied by ``factor``.

        >>> Family(1, 0.01).scaled(2.0)
        Family(power=1, dispersion=0.02)
        """
        return Family(self.power, self.dispersion * factor ** (2 - self.power))

    def draw(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return a noisy version of a picture; only the powers 0, 1 and 2 can be drawn."""
        if self.power == 0:
            return clean + math.sqrt(self.dispersion) * torch.randn(clean.shape, generator=generator)
        if self.power == 1:
            return self.dispersion * torch.poisson(clean.clamp_min(0) / self.dispersion, generator)
        looks = torch.full_like(clean, 1 / self.dispersion)
        factors: Tensor = self.dispersion * torch._standard_gamma(looks, generator=generator)
        return clean * factors
