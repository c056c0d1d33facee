"""Degradations: seeded, safe at any size, and each with the statistics it promises."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from restore import degrade
from restore.degrade import KINDS, spec
from restore.errors import RecipeError
from restore.picture import Image, Meta


def picture(height: int = 64, width: int = 70, channels: int = 3) -> Image:
    y, x = np.mgrid[:height, :width] / 40
    base = 0.5 + 0.4 * np.sin(x + y * y)[..., None] * np.linspace(0.6, 1, channels)
    return Image(base.astype(np.float32), meta=Meta(iso=100))


def flat(level: float, side: int = 200, channels: int = 3) -> np.ndarray:
    return np.full((side, side, channels), level, np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seeded_and_keeps_shape_type_and_record(kind: str) -> None:
    clean = picture()
    kept = clean.pixels.copy()
    first, again, other = (degrade.degrade(clean, kind, seed=seed) for seed in (3, 3, 4))
    assert first.pixels.dtype == np.float32
    assert first.pixels.shape == clean.pixels.shape
    assert first.meta == clean.meta
    assert np.array_equal(first.pixels, again.pixels)
    assert kind == "quantise" or not np.array_equal(first.pixels, other.pixels)
    assert not np.array_equal(first.pixels, kept)
    assert np.array_equal(clean.pixels, kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 1), (3, 2, 3), (17, 33, 1)])
def test_every_kind_works_at_any_size_in_grey_and_colour(kind: str, shape: tuple[int, int, int]) -> None:
    for seed in range(4):
        found = degrade.degrade(picture(*shape), kind, seed=seed).pixels
        assert found.shape == shape
        assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
def test_values_outside_white_and_black_stay_finite(kind: str) -> None:
    wild = Image(np.linspace(-0.5, 1.5, 40 * 40, dtype=np.float32).reshape(40, 40, 1))
    assert np.isfinite(degrade.degrade(wild, kind, seed=1).pixels).all()


def test_every_parameter_has_limits_and_both_ends_work() -> None:
    for kind, function in KINDS.items():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                for value in spec._LIMITS[parameter.name]:
                    found = degrade.degrade(picture(24, 24), f"{kind} {parameter.name}={value}", seed=1).pixels
                    assert np.isfinite(found).all(), (kind, parameter.name, value)


def test_gaussian_is_white_and_unclipped() -> None:
    noise = degrade.degrade(Image(flat(1.0)), "gaussian sigma=25/255", seed=0).pixels.astype(float) - 1
    assert noise.std() == pytest.approx(25 / 255, rel=0.01)
    assert abs(noise.mean()) < 1e-3
    assert abs((noise[:, 1:] * noise[:, :-1]).mean() / noise.var()) < 0.01
    assert abs(np.corrcoef(noise.reshape(-1, 3).T)[0, 1]) < 0.02


def test_poisson_variance_is_signal_over_peak() -> None:
    for level in (0.1, 0.5):
        found = degrade.poisson(flat(level), rng(), peak=20)
        assert found.mean() == pytest.approx(level, rel=0.01)
        assert found.var() == pytest.approx(level / 20, rel=0.03)


def test_salt_pepper_hits_whole_pixels_half_each() -> None:
    found = degrade.salt_pepper(flat(0.5, 400), rng(), amount=0.1)
    assert (found == found[..., :1]).all()
    assert (found == 0).mean() == pytest.approx(0.05, rel=0.1)
    assert (found == 1).mean() == pytest.approx(0.05, rel=0.1)


def test_speckle_grows_with_the_signal() -> None:
    for level in (0.1, 0.8):
        assert degrade.speckle(flat(level), rng(), sigma=0.2).std() == pytest.approx(0.2 * level, rel=0.02)


def test_blur_is_a_gaussian_of_the_given_radius() -> None:
    impulse = np.zeros((41, 41, 1), np.float32)
    impulse[20, 20] = 1
    found = degrade.blur(impulse, rng(), radius=2.0)[..., 0].astype(float)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    spread = ((np.arange(41) - 20) ** 2 * found.sum(0)).sum()
    assert spread == pytest.approx(4, rel=0.02)


def test_motion_blur_keeps_light_and_fills_its_square() -> None:
    assert np.allclose(degrade.motion_blur(flat(0.3, 40), rng()), 0.3, atol=1e-5)
    point = np.zeros((61, 61, 1), np.float32)
    point[30, 30] = 1
    for seed in range(5):
        found = degrade.motion_blur(point, rng(seed), size=21)[..., 0] > 1e-3
        rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 21


def test_haze_lies_between_scene_and_airlight() -> None:
    found = degrade.haze(flat(0.2), rng(), beta=1.0, airlight=0.9)
    assert found.min() > 0.2
    assert found.max() < 0.93
    thin, thick = (degrade.haze(flat(0.2), rng(), beta=b, airlight=0.9).mean() for b in (0.3, 2.0))
    assert thin < thick
    assert np.array_equal(degrade.haze(flat(0.2), rng(), beta=0.0), flat(0.2))


def test_rain_only_brightens_and_streaks_follow_their_angle() -> None:
    dark = flat(0.2)
    assert (degrade.rain(dark, rng(), layers=1) >= dark).all()
    assert degrade.rain(dark, rng(), layers=3).mean() > degrade.rain(dark, rng(), layers=1).mean()
    upright = degrade.rain(dark, rng(), layers=1, angle=0, length=21)[..., 0]
    along, across = np.abs(np.diff(upright, axis=0)).mean(), np.abs(np.diff(upright, axis=1)).mean()
    assert along < 0.5 * across


def test_low_light_is_dark() -> None:
    for seed in range(5):
        found = degrade.low_light(flat(0.5), rng(seed))
        assert found.min() >= 0
        assert found.mean() < 0.27


def test_jpeg_loses_less_at_high_quality() -> None:
    clean = picture().pixels
    errors = [float(np.std(degrade.jpeg(clean, quality=q) - clean)) for q in (10, 50, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[2]


def test_camera_pair_tells_its_own_noise() -> None:
    for seed in range(8):
        pair = degrade.camera(picture(64, 64).pixels, rng(seed))
        assert pair.noisy.shape == pair.clean.shape
        assert pair.noisy.dtype == pair.clean.dtype == np.float32
        assert pair.sigma == pytest.approx(np.sqrt(np.mean((pair.noisy - pair.clean) ** 2)), rel=1e-6)
        assert np.allclose(pair.noisy * 255, np.rint(pair.noisy * 255), atol=1e-3)


def test_steps_run_in_order_and_later_ones_leave_earlier_draws_alone() -> None:
    clean = picture()
    noisy = degrade.degrade(clean, "gaussian sigma=0.1", seed=5)
    both = degrade.degrade(clean, "gaussian sigma=0.1, quantise bits=4", seed=5)
    assert np.array_equal(both.pixels, degrade.quantise(noisy.pixels, bits=4))
    other = degrade.degrade(clean, "quantise bits=4, gaussian sigma=0.1", seed=5)
    assert not np.array_equal(both.pixels, other.pixels)


def test_numbers_may_be_fractions_and_names_may_have_dashes() -> None:
    a = degrade.degrade(picture(), "low-light sigma=5/255 gamma=2.5", seed=1)
    b = degrade.degrade(picture(), "low_light  gamma=5/2  sigma=0.0196078431372549", seed=1)
    assert np.array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gausian sigma=0.1", "unknown degradation 'gausian'.*Did you mean 'gaussian'"),
        ("", "unknown degradation ''.*Known: blur"),
        ("rain,,haze", "unknown degradation ''"),
        ("gaussian sigm=0.1", "no parameter 'sigm'.*Did you mean 'sigma'"),
        ("gaussian 0.1", "no parameter '0.1'"),
        ("gaussian sigma=x", "not a number"),
        ("gaussian sigma=1/0", "not a number"),
        ("gaussian sigma=", "not a number"),
        ("gaussian sigma=nan", r"out of range.*0\.\.\.1"),
        ("gaussian sigma=25", r"out of range.*0\.\.\.1"),
        ("jpeg quality=40.5", "whole number"),
        ("jpeg quality=0", "out of range"),
        ("gaussian sigma=0.1 sigma=0.2", "twice"),
    ],
)
def test_wrong_specs(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        degrade.degrade(picture(), text, seed=0)
    with pytest.raises(RecipeError, match="seed"):
        degrade.degrade(picture(), "rain", seed=-1)
