"""Planted faults trip their alarms; honest results trip none."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore import degrade, evidence, files, methods, noise, pipeline
from restore.evidence import Promise, findings
from restore.noise import Noise
from restore.picture import Domain, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

SHARED = Path(__file__).parents[1] / ".." / "shared"
HONEST = [(name, sigma) for name in ("kodim05", "kodim15", "kodim23") for sigma in (10, 25, 50)]


def crop(name: str, side: int = 320) -> np.ndarray:
    path = SHARED / "data/test/kodak" / f"{name}.png"
    if not path.is_file():
        pytest.skip("the shared pictures are not here")
    return files.read(path).pixels[:side, 100 : 100 + side]


@cache
def restored(name: str, sigma: int, method: str) -> pipeline.Result:
    noisy = Image(degrade.gaussian(crop(name), np.random.default_rng(sigma), sigma=sigma / 255))
    return pipeline.run(noisy, Recipe(steps=(Step(method=method),), precision="fp32"), Runtime(device="cpu"))


@pytest.mark.parametrize("method", ["denoise", "wavelet"])
@pytest.mark.parametrize(("name", "sigma"), HONEST)
def test_honest_results_trip_nothing(name: str, sigma: int, method: str) -> None:
    result = restored(name, sigma, method)
    assert result.alarms == ()
    names = {found.name for found in result.reports[0].evidence}
    assert {"level", "clipped", "removed", "residual", "seams", "noise"} <= names


def shifted(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    del before
    return after + np.float32([[[0.005]], [[0]], [[0]]])


def seamed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    del before
    after = after.copy()
    after[:, :, 150:] += 0.02
    return after


def smoothed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    del before
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.2) for plane in after])


def unchanged(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    del after
    return before.copy()


@pytest.mark.parametrize(
    ("plant", "alarm"), [(shifted, "level"), (seamed, "seams"), (smoothed, "detail"), (unchanged, "removed")]
)
@pytest.mark.parametrize("method", ["denoise", "wavelet"])
@pytest.mark.parametrize(("name", "sigma"), HONEST)
def test_planted_faults_trip_their_alarms_or_cannot_be_told(
    name: str, sigma: int, method: str, plant: Callable[..., np.ndarray], alarm: str
) -> None:
    result, made = restored(name, sigma, method), methods.get(method)
    before = degrade.gaussian(crop(name), np.random.default_rng(sigma), sigma=sigma / 255).transpose(2, 0, 1)
    after = np.ascontiguousarray(result.picture.pixels.transpose(2, 0, 1))
    promise = Promise(made.keeps_level, made.keeps_edges)
    found = findings(np.ascontiguousarray(before), plant(before, after), result.reports[0].noise, None, promise)
    told = {item.name: item for item in found}[alarm]
    assert told.is_alarm or told.weight == "weak", told.says
    assert sigma == 50 or (sigma == 25 and method == "wavelet") or told.is_alarm, told.says


def test_what_cannot_be_told_is_said() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((3, 96, 96), 0.5, np.float32)
    before = clean + 0.2 * rng.standard_normal(clean.shape, np.float32)
    after = clean + 0.005 * rng.standard_normal(clean.shape, np.float32)
    found = {item.name: item for item in findings(before, after, Noise(0.2, (0.2,) * 3), None, Promise(0.001, 1.0))}
    assert found["level"].weight == found["detail"].weight == found["seams"].weight == "weak"
    assert not found["detail"].is_alarm
    assert "as far as can be told: less than 1.27% may be missed" in found["level"].says
    assert "not stand out of this noise enough to tell" in found["detail"].says


def test_a_seam_in_one_tile_of_a_large_picture_is_found() -> None:
    y, x = np.mgrid[:1200, :1600] / 200
    clean = (0.5 + 0.3 * np.sin(x) * np.cos(y)).astype(np.float32)[None].repeat(3, 0)
    before = clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    after = clean.copy()
    after[:, 300:600, 800:] += 0.01
    level = noise.estimate(Image(before.transpose(1, 2, 0)))
    found = {item.name: item for item in findings(before, after, level, None, Promise(0.002))}
    assert found["seams"].is_alarm
    assert "column 800" in found["seams"].says or "row 300" in found["seams"].says or "row 600" in found["seams"].says
    honest = {item.name: item for item in findings(before, clean, level, None, Promise(0.002))}
    assert not any(item.is_alarm for item in honest.values())


def test_a_straight_edge_of_the_scene_is_no_seam() -> None:
    clean = np.full((3, 256, 256), 0.3, np.float32)
    clean[:, :, 100:] += 0.02
    before = clean + 0.03 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    level = noise.estimate(Image(before.transpose(1, 2, 0)))
    found = {item.name: item for item in findings(before, clean, level, None, Promise(0.002))}
    assert not found["seams"].is_alarm


def test_newly_clipped_values_trip_for_every_method() -> None:
    before = np.random.default_rng(0).uniform(0.3, 0.95, (3, 64, 64)).astype(np.float32)
    for after, is_alarm in ((before * 1.2, True), (before * 1.02, False)):
        found = findings(before, after, Noise(0.0, (0.0,) * 3), None, Promise())
        assert [item.name for item in found] == ["clipped", "changed"]
        assert found[0].is_alarm is is_alarm
    below = before[:1] - 0.5
    assert not findings(before[:1], below, Noise(0.0, (0.0,)), None, Promise(), Domain.MOSAIC)[0].is_alarm


def test_strength_is_counted_in() -> None:
    noisy = restored("kodim05", 25, "wavelet")
    half = pipeline.run(
        Image(degrade.gaussian(crop("kodim05"), np.random.default_rng(25), sigma=25 / 255)),
        Recipe(steps=(Step(method="wavelet", strength=0.3),), precision="fp32"),
        Runtime(device="cpu"),
    )
    removed = [next(f.value for f in r.reports[0].evidence if f.name == "removed") for r in (noisy, half)]
    assert removed[0] == pytest.approx(removed[1], rel=0.01)
    assert half.alarms == ()


@pytest.mark.parametrize(("kept", "strength", "is_alarm"), [(0.0, 1.0, False), (0.8, 1.0, True), (0.6, 0.4, False)])
def test_noise_that_stays_is_told(kept: float, strength: float, is_alarm: bool) -> None:
    y, x = np.mgrid[:256, :256] / 256
    clean = np.stack([0.3 + 0.4 * x * y] * 3).astype(np.float32)
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    after = clean + np.float32(kept) * (noisy - clean)
    measured = [noise.estimate(Image(planes.transpose(1, 2, 0))) for planes in (noisy, after)]
    found = findings(noisy, after, measured[0], lambda: measured[1], Promise(0.002, strength=strength))
    told = next(finding for finding in found if finding.name == "noise")
    assert told.is_alarm is is_alarm
    assert ("still there" in told.says) is is_alarm


def test_noise_that_stays_where_it_is_bright_is_told() -> None:
    """Photon noise, of which the dark half was cleaned, where an estimate of what is left looks."""
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(0.05, 0.9, 256, dtype=np.float32), (1, 192, 1))
    before = (rng.poisson(30 * clean) / 30).astype(np.float32)
    known = noise.estimate(Image(before.transpose(1, 2, 0)))
    for is_cleaned, is_alarm in ((clean < 1, False), (clean < 0.4, True)):
        after = np.where(is_cleaned, clean, before)
        found = {f.name: f for f in findings(before, after, known, None, Promise(0.002, 1.0))}
        assert found["removed"].is_alarm == is_alarm, found["removed"].says


def test_camera_noise_is_weak_evidence_of_levels() -> None:
    before = np.full((3, 100, 100), 0.5, np.float32)
    camera = Noise(0.05, (0.05,) * 3, correlation=0.6)
    for level, weight in (
        (camera, "weak"),
        (replace(camera, correlation=0.0, sigma=0.01, channels=(0.01,) * 3), "strong"),
    ):
        found = findings(before, before + 0.0001, level, None, Promise(0.0015))
        assert next(item for item in found if item.name == "level").weight == weight


def test_small_pictures_are_only_looked_at_for_levels() -> None:
    before = np.full((3, evidence.LEAST - 1, 500), 0.5, np.float32)
    found = findings(before, before, Noise(0.1, (0.1,) * 3), None, Promise(0.0015))
    assert {item.name for item in found} == {"clipped", "level"}


def test_every_denoiser_states_what_it_keeps() -> None:
    for method in methods.registry().values():
        if method.role == "denoise":
            assert method.keeps_level is not None, method.name
