"""The noise estimate against noise of known level: white, camera-like, raw; and its edge cases."""

from __future__ import annotations

import math
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore import degrade
from restore.degrade.mosaic import RawNoise, add_raw_noise, unprocess
from restore.errors import RecipeError
from restore.noise import CORRELATED, Noise, estimate, given, parse_level
from restore.picture import Image, Meta, RawImage

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def load(folder: str, step: int = 1) -> list[np.ndarray]:
    paths = sorted(p for p in (SHARED / folder).glob("*") if p.suffix in {".png", ".jpg"})[::step]
    if not paths:
        pytest.skip(f"needs the pictures of shared/data/{folder}")
    return [cv2.imread(str(p), cv2.IMREAD_COLOR_RGB).astype(np.float32) / 255 for p in paths]


def scene(side: int = 256, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Flat areas, ramps and edges in 0.1...0.9."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 6, channels)).astype(np.float32)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)
    sharp = cv2.resize(coarse[::-1], (side, side), interpolation=cv2.INTER_NEAREST).reshape(smooth.shape)
    return np.clip(0.1 + 0.4 * smooth + 0.4 * sharp, 0.1, 0.9).astype(np.float32)


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def is_finite(noise: Noise) -> bool:
    values = (noise.sigma, *noise.channels, noise.gain, noise.read, noise.correlation, noise.confidence)
    return all(math.isfinite(v) for v in values) and 0 <= noise.confidence <= 1 and noise.sigma >= 0


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize(("level", "mean_gate"), [(5, 0.15), (10, 0.06), (25, 0.06), (50, 0.06)])
def test_white_noise_on_photos(level: int, mean_gate: float, is_stored: bool) -> None:
    errors = []
    for number, clean in enumerate(load("test/kodak")):
        noisy = degrade.gaussian(clean, np.random.default_rng(number), sigma=level / 255)
        noisy = degrade.quantise(noisy) if is_stored else noisy
        found = estimate(Image(noisy))
        errors.append(abs(found.sigma / rms(noisy - clean) - 1))  # storing clips some of a strong noise away
        assert abs(found.correlation) < 0.25
    assert np.mean(errors) <= mean_gate
    assert max(errors) <= 0.2


def test_what_was_measured_is_not_taken_for_given() -> None:
    flat = np.random.default_rng(0).normal(0.5, 0.1, (512, 512, 3)).astype(np.float32)
    assert 0.99 < estimate(Image(flat)).confidence < 1
    holed = flat[..., 0].copy()
    holed[3, 4] = np.nan
    raw = RawImage(holed, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0)
    assert estimate(raw).sigma == pytest.approx(0.1, rel=0.1)


def test_clean_photos_have_little_noise() -> None:
    assert np.median([estimate(Image(clean)).sigma for clean in load("test/kodak")]) <= 2 / 255


def test_grey_photos() -> None:
    for level in (10, 25):
        errors = []
        for number, clean in enumerate(load("test/set12")):
            noisy = degrade.gaussian(clean[..., 1:2], np.random.default_rng(number), sigma=level / 255)
            errors.append(abs(estimate(Image(noisy)).sigma * 255 / level - 1))
        assert np.mean(errors) <= 0.06


def test_camera_noise_on_photos() -> None:
    errors, correlations = [], []
    for number, clean in enumerate(load("test/kodak")):
        for draw in range(3):
            pair = degrade.camera(clean[:256, :256], np.random.default_rng([number, draw]))
            if pair.sigma > 1.5 / 255:
                found = estimate(Image(pair.noisy))
                errors.append(abs(found.sigma / pair.sigma - 1))
                correlations.append(found.correlation)
    assert np.median(errors) <= 0.3  # noise reduction that spares edges hides noise from the flat places measured
    assert np.median(correlations) > 0.3


def test_channels_of_unequal_noise() -> None:
    levels = np.array([10, 14, 20], np.float32) / 255
    noise = np.random.default_rng(0).standard_normal((256, 256, 3), np.float32)
    found = estimate(Image(scene() + levels * noise))
    assert found.channels == pytest.approx(levels.tolist(), rel=0.15)
    assert found.sigma == pytest.approx(float(np.sqrt(np.mean(levels**2))), rel=0.1)
    assert found.sigma == pytest.approx(float(np.sqrt(np.mean(np.square(found.channels)))), rel=1e-3)


@pytest.mark.parametrize("blur", [0.3, 0.5, 0.8])
def test_correlation_of_smoothed_noise(blur: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(1).standard_normal((512, 512, 3), np.float32), (0, 0), blur)
    noise *= 0.04 / noise.std()
    found = estimate(Image(scene(512) + noise))
    truth = float(np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2))
    assert found.correlation == pytest.approx(truth, abs=0.1)


def test_shot_noise_of_a_picture() -> None:
    clean = scene(512)
    gain, read = 0.01, 0.02
    noise = np.random.default_rng(2).standard_normal(clean.shape, np.float32) * np.sqrt(gain * clean + read**2)
    found = estimate(Image((clean + noise).astype(np.float32)))
    assert found.gain == pytest.approx(gain, rel=0.2)
    assert found.gain * 0.1 + found.read**2 == pytest.approx(gain * 0.1 + read**2, rel=0.25)


@pytest.mark.parametrize("cfa", [((0, 1), (1, 2)), ((1, 2), (0, 1)), tuple(tuple([0, 1, 2] * 2) for _ in range(6))])
def test_mosaic(cfa: tuple[tuple[int, ...], ...]) -> None:
    clean = scene(768, 1, seed=3)[..., 0]
    gain, read = 0.002, 0.005
    noise = np.random.default_rng(3).standard_normal(clean.shape, np.float32) * np.sqrt(gain * clean + read**2)
    mosaic = np.minimum(clean + noise, 0.8).astype(np.float32)
    found = estimate(RawImage(mosaic, cfa, tuple((0.0,) * len(row) for row in cfa), 1.0))
    assert len(found.channels) == len(cfa) ** 2
    is_open = clean < 0.7
    assert found.sigma == pytest.approx(float(noise[is_open].std()), rel=0.1)
    assert found.gain == pytest.approx(gain, rel=0.15)
    assert found.confidence > 0.5


def test_saturated_and_black_areas_are_left_out() -> None:
    clean = scene()
    noisy = clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    noisy[:100] = 5
    noisy[-60:] = -5
    assert estimate(Image(np.clip(noisy, 0, 1))).sigma == pytest.approx(0.05, rel=0.12)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (7, 300, 3), (300, 7, 1)])
def test_too_small(shape: tuple[int, int, int]) -> None:
    found = estimate(Image(np.full(shape, 0.5, np.float32)))
    assert found == Noise(0.0, (0.0,) * shape[2], confidence=0.0)
    raw = RawImage(np.zeros((9, 9), np.float32), ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0)
    assert estimate(raw) == Noise(0.0, (0.0,) * 4, confidence=0.0)


@pytest.mark.parametrize("side", [8, 9, 16, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_finite_and_less_sure(side: int, channels: int) -> None:
    clean = np.full((side, side, channels), 0.5, np.float32)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    found = estimate(Image(noisy))
    assert is_finite(found)
    assert found.confidence < 1
    assert found.sigma == pytest.approx(0.1, rel=0.15) or side < 16  # one block cannot know
    assert 0 < found.sigma < 0.2


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0, 300.0, -2.0])
def test_constant_pictures_have_no_noise(level: float) -> None:
    found = estimate(Image(np.full((64, 64, 3), level, np.float32)))
    assert is_finite(found)
    assert found.sigma < 1e-4


def test_broken_values_are_left_out() -> None:
    noisy = scene() + 0.05 * np.random.default_rng(0).standard_normal((256, 256, 3), np.float32)
    noisy[30:60, 30:60] = np.nan
    noisy[100, 100, 1] = np.inf
    found = estimate(Image(noisy))
    assert is_finite(found)
    assert found.sigma == pytest.approx(0.05, rel=0.1)
    assert estimate(Image(np.full((20, 20, 3), np.nan, np.float32))).confidence == 0


def test_texture_without_flat_places_lowers_confidence() -> None:
    rng = np.random.default_rng(0)
    grass = cv2.GaussianBlur(rng.standard_normal((256, 256, 1), np.float32), (0, 0), 1.5)[..., None]
    textured = np.clip(0.5 + 0.3 * grass / grass.std(), 0.05, 0.95).repeat(3, 2)
    noisy = scene() + 0.05 * rng.standard_normal((256, 256, 3), np.float32)
    assert estimate(Image(textured)).confidence < estimate(Image(noisy)).confidence


def test_same_picture_same_answer_and_quick_enough() -> None:
    large = cv2.resize(scene(), (4000, 3000), interpolation=cv2.INTER_LINEAR)
    large += 0.02 * np.random.default_rng(0).standard_normal(large.shape, np.float32)
    picture = Image(large)
    first = estimate(picture)
    started = time.process_time()
    assert estimate(picture) == first
    assert time.process_time() - started < 1.0
    assert first.sigma == pytest.approx(0.02, rel=0.1)


def test_given_levels() -> None:
    assert given(0.1, 1) == Noise(0.1, (0.1,), read=0.1)
    for wrong in (-0.1, 25.0, math.nan):
        with pytest.raises(RecipeError, match=r"0\.\.\.1"):
            given(wrong, 3)


@pytest.mark.parametrize(("text", "level"), [("auto", None), (" Auto ", None), ("0", 0.0), ("25/255", 25 / 255)])
def test_levels_as_text(text: str, level: float | None) -> None:
    assert parse_level(text) == level


@pytest.mark.parametrize("text", ["", "25", "-0.1", "1/0", "1/", "a/b", "nan", "inf", "0.1/0.1/0.1"])
def test_wrong_levels_as_text(text: str) -> None:
    with pytest.raises(RecipeError, match="is not 'auto' or a number"):
        parse_level(text)


@pytest.mark.parametrize("sigma", [0.01, 0.04, 0.1])
def test_smooth_shading_is_no_noise(sigma: float) -> None:
    noisy = scene(512) + sigma * np.random.default_rng(1).standard_normal((512, 512, 3), np.float32)
    found = estimate(Image(noisy))
    assert found.sigma == pytest.approx(sigma, rel=0.12)
    assert abs(found.correlation) < 0.1


@pytest.mark.parametrize(("gain", "read"), [(1e-3, 1e-3), (1e-4, 4e-3), (5e-3, 2e-2)])
def test_shot_gain_and_read_sigma_of_a_textured_mosaic(gain: float, read: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:384, :512]
    clean = 0.05 + 0.4 * (x / 512) * (0.6 + 0.4 * np.sin(y / 3) * (y > 190)) + 0.05 * np.sin(x / 2) * (x < 150)
    noisy = rng.poisson(clean / gain) * gain + read * rng.standard_normal(clean.shape)
    found = estimate(RawImage(noisy.astype(np.float32), ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0))
    for level in (0.1, 0.3):
        truth = np.sqrt(gain * level + read**2)
        assert np.sqrt(found.gain * level + found.read**2) == pytest.approx(truth, rel=0.2)


def test_the_noise_of_a_mosaic_is_not_taken_for_its_texture() -> None:
    """Base ISO of a good camera: texture is stronger than noise everywhere, and the lowest line ten times too high."""
    ratios = []
    for number, photo in enumerate(load("test/kodak")):
        rng = np.random.default_rng(number)
        clean = unprocess(photo[:512, :512], rng)
        noisy = add_raw_noise(clean, RawNoise(gain=1e-5, read=4e-5, step=1 / 15871), rng)
        mosaic = np.zeros((512, 512), np.float32)
        for plane, (row, column) in zip(noisy, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
            mosaic[row::2, column::2] = plane
        found = estimate(RawImage(mosaic, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0))
        level = float(np.median(clean))
        ratios.append((found.gain * level + found.read**2) / (1e-5 * level + 4e-5**2))
    assert np.median(ratios) < 4
    assert max(ratios) < 14


@pytest.mark.parametrize("angle", [0.3, 0.5])
def test_stripes_without_end_are_not_taken_for_noise(angle: float) -> None:
    """A facade that fills the frame: every block is striped, and the lowest line was a hundred times too high."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    phase = (x * np.cos(angle) + y * np.sin(angle)) / 5 * (1 + 4e-4 * x)
    light = np.where(phase % 1 < 0.45, 0.08, 0.35) + 0.05 * np.sin(y / 70)
    mosaic = rng.poisson(light / 2e-5) * 2e-5 + 1e-4 * rng.standard_normal(light.shape)
    steps = np.rint(mosaic * 16383).astype(np.float32) / 16383
    found = estimate(RawImage(steps, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 16383.0))
    assert 0.5 < found.sigma / np.sqrt(2e-5 * light.mean() + 1e-8) < 2.5


@pytest.mark.parametrize("tail", [-0.3, 0.14])
def test_heavy_tails_of_read_noise_are_counted(tail: float) -> None:
    """Blocks without outliers are the flattest: chosen by flatness, noise of heavy tails was 30 % too low."""
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        light = np.stack([vignetted()] * 4)[:, ::2, ::2] / 100
        camera = RawNoise(gain=2e-4, read=1.2e-3, tail=tail, step=1 / 15871)
        mosaic = np.zeros((384, 512), np.float32)
        for site, plane in enumerate(add_raw_noise(light.astype(np.float32), camera, rng)):
            mosaic[site // 2 :: 2, site % 2 :: 2] = plane
        found = estimate(RawImage(mosaic, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 15871.0))
        ratios.append(found.sigma / np.sqrt(camera.gain * light.mean() + camera.told[1] ** 2))
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def vignetted() -> np.ndarray:
    """Light that falls off smoothly from 0.8 to 0.01, so that bright groups of blocks span a wide range."""
    y, x = np.mgrid[:384, :512]
    return np.asarray(0.8 * np.exp(-6 * ((x - 100) ** 2 + (y - 150) ** 2) / 300**2) + 0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gain_of_a_mosaic_belongs_to_the_blocks_that_were_measured(seed: int) -> None:
    """The flattest blocks of a group are its darkest ones."""
    rng, light, gain, read = np.random.default_rng(seed), vignetted(), 3e-4, 8e-4
    noisy = rng.poisson(light / gain) * gain + read * rng.standard_normal(light.shape)
    found = estimate(RawImage(noisy.astype(np.float32), ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0))
    assert found.gain == pytest.approx(gain, rel=0.1)
    assert found.read == pytest.approx(read, rel=0.25)


def test_shadows_that_a_camera_smoothed_do_not_hide_the_noise_of_the_light() -> None:
    rng, light, gain = np.random.default_rng(2), vignetted(), 1e-4
    noise = np.where(light < 0.03, 0, np.sqrt(gain * light) * rng.standard_normal(light.shape))
    values = np.rint(1023 * (light + noise)) / 1023
    found = estimate(RawImage(values.astype(np.float32), ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1023.0))
    assert found.gain == pytest.approx(gain, rel=0.15)


def test_white_noise_on_soft_blobs_is_white() -> None:
    rng = np.random.default_rng(0)
    clean = sum(cv2.GaussianBlur(rng.random((256, 256)) ** 20, (0, 0), size) * size for size in (2, 3, 4))
    photons = 1000 * clean / clean.max()
    noisy = (rng.poisson(photons) / 1000).astype(np.float32)[..., None]
    found = estimate(Image(noisy))
    assert found.correlation < CORRELATED
    assert found.sigma == pytest.approx(rms(noisy[..., 0] - photons / 1000), rel=0.2)


def test_counts_stored_in_more_bits_have_the_same_noise() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(100 * scene(channels=1)).astype(np.float32)
    few, seen = Image(counts / 65535, meta=Meta(bits=16)), Image(counts / counts.max())
    found, expected = estimate(few), estimate(seen)
    assert found.sigma * 65535 == pytest.approx(expected.sigma * counts.max(), rel=1e-3)
    assert (found.correlation, found.confidence) == pytest.approx((expected.correlation, expected.confidence), abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [10, 41, 90])
def test_a_frame_is_not_measured(width: int, channels: int) -> None:
    """Its blocks would be the flattest of all, and those that it shares with the picture the next."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((200, 256, channels), np.float32)
    noisy = degrade.quantise(scene(channels=channels)[:200] + noise)
    framed = np.pad(noisy, ((width, width), (width, width), (0, 0)), constant_values=200 / 255)
    assert estimate(Image(framed)).sigma == pytest.approx(0.05, rel=0.12)
