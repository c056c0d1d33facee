"""Toned black and white is restored in its grey: noise that is the same in all channels is none that networks know."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import restore
from restore import noise, pipeline
from restore.metrics import psnr
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

POWERS = np.array([0.8, 1.0, 1.3], np.float32)


def print_of(shared, sigma: float = 15 / 255) -> tuple[Floats, Image]:
    """Return a clean toned picture, and the picture of a noisy print, toned by a curve for each channel."""
    photo = restore.read(shared / "data/test/kodak/kodim23.png").pixels[100:260, 150:350]
    grey = photo.mean(2, keepdims=True)
    noisy = grey + sigma * np.random.default_rng(0).standard_normal(grey.shape, np.float32)
    levels = np.rint(255 * noisy.clip(0, 1)) / 255
    return grey**POWERS, Image(np.asarray(np.rint(255 * levels**POWERS) / 255, np.float32))


def run(picture: Image, method: str = "auto", **more) -> pipeline.Result:
    return pipeline.run(picture, Recipe(steps=(Step(method=method),)), Runtime("cpu"), **more)


@pytest.mark.parametrize("method", ["auto", "blind"])
def test_noise_of_a_toned_print_is_removed_and_its_tone_kept(shared, method: str) -> None:
    clean, noisy = print_of(shared)
    result = run(noisy, method)
    assert psnr(result.picture.pixels, clean) > psnr(noisy.pixels, clean) + 8  # the network for colour: 1
    assert "toned" in result.reports[0].facts["notes"][0]
    assert not result.alarms
    again = pipeline.run(noisy, result.recipe, Runtime("cpu"))
    assert np.array_equal(again.picture.pixels, result.picture.pixels)


def test_its_noise_is_told_of_the_grey(shared) -> None:
    _, noisy = print_of(shared)
    found = noise.estimate(noisy)
    assert found.sigma == pytest.approx(15 / 255, rel=0.12)
    assert len(found.channels) == 3
    assert found.channels[2] > found.channels[1] > found.channels[0]


def test_jpeg_and_a_scanner_leave_it_toned(shared) -> None:
    _, noisy = print_of(shared)
    eight = np.rint(255 * noisy.pixels).astype(np.uint8)[..., ::-1]
    packed = cv2.imdecode(cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 1)[..., ::-1] / 255
    scanned = noisy.pixels + 2 / 255 * np.random.default_rng(1).standard_normal(noisy.pixels.shape)
    for pixels in (packed, scanned):
        assert noise.toned(Image(pixels.astype(np.float32))) is not None


def test_pictures_in_colour_are_not_toned(shared) -> None:
    folders = ("kodak", "realnoise/sidd/noisy", "realnoise/cc/noisy")
    paths = [path for name in folders for path in sorted((shared / "data/test" / name).glob("*.png"))[::3]]
    assert len(paths) > 15
    assert not [path.name for path in paths if noise.toned(restore.read(path))]


def test_steps_that_do_more_than_denoise_see_the_colours(shared) -> None:
    _, noisy = print_of(shared)
    report = run(noisy, "rampp").reports[0]
    assert len(report.noise.channels) == 3


def test_standard_errors_have_the_channels_of_the_picture(shared) -> None:
    _, noisy = print_of(shared)
    spread = run(noisy, "denoise", with_uncertainty=True).uncertainty
    assert spread is not None
    assert spread.pixels.shape == noisy.pixels.shape
    assert (spread.pixels > 0).all()


def test_what_is_left_alone_comes_back_bit_by_bit(shared) -> None:
    _, noisy = print_of(shared)
    for step in (Step(method="none"), Step(method="denoise", strength=0)):
        result = pipeline.run(noisy, Recipe(steps=(step,)), Runtime("cpu"))
        assert np.array_equal(result.picture.pixels, noisy.pixels)
