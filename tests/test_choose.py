"""What ``auto`` decides: noise is removed, dark pictures are lit, good ones are left alone."""

from pathlib import Path

import numpy as np
import pytest

from restore import choose, degrade, files, noise
from restore.method import Role
from restore.picture import Image, RawImage


def roles(image: Image) -> list[Role]:
    return [role for role, _ in choose.steps(image, noise.estimate(image), 1.0, frozenset())]


def test_good_pictures_are_left_alone(shared: Path) -> None:
    pictures = [files.read(path) for path in sorted((shared / "data/test/kodak").glob("*.png"))]
    assert len(pictures) == 12
    assert sum(roles(picture) == [] for picture in pictures) >= 11


@pytest.mark.parametrize("spec", ["gaussian sigma=10/255", "poisson peak=60"])
def test_noise_is_removed(shared: Path, spec: str) -> None:
    clean = files.read(shared / "data/test/kodak/kodim03.png")
    assert roles(degrade.degrade(clean, spec, seed=0)) == [Role.DENOISE]


def test_dark_pictures_are_denoised_then_lit(shared: Path) -> None:
    clean = files.read(shared / "data/test/kodak/kodim03.png")
    assert roles(degrade.degrade(clean, "low_light gamma=3 sigma=5/255", seed=0)) == [Role.DENOISE, Role.LIGHT]


def test_a_role_is_taken_once(shared: Path) -> None:
    noisy = degrade.degrade(files.read(shared / "data/test/kodak/kodim03.png"), "gaussian sigma=0.1", seed=0)
    assert choose.steps(noisy, noise.estimate(noisy), 1.0, frozenset({Role.DENOISE})) == []


def test_exposure_stops_before_highlights_blow_out() -> None:
    values = np.full((64, 64), 0.01, np.float32)
    raw = RawImage(values, ((0, 1), (1, 2)), ((0.0, 0.0), (0.0, 0.0)), 1.0)
    assert choose.exposure(raw) == pytest.approx(np.log2(18), abs=0.01)
    spotted = values.copy()
    spotted[:8] = 0.5
    assert choose.exposure(RawImage(spotted, raw.cfa, raw.black, 1.0)) == pytest.approx(1, abs=0.01)
    assert choose.exposure(RawImage(values * 0, raw.cfa, raw.black, 1.0)) == 0
