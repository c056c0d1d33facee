"""Grey pictures: their noise is in all that a network sees, so they have a network of their own."""

import numpy as np
import pytest
import torch
from skimage import data

from restore import pipeline
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

RUNTIME = Runtime(device="cpu")
CLEAN = np.ascontiguousarray(data.camera()[100:356, 100:356, None]).astype(np.float32) / 255


def restored(pixels: Floats, method: str, sigma: float | None = None, **settings: object) -> Floats:
    recipe = Recipe(steps=(Step(method=method, settings=settings),), noise=sigma)
    result = pipeline.run(Image(pixels), recipe, RUNTIME).picture
    assert isinstance(result, Image)
    return result.pixels


def gain(before: Floats, after: Floats) -> float:
    return float(10 * np.log10(np.mean((before - CLEAN) ** 2) / np.mean((after.clip(0, 1) - CLEAN) ** 2)))


@pytest.mark.parametrize("method", ["denoise", "blind"])
@pytest.mark.parametrize(("sigma", "least"), [(10, 4.5), (25, 8.0), (50, 10.5)])
def test_grey_pictures_lose_their_noise(method: str, sigma: int, least: float) -> None:
    noisy = CLEAN + np.float32(sigma / 255) * np.random.default_rng(0).standard_normal(CLEAN.shape, np.float32)
    clean = restored(noisy, method)
    assert gain(noisy, clean) > max(least, gain(noisy, restored(noisy, "wavelet")) + 0.3)
    assert abs(float(clean.mean() - noisy.mean())) < 0.001
    stored = restored(noisy.repeat(3, 2), method)
    assert np.array_equal(stored, clean.repeat(3, 2)), "black and white stored as colour"


def test_scoredvi_asks_the_network_for_grey() -> None:
    part = CLEAN[64:128, 64:128]
    noisy = part + np.float32(15 / 255) * np.random.default_rng(0).standard_normal(part.shape, np.float32)
    clean = restored(noisy, "scoredvi", steps=150)
    gained = 10 * np.log10(np.mean((noisy - part) ** 2) / np.mean((clean - part) ** 2))
    assert gained > 4.5, "with the network for colour it is 3.4"


@pytest.mark.parametrize("method", ["denoise", "blind"])
def test_the_network_for_grey_is_tile_exact(method: str) -> None:
    noisy = CLEAN + np.random.default_rng(0).normal(0, 0.1, CLEAN.shape).astype(np.float32)
    whole, tiled = (
        pipeline.run(Image(noisy), Recipe(steps=(Step(method=method),), noise=0.1, tile=tile), RUNTIME).picture
        for tile in ("off", 96)
    )
    assert isinstance(whole, Image)
    assert isinstance(tiled, Image)
    assert torch.allclose(torch.tensor(whole.pixels), torch.tensor(tiled.pixels), atol=1e-6)
