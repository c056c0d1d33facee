"""What ``auto`` decides: noise is removed, dark pictures are lit, good ones are left alone."""

from pathlib import Path

import numpy as np
import pytest

from restore import choose, degrade, files, methods, noise, pipeline
from restore.method import Role
from restore.picture import Image, RawImage
from restore.recipe import Recipe, Step
from restore.runtime import Runtime


def roles(image: Image) -> list[Role]:
    return [role for role in Role if choose.step(image, noise.estimate(image), role) is not None]


def test_good_pictures_are_left_alone(shared: Path) -> None:
    pictures = [files.read(path) for path in sorted((shared / "data/test/kodak").glob("*.png"))]
    assert len(pictures) == 12
    assert sum(roles(picture) == [] for picture in pictures) >= 11


@pytest.mark.parametrize("spec", ["gaussian sigma=10/255", "poisson peak=60"])
def test_noise_is_removed(shared: Path, spec: str) -> None:
    clean = files.read(shared / "data/test/kodak/kodim03.png")
    assert roles(degrade.degrade(clean, spec, seed=0)) == [Role.DENOISE]


def test_grey_counts_go_to_the_method_that_is_told_no_level() -> None:
    """What is told one level leaves much of the noise in bright parts."""
    y, x = np.mgrid[:192, :192] / 24
    clean = (0.05 + 0.9 * (np.sin(x) * np.cos(y)) ** 4)[..., None]
    rng = np.random.default_rng(0)
    photons = Image((rng.poisson(40 * clean) / 40).astype(np.float32))
    even = Image(degrade.gaussian(clean.astype(np.float32), rng, sigma=0.1))
    errors = {}
    for method in ("auto", "denoise"):
        result = pipeline.run(photons, Recipe(steps=(Step(method=method),)), Runtime(device="cpu"))
        errors[result.recipe.steps[0].method] = float(np.mean((result.picture.pixels - clean) ** 2))
    assert errors["blind"] < 0.7 * errors["denoise"]
    for picture, level in ((even, noise.estimate(even)), (photons, noise.given(0.1, 1))):
        step = choose.step(picture, level, Role.DENOISE)
        assert step is not None and step.method == "denoise"


def test_dark_pictures_are_lit_and_denoised(shared: Path) -> None:
    clean = files.read(shared / "data/test/kodak/kodim03.png")
    assert roles(degrade.degrade(clean, "low_light gamma=3 sigma=5/255", seed=0)) == [Role.LIGHT, Role.DENOISE]


def test_dark_pictures_whose_lights_reach_white_are_meant_so(shared: Path) -> None:
    """A stage, a night with lamps: a photo that is too dark has room above its lights."""
    night = files.read(shared / "data/test/kodak/kodim03.png").pixels * 0.15
    assert roles(Image(night)) == [Role.LIGHT]
    night[:6, :200] = 1
    assert roles(Image(night)) == []


def drawn(ground: float) -> Image:
    """Return large pixels of four colours over a ground: no place is flat, and none is noisy."""
    values = np.random.default_rng(0).choice(np.array([0, 0.05, 0.1, 0.2], np.float32), (50, 60, 1))
    return Image(np.kron(values, np.ones((4, 4, 3), np.float32)) * [1, 0.9, 0.8] + np.float32(ground))


@pytest.mark.parametrize("ground", [0.02, 0.4])
def test_drawings_and_screenshots_are_left_alone(ground: float) -> None:
    picture = drawn(ground)
    assert noise.estimate(picture).is_visible
    assert (float(picture.pixels.mean()) < 0.2) == (ground < 0.1)
    result = pipeline.run(picture, Recipe(), Runtime(device="cpu"))
    assert result.picture is picture or np.array_equal(result.picture.pixels, picture.pixels)
    assert "drawn" in result.reports[0].step.reason


def test_what_is_said_of_the_noise_of_a_drawing_counts() -> None:
    picture = drawn(0.4)
    assert choose.step(picture, noise.given(0.05, 3), Role.DENOISE) is not None


def test_noise_that_lighting_brings_out_is_removed() -> None:
    """In the dark picture the noise is too weak to be offered for; auto looks again when it is lit."""
    y, x = np.mgrid[:160, :160] / 40
    clean = 0.04 + 0.02 * np.stack([np.sin(x + k) * np.cos(y) for k in range(3)], -1)
    dark = Image(degrade.gaussian(clean.astype(np.float32), np.random.default_rng(0), sigma=0.4 / 255))
    assert roles(dark) == [Role.LIGHT]
    reports = pipeline.run(dark, Recipe(), Runtime(device="cpu")).reports
    assert [methods.get(r.step.method).role for r in reports] == [Role.LIGHT, Role.DENOISE]


def test_exposure_stops_before_highlights_blow_out() -> None:
    values = np.full((64, 64), 0.01, np.float32)
    raw = RawImage(values, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0)
    assert choose.exposure(raw) == pytest.approx(np.log2(18), abs=0.01)
    spotted = values.copy()
    spotted[:8] = 0.5
    assert choose.exposure(RawImage(spotted, raw.cfa, raw.black, 1.0)) == pytest.approx(1, abs=0.01)
    assert choose.exposure(RawImage(values * 0, raw.cfa, raw.black, 1.0)) == 0
