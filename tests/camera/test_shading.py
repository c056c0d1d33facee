import numpy as np
import pytest
from drawn import SEED

from restore.camera.shading import Shading, calmed
from restore.camera.simulate import Sensor
from restore.camera.stack import Frame, measure
from restore.picture import Floats


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


NONE_BAD = np.zeros((96, 128), bool)


def rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x**2)))


def test_noise_goes_and_the_pattern_stays(rng: np.random.Generator) -> None:
    """A slope, rows and columns, and pixels twice as strong as the noise of the mean frame."""
    slope = np.linspace(-3, 3, 128, dtype=np.float32) * np.ones((96, 1), np.float32)
    rows, columns, pixels = (rng.standard_normal(size).astype(np.float32) for size in ((96, 1), (1, 128), (96, 128)))
    smooth = slope + rows + columns
    noise = rng.standard_normal((96, 128)).astype(np.float32)
    assert rms(calmed(smooth + noise, 1.0, NONE_BAD, 2) - smooth) < 0.4
    weak, strong = smooth + pixels / 2, smooth + 2 * pixels
    assert rms(calmed(weak + noise, 1.0, NONE_BAD, 2) - weak) < 0.55 * rms(noise)
    assert rms(calmed(strong + noise, 1.0, NONE_BAD, 2) - strong) < rms(noise)


def test_warm_and_bad_pixels_are_left(rng: np.random.Generator) -> None:
    fixed = rng.standard_normal((96, 128)).astype(np.float32)
    fixed[40, 50], fixed[41, 51] = 30, 3000
    bad = NONE_BAD.copy()
    bad[41, 51] = True
    found = calmed(fixed, 1.0, bad, 2)
    assert found[41, 51] == 3000 and found[40, 50] == pytest.approx(30, abs=2)
    found[40, 50] = found[41, 51] = 0
    assert rms(found) < 0.4


def test_without_noise_nothing_changes(rng: np.random.Generator) -> None:
    fixed = rng.standard_normal((96, 128)).astype(np.float32)
    np.testing.assert_allclose(calmed(fixed, 0.0, NONE_BAD, 1), fixed, atol=1e-6)
    assert np.array_equal(calmed(np.zeros_like(fixed), 0.1, ~NONE_BAD, 2), np.zeros_like(fixed))


@pytest.mark.parametrize("isos", [(800.0,), (800.0, 1600.0, 3200.0)])
def test_eight_frames_come_nearer_to_the_truth(rng: np.random.Generator, isos: tuple[float, ...]) -> None:
    """The mean frame as it is lies sigma / sqrt(8) from the truth at one ISO."""
    sensor = Sensor.draw(rng, family="gaussian", size=(192, 256), isos=isos, split=None, bands=(0.0, 0.0))
    shading, bad = Shading(), np.zeros((192, 256), bool)
    for iso in isos:
        frames = [sensor.frame(iso, rng) for _ in range(8)]
        stack = measure([Frame("dark", iso, 0.01, lambda raw=raw: raw) for raw in frames], 2, rng)  # type: ignore[misc]
        bad |= stack.bad
        shading.add(stack)
    slope, start = shading.line(bad, 2)
    for iso in isos:
        error = (slope * np.float32(iso / 1000) + start - sensor.dark_shading(iso))[~bad & (sensor.hot == 0)]
        assert rms(error) < 0.6 * sensor.sigma(iso) / 8**0.5, iso
