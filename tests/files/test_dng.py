import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from restore.colour import srgb_to_linear
from restore.errors import WriteError
from restore.files import ifd, write
from restore.files.dng import PREVIEW_SIDE, write_dng, write_linear_dng
from restore.files.levels import SensorRecord, scaled, sensor_values
from restore.files.metadata import exif_tree
from restore.files.sensor import read_raw
from restore.picture import Image, Meta, RawImage

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
BAYER = ("canon_bayer14_ob_colorchart.dng", "kodak_dc50.kdc", "nikon_dsc1339_rggb_crop.dng")
MOSAICS = (*BAYER, "simulated_xtrans_kodim05.dng")
PHASES = [((0, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 2), (0, 1)), ((2, 1), (1, 0))]
XTRANS = tuple(tuple(map(int, row)) for row in ["102120", "211011", "011211", "120102", "011211", "211011"])
MATRIX = np.float32([[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]])


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no shared data: {name}")
    return path


def what_libraw_says(path):
    """Everything that must survive a rewrite, as LibRaw reads it."""
    with rawpy.imread(str(path)) as raw:
        other = raw.other
        facts = {
            "levels": (raw.black_level_per_channel, raw.white_level),
            "pattern": raw.raw_pattern.tolist(),
            "sizes": raw.sizes,
            "shot": (
                other.iso_speed,
                other.shutter_speed,
                other.aperture,
                other.focal_length,
                other.timestamp,
            ),
            "lens": raw.lens,
        }
        colours = [*raw.camera_whitebalance[:3], *raw.daylight_whitebalance[:3]]
        return raw.raw_image.copy(), facts, colours, raw.color_matrix.copy()


def synthetic(cfa, size, margins, seed=0, **fields):
    """Raw image with its record: sensor with a masked border around the visible area, black per site."""
    rng = np.random.default_rng(seed)
    (top, bottom, left, right), (height, width) = margins, size
    values = rng.integers(0, 1024, (height + top + bottom, width + left + right), np.uint16)
    visible = values[top : top + height, left : left + width]
    black = tuple(tuple(float(60 + 6 * row + column) for column in range(len(cfa))) for row in range(len(cfa)))
    gains = (2.1, 1.0, 1.45)
    record = SensorRecord(values, top, left, size, cfa, black, 1000.0, gains, (1.9, 1.0, 1.6))
    meta = Meta(camera="Maker Model 1", iso=3200, exposure_s=1 / 125, orientation=6, extra={"sensor": record})
    mosaic = scaled(visible, black, 1000.0)
    return RawImage(mosaic, cfa, black, 1000.0, gains, MATRIX, meta=replace(meta, **fields))


@pytest.mark.parametrize("name", MOSAICS)
def test_an_unchanged_mosaic_reads_back_the_same(name, tmp_path):
    source = shared(f"raw/{name}")
    raw = read_raw(source)
    write_dng(tmp_path / "out.dng", raw)
    before, after = what_libraw_says(source), what_libraw_says(tmp_path / "out.dng")
    np.testing.assert_array_equal(after[0], before[0])
    assert after[1] == before[1]
    assert after[2] == pytest.approx(before[2], abs=1e-4)
    again = read_raw(tmp_path / "out.dng")
    np.testing.assert_array_equal(again.mosaic, raw.mosaic)
    np.testing.assert_allclose(again.camera_to_srgb, raw.camera_to_srgb, atol=2e-4)
    assert (again.cfa, again.black, again.white) == (raw.cfa, raw.black, raw.white)
    assert again.white_balance == pytest.approx(raw.white_balance, rel=1e-6)
    for field in ("iso", "exposure_s", "camera", "orientation", "xmp"):
        assert getattr(again.meta, field) == getattr(raw.meta, field), field
    if before[3].any():
        np.testing.assert_array_equal(after[3], before[3])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([*PHASES, XTRANS]),
    st.tuples(st.integers(22, 30), st.integers(22, 30)),
    st.tuples(*[st.integers(0, 7)] * 4),
    st.integers(0, 99),
)
def test_any_phase_size_and_margin_reads_back_the_same(tmp_path_factory, cfa, size, margins, seed):
    path = tmp_path_factory.mktemp("dng") / "out.dng"
    raw = synthetic(cfa, size, margins, seed)
    write_dng(path, raw)
    with rawpy.imread(str(path)) as libraw:
        odd = (margins[0] % 2, margins[2] % 2) if len(cfa) == 2 else (0, 0)
        np.testing.assert_array_equal(libraw.raw_image, raw.meta.extra["sensor"].values[odd[0] :, odd[1] :])
        np.testing.assert_array_equal(libraw.raw_image_visible, sensor_values(raw))
    again = read_raw(path)
    assert (again.size, again.cfa, again.black, again.white) == (raw.size, raw.cfa, raw.black, raw.white)
    np.testing.assert_array_equal(again.mosaic, raw.mosaic)
    np.testing.assert_allclose(again.camera_to_srgb, MATRIX, atol=1e-4)
    assert again.white_balance == pytest.approx(raw.white_balance, rel=1e-5)
    assert (again.meta.iso, again.meta.orientation, again.meta.camera) == (3200, 6, "Maker Model 1")
    assert again.meta.exposure_s == pytest.approx(1 / 125)


@pytest.mark.parametrize("margins", [(1, 0, 0, 0), (0, 0, 3, 0), (3, 1, 1, 0)])
@pytest.mark.parametrize("cfa", PHASES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_dng_with_odd_margins_keeps_colour_and_black_of_each_site(cfa, margins, order, tmp_path):
    """LibRaw cuts off a visible row or column then; what is left must stay in phase, levels too."""
    raw = synthetic(cfa, (30, 32), margins)
    again = read_raw(with_active_area(tmp_path, raw.meta.extra["sensor"].values, raw, margins, order))
    shift = (margins[0] % 2, margins[2] % 2)
    np.testing.assert_array_equal(again.mosaic, raw.mosaic[shift[0] :, shift[1] :])
    assert np.array_equal(again.cfa, np.roll(cfa, (-shift[0], -shift[1]), (0, 1)))
    assert np.array_equal(again.black, np.roll(raw.black, (-shift[0], -shift[1]), (0, 1)))
    write_dng(tmp_path / "again.dng", again)
    np.testing.assert_array_equal(read_raw(tmp_path / "again.dng").mosaic, again.mosaic)


def with_active_area(folder, values, raw, margins, order):
    """Write a DNG as other programs do: an odd active area, pattern and levels counted from it."""
    (top, _, left, _), (height, width) = margins, raw.size
    codes = [colour for row in raw.cfa for colour in row]
    black = [round(level) for row in raw.black for level in row]
    tags = [
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes(codes), True),
        (50706, 1, 4, (1, 4, 0, 0), True),
        (50713, 3, 2, (2, 2), True),
        (50714, 4, 4, black, True),
        (50717, 4, 1, round(raw.white), True),
        (50721, 10, 9, [number for value in np.eye(3).ravel() for number in (int(value), 1)], True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50829, 4, 4, (top, left, top + height, left + width), True),
    ]
    tifffile.imwrite(folder / "odd.dng", values, photometric="cfa", metadata=None, byteorder=order, extratags=tags)
    return folder / "odd.dng"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation(orientation, tmp_path):
    write_dng(tmp_path / "a.dng", synthetic(PHASES[1], (30, 40), (0, 0, 0, 0), orientation=orientation))
    assert read_raw(tmp_path / "a.dng").meta.orientation == orientation


def test_a_changed_mosaic_keeps_border_and_saturation_and_is_rounded(tmp_path):
    raw = synthetic(PHASES[3], (40, 40), (3, 1, 5, 2))
    record = raw.meta.extra["sensor"]
    darker = replace(raw, mosaic=raw.mosaic * np.float32(0.5) - np.float32(0.01))
    write_dng(tmp_path / "a.dng", darker)
    with rawpy.imread(str(tmp_path / "a.dng")) as libraw:
        values, visible = libraw.raw_image.copy(), libraw.raw_image_visible.copy()
    before = record.values[3:43, 5:45]
    saturated = before >= 1000
    assert saturated.any()
    np.testing.assert_array_equal(visible[saturated], before[saturated])
    black = np.tile(np.array(raw.black), (20, 20))
    exact = (before - black) * 0.5 - 0.01 * (1000 - black) + black
    assert abs(visible - exact)[~saturated].max() <= 0.502
    assert (visible < black).any()
    border = record.values.copy()
    border[3:43, 5:45] = visible
    np.testing.assert_array_equal(values, border[1:, 1:])
    assert 50935 not in raw_ifd(tmp_path / "a.dng")  # nobody said that it was denoised


@pytest.mark.parametrize("pairs", [((1e-4, 2e-6),), ((1e-4, 2e-6), (2e-4, 3e-6), (4e-4, 5e-6))])
def test_noise_profile_is_read_kept_and_made_anew_when_a_pixel_changes(pairs, tmp_path):
    raw = synthetic(PHASES[0], (40, 40), (0, 0, 0, 0))
    record = raw.meta.extra["sensor"]
    profile = ifd.make(ifd.DOUBLE, *(value for pair in pairs for value in pair))
    extra = {"sensor": replace(record, raw_tags={ifd.DNG_VERSION: ifd.make(ifd.BYTE, 1, 4, 0, 0), 51041: profile})}
    raw = replace(raw, meta=replace(raw.meta, extra=extra))
    write_dng(tmp_path / "same.dng", raw)
    assert 50935 not in raw_ifd(tmp_path / "same.dng")
    assert read_raw(tmp_path / "same.dng").meta.extra["noise_profile"] == pairs
    darker = replace(raw, mosaic=raw.mosaic * np.float32(0.5))
    write_dng(tmp_path / "unknown.dng", darker)
    assert "noise_profile" not in read_raw(tmp_path / "unknown.dng").meta.extra
    half = tuple((gain / 2, square / 2) for gain, square in pairs)
    known = replace(darker, meta=replace(raw.meta, extra={**extra, "noise_profile": half, "denoised": 0.75}))
    write_dng(tmp_path / "known.dng", known)
    assert raw_ifd(tmp_path / "known.dng")[50935] == ifd.rational(0.75)
    again = read_raw(tmp_path / "known.dng")
    step = 1 / (1000 - np.mean(raw.black))
    np.testing.assert_allclose(again.meta.extra["noise_profile"], np.array(half) + [0, step**2 / 12])
    more = replace(again, mosaic=again.mosaic * np.float32(0.5))
    write_dng(tmp_path / "noisy.dng", more)
    assert not {50935, 51041} & raw_ifd(tmp_path / "noisy.dng").keys()
    more = replace(more, meta=replace(again.meta, extra={**again.meta.extra, "denoised": 0.2}))
    write_dng(tmp_path / "twice.dng", more)
    assert raw_ifd(tmp_path / "twice.dng")[50935] == ifd.rational(0.8)


def raw_ifd(path):
    return [*ifd.directories(path.read_bytes())][-1]


def test_a_source_dngs_tags_are_copied_byte_for_byte(tmp_path):
    source = shared("raw/canon_bayer14_ob_colorchart.dng")
    write_dng(tmp_path / "a.dng", read_raw(source))
    before, *_ = ifd.directories(source.read_bytes())
    first, below = ifd.directories((tmp_path / "a.dng").read_bytes())
    assert {code for code in first if code >= 50706} == {
        50706, 50707, 50708, 50721, 50727, 50728, 50730, 50731, 50732, 50734, 50970,
    }  # fmt: skip
    for code in (271, 272, 50708, 50721, 50727, 50728, 50731, 50732, 50734):
        assert first[code] == before[code], code
    for code in (33421, 33422, 50714, 50717, 50719, 50720, 50829):
        assert below[code] == before[code], code


def test_changed_levels_and_white_balance_are_written(tmp_path):
    raw = read_raw(shared("raw/canon_bayer14_ob_colorchart.dng"))
    black = ((2048.0, 2049.0), (2050.0, 2047.5))
    record = raw.meta.extra["sensor"]
    visible = record.values[record.top :, record.left :][: raw.size[0], : raw.size[1]]
    mosaic = scaled(visible, black, 14000.0)
    write_dng(
        tmp_path / "a.dng",
        replace(raw, mosaic=mosaic, black=black, white=14000.0, white_balance=(2.0, 1.0, 1.5)),
    )
    again = read_raw(tmp_path / "a.dng")
    assert again.white == 14000
    assert np.abs(np.array(again.black) - black).max() <= 0.5
    assert again.white_balance == pytest.approx((2.0, 1.0, 1.5), rel=1e-6)
    np.testing.assert_array_equal(again.meta.extra["sensor"].values, record.values)


def test_a_cropped_mosaic_is_written_without_the_border(tmp_path):
    raw = read_raw(shared("raw/nikon_dsc1339_rggb_crop.dng"))
    write_dng(tmp_path / "a.dng", replace(raw, mosaic=raw.mosaic[10:300, 20:401]))
    again = read_raw(tmp_path / "a.dng")
    np.testing.assert_array_equal(again.mosaic, raw.mosaic[10:300, 20:401])
    np.testing.assert_array_equal(again.camera_to_srgb, raw.camera_to_srgb)


def test_exif_and_gps_survive(tmp_path):
    about = {271: ifd.ascii_text("Maker"), 272: ifd.ascii_text("Model 1"), 33432: ifd.ascii_text("me")}
    photo = {
        33434: ifd.Entry(ifd.RATIONAL, b"\x01\0\0\0\x3c\0\0\0"),
        34855: ifd.make(ifd.SHORT, 800),
        42034: ifd.rational(24, 105, 4, 4),
        42036: ifd.ascii_text("EF24-105mm f/4L IS USM"),
    }
    gps = {1: ifd.ascii_text("N"), 2: ifd.rational(52, 31, 12.5), 3: ifd.ascii_text("E")}
    block = ifd.block({**about, ifd.EXIF: photo, ifd.GPS: gps})
    raw = synthetic(PHASES[2], (64, 48), (1, 0, 1, 0), exif=block, iso=800, exposure_s=1 / 60)
    write_dng(tmp_path / "a.dng", raw)
    meta = read_raw(tmp_path / "a.dng").meta
    kept, _ = exif_tree(meta.exif)
    assert {code: kept[code] for code in about} == about
    assert {code: kept[ifd.EXIF][code] for code in photo} == photo
    assert kept[ifd.GPS] == gps
    assert (meta.iso, meta.exposure_s, meta.camera) == (800, 1 / 60, "Maker Model 1")
    with Pillow.open(tmp_path / "a.dng") as pillow:
        assert pillow.getexif().get_ifd(0x8769)[42036] == "EF24-105mm f/4L IS USM"
        assert pillow.getexif().get_ifd(0x8825)[2] == (52.0, 31.0, 12.5)
    with rawpy.imread(str(tmp_path / "a.dng")) as libraw:
        assert libraw.lens.model == "EF24-105mm f/4L IS USM"
        assert (libraw.lens.min_focal, libraw.lens.max_focal) == (24, 105)


@pytest.mark.parametrize("given_preview", [True, False])
def test_the_preview_is_fresh(given_preview, tmp_path):
    raw = read_raw(shared("raw/nikon_dsc1339_rggb_crop.dng"))
    red = Image(np.broadcast_to(np.float32([1, 0, 0]), (*raw.size, 3)))
    write_dng(tmp_path / "a.dng", raw, preview=red if given_preview else None)
    with rawpy.imread(str(tmp_path / "a.dng")) as libraw:
        thumb = libraw.extract_thumb()
        assert thumb.format == rawpy.ThumbFormat.JPEG
        seen = np.asarray(Pillow.open(io.BytesIO(thumb.data)), np.float32)
        half = libraw.postprocess(half_size=True, use_camera_wb=True, no_auto_bright=True, gamma=(2.4, 12.92))
    assert max(seen.shape) <= PREVIEW_SIDE
    if given_preview:
        np.testing.assert_allclose(seen.mean((0, 1)), [254, 0, 0], atol=2)
    else:
        assert seen.shape == half.shape
        assert abs(seen - half).mean() < 4
        assert seen.mean((0, 1)) == pytest.approx(half.mean((0, 1)), abs=1)


def test_structure_is_plain_tiff_and_claims_no_noise_reduction(tmp_path):
    write_dng(tmp_path / "a.dng", synthetic(XTRANS, (50, 70), (2, 2, 3, 3)))
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        (page,) = tiff.pages
        (mosaic,) = page.pages
        assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
        assert mosaic.photometric == tifffile.PHOTOMETRIC.CFA
        assert mosaic.tags["CFARepeatPatternDim"].value == (6, 6)
        assert not [tag for tag in mosaic.tags if tag.name.startswith("Tile")]
        assert page.tags["CalibrationIlluminant1"].value == 21
        assert mosaic.asarray().shape == (54, 76)
        assert 50935 not in mosaic.tags


def test_an_unwritable_place_is_named_and_nothing_is_left(tmp_path):
    raw = synthetic(PHASES[0], (30, 40), (0, 0, 0, 0))
    with pytest.raises(WriteError, match="gone"):
        write_dng(tmp_path / "gone" / "a.dng", raw)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_as_linear_dng_reads_back(channels, tmp_path):
    pixels = np.random.default_rng(5).random((40, 60, channels), np.float32)
    write_linear_dng(tmp_path / "a.dng", Image(pixels, meta=Meta(orientation=8, iso=400)))
    again = read_raw(tmp_path / "a.dng")
    assert isinstance(again, Image)
    assert (again.meta.orientation, again.meta.iso) == (8, 400)
    assert again.pixels.shape == pixels.shape
    np.testing.assert_allclose(srgb_to_linear(again.pixels), srgb_to_linear(pixels), atol=4 / 65535)


def test_a_dng_has_16_bits(tmp_path):
    raw = synthetic(PHASES[0], (30, 40), (0, 0, 0, 0))
    with pytest.raises(WriteError, match="dng cannot be written with 8 bits; choose 16"):
        write(tmp_path / "a.dng", raw, bits=8)
    assert not [*tmp_path.iterdir()]
    assert write(tmp_path / "a.dng", raw, bits=16).exists()
