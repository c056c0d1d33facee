"""Metrics against scikit-image, closed forms and a second writing of MS-SSIM."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restore import metrics
from restore.colour import LUMA
from restore.errors import ArrayError


def photo(seed: int = 0, shape: tuple[int, int, int] = (190, 201, 3)) -> np.ndarray:
    """Smooth shapes with some texture, in 0...1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 30
    base = 0.5 + 0.3 * np.sin(x + 2 * np.cos(y))[..., None] * np.linspace(0.5, 1, shape[2])
    return np.clip(base + 0.05 * rng.standard_normal(shape), 0, 1).astype(np.float32)


def noisy(clean: np.ndarray, sigma: float) -> np.ndarray:
    return clean + np.float32(sigma) * np.random.default_rng(9).standard_normal(clean.shape, np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_psnr_and_ssim_equal_scikit_image(channels: int, data_range: float) -> None:
    b = photo(shape=(64, 51, channels)).astype(np.float64) * data_range
    a = noisy(photo(shape=(64, 51, channels)), 0.1).astype(np.float64) * data_range
    assert metrics.psnr(a, b, data_range=data_range) == pytest.approx(
        peak_signal_noise_ratio(b, a, data_range=data_range), abs=1e-9
    )
    expected = structural_similarity(
        a,
        b,
        data_range=data_range,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(a, b, data_range=data_range) == pytest.approx(expected, abs=1e-9)


def test_equal_pictures() -> None:
    a = photo()
    assert metrics.compare(a, a) == metrics.Scores(math.inf, 1.0, 1.0)


def test_psnr_of_a_tiny_difference_has_no_floor() -> None:
    a = np.zeros((16, 16, 1), np.float64)
    assert metrics.psnr(a + 1e-7, a) == pytest.approx(140, abs=1e-6)


def test_luma_scores_only_luma() -> None:
    a, b = photo(), noisy(photo(), 0.1)
    grey = [x.astype(np.float64) @ LUMA.astype(np.float64)[:, None] for x in (a, b)]
    assert metrics.psnr(a, b, channels="luma") == pytest.approx(metrics.psnr(*grey), abs=1e-9)
    chroma = np.array([LUMA[1], -LUMA[0], 0], np.float32)
    assert metrics.psnr(a + chroma, a, channels="luma") > 120
    assert metrics.psnr(a + chroma, a) < 10


def test_crop_leaves_the_border_out() -> None:
    a = photo()
    b = a.copy()
    b[:5], b[:, -5:] = 0, 1
    assert metrics.psnr(b, a, crop=5) == math.inf
    assert metrics.psnr(b, a, crop=4) < math.inf


def test_quantise_clips_and_rounds_both() -> None:
    a = np.array([[[0.2], [1.0]]], np.float32)
    b = np.array([[[0.2 + 0.4 / 255], [1.7]]], np.float32)
    assert metrics.psnr(a, b, quantise=True) == math.inf
    c = np.array([[[0.2 + 0.6 / 255], [1.0]]], np.float32)
    assert metrics.psnr(a, c, quantise=True) == pytest.approx(20 * math.log10(255) + 10 * math.log10(2), abs=1e-6)


def test_ms_ssim_of_an_offset_is_the_luminance_term_alone() -> None:
    c, d = 0.4, 0.2
    a = np.full((176, 180, 1), c)
    luminance = (2 * c * (c + d) + 1e-4) / (c**2 + (c + d) ** 2 + 1e-4)
    assert metrics.ms_ssim(a + d, a) == pytest.approx(luminance**0.1333, abs=1e-9)


def direct_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Equation 7 of the paper for one plane, through scipy."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, taps, 0), taps, 1)[5:-5, 5:-5]

    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        va, vb = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
        term = (2 * (mean(a * b) - mean(a) * mean(b)) + 9e-4) / (va + vb + 9e-4)
        if scale == 4:
            term = term * (2 * mean(a) * mean(b) + 1e-4) / (mean(a) ** 2 + mean(b) ** 2 + 1e-4)
        result *= term.mean() ** weight
        h, w = (n // 2 * 2 for n in a.shape)
        a, b = (x[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3)) for x in (a, b))
    return result


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.4])
def test_ms_ssim_equals_a_second_writing(sigma: float) -> None:
    a = photo()
    b = noisy(a, sigma)
    expected = np.mean([direct_ms_ssim(a[..., c].astype(float), b[..., c].astype(float)) for c in range(3)])
    assert metrics.ms_ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_all_scores_fall_with_noise() -> None:
    a = photo()
    found = [metrics.compare(noisy(a, s), a) for s in (0.02, 0.05, 0.1, 0.2)]
    for better, worse in zip(found, found[1:], strict=False):
        assert better.psnr > worse.psnr
        assert better.ssim > worse.ssim
        assert better.ms_ssim > worse.ms_ssim


def test_anticorrelated_pictures_have_no_complex_score() -> None:
    a = photo()
    assert metrics.ms_ssim(1 - a, a) == 0
    assert metrics.ssim(1 - a, a) < 0.5


def test_small_pictures() -> None:
    a = photo(shape=(8, 300, 1))
    small = metrics.compare(noisy(a, 0.1), a)
    assert small.psnr == pytest.approx(20, abs=0.5)
    assert math.isnan(small.ssim)
    assert math.isnan(small.ms_ssim)
    with pytest.raises(ArrayError, match="SSIM needs sides of 11"):
        metrics.ssim(a, a)
    with pytest.raises(ArrayError, match="MS-SSIM needs sides of 176"):
        metrics.ms_ssim(a, a)


def test_inputs_stay_as_they_were() -> None:
    a, b = photo(), noisy(photo(), 0.3)
    kept = a.copy(), b.copy()
    metrics.compare(b, a, quantise=True, crop=3, channels="luma")
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 9, 3), {}, "one shape"),
        ((8, 8, 3), {"crop": 4}, "leaves nothing"),
        ((8, 8, 3), {"crop": -1}, "leaves nothing"),
        ((8, 8, 3), {"data_range": 0.0}, "data_range"),
        ((8, 8, 3), {"channels": "RGB"}, "'rgb' or 'luma'"),
    ],
)
def test_wrong_arguments(shape: tuple[int, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        metrics.psnr(np.zeros(shape, np.float32), np.zeros((8, 8, 3), np.float32), **options)


def test_bytes_need_their_range() -> None:
    a, b = (np.full((8, 8, 3), value, np.uint8) for value in (100, 151))
    with pytest.raises(ArrayError, match="give data_range"):
        metrics.psnr(a, b)
    assert metrics.psnr(a, b, data_range=255) == pytest.approx(-20 * math.log10(0.2))


def test_wrong_channels_and_values() -> None:
    with pytest.raises(ArrayError, match=r"\(H, W, 3\)"):
        metrics.psnr(np.zeros((8, 8)), np.zeros((8, 8)))
    bad = np.full((8, 8, 1), np.nan, np.float32)
    with pytest.raises(ArrayError, match="result holds values that are not finite"):
        metrics.psnr(bad, np.zeros((8, 8, 1), np.float32))
