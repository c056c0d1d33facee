import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, Gamma, kl_divergence

from restore.nets.dvi import PictureNet, Posterior, PosteriorNet, standard_error


def posterior(k: int = 3, seed: int = 0) -> Posterior:
    rng = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(k, 3, 5, 7, generator=rng)

    share = draw(-1, 1).softmax(0)
    return Posterior(draw(0, 1), draw(0.01, 0.5), draw(0.3, 4), draw(0.01, 3), share, draw(0.4, 5))


def test_divergences_are_those_of_torch() -> None:
    q = posterior()
    gamma = kl_divergence(Gamma(q.shape, q.rate), Gamma(torch.tensor(1.3), torch.tensor(0.2)))
    torch.testing.assert_close(q.precision_divergence(1.3, 0.2), (q.share * gamma).sum(0).mean())
    d = q.concentration.movedim(0, -1)
    flat = kl_divergence(Dirichlet(d), Dirichlet(torch.ones_like(d)))
    torch.testing.assert_close(q.concentration_divergence(), flat.mean())


@pytest.mark.parametrize("seed", range(5))
def test_divergences_are_never_negative(seed: int) -> None:
    q = posterior(seed=seed)
    assert q.precision_divergence(1.0, 0.01) >= 0
    assert q.share_divergence() >= 0
    assert q.concentration_divergence() >= 0


def test_divergences_vanish_at_the_prior() -> None:
    ones = torch.ones(3, 3, 2, 2)
    q = replace(posterior(), shape=1.0 * ones, rate=0.02 * ones, share=ones / 3, concentration=ones)
    assert abs(q.precision_divergence(1.0, 0.02)) < 1e-6
    assert abs(q.concentration_divergence()) < 1e-6
    # against certain shares of a third, which a very large concentration stands for
    certain = replace(q, concentration=1e4 * ones)
    assert abs(certain.share_divergence()) < 1e-3


def test_reconstruction_is_the_expected_log_likelihood() -> None:
    q = posterior(1)
    rng = torch.Generator().manual_seed(1)
    noisy = torch.rand(3, 5, 7, generator=rng)
    precision = Gamma(q.shape, q.rate).mean
    square = ((q.mean - noisy) ** 2 + q.variance) * precision / 2
    expected_log = torch.digamma(q.shape) - q.rate.log()
    torch.testing.assert_close(q.reconstruction(noisy), (square - expected_log / 2).sum(0).mean())


def test_spread_is_the_variance_of_the_mixture() -> None:
    q = posterior()
    within = (q.share * q.variance).sum(0)
    between = (q.share * (q.mean - q.picture) ** 2).sum(0)
    torch.testing.assert_close(q.spread, within + between, rtol=1e-4, atol=1e-6)


def test_the_published_size() -> None:
    def count(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    with torch.device("meta"):
        assert round(count(PictureNet(18, 64)) / 1e6, 1) == 13.4
    net = PosteriorNet(3, 8, torch.Generator().manual_seed(0))
    assert [round(count(n), -3) for n in (net.precision, net.share, net.concentration)] == [34_000, 31_000, 31_000]


@pytest.mark.parametrize("components", [1, 3])
def test_drawn_maps_are_in_range_and_seeded(components: int) -> None:
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    first, second = (PosteriorNet(components, 4, torch.Generator().manual_seed(5))(picture) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.mean, second.mean)
    assert first.mean.shape == (components, 3, 32, 48)
    for positive in (first.variance, first.shape, first.rate, first.concentration, first.share):
        assert (positive > 0).all() and torch.isfinite(positive).all()
    torch.testing.assert_close(first.share.sum(0), torch.ones(3, 32, 48))
    assert math.isclose(float(first.variance.detach().log().mean()), 0, abs_tol=1)


def test_the_standard_error_grows_with_deviation_with_what_was_removed_and_with_slopes() -> None:
    rng = torch.Generator().manual_seed(0)
    picture, noise = (torch.rand(3, 40, 48, generator=rng) for _ in range(2))
    soft, deviation = 0.1 * picture, torch.full_like(picture, 0.02)
    found = standard_error(soft, soft + 0.1 * noise, deviation)
    assert found.shape == picture.shape
    assert (found > 0).all()
    assert (standard_error(soft, soft + 0.1 * noise, 2 * deviation) > found).all()
    assert (standard_error(soft, soft + 0.2 * noise, deviation) > found).all()
    assert (standard_error(picture, picture + 0.1 * noise, deviation) > found).all()
