"""Wavelet shrinkage: removes noise, and its blended tiles show no seam."""

from pathlib import Path

import numpy as np
import pytest

from restore import degrade, files, metrics, pipeline
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime


def shrunk(image: Image, **fields: object) -> Image:
    result = pipeline.run(image, Recipe(steps=(Step(method="wavelet"),), **fields), Runtime(device="cpu"))
    assert isinstance(result.picture, Image)
    return result.picture


def test_gain_on_a_photo(shared: Path) -> None:
    clean = files.read(shared / "data/test/kodak/kodim23.png")
    noisy = degrade.degrade(clean, "gaussian sigma=25/255", seed=0)
    gain = metrics.psnr(shrunk(noisy).pixels, clean.pixels) - metrics.psnr(noisy.pixels, clean.pixels)
    assert gain > 9


@pytest.mark.parametrize("kind", ["photo", "gradient"])
def test_no_step_where_tiles_meet(shared: Path, kind: str) -> None:
    if kind == "photo":
        clean = files.read(shared / "data/test/kodak/kodim03.png").pixels[:384, :512]
    else:
        clean = np.broadcast_to(np.linspace(0.2, 0.8, 512, dtype=np.float32)[None, :, None], (384, 512, 3))
    noisy = degrade.gaussian(np.ascontiguousarray(clean), np.random.default_rng(0), sigma=0.1)
    tiled = shrunk(Image(noisy), noise=0.1, tile=128).pixels - shrunk(Image(noisy), noise=0.1, tile="off").pixels
    steps = np.abs(np.diff(tiled, axis=1)).mean(axis=(0, 2))
    borders = [x + d for x in (128, 256, 384) for d in (-1, 0)]
    assert steps.max() < 0.01
    assert steps[borders].mean() <= 1.5 * np.delete(steps, borders).mean()


def test_quiet_pictures_stay_as_they_are() -> None:
    image = Image(np.full((40, 50, 3), 0.4, np.float32))
    assert np.array_equal(shrunk(image, noise=0.0).pixels, image.pixels)
