"""Noise2Score on pictures: what it finds, what it refuses, and what it leaves alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from restore import choose, degrade, files, pipeline
from restore.degrade import gaussian, quantise
from restore.errors import RestoreError
from restore.method import Role
from restore.nets.noise2score_unet import Noise2ScoreUNet
from restore.noise import Noise, estimate
from restore.objectives.family import Family
from restore.picture import Floats, Image
from restore.pipeline import StepReport
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

KODAK = Path(__file__).parents[2] / ".." / "shared" / "data" / "test" / "kodak"
RUNTIME = Runtime(device="cpu")


def restored(pixels: Floats, *, weights: str | None = None, sigma: float | None = None, **settings: object) -> Floats:
    return report(pixels, weights=weights, sigma=sigma, **settings)[0]


def report(
    pixels: Floats, *, weights: str | None = None, sigma: float | None = None, **settings: object
) -> tuple[Floats, StepReport]:
    step = Step(method="noise2score", settings=settings, weights=weights)
    result = pipeline.run(Image(pixels), Recipe(steps=(step,), noise=sigma, precision="fp32"), RUNTIME)
    assert isinstance(result.picture, Image)
    return result.picture.pixels, result.reports[0]


def smooth(side: int = 160, channels: int = 3) -> Floats:
    """Shapes and gradients without noise."""
    y, x = np.mgrid[:side, :side] / side
    ball = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) * 0.3
    return np.stack([0.15 + 0.5 * x * y + ball * (1 + 0.2 * c) for c in range(channels)], -1).astype(np.float32)


def mse(one: Floats, two: Floats) -> float:
    return float(np.mean((one - two) ** 2))


@pytest.mark.parametrize(
    "law", [Family.of("gaussian", 0.1), Family.of("poisson", 0.03), Family.of("gamma", 25)], ids=lambda law: law.name
)
def test_kind_and_level_are_found_and_the_noise_goes(law: Family) -> None:
    truth = smooth()
    noisy = law.draw(torch.from_numpy(truth), torch.Generator().manual_seed(0)).numpy()
    found, made = report(noisy)
    assert made.facts["kind"] == law.name
    assert made.facts["level"] == pytest.approx(law.level, rel=0.2)
    assert mse(found, truth) < 0.08 * mse(noisy, truth)
    told = restored(noisy, kind=law.name, level=law.level)
    assert 10 * np.log10(mse(found, truth) / mse(told, truth)) < 0.5


def test_grey_pictures_and_any_unit() -> None:
    truth = smooth(channels=1)
    noisy = gaussian(truth, np.random.default_rng(0), sigma=0.1)
    for unit in (1.0, 4000.0, 0.002):
        found = restored(noisy * np.float32(unit)) / np.float32(unit)
        assert mse(found, truth) < 0.08 * mse(noisy, truth)


@pytest.mark.parametrize(("black", "span"), [(300.0, 10.0), (-5.0, 20.0), (-1.0, 2.0)])
@pytest.mark.parametrize("told", [{}, {"kind": "gaussian", "level": 0.1}])
def test_kelvin_and_degrees_are_restored_as_well(black: float, span: float, told: dict[str, object]) -> None:
    """The network took 300 to 310 for nothing but white, and more noise came out than went in."""
    truth = smooth(channels=1)
    noisy = gaussian(truth, np.random.default_rng(0), sigma=0.1) * np.float32(span) + np.float32(black)
    knobs = {**told, "level": 0.1 * span} if told else {}
    clear, made = report(noisy, **knobs)
    assert mse((clear - black) / span, truth) < 0.1 * 0.1**2
    assert made.facts["kind"] == "gaussian" and made.facts["level"] == pytest.approx(0.1 * span, rel=0.1)


def test_poisson_and_gaussian_noise_at_once() -> None:
    truth = smooth()
    rng = np.random.default_rng(0)
    noisy = gaussian((rng.poisson(truth * 50) / 50).astype(np.float32), rng, sigma=0.05)
    assert mse(restored(noisy, kind="mixed"), truth) < 0.12 * mse(noisy, truth)


def spots(side: int = 192) -> Floats:
    """Bright spots of several sizes on a dark ground, 1 at the most."""
    y, x = np.mgrid[:side, :side]
    rng = np.random.default_rng(3)
    places = [(s, *rng.uniform(0, side, 2)) for s in (3, 6, 12) * 9]
    many = [np.exp(-((y - v) ** 2 + (x - u) ** 2) / 2 / s**2) for s, v, u in places]
    total = np.sum(many, 0)[..., None]
    return (total / total.max()).astype(np.float32)


@pytest.mark.parametrize(("photons", "read", "offset"), [(3, 0, 0), (30, 1, 0), (30, 1, -9), (30, 1, 400)])
def test_photons_are_known_when_few_and_on_any_offset(photons: int, read: float, offset: float) -> None:
    """A count told as twice as bright looked like no photon noise, and values below 0 or far above it like degrees."""
    truth, rng = photons * (spots() + np.float32(0.02)), np.random.default_rng(0)
    noisy = (rng.poisson(truth) + rng.normal(0, read, truth.shape) + offset).astype(np.float32)
    clear, made = report(noisy)
    assert made.facts["kind"] == "poisson"
    assert made.facts["level"] == pytest.approx(1, rel=0.25)
    assert mse(clear - offset, truth) < 0.12 * mse(noisy - offset, truth)


def test_noise_on_a_high_offset_is_not_overlooked() -> None:
    truth = 1000 + 400 * smooth(channels=1)
    noisy = truth + np.random.default_rng(0).normal(0, 2.2, truth.shape).astype(np.float32)
    assert mse(restored(noisy), truth) < 0.3 * mse(noisy, truth)


def test_correlated_noise_is_seen_and_taken_apart() -> None:
    truth = smooth()
    rng = np.random.default_rng(0)
    white = rng.standard_normal((80, 80, 3)).astype(np.float32) * 0.08
    noisy = truth + np.kron(white, np.ones((2, 2, 1), np.float32))  # each value covers 2x2 pixels
    found, made = report(noisy)
    assert made.facts["stride"] >= 2
    assert any("correlated" in note for note in made.facts["notes"])
    assert mse(found, truth) < 0.3 * mse(noisy, truth)


def test_noise_correlated_too_far_is_refused() -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.standard_normal((20, 20, 3)).astype(np.float32) * 0.1, np.ones((8, 8, 1), np.float32))
    noisy = 0.5 + coarse
    found, made = report(noisy)
    if made.facts.get("stride") is None:
        assert np.array_equal(found, noisy)
        assert any("unchanged" in note for note in made.facts["notes"])
    else:
        pytest.fail(f"coarse noise was taken for noise of stride {made.facts['stride']}")


def test_a_clean_picture_stays() -> None:
    assert np.array_equal(restored(smooth()), smooth())


@pytest.mark.skipif(not KODAK.exists(), reason="the shared photographs are not here")
@pytest.mark.parametrize("name", ["kodim05", "kodim13"])
def test_a_clean_photograph_stays(name: str) -> None:
    picture = files.read(KODAK / f"{name}.png")
    assert isinstance(picture, Image)
    pixels = picture.pixels[:256, :256]
    assert -10 * np.log10(max(mse(restored(pixels), pixels), 1e-12)) >= 45


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (3, 50, 3), (9, 8, 1)])
def test_tiny_pictures(shape: tuple[int, int, int]) -> None:
    picture = np.full(shape, 0.5, np.float32)
    assert restored(picture).shape == shape
    assert np.isfinite(restored(picture, sigma=0.1)).all()


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0, -3.0])
def test_constant_pictures_stay(value: float) -> None:
    picture = np.full((64, 64, 3), value, np.float32)
    assert np.array_equal(restored(picture), picture)


def test_clipped_quantised_and_jpeg_pictures_gain() -> None:
    truth = smooth()
    noisy = gaussian(truth, np.random.default_rng(0), sigma=0.08)
    for made in (np.clip(noisy, 0, 1), quantise(noisy), degrade.jpeg(noisy, quality=95)):
        assert mse(restored(made), truth) < mse(made, truth)


def test_what_is_not_finite_is_refused() -> None:
    picture = smooth()
    picture[5, 5] = np.nan
    with pytest.raises(RestoreError, match="finite"):
        restored(picture)


@pytest.mark.parametrize("law", [Family.of("poisson", 0.03), Family.of("gamma", 25)], ids=lambda law: law.name)
def test_a_stated_sigma_is_the_root_mean_square_of_every_law(law: Family) -> None:
    truth = smooth()
    noisy = law.draw(torch.from_numpy(truth), torch.Generator().manual_seed(0)).numpy()
    _, made = report(noisy, sigma=mse(noisy, truth) ** 0.5, kind=law.name)
    assert made.facts["level"] == pytest.approx(law.level, rel=0.1)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_any_unit_will_do(unit: float) -> None:
    truth = smooth()
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
    found = restored(noisy * np.float32(unit)) / unit
    assert mse(found, truth) < 0.08 * mse(noisy, truth)


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_mixed_noise_without_photons_is_even(sigma: float | None) -> None:
    truth = smooth()
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
    assert mse(restored(noisy, kind="mixed", sigma=sigma), truth) < 0.08 * mse(noisy, truth)


def test_mixed_noise_has_no_single_level() -> None:
    with pytest.raises(RestoreError, match="two levels"):
        restored(smooth(), kind="mixed", level=0.05)


def test_a_wrong_level_shows_in_the_gain() -> None:
    noisy = gaussian(smooth(), np.random.default_rng(0), sigma=0.1)
    _, right = report(noisy, sigma=0.1)
    _, low = report(noisy, sigma=0.05)
    assert right.facts["gain"] == pytest.approx(1, abs=0.15)
    assert "notes" not in right.facts
    assert low.facts["gain"] < 0.8
    assert any(note.startswith("g = ") for note in low.facts["notes"])


def test_a_published_checkpoint_runs_on_odd_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Noise2ScoreUNet(3).state_dict()
    state["_block6.4.weight"] *= 0
    state["_block6.4.bias"] *= 0
    save_file(state, tmp_path / "zero.safetensors")
    picture = gaussian(smooth(), np.random.default_rng(0), sigma=0.1)[:99, :131]
    found = restored(picture, weights=str(tmp_path / "zero.safetensors"), sigma=0.1)
    assert np.array_equal(found, picture)  # a score of zero: Tweedie's formula has nothing to add


def test_auto_prefers_the_workhorse() -> None:
    picture = Image(gaussian(smooth(), np.random.default_rng(0), sigma=0.1))
    step = choose.step(picture, estimate(picture), Role.DENOISE)
    assert step is not None and step.method == "denoise"


def test_a_stated_level_is_not_taken_for_a_measured_one() -> None:
    from restore.methods.noise2score import _is_given
    from restore.noise import given

    assert _is_given(given(0.1, 3))
    assert not _is_given(Noise(0.1, (0.1,), gain=0.001, read=0.09, confidence=1.0))
    assert not _is_given(given(0.0, 3))
