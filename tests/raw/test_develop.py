from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rawpy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restore.colour import linear_to_srgb, srgb_to_linear
from restore.errors import ArrayError
from restore.files.sensor import read_raw
from restore.picture import Meta, RawImage
from restore.raw import develop as module
from restore.raw.bayer import PHASES
from restore.raw.demosaic import REACH, demosaic
from restore.raw.develop import develop, grey_gains, standard_tone

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
BAYER = ("canon_bayer14_ob_colorchart.dng", "kodak_dc50.kdc", "nikon_dsc1339_rggb_crop.dng")
XTRANS = (
    (1, 1, 0, 1, 1, 2),
    (1, 1, 2, 1, 1, 0),
    (2, 0, 1, 0, 2, 1),
    (1, 1, 2, 1, 1, 0),
    (1, 1, 0, 1, 1, 2),
    (0, 2, 1, 2, 0, 1),
)
PATTERNS = {**PHASES, "X-Trans": XTRANS}


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no shared data: {name}")
    return path


def psnr(one, two):
    return float(-10 * np.log10(np.mean((one - two) ** 2)))


def sampled(picture, cfa):
    """Mosaic of a picture, and the boolean sites of each colour."""
    height, width, _ = picture.shape
    period = len(cfa)
    tiled = np.tile(np.array(cfa), (-(-height // period), -(-width // period)))[:height, :width]
    return np.take_along_axis(picture, tiled[..., None], axis=2)[..., 0], tiled


def raw_of(mosaic, cfa, **fields):
    return RawImage(
        np.asarray(mosaic, np.float32), cfa, tuple(tuple(64.0 for _ in row) for row in cfa), 1023.0, **fields
    )


def kodak(name):
    return np.asarray(Image.open(shared(f"test/kodak/{name}.png")), np.float32) / 255


@pytest.mark.parametrize("name", BAYER)
def test_linear_light_agrees_with_libraw(name):
    path = shared(f"raw/{name}")
    with rawpy.imread(str(path)) as raw:
        libraw = raw.postprocess(
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            use_camera_wb=True,
            adjust_maximum_thr=0.0,
            user_flip=0,
            demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
        )
    expected = libraw.astype(np.float32) / 65535
    ours = srgb_to_linear(develop(read_raw(path), tone="linear").pixels)
    gain = float((ours * expected).sum() / (ours * ours).sum())
    assert gain == pytest.approx(1, abs=0.01)
    assert psnr(ours * gain, expected) >= 38
    assert ours.mean((0, 1)) == pytest.approx(expected.mean((0, 1)), rel=0.02)


@pytest.mark.parametrize("name", PATTERNS)
def test_demosaic_keeps_the_samples_and_constant_colours(name):
    cfa = PATTERNS[name]
    flat = np.broadcast_to(np.float32([0.2, 0.5, 0.8]), (25, 31, 3))
    np.testing.assert_allclose(demosaic(sampled(flat, cfa)[0], cfa), flat, atol=1e-5)
    noise = np.random.default_rng(0).normal(0.3, 0.5, (25, 31, 3)).astype(np.float32)
    mosaic, sites = sampled(noise, cfa)
    out = demosaic(mosaic, cfa)
    np.testing.assert_allclose(np.take_along_axis(out, sites[..., None], 2)[..., 0], mosaic, atol=2e-6)


@pytest.mark.parametrize(("name", "least"), [("kodim01", 36.8), ("kodim07", 41.4), ("kodim23", 42.0)])
def test_demosaic_beats_opencv_on_kodak(name, least):
    """Levels as the paper's algorithm reaches them, without the black frame that some Kodak scans have."""
    truth = kodak(name)
    inside = np.s_[8:-8, 8:-8]
    scores = [psnr(demosaic(sampled(truth, cfa)[0], cfa)[inside], truth[inside]) for cfa in PHASES.values()]
    eight = np.rint(sampled(truth, PHASES["RGGB"])[0] * 255).astype(np.uint8)
    opencv = cv2.cvtColor(eight, cv2.COLOR_BayerBG2RGB_EA).astype(np.float32) / 255
    assert min(scores) > max(least, psnr(opencv[inside], truth[inside]) + 2)
    assert max(scores) - min(scores) < 0.6


def test_xtrans_agrees_with_the_scene_it_was_made_from():
    truth = kodak("kodim05")[:510]
    ours = develop(read_raw(shared("raw/simulated_xtrans_kodim05.dng")), tone="linear").pixels
    linear, scene = srgb_to_linear(ours), srgb_to_linear(truth)
    gain = float((linear * scene).sum() / (linear * linear).sum())
    assert psnr(linear_to_srgb(linear * gain), truth) > 27
    assert linear.mean((0, 1)) * gain == pytest.approx(scene.mean((0, 1)), rel=0.03)


@pytest.mark.parametrize("name", PATTERNS)
def test_strips_do_not_change_the_result(name, monkeypatch):
    cfa = PATTERNS[name]
    mosaic = np.random.default_rng(1).random((101, 37), np.float32)
    raw = raw_of(mosaic, cfa, white_balance=(1.9, 1.0, 1.4))
    whole = develop(raw).pixels
    monkeypatch.setattr(module, "STRIP", 30)
    np.testing.assert_allclose(develop(raw).pixels, whole, atol=2e-6)


@pytest.mark.parametrize("name", PATTERNS)
def test_reach_is_stated_truly(name):
    cfa = PATTERNS[name]
    rng = np.random.default_rng(2)
    mosaic = rng.random((80, 80), np.float32)
    touched = mosaic.copy()
    touched[40, 41] += 0.7
    rows, columns = np.nonzero(np.any(demosaic(mosaic, cfa) != demosaic(touched, cfa), axis=2))
    assert max(abs(rows - 40).max(), abs(columns - 41).max()) <= REACH


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 14), st.integers(1, 14), st.sampled_from(sorted(PATTERNS)))
def test_any_size_develops(height, width, name):
    mosaic = np.linspace(-0.1, 1.1, height * width).reshape(height, width)
    picture = develop(raw_of(mosaic, PATTERNS[name], white_balance=(2.0, 1.0, 1.5)))
    assert picture.pixels.shape == (height, width, 3)
    assert np.isfinite(picture.pixels).all()
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


@pytest.mark.parametrize("gains", [(2.2, 1.0, 1.6), (0.7, 1.0, 3.0)])
def test_blown_areas_are_white_in_every_light(gains):
    """Also under tungsten, where the red gain is below one."""
    matrix = np.float32([[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]])
    raw = raw_of(np.full((20, 20), 1.05), PHASES["GRBG"], white_balance=gains, camera_to_srgb=matrix)
    np.testing.assert_allclose(develop(raw).pixels, 1, atol=1e-5)


def test_a_grey_card_is_grey_and_has_the_promised_brightness():
    gains = (2.0, 1.0, 1.5)
    card = np.broadcast_to(np.float32(0.18) / np.float32(gains), (32, 32, 3))
    raw = raw_of(sampled(card, PHASES["BGGR"])[0], PHASES["BGGR"], white_balance=gains)
    np.testing.assert_allclose(srgb_to_linear(develop(raw, tone="linear").pixels), 0.18, atol=1e-5)
    brighter = develop(raw, tone="linear", exposure_ev=1).pixels
    np.testing.assert_allclose(srgb_to_linear(brighter), 0.36, atol=1e-5)
    np.testing.assert_allclose(srgb_to_linear(develop(raw).pixels), 0.305, atol=1e-3)
    assert grey_gains(raw) == pytest.approx(gains, rel=1e-5)
    np.testing.assert_array_equal(
        develop(raw, white_balance="auto").pixels.round(5), develop(raw, white_balance=gains).pixels.round(5)
    )


def test_noise_below_black_averages_out_before_the_clip():
    """Demosaicing sees negatives: clipping first would lift dark areas by 0.4 sigma."""
    noise = np.random.default_rng(3).normal(0, 0.01, (200, 200)).astype(np.float32)
    assert abs(demosaic(noise, PHASES["RGGB"]).mean()) < 2e-4


def test_standard_tone_rises_and_ends_at_white():
    x = np.linspace(-0.2, 1, 1001, dtype=np.float32)
    y = standard_tone(x)
    assert (np.diff(y) > 0).all()
    assert y[-1] == pytest.approx(1)
    slope = np.diff(y) / np.diff(x)
    assert abs(np.diff(slope)).max() < 0.02


def test_the_picture_keeps_what_is_known_but_not_the_sensor_data():
    raw = raw_of(np.zeros((4, 4)), PHASES["RGGB"])
    raw = replace(raw, meta=Meta(iso=800, orientation=6, extra={"sensor": object()}))
    meta = develop(raw).meta
    assert (meta.iso, meta.orientation, meta.extra) == (800, 6, {})


@pytest.mark.parametrize("bad", ["sunny", (1.0, 0.0, 1.0), (1.0, 1.0), (1.0, float("nan"), 1.0)])
def test_impossible_white_balance_is_refused(bad):
    with pytest.raises(ArrayError, match="white balance"):
        develop(raw_of(np.zeros((4, 4)), PHASES["RGGB"]), white_balance=bad)
