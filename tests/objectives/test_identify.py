"""The law of the noise is found with an oracle in the network's place, and raw scores are understood."""

import pytest
import torch
from torch import Tensor

from restore.nets.noise2score_unet import Noise2ScoreUNet
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import identify, tweedie
from restore.objectives.family import Family
from restore.objectives.removal import Removal, for_channels, networks


def scene() -> Tensor:
    """Flat areas of many brightnesses, and texture: ``(1, 3, 128, 128)``."""
    y, x = torch.meshgrid(torch.arange(128) / 128, torch.arange(128) / 128, indexing="ij")
    steps = 0.15 + 0.7 * ((8 * x).floor() / 8 + (8 * y).floor() / 8) / 2
    texture = 0.05 * torch.sin(60 * x) * (y > 0.6)
    return torch.stack([steps + texture, 0.9 * steps, 0.8 * steps + texture])[None]


def oracle(clean: Tensor):  # type: ignore[no-untyped-def]
    """Return the removal of a denoiser that knows the clean picture and trusts it by nine tenths."""

    def remove(noisy: Tensor, law: Family) -> Tensor:
        del law
        return 0.9 * (noisy - clean)

    return remove


@pytest.mark.parametrize(
    "law", [Family(0, 0.0025), Family(0, 0.01), Family(1, 0.01), Family(1, 0.04), Family(2, 0.01), Family(2, 0.05)]
)
def test_law_and_level_are_found(law: Family) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = scene()
    noisy = law.draw(clean, generator)
    sigma = float(law.variance(clean).mean().sqrt())
    fits = identify.identify(oracle(clean), noisy, sigma, generator)
    assert fits[0].law.power == law.power
    # an oracle of gain g that removes g of all noise reports g**2 / g of its variance
    assert fits[0].law.dispersion == pytest.approx(0.9 * law.dispersion, rel=0.1)


def test_the_first_guess_is_near_on_flat_and_textured_areas() -> None:
    generator = torch.Generator().manual_seed(0)
    for law in (Family(0, 0.01), Family(1, 0.01), Family(2, 0.02)):
        guess = identify.start(law.draw(scene(), generator), law.power)
        assert guess.dispersion == pytest.approx(law.dispersion, rel=0.15)


@pytest.mark.parametrize("told", [0.7, 1.0, 1.4])
def test_a_wrong_level_shows_in_the_gain_and_is_corrected(told: float) -> None:
    """Gaussian pictures in Gaussian noise: the posterior mean is known, and so is what SURE must say."""
    generator = torch.Generator().manual_seed(0)
    variance, prior = 0.04, 0.01
    noisy = 0.5 + (prior + variance) ** 0.5 * torch.randn(1, 1, 512, 512, generator=generator)

    def remove(y: Tensor, law: Family) -> Tensor:
        return (y - 0.5) * law.dispersion / (law.dispersion + prior)

    fit = identify.refine(remove, noisy, Family(0, told * variance), generator, rounds=12)
    expected = (told * variance + prior) / (variance + prior)
    assert fit.gain == pytest.approx(expected, rel=0.02)
    assert fit.law.dispersion == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 40, 33), (2, 200, 31), (4, 500, 700)])
def test_parts_of_any_picture_fit_any_network(shape: tuple[int, int, int]) -> None:
    parts = identify.sample(torch.rand(shape))
    assert parts.shape[1] == shape[0]
    assert all(n % 32 == 0 and n > 0 for n in parts.shape[2:])


def test_networks_of_every_kind_of_file() -> None:
    torch.manual_seed(0)
    small = {"widths": (8, 12, 16), "blocks": (1, 1, 1, 1, 1)}
    colour, grey = UnshuffleUNet(3, 5, **small), UnshuffleUNet(1, 3, **small)  # type: ignore[arg-type]
    both = {f"colour.{k}": v for k, v in colour.state_dict().items()} | {
        f"grey.{k}": v for k, v in grey.state_dict().items()
    }
    found = networks(both)
    assert [net.channels for net in found] == [3, 1]
    assert [for_channels(found, n).channels for n in (1, 2, 3, 4)] == [1, 1, 3, 1]
    assert [net.channels for net in networks(grey.state_dict())] == [1]
    assert isinstance(networks(Noise2ScoreUNet(1).state_dict())[0], Noise2ScoreUNet)


def test_channels_are_taken_one_by_one_where_the_network_is_grey() -> None:
    torch.manual_seed(0)
    net = UnshuffleUNet(1, 3, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    removal, law = Removal(net), Family(0, 0.01)
    picture = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        together = removal(picture, law)
        torch.testing.assert_close(together[:, 2:3], removal(picture[:, 2:3], law))


def test_a_published_network_gives_a_score() -> None:
    torch.manual_seed(0)
    net = Noise2ScoreUNet(1)
    picture, law = torch.rand(1, 1, 32, 32) + 0.2, Family(2, 0.02)
    with torch.no_grad():
        removed = Removal(net)(picture, law)
        torch.testing.assert_close(picture - removed, tweedie.gamma(picture, net(picture), 50.0))
        assert torch.equal(Removal(net)(picture, Family(0, 0.01), 0.0), torch.zeros_like(picture))


def test_the_network_is_homogeneous_in_the_unit_of_the_picture() -> None:
    torch.manual_seed(0)
    net = UnshuffleUNet(3, 5, widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    picture = torch.rand(1, 3, 32, 32)
    for law in (Family(0, 0.01), Family(1, 0.01), Family(2, 0.01)):
        with torch.no_grad():
            one, large = Removal(net)(picture, law), Removal(net)(1024 * picture, law.scaled(1024))
        torch.testing.assert_close(large, 1024 * one)


def test_in_much_noise_the_gain_decides() -> None:
    told = identify.Fit(Family.of("gaussian", 0.14), misfit=0.0, gain=1.1)
    followed = identify.Fit(Family.of("poisson", 0.025), misfit=0.0, gain=1.41)
    assert told.doubt < followed.doubt
    assert identify.Fit(told.law, misfit=0.3, gain=1.0).doubt == pytest.approx(0.3)
    assert identify.Fit(told.law, misfit=0.0, gain=-0.2).doubt == float("inf")
