"""Splits, score matching and SURE against what is known exactly."""

import pytest
import torch
from torch import Tensor

from restore.objectives import ardae, gr2r, sure
from restore.objectives.family import Family

LAWS = [Family(0, 0.01), Family(1, 0.02), Family(2, 0.02)]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_split_is_two_independent_pictures_of_the_same_law(law: Family, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((400_000,), 0.6)
    first, second = gr2r.split(law.draw(clean, generator), law, share, generator)
    for part, of in ((first, 1 - share), (second, share)):
        assert part.mean().item() == pytest.approx(0.6, abs=0.002)
        assert part.var().item() == pytest.approx(float(law.variance(torch.tensor(0.6))) / of, rel=0.02)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1].item()) < 0.006


def test_a_split_at_a_wrong_count_is_still_without_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = Family(1, 0.1).draw(torch.full((400_000,), 0.35), generator)
    for part in gr2r.split(noisy, Family(1, 0.093), 0.3, generator):
        assert part.mean().item() == pytest.approx(noisy.mean().item(), abs=0.002)


def test_a_gaussian_split_is_the_perturbation_of_score_matching() -> None:
    assert ardae.share(1.0) == 0.5
    ratio = 0.5
    share = ardae.share(ratio)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.zeros(100_000)
    first, _ = gr2r.split(noisy, Family(0, 1.0), share, generator)
    assert first.std().item() == pytest.approx(ratio, rel=0.01)


def test_the_exact_score_has_the_loss_that_theory_says() -> None:
    variance, std = 0.25, 0.5
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2_000_000, generator=generator) * (1 + variance) ** 0.5
    total = 1 + variance + std**2

    def score(y: Tensor) -> Tensor:
        return -y / total

    assert ardae.loss(score, noisy, std, generator).item() == pytest.approx(1 - std**2 / total, rel=0.01)
    worse = ardae.loss(lambda y: 0.8 * score(y), noisy, std, generator)
    assert worse > ardae.loss(score, noisy, std, generator)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_predicting_one_half_from_the_other_needs_the_posterior_mean(law: Family) -> None:
    """The factor on the noise that predicts the second half best is the one that is best against the truth."""
    generator = torch.Generator().manual_seed(1)
    clean = 0.5 + 0.1 * torch.rand(500_000, generator=generator)
    first, second = gr2r.split(law.draw(clean, generator), law, 0.5, generator)
    factors = torch.linspace(0, 1, 201)
    toward = 0.55 + factors[:, None] * (first[None, :50_000] - 0.55)
    hidden = ((toward - second[:50_000]) ** 2).mean(1).argmin()
    best = ((toward - clean[:50_000]) ** 2).mean(1).argmin()
    assert abs(int(hidden) - int(best)) <= 8


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_the_gain_of_a_scaled_score_is_the_inverse(factor: float) -> None:
    variance = 0.2
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1_000_000, generator=generator) * (1 + variance) ** 0.5

    def removed(y: Tensor) -> Tensor:
        return factor * y * variance / (1 + variance)

    slope = sure.divergence(removed, noisy, sure.probe(noisy, generator), step=1e-3)
    assert sure.gain(removed(noisy), variance, slope) == pytest.approx(1 / factor, rel=0.01)


@pytest.mark.parametrize(("taken", "expected"), [(0.05, 1.0), (0.1, 1.0), (0.2, 0.5), (0.6, 1.0)])
def test_a_denoiser_that_takes_little_is_trusted_as_far_as_it_is_right(taken: float, expected: float) -> None:
    """Of a signal of variance 9 under noise of variance 1 a tenth is noise; who takes 0.6 is not asked."""
    generator = torch.Generator().manual_seed(0)
    parts = [10**0.5 * torch.randn(1, 300, 300, generator=generator) for _ in range(4)]
    found = sure.trust(lambda y: taken * y, parts, torch.ones_like, step=0.1, enough=0.5)
    assert found == pytest.approx(expected, abs=0.02)


def test_the_risk_is_the_error() -> None:
    variance = 0.09
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1_000_000, generator=generator)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator)
    for share in (0.05, 0.2):
        slope = sure.divergence(lambda y, k=share: k * y, noisy, sure.probe(noisy, generator), step=1e-2)
        error = ((1 - share) * noisy - clean).square().mean().item()
        assert sure.risk(share * noisy, variance, slope).item() == pytest.approx(error, rel=0.02)


def test_sure_finds_the_wiener_gain() -> None:
    variance = 0.25
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(200_000, generator=generator) * (1 + variance) ** 0.5
    factor = torch.tensor(0.0, requires_grad=True)
    for _ in range(60):
        (slope,) = torch.autograd.grad(sure.loss(lambda y, k=factor: k * y, noisy, variance, generator, 1e-2), factor)
        factor = (factor - 0.3 * slope).detach().requires_grad_()
    assert factor.item() == pytest.approx(variance / (1 + variance), rel=0.03)
