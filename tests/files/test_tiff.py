"""TIFF of every layout is read exactly, with and without the optional package."""

from __future__ import annotations

import subprocess
import sys

import cv2
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
    WriteError,
)
from restore.files import Limits, kind, not_kept, read, read_stack, write
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
import cv2
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
    for most in (599, 18):  # of one page; of all pages, a hundredth of what they have
        with pytest.raises(TooLargeError):
            read_stack(tmp_path / "a.tif", limits=Limits(max_pixels=most))
    assert len(read_stack(tmp_path / "a.tif", limits=Limits(max_pixels=600))) == 3
    tifffile.imwrite(tmp_path / "lzw.tif", pages, photometric="rgb", compression="lzw")
    with pytest.raises(TooLargeError):
        read_stack(tmp_path / "lzw.tif", limits=Limits(max_pixels=1000))
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


@pytest.mark.parametrize("step", [1, 256])
def test_palettes_of_8_bits_as_old_programs_stored_them(tmp_path, step):
    table = np.random.default_rng(1).integers(0, 256, (3, 256)).astype(np.uint16)
    table[0, :2] = 0, 255
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="palette", colormap=table * np.uint16(step))
    found = read(tmp_path / "a.tif")
    np.testing.assert_allclose(found.pixels, np.moveaxis(table[:, numbers], 0, 2) / 255, atol=1e-6)
    assert found.meta.bits == 8


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


def test_samples_that_cannot_be_read_are_named_with_what_to_convert_them_to(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 16), "c8"), photometric="minisblack")
    with pytest.raises(UnsupportedError, match=r"TIFF of 64-bit complex floats.* 32-bit floats, or"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind_", "words"),
    [("i1", "8-bit signed integers"), ("i2", "16-bit signed integers"), ("i4", "32-bit signed integers"),
     ("u4", "32-bit unsigned integers")],
)  # fmt: skip
def test_integers_without_a_white_become_floats_and_that_is_said(tmp_path, kind_, words, order):
    values = np.arange(9 * 16).reshape(9, 16).astype(kind_) - (kind_[0] == "i") * 70
    tifffile.imwrite(tmp_path / "a.tif", values.astype(kind_), photometric="minisblack", byteorder=order)
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[..., 0], values)
    assert not_kept(tmp_path / "b.tif", image) == (f"{words}: written as 32-bit floats",)
    written = tifffile.imread(write(tmp_path / "b.tif", image))
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, values)


@pytest.mark.parametrize("options", [{"photometric": "miniswhite"}, {"extrasamples": ["unassalpha"]}])
def test_signed_integers_with_a_white_of_their_own_are_refused(tmp_path, options):
    shape = (9, 16, 2) if "extrasamples" in options else (9, 16)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.int8), **{"photometric": "minisblack"} | options)
    with pytest.raises(UnsupportedError, match="TIFF of 8-bit signed integers, which cannot be read"):
        read(tmp_path / "a.tif")


def test_a_second_channel_of_grey_that_is_no_transparency_is_not_taken_for_it(tmp_path):
    options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 16, 2), np.uint8), **options)
    with pytest.raises(UnsupportedError, match=r"not marked as transparency .*one file a channel"):
        read(tmp_path / "a.tif")
    cv2.imwrite(str(tmp_path / "b.tif"), np.zeros((9, 16, 4), np.uint8))  # without the tag, as by many programs
    assert read(tmp_path / "b.tif").alpha is not None


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("kind_", "compression"), [(np.uint8, None), (np.uint16, "lzw"), (np.uint8, "deflate")])
def test_a_channel_beside_the_colours_stays_as_it_is_in_a_tiff(tmp_path, kind_, compression, planar):
    samples = np.random.default_rng(4).integers(0, np.iinfo(kind_).max, (9, 16, 4)).astype(kind_)
    stored = samples if planar == "contig" else np.moveaxis(samples, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planar, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", stored, extrasamples=["unspecified"], **options)
    image = read(tmp_path / "a.tif")
    write(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].extrasamples == (0,)
        np.testing.assert_array_equal(file.pages[0].asarray(), samples)
    for other in ("b.png", "b.jpg"):
        with pytest.raises(WriteError, match=r"no transparency.*choose TIFF"):
            write(tmp_path / other, image)
        assert not (tmp_path / other).exists()


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("is_inside", [False, True])
def test_the_picture_is_read_where_its_thumbnail_comes_first(tmp_path, is_inside, compression):
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    options = {"photometric": "rgb", "compression": compression}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels[:5, :5], subfiletype=1, subifds=int(is_inside), **options)
        file.write(pixels, **options)
    found = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(found.pixels * 255), pixels)
    assert [image.size for image in read_stack(tmp_path / "a.tif")] == [(20, 30)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_what_imagej_and_photoshop_say_is_kept_but_for_thumbnail_and_layers(tmp_path, order, compression):
    iptc, old = b"8BIM\4\4\0\0\0\0\0\2ab", b"8BIM\4\x0c\0\0\0\0\0\4jpeg"
    said = {"Info": "a cell", "ROI": bytes(range(256)) * 300, "LUTs": [np.arange(768, dtype=np.uint8).reshape(3, 256)]}
    tags = [
        *tifffile.imagej_metadata_tag(said, order),
        (34377, 1, None, iptc + old, True),
        (37724, 7, None, b"8B", True),
    ]
    tags.append((65000, 1, None, bytes(70_000), True))
    samples = np.zeros((9, 16), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", samples, byteorder=order, extratags=tags, compression=compression, metadata=None
    )
    image = read(tmp_path / "a.tif")
    assert image.meta.extra["dropped"] == ("Photoshop's layers",)
    with tifffile.TiffFile(write(tmp_path / "b.tif", image)) as file:
        found = file.pages[0].tags
        kept = found[50839].value
        luts = kept.pop("LUTs")
        assert found[34377].value == iptc
        assert found[65000].value == bytes(70_000)
        assert 37724 not in found
    assert kept == {name: said[name] for name in ("Info", "ROI")}
    np.testing.assert_array_equal(luts, said["LUTs"][0])
    assert (read(write(tmp_path / "c.jpg", image)).meta.exif or b"").find(b"a cell") < 0


def test_tags_of_absurd_size_are_left_out_and_that_is_said(tmp_path):
    tags = [(65000 + at, 1, None, bytes(22 << 20), True) for at in range(3)]
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 16), np.uint8), extratags=tags)
    meta = read(tmp_path / "a.tif").meta
    assert (meta.extra["tiff_tags"], meta.extra["dropped"]) == ({}, ("tags of more than 64 MiB",))


@pytest.mark.parametrize("subfile", [0, 1])
def test_pages_that_run_in_a_circle_end(tmp_path, subfile):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 16), np.uint8), subfiletype=subfile)
    body = bytearray((tmp_path / "a.tif").read_bytes())
    first = int.from_bytes(body[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(body[first : first + 2], "little")
    body[after : after + 4] = body[4:8]
    (tmp_path / "a.tif").write_bytes(body)
    assert read(tmp_path / "a.tif").size == (9, 16)
    assert len(read_stack(tmp_path / "a.tif")) == 1


def test_channels_in_no_known_order_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 16, 3), np.uint8), photometric="rgb")
    body = (tmp_path / "a.tif").read_bytes()
    planar = (284).to_bytes(2, "little") + b"\3\0\1\0\0\0"
    assert planar + b"\1\0" in body
    (tmp_path / "a.tif").write_bytes(body.replace(planar + b"\1\0", planar + b"\1\4"))
    with pytest.raises(ReadError, match="planar configuration 1025"):
        read(tmp_path / "a.tif")


def test_copies_of_a_pyramid_that_are_not_kept_are_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(np.zeros((64, 64), np.uint8), subifds=1, photometric="minisblack")
        file.write(np.zeros((32, 32), np.uint8), subfiletype=1, photometric="minisblack")
    (said,) = not_kept(tmp_path / "b.tif", read(tmp_path / "a.ome.tif"))
    assert "a pyramid's" in said
