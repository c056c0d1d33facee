"""The networks that draw a picture's variational posterior, and the posterior with its divergences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_LOW, LOG_HIGH = math.log(1e-8), math.log(1e4)
"""Between which logarithms are held before they are exponentiated."""
ERROR = (0.093, 0.234, 0.382, 0.438)
"""Logarithm of the scale, and powers, of :func:`standard_error`."""
FLOOR = (0.5 / 255) ** 2
"""Least variance that a score is divided by."""


class _Norm(nn.BatchNorm2d):
    """Batch normalisation by the picture's own statistics, always."""

    def __init__(self, width: int) -> None:
        super().__init__(width, track_running_stats=False)


def _double(before: int, after: int) -> nn.Sequential:
    sizes = ((before, after), (after, after))
    return nn.Sequential(*(m for a, b in sizes for m in (nn.Conv2d(a, b, 3, padding=1), _Norm(b), nn.ReLU(True))))


class PictureNet(nn.Module):
    """U-Net of four scales, bilinear upwards: 13.4 million weights at width 64.

    Parameters
    ----------
    outputs
        Planes to draw.
    width
        Features at full resolution.

    References
    ----------
    Ronneberger et al., "U-Net" (2015), as in Cheng et al., "Score priors guided deep variational inference" (2023).
    """

    multiple = 16

    def __init__(self, outputs: int, width: int = 64) -> None:
        super().__init__()
        w = width
        down = ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w))
        up = ((16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w), (2 * w, w))
        self.inside = _double(3, w)
        self.down = nn.ModuleList(_double(*sizes) for sizes in down)
        self.up = nn.ModuleList(_double(*sizes) for sizes in up)
        self.out = nn.Conv2d(w, outputs, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map ``(1, 3, H, W)``, sides multiples of 16 and at least 32, to ``(1, outputs, H, W)``."""
        x = self.inside(picture)
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(F.max_pool2d(x, 2))
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = stage(torch.cat([skip, x], 1))
        drawn: Tensor = self.out(x)
        return drawn


class PlainNet(nn.Sequential):
    """Five 3x3 convolutions, normalised in the middle: maps ``(1, 3, H, W)`` to ``(1, outputs, H, W)``."""

    def __init__(self, outputs: int, width: int = 32) -> None:
        middle = [m for _ in range(3) for m in (nn.Conv2d(width, width, 3, padding=1), _Norm(width), nn.ReLU(True))]
        first, last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, outputs, 3, padding=1)
        super().__init__(first, nn.ReLU(True), *middle, last)


def _exp(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(LOG_LOW, LOG_HIGH).exp()


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed of a picture; every tensor is float32 ``(K, 3, H, W)`` for K components.

    Parameters
    ----------
    mean, variance
        Of the clean picture: ``q(x_k) = N(mean, variance)``.
    shape, rate
        Of the noise's precision: ``q(phi_k) = Gamma(shape, rate)``.
    share
        Of each component, summing to one over K: ``q(z) = Cat(share)``.
    concentration
        Of the shares: ``q(omega) = Dir(concentration)``.

    References
    ----------
    Cheng et al., "Score priors guided deep variational inference" (2023).
    """

    mean: Tensor
    variance: Tensor
    shape: Tensor
    rate: Tensor
    share: Tensor
    concentration: Tensor

    @property
    def picture(self) -> Tensor:
        """The expected clean picture ``(3, H, W)``."""
        return (self.share * self.mean).sum(0)

    @property
    def spread(self) -> Tensor:
        """Variance of the clean picture ``(3, H, W)``, between and within components."""
        return (self.share * (self.variance + self.mean**2)).sum(0) - self.picture**2

    def reconstruction(self, noisy: Tensor) -> Tensor:
        """Return the expected negative log likelihood of ``(3, H, W)``, without its constant."""
        precision = self.shape / self.rate
        fit = 0.5 * ((self.mean - noisy) ** 2 + self.variance) * precision
        return _total(self.share * (fit - 0.5 * (torch.digamma(self.shape) - self.rate.log())))

    def entropy(self) -> Tensor:
        """Return the entropy of the clean picture's components, without its constant."""
        return _total(self.share * 0.5 * self.variance.log())

    def precision_divergence(self, shape: float, rate: float) -> Tensor:
        """Return the KL divergence of the noise's precision from ``Gamma(shape, rate)``."""
        a, b = self.shape, self.rate
        constant = math.lgamma(shape) - shape * math.log(rate)
        gamma = (a - shape) * torch.digamma(a) - torch.lgamma(a) + shape * b.log() + rate * a / b - a + constant
        return _total(self.share * gamma)

    def share_divergence(self) -> Tensor:
        """Return the expected KL divergence of the components' shares from the drawn ones."""
        return _total(self.share * ((self.share + 1e-8).log() - self._expected_log_share()))

    def concentration_divergence(self) -> Tensor:
        """Return the KL divergence of the Dirichlet from the flat one."""
        d = self.concentration
        constants = torch.lgamma(d.sum(0)) - torch.lgamma(d).sum(0) - math.lgamma(len(d))
        return constants.mean() + _total((d - 1) * self._expected_log_share())

    def _expected_log_share(self) -> Tensor:
        return torch.digamma(self.concentration) - torch.digamma(self.concentration.sum(0))


def _total(terms: Tensor) -> Tensor:
    """Sum over components, mean over pixels and channels."""
    return terms.sum(0).mean()


def surrogate(
    posterior: Posterior, denoise: Callable[[Tensor, Tensor], Tensor], samples: int, rng: torch.Generator
) -> Tensor:
    """Return a value whose gradient is that of the expected log prior: share times score times the sample's.

    A sample of ``q(x)`` is the mean under white noise of known deviation, so Tweedie's formula gives the score from
    a blind denoiser whatever the noise of the picture. Nothing is propagated through the denoiser or the shares.

    References
    ----------
    Cheng et al., "Score priors guided deep variational inference" (2023).
    """
    total = torch.zeros((), device=posterior.mean.device)
    for _ in range(samples):
        noise = torch.randn(posterior.mean.shape, generator=rng, device=rng.device)
        deviation = posterior.variance.sqrt()
        sample = posterior.mean + deviation * noise
        with torch.no_grad():
            score = (denoise(sample, deviation) - sample) / posterior.variance.clamp(min=FLOOR)
        total = total + (posterior.share.detach() * score.detach() * sample).sum(0).mean()
    return total / samples


def standard_error(picture: Tensor, noisy: Tensor, deviation: Tensor) -> Tensor:
    """Return how far each value of a restored picture may be off, from its posterior deviation; all ``(3, H, W)``.

    The posterior alone knows little of the error: it takes noise for white and the denoiser for exact. So its deviation
    is weighed with what was removed around a value and with the slopes of the restored picture, where detail is lost:
    a product of powers, fitted to absolute errors on free photos with simulated noise of cameras.
    """
    across, down = picture.diff(dim=2), picture.diff(dim=1)
    slopes = (F.pad(across, (0, 1)).square() + F.pad(down, (0, 0, 0, 1)).square()).mean(0, keepdim=True)
    spreads = _around(deviation.square(), 2), _around((noisy - picture).square(), 4), _around(slopes, 2)
    scale, *powers = ERROR
    found = torch.full_like(picture, scale)
    for power, spread in zip(powers, spreads, strict=True):
        found = found + 0.5 * power * torch.log(spread + 1e-6)
    return found.exp()


def _around(planes: Tensor, radius: int) -> Tensor:
    """Mean over a square around each pixel, the picture mirrored at its edges."""
    return F.avg_pool2d(F.pad(planes[None], [radius] * 4, mode="reflect"), 2 * radius + 1, 1)[0]


class PosteriorNet(nn.Module):
    """Four networks that draw the posterior from the noisy picture.

    With one component there is nothing to choose from, so the networks of shares and concentrations are left out.

    Parameters
    ----------
    components
        K of the mixture.
    width
        Of the network that draws the picture; 64 is published.
    rng
        Where the initial weights come from: uniform as PyTorch's default.
    """

    def __init__(self, components: int, width: int, rng: torch.Generator) -> None:
        super().__init__()
        k = components
        with torch.device("meta"):
            self.picture = PictureNet(6 * k, width)
            self.precision = PlainNet(6 * k)
            self.share = PlainNet(3 * k) if k > 1 else None
            self.concentration = PlainNet(3 * k) if k > 1 else None
        self.components = k
        self.float().to_empty(device=rng.device)  # whatever type the caller has made the default
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=rng)
            if isinstance(module, _Norm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, noisy: Tensor) -> Posterior:
        """Draw the posterior of ``(1, 3, H, W)``."""
        mean, variance = self._pair(self.picture(noisy))
        shape, rate = self._pair(self.precision(noisy))
        share = concentration = torch.ones_like(mean)
        if self.share is not None and self.concentration is not None:
            share = self.share(noisy).reshape(mean.shape).softmax(0)
            concentration = _exp(self.concentration(noisy).reshape(mean.shape))
        return Posterior(mean, _exp(variance), _exp(shape), _exp(rate), share, concentration)

    def _pair(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        first, second = drawn.reshape(self.components, 2, 3, *drawn.shape[-2:]).unbind(1)
        return first, second
