"""Every format keeps pixels, orientation and metadata; what it cannot hold is refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from made import (
    ICC,
    XMP,
    chunk,
    exif_block,
    heic,
    picture,
    png,
    tags_of,
)
from PIL import Image as Pillow
from PIL import ImageOps

from restore.colour import srgb_to_linear
from restore.errors import ResultError, WriteError
from restore.files import ifd, kind, not_kept, read, suffix, write
from restore.files.metadata import meta_from
from restore.picture import Image, Meta, RawImage

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


LOSSY += [(name, channels, alpha) for name in ("webp", "avif") for channels in (1, 3) for alpha in (False, True)]


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


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(1, 1, 3), (9, 1, 3), (1, 9, 3), (9, 1, 1)], ids=str)
def test_png_of_a_pixel_a_row(tmp_path, shape, bits):
    """However it lies in memory: of a cut, or of channels that came first."""
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32) / np.float32(255)
    for number, array in enumerate((pixels, np.asfortranarray(pixels), np.dstack([pixels, pixels])[..., : shape[2]])):
        written = write(tmp_path / f"{number}.png", Image(array), bits=bits)
        assert np.abs(read(written).pixels - pixels).max() < 1e-5


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
    assert image.meta.extra["dropped"] == ("CMYK: converted to sRGB",)
    body = (tmp_path / "adobe.jpg").read_bytes()
    at = body.index(b"\xff\xee")
    plain = body[:at] + body[at + 2 + struct.unpack_from(">H", body, at + 2)[0] :]
    (tmp_path / "plain.jpg").write_bytes(plain)
    np.testing.assert_allclose(read(tmp_path / "plain.jpg").pixels[8, 8], (0.2, 0, 0), atol=0.01)


@pytest.mark.parametrize("name", ["png", "webp", "avif"])
def test_frames_after_the_first_are_said_to_be_dropped(tmp_path, name):
    first, second = Pillow.new("RGB", (16, 16), "red"), Pillow.new("RGB", (16, 16), "blue")
    first.save(tmp_path / f"a.{name}", save_all=True, append_images=[second])
    assert read(tmp_path / f"a.{name}").meta.extra["dropped"] == ("frames after the first",)
    first.save(tmp_path / f"b.{name}")
    assert not read(tmp_path / f"b.{name}").meta.extra.get("dropped")


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


def test_texts_of_a_png_are_kept_as_they_are_and_xmp_once(tmp_path):
    texts = [(b"tEXt", b"Author\0Ada"), (b"zTXt", b"Comment\0\0" + zlib.compress(b"long " * 99))]
    texts.append((b"iTXt", b"Title\0\0\0fr\0Titre\0caf\xc3\xa9"))
    texts.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    (tmp_path / "a.png").write_bytes(png(4, 4, 8, 0, bytes(4 * 5), *(chunk(*text) for text in texts)))
    body = write(tmp_path / "b.png", read(tmp_path / "a.png")).read_bytes()
    assert all(body.count(chunk(*text)) == 1 for text in texts)
    with Pillow.open(tmp_path / "b.png") as found:
        assert (found.text["Author"], found.text["Title"]) == ("Ada", "café")


def test_texts_of_absurd_size_are_left_out_and_that_is_said(tmp_path):
    texts = [chunk(b"tEXt", b"Comment\0" + bytes(1 << 20))] * 17
    (tmp_path / "a.png").write_bytes(png(4, 4, 8, 0, bytes(4 * 5), *texts))
    meta = read(tmp_path / "a.png").meta
    assert meta.extra["png_texts"] == ()
    assert [what for what in meta.extra["dropped"] if "16 MiB" in what]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_small_depths_of_grey_png_span_black_to_white(tmp_path, depth):
    count = 8 // depth
    (tmp_path / "a.png").write_bytes(png(count, 1, depth, 0, bytes([0, 0b00011011])))
    bits = [int(f"{0b00011011:08b}"[at : at + depth], 2) / (2**depth - 1) for at in range(0, 8, depth)]
    np.testing.assert_allclose(read(tmp_path / "a.png").pixels.ravel(), bits, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_makes_alpha_in_png(tmp_path, depth):
    row = bytes([0, 0b10011011, 0b10000000])
    (tmp_path / "a.png").write_bytes(png(16 // depth, 1, depth, 0, row, chunk(b"tRNS", struct.pack(">H", 1))))
    bits = f"{0b1001101110000000:016b}"
    samples = [int(bits[at : at + depth], 2) for at in range(0, 16, depth)]
    alpha = read(tmp_path / "a.png").alpha
    assert alpha is not None
    assert alpha.ravel().tolist() == [float(sample != 1) for sample in samples]


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
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(samples, bitspersample=10, level=100, numthreads=1))
    image = read(tmp_path / "a.avif")
    assert image.meta.bits == 10
    np.testing.assert_allclose(image.pixels * 1023, samples, atol=3)
    assert not_kept(tmp_path / "b.avif", image) == ("10 bits a value: AVIF is written with 8",)
    assert not_kept(tmp_path / "b.png", image) == ()


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
    for name in ("a.jpg", "a.dng"):
        with pytest.raises(WriteError, match="transparency"):
            write(tmp_path / name, picture(256, 3, has_alpha=True))
    with pytest.raises(WriteError, match="65500|cannot hold"):
        write(tmp_path / "a.webp", Image(np.zeros((1, 20_000, 1), np.float32)))
    with pytest.raises(WriteError, match="cannot hold"):
        write(tmp_path / "a.jpg", picture(256, 3, has_alpha=False, xmp=bytes(70_000)))
    alien = ICC.replace(b"s\0R\0G\0B", b"a\0b\0c\0d")
    with pytest.raises(WriteError, match="profile"):
        write(tmp_path / "a.jxl", picture(256, 3, has_alpha=False, icc=alien))
    assert not list(tmp_path.iterdir())


def test_alpha_with_a_hole_is_refused(tmp_path):
    holed = np.full((37, 53), np.nan, np.float32)
    with pytest.raises(ResultError, match="NaN"):
        write(tmp_path / "a.png", replace(picture(256, 3, has_alpha=False), alpha=holed))


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif", "bmp"])
@pytest.mark.parametrize("dpi", [4294967295.0, 1e300, 5e-324])
def test_a_resolution_that_cannot_be_is_left_out(tmp_path, name, dpi):
    one = ifd.Entry(ifd.DOUBLE, struct.pack("<d", dpi))
    unit = ifd.make(ifd.SHORT, 2)
    meta = meta_from(tmp_path / "a", "jpeg", ifd.block({ifd.X_RESOLUTION: one, ifd.Y_RESOLUTION: one, ifd.UNIT: unit}))
    after = read(write(tmp_path / f"a{suffix(name)}", picture(256, 3, has_alpha=False, exif=meta.exif, dpi=meta.dpi)))
    assert after.size == picture(256, 3, has_alpha=False).size


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_a_turned_picture_keeps_its_resolution(tmp_path, name):
    after = read(
        write(tmp_path / f"a{suffix(name)}", picture(256, 3, has_alpha=False, orientation=6, dpi=(300.0, 300.0)))
    )
    assert (after.meta.orientation, after.meta.dpi) == (6, (300.0, 300.0))


def test_a_mosaic_with_a_hole_is_refused(tmp_path):
    mosaic = np.float32([[0, np.nan], [1, 0]])
    with pytest.raises(ResultError, match="NaN or infinite"):
        write(tmp_path / "a.dng", RawImage(mosaic, ((0, 1), (1, 2)), ((0, 0), (0, 0)), 9.0))


def test_a_developed_picture_becomes_a_linear_dng(tmp_path):
    image = picture(256, 3, has_alpha=False, exif=exif_block(), orientation=6)
    again = read(write(tmp_path / "a.dng", image))
    assert isinstance(again, Image)
    np.testing.assert_allclose(srgb_to_linear(again.pixels), srgb_to_linear(image.pixels), atol=4 / 65535)
    assert (again.meta.iso, again.meta.camera, again.meta.orientation) == (800, "Maker Model 5", 6)


def test_a_developed_raw_becomes_a_16_bit_png(tmp_path):
    path = write(tmp_path / "a", picture(256, 3, has_alpha=False, format="raw", bits=14))
    assert path == tmp_path / "a.png"
    assert read(path).meta.bits == 16
