"""TIFF of every layout is read exactly, with and without the optional package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from made import (
    needs_peak,
    peaks,
)

from restore.errors import (
    ReadError,
    ResultError,
    TooLargeError,
    UnsupportedError,
)
from restore.files import Limits, kind, read, read_stack, write
from restore.picture import Image

TIFFS = {
    "tiles": {"tile": (16, 32)},
    "strips": {"rowsperstrip": 5},
    "deflate": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "tiles, lzw": {"tile": (16, 16), "compression": "lzw"},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "planar": {"planarconfig": "separate"},
}


READ_BARE = """
import sys
sys.modules["imagecodecs"] = None
from pathlib import Path
import numpy as np
from restore.files import read
for path in map(Path, sys.argv[1:]):
    np.save(path.with_suffix(".npy"), read(path).pixels)
"""


@pytest.mark.parametrize("options", TIFFS.values(), ids=TIFFS)
@pytest.mark.parametrize("kind_", ["u1", "u2", "f2", "f4"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiffs_of_all_layouts_are_read_exactly(tmp_path, options, kind_, channels):
    if channels == 1 and options.get("planarconfig"):
        pytest.skip("one channel has no planes")
    if kind_ == "f2" and options.get("predictor") is True:
        options = options | {"predictor": False}
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (41, 67, channels)) if kind_ == "u1" else rng.random((41, 67, channels)) * 3
    samples = (samples * 20000 if kind_ == "u2" else samples).astype(kind_)
    stored = samples[..., 0] if channels == 1 else samples
    if options.get("planarconfig"):
        stored = np.moveaxis(stored, 2, 0)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    photometric = "minisblack" if channels == 1 else "rgb"
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, **extra, **options)
    image = read(tmp_path / "a.tif")
    white = {"u1": 255, "u2": 65535}.get(kind_, 1)
    found = image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])
    np.testing.assert_array_equal(found, samples.astype(np.float32) / np.float32(white))
    assert (image.meta.bits, image.meta.is_float) == (int(kind_[1]) * 8, kind_[0] == "f")
    again = read(write(tmp_path / "b.tif", image))
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert (again.meta.bits, again.meta.is_float) == (image.meta.bits, image.meta.is_float)


@pytest.mark.parametrize("kind_", ["u1", "u2", "f4"])
def test_compressed_tiffs_are_read_alike_without_the_optional_package(tmp_path, kind_):
    layouts = {name: options for name, options in TIFFS.items() if "lzw" in name or "packbits" in name}
    if kind_ == "u1":
        layouts |= {"jpeg": {"compression": "jpeg"}}
        layouts |= {"planes": {"compression": "lzw", "planarconfig": "separate"}}
    rng = np.random.default_rng(2)
    samples = (rng.random((40, 48, 3)) * {"u1": 255, "u2": 65535, "f4": 1}[kind_]).astype(kind_)
    # an orientation, because Pillow and OpenCV apply it on their own when they decode TIFF
    tags = [(274, 3, 1, 8, True)]
    for name, options in layouts.items():
        stored = np.moveaxis(samples, 2, 0) if name == "planes" else samples
        tifffile.imwrite(tmp_path / f"{name}.tif", stored, photometric="rgb", extratags=tags, **options)
    subprocess.run([sys.executable, "-c", READ_BARE, *tmp_path.iterdir()], check=True, timeout=60)
    for name in layouts:
        image = read(tmp_path / f"{name}.tif")
        assert image.meta.orientation == 8
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), image.pixels, err_msg=name)


def test_a_stack_gives_every_page(tmp_path):
    pages = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages[:3]:
            file.write(page, photometric="rgb", contiguous=False)
        file.write(pages[3][:5, :5], photometric="rgb", subfiletype=1)
    found = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal([np.rint(image.pixels * 255) for image in found], pages[:3])
    with pytest.raises(UnsupportedError, match=r"stack of 3 pages.*read_stack"):
        read(tmp_path / "a.tif")
    with pytest.raises(TooLargeError):
        read_stack(tmp_path / "a.tif", limits=Limits(max_pixels=1000))
    write(tmp_path / "a.png", found[0])
    assert len(read_stack(tmp_path / "a.png")) == 1


def test_rare_tiffs_mean_what_they_say(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (9, 16)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite")
    np.testing.assert_allclose(read(tmp_path / "white.tif").pixels[..., 0], 1 - grey / 255, atol=1e-6)
    tifffile.imwrite(tmp_path / "bits.tif", grey > 99, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "bits.tif").pixels[..., 0], grey > 99)
    table = rng.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "palette.tif", grey, photometric="palette", colormap=table)
    palette = read(tmp_path / "palette.tif")
    np.testing.assert_allclose(palette.pixels, np.moveaxis(table[:, grey], 0, 2) / 65535, atol=1e-6)
    assert palette.meta.bits == 8
    ink = np.zeros((9, 16, 4), np.uint8)
    ink[..., 0], ink[..., 3] = 255, 51
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    np.testing.assert_allclose(read(tmp_path / "ink.tif").pixels[4, 4], (0, 0.8, 0.8), atol=1e-6)
    light = np.full((9, 16, 4), 64, np.uint8)
    light[..., 3] = 128
    tifffile.imwrite(tmp_path / "pre.tif", light, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(read(tmp_path / "pre.tif").pixels, 0.5, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_float_tiff_with_a_hole_is_named(tmp_path, bad):
    pixels = np.zeros((50, 40, 3), np.float32)
    pixels[31, 7, 1] = bad
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=7)
    with pytest.raises(ReadError, match="NaN or infinite"):
        read(tmp_path / "a.tif")
    with pytest.raises(ResultError, match="NaN or infinite"):
        write(tmp_path / "b.png", Image(pixels))


@needs_peak
@pytest.mark.slow
def test_a_hundred_megapixels_need_one_byte_copy_beside_the_floats(tmp_path):
    # one strip for the whole picture: the worst case
    tifffile.imwrite(tmp_path / "a.tif", shape=(10_000, 10_000, 3), dtype="u1", photometric="rgb", rowsperstrip=10_000)
    code = """
    image = read(sys.argv[1])
    print(peak() - start)
    write(sys.argv[2], image)
    print(peak() - start)
    """
    reading, both = peaks(code, tmp_path / "a.tif", tmp_path / "b.tif")
    floats, mapped = 1200 / 1.048576, 300 / 1.048576
    assert reading < floats + mapped + 60
    assert both < floats + mapped + 60
    assert kind(tmp_path / "b.tif") == "tiff"


def test_floats_are_written_unclipped(tmp_path):
    pixels = np.array([[[-0.5, 0.25, 7.0]]], np.float32)
    np.testing.assert_array_equal(read(write(tmp_path / "a.tif", Image(pixels), bits=32)).pixels, pixels)
    np.testing.assert_allclose(read(write(tmp_path / "b.tif", Image(pixels))).pixels, [[[0, 64 / 255, 1]]])
