"""A differentiable distance of two distributions by their samples: quantiles and cumulative levels, dense in the tails.

References
----------
Feng et al., "Learning Physics-Informed Noise Models from Dark Frames" (TPAMI 2026), differentiable distribution loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Real:
    """The real sample as losses want it: ascending values ``(m,)`` in units of its sigma from its mean, and both."""

    ordered: Tensor
    mean: Tensor
    sigma: Tensor


_EDGE = 1e-4


def quantiles(ordered: Tensor, levels: Tensor) -> Tensor:
    """Return the quantiles of an ascending sample ``(n,)`` at ``levels`` in 0...1, linear between its values.

    >>> quantiles(torch.tensor([0.0, 10.0, 20.0]), torch.tensor([0.0, 0.25, 1.0])).tolist()
    [0.0, 5.0, 20.0]
    """
    place = levels.double() * (len(ordered) - 1)
    lower = place.floor().long().clamp(0, max(len(ordered) - 2, 0))
    fraction = (place - lower).to(ordered.dtype)
    return ordered[lower] * (1 - fraction) + ordered[(lower + 1).clamp(max=len(ordered) - 1)] * fraction


def levels_below(ordered: Tensor, values: Tensor) -> Tensor:
    """Return the cumulative level of an ascending sample ``(n,)`` at ``values``: the inverse of `quantiles`.

    >>> levels_below(torch.tensor([0.0, 10.0, 20.0]), torch.tensor([-3.0, 5.0, 20.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    values = values.clamp(ordered[0], ordered[-1])  # with their gradient: beyond the ends the level is constant
    upper = torch.searchsorted(ordered.detach(), values.detach()).clamp(1, len(ordered) - 1)
    low, high = ordered[upper - 1], ordered[upper]
    gap = high - low
    is_open = gap > 0
    within = torch.where(is_open, (high - values) / torch.where(is_open, gap, torch.ones_like(gap)), 0.0)
    return (upper - within) / (len(ordered) - 1)


def real_side(sample: Tensor) -> Real:
    """Prepare a real sample ``(m,)``, in any order."""
    mean, sigma = sample.double().mean(), sample.double().std()
    return Real(((sample - mean) / sigma).to(sample.dtype).sort().values, mean.to(sample.dtype), sigma.to(sample.dtype))


def tail_dense_levels(count: int, generator: torch.Generator) -> Tensor:
    """Draw ascending levels in 0...1, denser towards both ends: ``Phi(-4 + 8 x)`` with jitter."""
    x = torch.linspace(_EDGE, 1 - _EDGE, count)
    jitter = torch.randn(count, generator=generator) * 1e-4
    return torch.sort((torch.special.ndtr(8 * x - 4) + jitter).clamp(0, 1)).values


def normal_values(count: int, generator: torch.Generator) -> Tensor:
    """Draw ascending values within about 3.7 sigmas, spread as a normal sample is."""
    x = torch.linspace(_EDGE, 1 - _EDGE, count)
    x = (x + torch.randn(count, generator=generator) * 0.5e-4).clamp(_EDGE, 1 - _EDGE)
    return torch.sort(torch.special.ndtri(x)).values


def distribution_loss(
    made: Tensor,
    real: Real,
    generator: torch.Generator,
    *,
    count: int = 1000,
    cdf_weight: float = 1.0,
) -> Tensor:
    """Return the mean distance of quantiles plus that of cumulative levels, in units of the real sample's sigma.

    Parameters
    ----------
    made
        Synthetic sample ``(n,)``; the gradient flows through its sorting.
    real
        Real sample; n and m need not be equal.
    """
    first, second = (made.sort().values - real.mean) / real.sigma, real.ordered
    levels, values = tail_dense_levels(count, generator), normal_values(count, generator)
    by_quantile = (quantiles(first, levels) - quantiles(second, levels)).abs().mean()
    by_level = (levels_below(first, values) - levels_below(second, values)).abs().mean()
    return by_quantile + cdf_weight * by_level


def divergence(made: Tensor, real: Real, generator: torch.Generator, *, count: int = 1000) -> Tensor:
    """Return the Kullback-Leibler divergence of the real sample's bin masses from the synthetic one's, to watch.

    Both samples as in `distribution_loss`; bins lie between neighbouring `normal_values`.
    """
    values = normal_values(count, generator)
    first = (made.sort().values - real.mean) / real.sigma
    q, p = (levels_below(sample, values).diff().abs().clamp_min(1e-9) for sample in (first, real.ordered))
    total = torch.maximum(p.sum(), q.sum())
    return (p / total * (p / q).log()).sum()
