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
from restore.files import Limits, ifd, kind, read, read_stack, suffix, write
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
    numbers = rng.integers(0, levels, (HEIGHT, WIDTH, channels + 1)).astype(np.float32) / np.float32(
        levels - 1
    )
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


LOSSY = [("jpeg", 1, False), ("jpeg", 3, False)]
LOSSY += [
    (name, channels, alpha) for name in ("webp", "avif") for channels in (1, 3) for alpha in (False, True)
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


@pytest.mark.parametrize(("name", "channels", "has_alpha"), LOSSY)
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


def test_a_progressive_jpeg_of_pure_noise_is_written(tmp_path):
    noise = np.random.default_rng(0).random((256, 256, 3), np.float32)
    tables = [[1] * 64, [1] * 64]
    extra = {"jpeg_tables": tables, "jpeg_subsampling": 0, "jpeg_progressive": True}
    path = write(tmp_path / "a.jpg", Image(noise, meta=Meta(format="jpeg", extra=extra)))
    assert np.abs(read(path).pixels - noise).max() < 0.02


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
    samples = (
        rng.integers(0, 256, (41, 67, channels)) if kind_ == "u1" else rng.random((41, 67, channels)) * 3
    )
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


def test_what_needs_an_optional_package_says_which(tmp_path):
    planes = np.zeros((3, 16, 16), "u2")
    tifffile.imwrite(
        tmp_path / "a.tif", planes, compression="lzw", planarconfig="separate", photometric="rgb"
    )
    write(tmp_path / "a.jxl", picture(256, 3, has_alpha=False))
    code = """
    import sys
    sys.modules["imagecodecs"] = sys.modules["pillow_heif"] = None
    from pathlib import Path
    from restore.errors import UnsupportedError
    from restore.files import read
    for name, extra in (("a.tif", "jxl"), ("a.jxl", "jxl"), ("a.heic", "heif")):
        try:
            read(Path(sys.argv[1]) / name)
        except UnsupportedError as error:
            assert f"pip install 'restore[{extra}]'" in str(error), error
        else:
            raise SystemExit(name)
    """
    heic(tmp_path / "a.heic")
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path], check=True, timeout=60)


def heic(path: Path, **options: object) -> np.ndarray:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.linspace(20, 230, 64)
    samples = np.stack([np.add.outer(ramp, ramp * part) / 2 for part in (1, 0.5, 0.2)], axis=2).astype(
        np.uint8
    )
    file = pillow_heif.from_bytes("RGB", (64, 64), samples.tobytes())
    file.save(path, quality=95, chroma=444, **options)
    return samples / 255


def test_heic_is_read_upright_and_becomes_png(tmp_path):
    wanted = heic(tmp_path / "a.heic", exif=exif_block(6))
    assert kind(tmp_path / "a.heic") == "heic"
    image = read(tmp_path / "a.heic")
    assert image.meta.orientation == 1
    assert image.meta.iso == 800
    np.testing.assert_allclose(image.pixels, np.rot90(wanted, -1), atol=0.05)
    path = write(tmp_path / "b", image)
    assert (path.name, kind(path), read(path).meta.bits) == ("b.png", "png", 8)
    with pytest.raises(WriteError, match=r"cannot write files named '\.heic'"):
        write(tmp_path / "b.heic", image)


def test_avif_with_ten_bits_keeps_them(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    samples = (np.arange(64 * 64 * 3).reshape(64, 64, 3) // 12).astype(np.uint16)
    (tmp_path / "a.avif").write_bytes(
        imagecodecs.avif_encode(samples, bitspersample=10, level=100, numthreads=1)
    )
    image = read(tmp_path / "a.avif")
    assert image.meta.bits == 10
    np.testing.assert_allclose(image.pixels * 1023, samples, atol=3)


def test_a_stack_gives_every_page(tmp_path):
    pages = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages[:3]:
            file.write(page, photometric="rgb", contiguous=False)
        file.write(pages[3][:5, :5], photometric="rgb", subfiletype=1)
    found = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal([np.rint(image.pixels * 255) for image in found], pages[:3])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, found[0].pixels)
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


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl"])
def test_every_truncation_is_an_error(tmp_path, name):
    body = write(tmp_path / f"a{suffix(name)}", picture(256, 3, has_alpha=False)).read_bytes()
    # the last byte of a BMP only fills its row up
    for length in sorted({*range(1, 40), *np.linspace(40, len(body) - 2, 60).astype(int).tolist()}):
        (tmp_path / "cut").write_bytes(body[:length])
        with pytest.raises((ReadError, UnsupportedError)):
            read(tmp_path / "cut")


def test_unusable_paths_are_named_with_what_to_do(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(40))
    (tmp_path / "zero.png").write_bytes(png(0, 5, 8, 2, b""))
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom" + bytes(40))
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        "empty.jpg": (ReadError, "empty"),
        "text.png": (ReadError, "not a picture"),
        "folder.jpg": (ReadError, "folder"),
        "link.jpg": (ReadError, "nowhere.jpg, which is not there"),
        "missing.jpg": (ReadError, "no such file"),
        "pipe.png": (ReadError, "not a regular file"),
        "zero.png": (ReadError, "no pixels"),
        "a.gif": (UnsupportedError, "GIF"),
        "film.mp4": (UnsupportedError, "not a still picture"),
    }
    for name, (error, text) in cases.items():
        for door in (read, kind):
            if door is kind and name == "zero.png":
                continue
            with pytest.raises(error, match=text) as caught:
                door(tmp_path / name)
            assert caught.value.path == tmp_path / name
            assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_an_unreadable_file_is_named(tmp_path):
    path = write(tmp_path / "a.png", picture(256, 3, has_alpha=False))
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ReadError, match="ermission"):
            read(path)
    finally:
        os.seteuid(me)


BOMB = 30_000


def bombs() -> dict[str, bytes]:
    """Small files whose headers promise 900 megapixels."""
    packed = zlib.compress(bytes(1 << 20))
    header = struct.pack(">IIBBBBB", BOMB, BOMB, 8, 2, 0, 0, 0)
    jpeg, webp = io.BytesIO(), io.BytesIO()
    Pillow.new("RGB", (16, 16)).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0") + 5
    Pillow.new("RGB", (16, 16)).save(webp, "WEBP", exif=b"II*\0" + bytes(8))
    how = ifd.Layout()
    numbers = {256: BOMB, 257: BOMB, 259: 8, 262: 2, 273: 8, 277: 3, 278: BOMB, 279: 100}
    tags: ifd.Tree = {tag: how.make(ifd.LONG, value) for tag, value in numbers.items()}
    tags[258] = how.make(ifd.SHORT, 8, 8, 8)
    tiff = how.header(108) + bytes(100) + ifd.pack(tags, how, 108)
    side, body = (BOMB - 1), jpeg.getvalue()
    size = 0 | 2 << 1 | side << 3 | 0 << 21 | 2 << 24 | side << 26
    return {
        "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""),
        "jpeg": body[:frame] + struct.pack(">HH", BOMB, BOMB) + body[frame + 4 :],
        "webp": webp.getvalue()[:24] + side.to_bytes(3, "little") * 2 + webp.getvalue()[30:],
        "bmp": struct.pack("<2sIIIIiiHHIIiiII", b"BM", 100, 0, 54, 40, BOMB, BOMB, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(60),
        "tiff": tiff,
        "jxl": b"\xff\x0a" + size.to_bytes(8, "little") + bytes(40),
    }


def test_a_bomb_is_refused_from_its_header(tmp_path):
    for name, body in bombs().items():
        (tmp_path / name).write_bytes(body)
    code = """
    import resource, sys
    from pathlib import Path
    from restore.errors import TooLargeError
    from restore.files import read
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            read(path)
        except TooLargeError as error:
            assert "900 megapixels" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    run = [sys.executable, "-c", textwrap.dedent(code), tmp_path]
    grown = int(subprocess.run(run, check=True, timeout=60, capture_output=True, text=True).stdout)
    assert grown < 100_000, f"{grown} KiB"


def test_limits_are_the_callers_and_not_the_decoders(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", picture(256, 3, has_alpha=False))
    with pytest.raises(TooLargeError, match="max_pixels"):
        read(path, limits=Limits(max_pixels=HEIGHT * WIDTH - 1))
    with pytest.raises(TooLargeError, match="max_bytes"):
        read(path, limits=Limits(max_bytes=100))
    large = Image(np.zeros((1000, 3000, 3), np.float32))
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 500_000)
    for name in ("jpeg", "png", "tiff", "webp", "avif", "bmp"):
        assert read(write(tmp_path / f"b{suffix(name)}", large)).size == (1000, 3000)


MEMORY = """
import resource, sys
from pathlib import Path
from restore.files import read, write
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = peak()
image = read(sys.argv[1])
print(peak() - start)
write(sys.argv[2], image)
print(peak() - start)
"""


@pytest.mark.slow
def test_a_hundred_megapixels_need_one_byte_copy_beside_the_floats(tmp_path):
    # one strip for the whole picture: the worst case
    tifffile.imwrite(
        tmp_path / "a.tif", shape=(10_000, 10_000, 3), dtype="u1", photometric="rgb", rowsperstrip=10_000
    )
    run = [sys.executable, "-c", MEMORY, tmp_path / "a.tif", tmp_path / "b.tif"]
    found = subprocess.run(run, check=True, timeout=300, capture_output=True, text=True).stdout
    reading, both = map(float, found.split())
    floats, mapped = 1200 / 1.048576, 300 / 1.048576
    assert reading < floats + mapped + 60
    assert both < floats + mapped + 60
    assert kind(tmp_path / "b.tif") == "tiff"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {}, "cannot write files named '.gif'"),
        ("a.png", {"format": "heic"}, "cannot write the format"),
        ("a.jpg", {"bits": 16}, "cannot be written with 16 bits; choose 8"),
        ("a.png", {"bits": 32}, "choose 8 or 16"),
        ("a.jpg", {"quality": 0}, "outside 1...100"),
        ("none/a.png", {}, "cannot write into this folder"),
    ],
)
def test_impossible_writes_say_what_is_possible(tmp_path, name, options, message):
    with pytest.raises(WriteError, match=message):
        write(tmp_path / name, picture(256, 3, has_alpha=False), **options)
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(WriteError, match="transparency"):
        write(tmp_path / "a.jpg", picture(256, 3, has_alpha=True))
    with pytest.raises(WriteError, match="65500|cannot hold"):
        write(tmp_path / "a.webp", Image(np.zeros((1, 20_000, 1), np.float32)))
    with pytest.raises(WriteError, match="cannot hold"):
        write(tmp_path / "a.jpg", picture(256, 3, has_alpha=False, xmp=bytes(70_000)))
    alien = ICC.replace(b"s\0R\0G\0B", b"a\0b\0c\0d")
    with pytest.raises(WriteError, match="profile"):
        write(tmp_path / "a.jxl", picture(256, 3, has_alpha=False, icc=alien))
    assert not list(tmp_path.iterdir())


def test_a_developed_raw_becomes_a_16_bit_png(tmp_path):
    path = write(tmp_path / "a", picture(256, 3, has_alpha=False, format="raw", bits=14))
    assert path == tmp_path / "a.png"
    assert read(path).meta.bits == 16


def test_raw_containers_are_told_from_tiff_by_content(shared):
    names = {path.name: kind(path) for path in (shared / "data/raw").iterdir() if path.suffix != ".raw"}
    assert len(names) >= 5
    assert set(names.values()) == {"raw"}


def test_floats_are_written_unclipped(tmp_path):
    pixels = np.array([[[-0.5, 0.25, 7.0]]], np.float32)
    np.testing.assert_array_equal(read(write(tmp_path / "a.tif", Image(pixels), bits=32)).pixels, pixels)
    np.testing.assert_allclose(read(write(tmp_path / "b.tif", Image(pixels))).pixels, [[[0, 64 / 255, 1]]])


def test_mutated_files_never_leak_a_librarys_exception(tmp_path):
    rng, found = random.Random(5), {"read": 0, "refused": 0}
    image = picture(256, 3, has_alpha=False, orientation=6, icc=ICC, exif=exif_block(), xmp=XMP)
    sources = [
        write(tmp_path / f"a{suffix(name)}", image)
        for name in ("jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl")
    ]
    heic(tmp_path / "a.heic")
    samples = np.rint(image.pixels * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="rgb", compression="lzw", tile=(16, 16))
    for body in [path.read_bytes() for path in (*sources, tmp_path / "a.heic", tmp_path / "b.tif")]:
        for _ in range(70):
            mutant = bytearray(body)
            for _ in range(rng.randint(1, 5)):
                reach = len(mutant) if rng.random() < 0.5 else min(400, len(mutant))
                mutant[rng.randrange(reach)] = rng.choice((0, 255, rng.randrange(256)))
            if rng.random() < 0.3:
                del mutant[rng.randrange(len(mutant)) :]
            (tmp_path / "mutant").write_bytes(mutant)
            try:
                read(tmp_path / "mutant", limits=Limits(max_pixels=4_000_000))
                found["read"] += 1
            except FileError as error:
                found["refused"] += error.path == tmp_path / "mutant"
    assert found["refused"] > 100
    assert found["read"] > 50
