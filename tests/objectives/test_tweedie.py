"""Every formula against posteriors that are known in closed form, on a grid of one dimension."""

import math

import pytest
import torch
from torch import Tensor

from restore.objectives import tweedie
from restore.objectives.family import Family

Y = torch.linspace(0.3, 3, 60, dtype=torch.float64)
A, B = 4.0, 6.0
"""Shape and rate of the Gamma priors."""


def test_gaussian_prior_and_noise() -> None:
    variance = 0.3
    score = -Y / (1 + variance)
    torch.testing.assert_close(tweedie.gaussian(Y, score, variance), Y / (1 + variance))


def counts_score(z: Tensor) -> Tensor:
    """Score of z counts (continued between whole numbers) whose mean is Gamma distributed."""
    return torch.special.digamma(z + A) - torch.special.digamma(z + 1) - math.log(1 + B)


@pytest.mark.parametrize("count", [0.05, 1.0, 20.0])
def test_poisson_gives_the_exponential_of_the_mean_logarithm(count: float) -> None:
    z = torch.arange(0, 40, dtype=torch.float64)
    truth = count * torch.special.digamma(z + A).exp() / (1 + B)
    exact = tweedie.poisson(count * z, counts_score(z) / count, count, is_exact=True)
    torch.testing.assert_close(exact, truth)
    quick = tweedie.poisson(count * z, counts_score(z) / count, count)
    assert ((quick - truth) / truth)[5:].abs().max() < 0.002
    assert torch.isfinite(quick).all()


def test_robbins_is_the_posterior_mean_of_counts() -> None:
    z = torch.arange(0, 40, dtype=torch.float64)
    found = tweedie.robbins(0.1 * z, counts_score(z + 0.5) / 0.1, 0.1)
    torch.testing.assert_close(found[3:], (0.1 * (z + A) / (1 + B))[3:], rtol=0.005, atol=0)


@pytest.mark.parametrize("looks", [3.0, 50.0])
def test_gamma_is_the_harmonic_posterior_mean(looks: float) -> None:
    score = (looks - 1) / Y - looks * (A + looks) / (B + looks * Y)
    torch.testing.assert_close(tweedie.gamma(Y, score, looks), (B + looks * Y) / (A + looks))


def test_gamma_of_another_rate() -> None:
    shape, rate = 5.0, 2.0
    score = (shape - 1) / Y - rate * (A + shape) / (B + rate * Y)
    torch.testing.assert_close(tweedie.gamma_of_shape(Y, score, shape, rate), (B + rate * Y) / (A + shape))


def test_rayleigh() -> None:
    score = 1 / Y - (A + 1) * Y / (B + Y**2 / 2)
    torch.testing.assert_close(tweedie.rayleigh(Y, score), ((B + Y**2 / 2) / (A + 1)).sqrt())


def test_amplitude_of_looks() -> None:
    looks = 4.0
    score = (2 * looks - 1) / Y - 2 * looks * Y * (A + looks) / (B + looks * Y**2)
    torch.testing.assert_close(tweedie.amplitude(Y, score, looks), ((B + looks * Y**2) / (A + looks)).sqrt())


def test_exponential() -> None:
    torch.testing.assert_close(tweedie.exponential(-(A + 1) / (B + Y)), (A + 1) / (B + Y))


@pytest.mark.parametrize(("power", "near"), [(0, 1e-4), (1, 1.002), (1, 0.998), (2, 2.0001)])
def test_the_family_meets_its_members(power: int, near: float) -> None:
    score = torch.linspace(-3, 3, len(Y), dtype=torch.float64)
    members = (
        tweedie.gaussian(Y, score, 0.01),
        tweedie.poisson(Y, score, 0.01),
        tweedie.gamma(Y, score, 100),
    )
    atol = 1e-2 if power == 1 else 1e-12  # (y + z/2) is the first term of y exp(z / 2y)
    here = tweedie.restore(Y, score, Family(power, 0.01))
    torch.testing.assert_close(here[10:], members[power][10:], rtol=1e-4, atol=atol * 0.01)
    torch.testing.assert_close(tweedie.restore(Y, score, Family(near, 0.01))[10:], here[10:], rtol=2e-3, atol=0)


@pytest.mark.parametrize("power", [0, 0.5, 1, 1.5, 2, 3])
def test_the_score_of_a_known_answer_gives_it_back(power: float) -> None:
    clean = 0.8 * Y + 0.1
    law = Family(power, 0.02)
    torch.testing.assert_close(tweedie.restore(Y, tweedie.score_of(Y, clean, law), law), clean)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_wild_scores_stay_finite(power: int) -> None:
    y = torch.tensor([-1.0, 0.0, 1e-8, 0.5, 1e6])
    for score in (-1e8, 0.0, 1e8):
        assert torch.isfinite(tweedie.restore(y, torch.tensor(score), Family(power, 0.02))).all()
        assert torch.isfinite(tweedie.poisson(y, torch.tensor(score), 0.02)).all()
        assert torch.isfinite(tweedie.gamma(y, torch.tensor(score), 20)).all()
        assert torch.isfinite(tweedie.rayleigh(y, torch.tensor(score))).all()


@pytest.mark.parametrize(("gain", "read"), [(0.01, 0.0), (0.01, 0.03), (0.1, 0.2)])
def test_anscombe_makes_the_variance_one_and_comes_back_unbiased(gain: float, read: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for signal in (0.3, 1.0, 5.0):
        counts = torch.poisson(torch.full((200_000,), signal / gain, dtype=torch.float64), generator)
        noisy = gain * counts + read * torch.randn(counts.shape, generator=generator, dtype=torch.float64)
        stable = tweedie.stabilise(noisy, gain, read)
        assert stable.var().item() == pytest.approx(1, abs=0.1)
        assert tweedie.unstabilise(stable.mean(), gain, read).item() == pytest.approx(signal, rel=0.006)


def test_first_order_is_near_the_posterior_mean_of_many_counts() -> None:
    z = torch.arange(200, 400, dtype=torch.float64)
    a, b, count = 60.0, 0.2, 0.01
    score = (torch.special.digamma(z + a) - torch.special.digamma(z + 1) - math.log(1 + b)) / count
    found = tweedie.first_order(count * z, score, count * (count * z), count)
    torch.testing.assert_close(found, count * (z + a) / (1 + b), rtol=0.01, atol=0)
