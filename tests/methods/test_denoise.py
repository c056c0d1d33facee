"""The workhorse in 8-bit integers: what it costs, where it is used, and that tiles stay exact."""

import numpy as np
import pytest
import torch
from skimage import data

from restore import pipeline
from restore.nets import int8
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime, fastest_dtype

RUNTIME = Runtime(device="cpu")
CLEAN = np.ascontiguousarray(data.astronaut()[40:296, 60:380]).astype(np.float32) / 255


def restored(pixels: np.ndarray, precision: str, sigma: float, tile: int | str = "off") -> pipeline.Result:
    recipe = Recipe(steps=(Step(method="denoise"),), precision=precision, noise=sigma, tile=tile)
    return pipeline.run(Image(pixels), recipe, RUNTIME)


def psnr(result: pipeline.Result) -> float:
    assert isinstance(result.picture, Image)
    return float(-10 * np.log10(np.mean((result.picture.pixels.clip(0, 1) - CLEAN) ** 2)))


def noisy(sigma: float) -> np.ndarray:
    return CLEAN + np.float32(sigma) * np.random.default_rng(0).standard_normal(CLEAN.shape, np.float32)


@pytest.mark.parametrize(("sigma", "least"), [(3, 0.5), (5, 2.0), (15, 7.0), (25, 9.0), (50, 12.0)])
def test_integers_cost_little(sigma: float, least: float) -> None:
    pixels = noisy(sigma / 255)
    beside = "bf16" if fastest_dtype("cpu") is torch.bfloat16 else "fp32"
    exact, floats, integers = (restored(pixels, precision, sigma / 255) for precision in ("fp32", beside, "int8"))
    assert integers.recipe.precision == "int8"
    assert psnr(integers) > psnr(floats) - 0.03
    assert psnr(integers) > psnr(exact) - 0.08
    assert psnr(integers) > 20 * np.log10(255 / sigma) + least


def test_tiles_of_integers_are_exact() -> None:
    pixels = noisy(0.1)
    whole, tiled = (restored(pixels, "int8", 0.1, tile).picture for tile in ("off", 64))
    assert isinstance(whole, Image)
    assert isinstance(tiled, Image)
    np.testing.assert_array_equal(whole.pixels, tiled.pixels)


def test_rounding_without_integers_is_the_same_but_for_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    if not int8.is_exact():
        pytest.skip("this processor has no exact 8-bit products")
    pixels = noisy(0.1)
    here = psnr(restored(pixels, "int8", 0.1))
    monkeypatch.setattr(int8, "is_exact", lambda: False)
    recipe = Recipe(steps=(Step(method="denoise"),), precision="int8", noise=0.1, tile="off")
    assert abs(psnr(pipeline.run(Image(pixels), recipe, Runtime(device="cpu"))) - here) < 0.01


@pytest.mark.parametrize(("pixels", "sigma"), [(20 * CLEAN, 0.1), (CLEAN - 2, 0.1), (noisy(0.5), 0.5)])
def test_floats_beyond_what_was_taught(pixels: np.ndarray, sigma: float) -> None:
    result, plain = restored(pixels, "int8", sigma), restored(pixels, "auto", sigma)
    assert result.recipe.precision == plain.recipe.precision != "int8"
    assert isinstance(result.picture, Image)
    assert isinstance(plain.picture, Image)
    np.testing.assert_array_equal(result.picture.pixels, plain.picture.pixels)
