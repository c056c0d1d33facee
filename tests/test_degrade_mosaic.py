"""Noise that is drawn must be the noise that is stated."""

import numpy as np
import pytest

from restore.degrade.mosaic import RawNoise, add_raw_noise, draw_camera, resized, tukey_lambda, unprocess


@pytest.mark.parametrize("level", [0.0, 0.02, 0.2, 0.8])
def test_mean_and_variance(level):
    noise = RawNoise(gain=1e-3, read=4e-3, step=1e-3)
    noisy = add_raw_noise(np.full((4, 300, 300), level, np.float32), noise, np.random.default_rng(0))
    gain, read = noise.told
    assert noisy.mean() == pytest.approx(level, abs=4 * np.sqrt((gain * level + read**2) / noisy.size))
    assert noisy.var() == pytest.approx(gain * level + read**2, rel=0.015)


def test_rows_and_columns_are_the_sensors():
    noise = RawNoise(gain=0.0, read=1e-6, row=0.01, column=0.005)
    red, top, low, blue = add_raw_noise(np.full((4, 400, 500), 0.5, np.float32), noise, np.random.default_rng(1))
    rows, columns = (p.mean(1) for p in (red, top, low, blue)), [p.mean(0) for p in (red, top, low, blue)]
    rows = list(rows)
    assert np.corrcoef(rows[0], rows[1])[0, 1] > 0.99
    assert abs(np.corrcoef(rows[0], rows[2])[0, 1]) < 0.2
    assert np.corrcoef(columns[0], columns[2])[0, 1] > 0.99
    assert np.std(rows[0]) == pytest.approx(0.01, rel=0.15)
    assert np.std(columns[0]) == pytest.approx(0.005, rel=0.15)


@pytest.mark.parametrize("tail", [-0.1, 0.0, 0.14, 0.5])
def test_tukey_lambda_has_unit_variance(tail):
    assert tukey_lambda((400_000,), tail, np.random.default_rng(2)).std() == pytest.approx(1, abs=0.03)


def test_a_photograph_becomes_a_mosaic_that_keeps_grey_ratios():
    grey = np.full((40, 40, 3), 0.5, np.float32)
    planes = unprocess(resized(grey, 32), np.random.default_rng(0))
    assert planes.shape == (4, 16, 16)
    assert planes.std((1, 2)).max() < 1e-6
    assert (planes[1] == planes[2]).all()
    assert planes[0].max() < planes[1].max()
    white = unprocess(np.ones((8, 8, 3), np.float32), np.random.default_rng(0))
    np.testing.assert_allclose(white, 1, atol=1e-5)


def test_cameras_differ_and_negatives_are_kept():
    rng = np.random.default_rng(4)
    cameras = [draw_camera(rng) for _ in range(200)]
    assert max(c.gain for c in cameras) / min(c.gain for c in cameras) > 50
    dark = add_raw_noise(np.zeros((4, 16, 16), np.float32), cameras[0], rng)
    assert dark.min() < 0
