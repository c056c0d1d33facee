"""Noise that all colours have in common: film grain, and what JPEG leaves, which smooths colours most."""

import cv2
import numpy as np
import pytest
from skimage import data

from restore import noise, pipeline
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

RUNTIME = Runtime(device="cpu")
CLEAN = np.ascontiguousarray(data.astronaut()[40:296, 60:380]).astype(np.float32) / 255


def common(sigma: float, blur: float = 0.0) -> Floats:
    drawn = np.random.default_rng(0).standard_normal(CLEAN.shape[:2], np.float32)
    drawn = cv2.GaussianBlur(drawn, (0, 0), blur) if blur else drawn
    return np.asarray(CLEAN + np.float32(sigma) * (drawn / drawn.std())[..., None], np.float32)


def compressed(sigma: float) -> Floats:
    drawn = CLEAN + np.float32(sigma) * np.random.default_rng(0).standard_normal(CLEAN.shape, np.float32)
    whole = np.rint(drawn.clip(0, 1) * 255).astype(np.uint8)
    code = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR) / np.float32(255), np.float32)


def restored(pixels: Floats, tile: int | str = "off", sigma: float | None = None) -> pipeline.Result:
    recipe = Recipe(steps=(Step(method="denoise"),), precision="fp32", noise=sigma, tile=tile)
    return pipeline.run(Image(pixels), recipe, RUNTIME)


def gain(pixels: Floats, result: pipeline.Result) -> float:
    assert isinstance(result.picture, Image)
    before, after = (float(np.mean((x.clip(0, 1) - CLEAN) ** 2)) for x in (pixels, result.picture.pixels))
    return 10 * float(np.log10(before / after))


@pytest.mark.parametrize(
    ("pixels", "least"), [(common(10 / 255), 4.0), (common(8 / 255, 0.7), 2.0), (compressed(10 / 255), 2.5)]
)
def test_noise_of_brightness_is_removed_without_an_alarm(pixels: Floats, least: float) -> None:
    """The network for colour alone gained 0.1 to 1.5 dB."""
    result = restored(pixels)
    assert gain(pixels, result) > least
    assert result.reports[0].facts["brightness"] and not result.alarms


def test_noise_of_brightness_is_measured() -> None:
    """As cameras' noise of colours, whose share in brightness is a third, it was found half as strong."""
    assert noise.estimate(Image(common(10 / 255))).sigma == pytest.approx(10 / 255, rel=0.15)


@pytest.mark.parametrize("stated", [None, 0.07, 0.1])
def test_noise_of_each_colour_is_left_to_the_network_for_colour(stated: float | None) -> None:
    pixels = CLEAN + np.float32(0.1) * np.random.default_rng(0).standard_normal(CLEAN.shape, np.float32)
    assert "brightness" not in restored(pixels, sigma=stated).reports[0].facts


def test_tiles_of_both_passes_are_exact() -> None:
    whole, tiled = (restored(common(10 / 255), tile).picture for tile in ("off", 64))
    assert isinstance(whole, Image)
    assert isinstance(tiled, Image)
    np.testing.assert_allclose(whole.pixels, tiled.pixels, atol=2e-6)


@pytest.mark.parametrize("size", [(7, 90), (15, 16), (61, 83), (199, 319)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    pixels = common(10 / 255)[: size[0], : size[1]]
    picture = restored(pixels).picture
    assert isinstance(picture, Image)
    assert picture.size == size
