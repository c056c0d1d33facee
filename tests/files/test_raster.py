"""Every format keeps pixels and metadata; every broken file gives its typed error."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import textwrap
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, ImageCms, ImageOps
from PIL import Image as Pillow
from restore.errors import (
    FileError,
    ReadError,
    ResultError,
    TooLargeError,
    UnsupportedError,
    WriteError,
)
from restore.files import Limits, kind, read, read_stack, suffix, write
from restore.files.metadata import exif_tree
from restore.picture import Image, Meta

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>caf\xc3\xa9</a></x:xmpmeta>'
HEIGHT, WIDTH = 37, 53


def exif_block(orientation: int = 6) -> bytes:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "Maker Model 5"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 300.0
    exif[ExifTags.Base.ResolutionUnit] = 2
    photo = exif.get_ifd(ExifTags.IFD.Exif)
    photo[ExifTags.Base.ISOSpeedRatings], photo[ExifTags.Base.ExposureTime] = 800, 0.005
    photo[ExifTags.Base.MakerNote] = bytes(range(200))
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def picture(levels: int, channels: int, *, has_alpha: bool, **meta: object) -> Image:
    """A picture of random integers below ``levels``, as fractions."""
    rng = np.random.default_rng(levels + channels)
    numbers = rng.integers(0, levels, (HEIGHT, WIDTH, channels + 1)).astype(np.float32) / np.float32(levels - 1)
    alpha = np.ascontiguousarray(numbers[..., -1]) if has_alpha else None
    return Image(np.ascontiguousarray(numbers[..., :-1]), alpha, Meta(**meta))  # type: ignore[arg-type]


def tags_of(exif: bytes | None, *, without: tuple[int, ...] = ()) -> dict[int, object]:
    def plain(tree: dict) -> dict[int, object]:
        return {
            tag: plain(item) if isinstance(item, dict) else item.data
            for tag, item in tree.items()
            if tag not in without
        }

    return plain(exif_tree(exif)[0])


LOSSLESS = [
    (name, bits, channels, has_alpha)
    for name, depths, alphas in (
        ("png", (8, 16), (False, True)),
        ("tiff", (8, 16, 32), (False, True)),
        ("jxl", (8, 16, 32), (False, True)),
        ("bmp", (8,), (False, True)),
        ("webp", (8,), (False, True)),
    )
    for bits in depths
    for channels in (1, 3)
    for has_alpha in alphas
]


@pytest.mark.parametrize(("name", "bits", "channels", "has_alpha"), LOSSLESS)
def test_lossless_formats_keep_every_sample_and_all_metadata(tmp_path, name, bits, channels, has_alpha):
    exif = exif_block()
    levels = 1 << min(bits, 16)
    before = picture(
        levels,
        channels,
        has_alpha=has_alpha,
        bits=bits,
        is_float=bits == 32,
        orientation=6,
        icc=ICC,
        exif=exif,
        xmp=XMP,
        dpi=(300.0, 300.0),
        extra={"webp_lossless": True},
    )
    path = write(tmp_path / f"a{suffix(name)}", before)
    assert kind(path) == name
    after = read(path)
    if name in ("bmp", "jxl"):  # no orientation in these
        before = before.upright()
    if channels == 1 and (name == "webp" or (name == "bmp" and has_alpha)):  # no grey in these
        before = replace(before, pixels=before.pixels.repeat(3, axis=2))
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert (after.alpha is None) == (before.alpha is None)
    if after.alpha is not None:
        np.testing.assert_array_equal(after.alpha, before.alpha)
    meta = after.meta
    assert (meta.format, meta.bits, meta.is_float) == (name, bits, bits == 32)
    assert meta.orientation == before.meta.orientation
    assert meta.dpi == pytest.approx((300, 300), abs=0.02)
    assert meta.icc == (None if name == "jxl" else ICC)
    if name == "bmp":
        return
    assert meta.xmp == XMP
    assert (meta.iso, meta.exposure_s, meta.camera) == (800, pytest.approx(0.005), "Maker Model 5")
    if name == "tiff":
        assert tags_of(meta.exif) == tags_of(exif)
        again = read(write(tmp_path / "b.tif", after))
        assert again.meta.exif == meta.exif
    elif name == "jxl":
        assert tags_of(meta.exif, without=(274,)) == tags_of(exif, without=(274,))
        assert len(meta.exif or b"") == len(exif)
    else:
        assert meta.exif == exif


@pytest.mark.parametrize(("name", "channels", "has_alpha"), [("jpeg", 1, False), ("jpeg", 3, False)] + [
    (name, channels, has_alpha) for name in ("webp", "avif") for channels in (1, 3) for has_alpha in (False, True)
])  # fmt: skip
def test_lossy_formats_stay_close_and_keep_all_metadata(tmp_path, name, channels, has_alpha):
    ramp = np.linspace(0.1, 0.9, 64, dtype=np.float32)
    pixels = np.stack([np.add.outer(ramp, ramp * part) / 2 for part in (1, 0.5, 0.2)][:channels], axis=2)
    alpha = np.add.outer(ramp, ramp) / 2 if has_alpha else None
    exif = exif_block()
    before = Image(pixels, alpha, Meta(orientation=6, icc=ICC, exif=exif, xmp=XMP))
    after = read(write(tmp_path / f"a{suffix(name)}", before))
    assert np.abs(after.pixels - before.pixels).mean() < 0.004
    if alpha is not None:
        assert after.alpha is not None
        assert np.abs(after.alpha - alpha).max() < 0.02
    assert (after.meta.icc, after.meta.xmp, after.meta.orientation) == (ICC, XMP, 6)
    if name == "avif":  # its orientation lives outside of EXIF, so Pillow writes the block anew
        assert tags_of(after.meta.exif) == tags_of(exif)
    else:
        assert after.meta.exif == exif


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl"])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("has_exif", [False, True])
def test_all_eight_orientations_show_the_same_picture(tmp_path, name, turn, has_exif):
    pixels = np.zeros((24, 40, 3), np.float32)
    pixels[:12, :20] = (1, 0, 0)
    pixels[:12, 20:] = (0, 1, 0)
    before = Image(pixels, meta=Meta(orientation=turn, exif=exif_block(1) if has_exif else None))
    path = write(tmp_path / f"a{suffix(name)}", before)
    after = read(path)
    expected = before.upright().pixels
    if name not in ("bmp", "jxl"):
        assert after.meta.orientation == turn
    assert after.size == (before.size if name not in ("bmp", "jxl") else before.upright().size)
    corners = (slice(2, None, expected.shape[0] - 5), slice(2, None, expected.shape[1] - 5))
    np.testing.assert_allclose(after.upright().pixels[corners], expected[corners], atol=0.08)
    if name != "jxl":
        with Pillow.open(path) as found:
            shown = np.asarray(ImageOps.exif_transpose(found).convert("RGB")) / 255
        np.testing.assert_allclose(shown[corners], expected[corners], atol=0.08)


def test_a_jpeg_keeps_its_tables_unless_a_quality_is_given(tmp_path):
    pixels = (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "a.jpg", quality=71, subsampling=2, progressive=True)
    image = read(tmp_path / "a.jpg")
    with Pillow.open(tmp_path / "a.jpg") as first, Pillow.open(write(tmp_path / "b.jpg", image)) as same:
        assert same.quantization == first.quantization
        assert same.info["progressive"]
        assert same.layer == first.layer
    with Pillow.open(write(tmp_path / "c.jpg", image, quality=90)) as better:
        assert sum(better.quantization[0]) < sum(first.quantization[0])


def test_cmyk_jpegs_become_srgb_by_profile_or_formula(tmp_path):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0], ink[..., 3] = 255, 51
    Pillow.fromarray(ink, "CMYK").save(tmp_path / "adobe.jpg", quality=100)
    image = read(tmp_path / "adobe.jpg")
    np.testing.assert_allclose(image.pixels[8, 8], (0, 0.8, 0.8), atol=0.01)
    assert "CMYK" in image.meta.extra["dropped"]
    body = (tmp_path / "adobe.jpg").read_bytes()
    at = body.index(b"\xff\xee")
    plain = body[:at] + body[at + 2 + struct.unpack_from(">H", body, at + 2)[0] :]
    (tmp_path / "plain.jpg").write_bytes(plain)
    np.testing.assert_allclose(read(tmp_path / "plain.jpg").pixels[8, 8], (0.2, 0, 0), atol=0.01)


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA", "RGB", "RGBA", "I;16"])
def test_png_kinds_read_as_pillow_reads_them(tmp_path, mode):
    rng = np.random.default_rng(3)
    source = Pillow.fromarray(rng.integers(0, 256, (19, 23, 4)).astype(np.uint8), "RGBA")
    if mode == "I;16":
        source = Pillow.fromarray(rng.integers(0, 65536, (19, 23)).astype(np.uint16))
    elif mode == "P":
        source = source.convert("RGB").quantize(13)
        source.info["transparency"] = 3
    else:
        source = source.convert(mode)
    source.save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    if mode == "I;16":
        np.testing.assert_array_equal(np.rint(image.pixels[..., 0] * 65535), np.asarray(source))
        return
    wanted = np.asarray(source.convert("RGBA")) / np.float32(255)
    colours = wanted[..., :3] if image.pixels.shape[2] == 3 else wanted[..., :1]
    np.testing.assert_array_equal(image.pixels, colours)
    assert (image.alpha is not None) == (mode in ("P", "LA", "RGBA"))
    if image.alpha is not None:
        np.testing.assert_array_equal(image.alpha, wanted[..., 3])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_small_depths_of_grey_png_span_black_to_white(tmp_path, depth):
    count = 8 // depth
    (tmp_path / "a.png").write_bytes(png(count, 1, depth, 0, bytes([0, 0b00011011])))
    bits = [int(f"{0b00011011:08b}"[at : at + depth], 2) / (2**depth - 1) for at in range(0, 8, depth)]
    np.testing.assert_allclose(read(tmp_path / "a.png").pixels.ravel(), bits, atol=1e-6)


def test_a_transparent_key_makes_alpha_in_16_bit_png(tmp_path):
    rows = b"\0" + struct.pack(">6H", 1, 2, 3, 1, 2, 4)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    image = read(tmp_path / "a.png")
    assert image.alpha is not None
    assert image.alpha.ravel().tolist() == [0, 1]
    assert np.rint(image.pixels * 65535).ravel().tolist() == [1, 2, 3, 1, 2, 4]


def test_a_png_written_here_reads_alike_elsewhere(tmp_path, shared):
    image = read(next((shared / "data/test/kodak").glob("*.png")))
    path = write(tmp_path / "a.png", image, bits=16)
    other = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert other.dtype == np.uint16
    np.testing.assert_array_equal(other[..., ::-1], np.rint(image.pixels * 65535))
    with Pillow.open(write(tmp_path / "b.png", image)) as found:
        np.testing.assert_array_equal(np.asarray(found), np.rint(image.pixels * 255))


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
import numpy as np
from restore.files import read
image = read(sys.argv[1])
np.save(sys.argv[2], image.pixels)
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
    samples = (rng.integers(0, 256, (41, 67, channels)) if kind_ == "u1" else rng.random((41, 67, channels)) * 3)
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
