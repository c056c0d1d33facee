"""Raw files made tag by tag: what a DNG says of its levels and place is what counts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made import dng

from restore.colour import srgb_to_linear
from restore.errors import ReadError
from restore.files import ifd, not_kept, read, write
from restore.files.dng import write_dng
from restore.files.ifd import make, rational
from restore.files.levels import sensor_values, white_level
from restore.files.metadata import exif_tree
from restore.files.sensor import read_raw
from restore.raw.develop import develop


def rewritten(raw, folder):
    write_dng(folder / "again.dng", raw)
    return read_raw(folder / "again.dng")


@pytest.mark.parametrize("tags", [{ifd.MAKE: ifd.ascii_text("NIKON")}, {50734: rational(0.8)}])
def test_white_is_what_the_dng_says(tags, tmp_path):
    assert read_raw(dng(tmp_path / "a.dng", tags)).white == 15000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read(orientation, tmp_path):
    raw = read_raw(dng(tmp_path / "a.dng", {ifd.ORIENTATION: make(ifd.SHORT, orientation)}))
    assert raw.meta.orientation == orientation
    assert rewritten(raw, tmp_path).meta.orientation == orientation


def test_black_is_a_fraction_where_the_dng_says_so(tmp_path):
    levels = {ifd.BLACK_REPEAT: make(ifd.SHORT, 2, 2), ifd.BLACK: rational(600.75, 601.5, 602.25, 600.5)}
    raw = read_raw(dng(tmp_path / "a.dng", levels))
    assert raw.black == ((600.75, 601.5), (602.25, 600.5))
    again = rewritten(raw, tmp_path)
    np.testing.assert_array_equal(again.mosaic, raw.mosaic)


def test_each_site_gets_the_mean_of_a_larger_table_of_black(tmp_path):
    table = np.arange(600, 616).reshape(4, 4)
    levels = {ifd.BLACK_REPEAT: make(ifd.SHORT, 4, 4), ifd.BLACK: make(ifd.SHORT, *table.ravel())}
    raw = read_raw(dng(tmp_path / "a.dng", levels))
    expected = [[table[row::2, column::2].mean() for column in (0, 1)] for row in (0, 1)]
    np.testing.assert_array_equal(raw.black, expected)
    np.testing.assert_array_equal(rewritten(raw, tmp_path).mosaic, raw.mosaic)


ROWS, COLUMNS = np.random.default_rng(9).integers(-90, 200, 40) / 8, np.random.default_rng(8).integers(-90, 90, 60) / 4
ODD = {ifd.ACTIVE_AREA: make(ifd.LONG, 3, 5, 39, 60)}  # LibRaw makes it begin at 4, 6


@pytest.mark.parametrize("tags", [{}, ODD, {ifd.BLACK: make(ifd.SHORT, 0)}])
@pytest.mark.parametrize("which", [(50715, 50716), (50715,), (50716,)])
def test_rows_and_columns_have_a_black_level_of_their_own(tags, which, tmp_path):
    top, left = 3 * (tags is ODD), 5 * (tags is ODD)
    rows, columns = ROWS * (50716 in which), COLUMNS * (50715 in which)
    black = (0 if ifd.BLACK in tags else 600) + rows[:, None] + columns
    light = np.linspace(0.01, 0.99, 2400).reshape(40, 60)
    values = np.rint(black + light * (15000 - black)).astype(np.uint16)
    values[5, 7] = 15000
    offsets = {
        50715: rational(*columns[left:], signed=True),
        50716: rational(*rows[top : 39 if top else 40], signed=True),
    }
    path = dng(tmp_path / "a.dng", tags | {tag: offsets[tag] for tag in which}, values)
    raw = read_raw(path)
    np.testing.assert_array_equal(read(path).mosaic, raw.mosaic)
    np.testing.assert_array_equal(sensor_values(raw), values[top + top % 2 : 40 - top % 2, left + left % 2 :])
    expected = ((values - black) / (15000 - black))[top + top % 2 : 40 - top % 2, left + left % 2 :]
    np.testing.assert_allclose(raw.mosaic, expected, atol=1e-6)
    assert raw.mosaic.max() == 1
    np.testing.assert_array_equal(rewritten(raw, tmp_path).mosaic, raw.mosaic)
    changed = replace(raw, black=((601.0, 602.0), (603.0, 604.0)), white=14000.0)
    np.testing.assert_allclose(rewritten(changed, tmp_path).mosaic.clip(max=1), raw.mosaic, atol=6e-5)


def test_black_that_is_measured_at_the_mask_holds_the_mean_of_rows(tmp_path):
    black = 640 + ROWS - ROWS.mean()
    values = np.rint(np.broadcast_to(black[:, None] + 1000, (40, 60))).astype(np.uint16)
    values[:, :8] = 640
    tags = {ifd.ACTIVE_AREA: make(ifd.LONG, 0, 8, 40, 60), 50830: make(ifd.LONG, 0, 0, 40, 8)}
    raw = read_raw(dng(tmp_path / "a.dng", tags | {50716: rational(*ROWS, signed=True)}, values))
    assert raw.black == ((640, 640), (640, 640))
    np.testing.assert_allclose(raw.mosaic, 1000 / (15000 - 640), atol=2e-4)
    np.testing.assert_array_equal(rewritten(raw, tmp_path).mosaic, raw.mosaic)


def test_offsets_of_black_that_do_not_fit_are_passed_over(tmp_path):
    for offsets in ((1.0,) * 59, (float("nan"),) * 60, ()):
        raw = read_raw(dng(tmp_path / "a.dng", {50715: make(ifd.DOUBLE, *offsets)}))
        assert raw.meta.extra["sensor"].offsets is None
    with pytest.raises(ReadError, match="not above black level 15600"):
        read_raw(dng(tmp_path / "a.dng", {50715: make(ifd.DOUBLE, 15000.0, *[0.0] * 59)}))


@pytest.mark.parametrize("repeat", [(1, 1, 1), (4,), (0, 0), (3, 1)])
def test_a_damaged_table_of_black_is_passed_over(repeat, tmp_path):
    levels = {ifd.BLACK_REPEAT: make(ifd.SHORT, *repeat)}
    assert read_raw(dng(tmp_path / "a.dng", levels)).size == (40, 60)


def test_a_dng_keeps_what_its_profile_needs_and_no_pointers(tmp_path):
    kept = {51107: make(ifd.LONG, 1), 51108: make(ifd.LONG, 1), 51109: rational(-0.35, signed=True)}
    kept |= {51105: ifd.ascii_text("camera A"), 51110: make(ifd.LONG, 1), 51043: make(ifd.BYTE, *range(8))}
    raw = read_raw(dng(tmp_path / "a.dng", {**kept, 50933: make(ifd.LONG, 1234)}))
    write_dng(tmp_path / "b.dng", raw)
    first = next(ifd.directories((tmp_path / "b.dng").read_bytes()))
    assert {code: first.get(code) for code in kept} == kept
    assert 50933 not in first


@pytest.mark.parametrize("order", "<>")
def test_tables_in_the_byte_order_of_the_file_are_kept_or_said_to_be_lost(order, tmp_path):
    tables = {code: ifd.Entry(ifd.UNDEFINED, bytes(range(code % 100, 100))) for code in (52525, 52543, 52544)}
    raw = read_raw(dng(tmp_path / "a.dng", tables, order=order))
    assert raw.mosaic.max() <= 1.01
    assert len(not_kept(tmp_path / "b.dng", raw)) == (order == ">")
    assert not not_kept(tmp_path / "b.png", develop(raw))
    first, below = ifd.directories(write(tmp_path / "b.dng", raw).read_bytes())
    assert {52525} & below.keys() | {52543, 52544} & first.keys() == (tables.keys() if order == "<" else set())
    assert all((first | below)[code] == tables[code] for code in tables.keys() & (first | below).keys())


def test_black_is_not_measured_anew_where_libraw_moves_the_visible_area(tmp_path):
    area = {ifd.ACTIVE_AREA: make(ifd.LONG, 5, 7, 39, 59), 50830: make(ifd.LONG, 0, 0, 40, 7)}
    raw = read_raw(dng(tmp_path / "a.dng", area))
    again = rewritten(raw, tmp_path)
    assert again.black == raw.black
    np.testing.assert_array_equal(again.mosaic, raw.mosaic)


def test_a_developed_raw_does_not_say_what_was_true_of_the_raw_alone(tmp_path):
    settings = b'<r xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+2.00" xmp:Rating="4"/>'
    photo = {40961: make(ifd.SHORT, 65535), 40962: make(ifd.LONG, 9000), 40963: make(ifd.LONG, 6000)}
    photo |= {ifd.ISO: make(ifd.SHORT, 400), ifd.MAKER_NOTE: ifd.Entry(ifd.UNDEFINED, b"Maker\0" * 9)}
    source = dng(tmp_path / "a.dng", {ifd.EXIF: photo, ifd.XMP: ifd.Entry(ifd.BYTE, settings)})
    raw = read_raw(source)
    picture = develop(raw)
    assert "MakerNote" in not_kept(tmp_path / "a.png", picture)[0]
    for name in ("a.png", "a.jpg", "a.tif"):
        meta = read(write(tmp_path / name, picture)).meta
        shot = ifd.branch(exif_tree(meta.exif)[0], ifd.EXIF)
        assert [ifd.numbers(shot, tag) for tag in (40961, 40962, 40963, ifd.ISO)] == [(1,), (60,), (40,), (400,)]
        assert b'camera-raw-settings/1.0/"' not in meta.xmp
        assert b'xmp:Rating="4"' in meta.xmp
    again = rewritten(raw, tmp_path).meta
    assert again.xmp == settings
    assert ifd.numbers(ifd.branch(exif_tree(again.exif)[0], ifd.EXIF), 40961) == (65535,)


@pytest.mark.parametrize(
    ("photo", "iso"),
    [
        ({ifd.ISO: make(ifd.SHORT, 65535), 34866: make(ifd.LONG, 102400)}, 102400),
        ({ifd.ISO: make(ifd.LONG, 102400)}, 102400),
        ({ifd.ISO: make(ifd.SHORT, 65535)}, 65535),
        ({ifd.ISO: make(ifd.SHORT, 400), 34866: make(ifd.LONG, 800)}, 400),
    ],
)
def test_iso_speeds_of_more_than_two_bytes(photo, iso, tmp_path):
    raw = read_raw(dng(tmp_path / "a.dng", {ifd.EXIF: photo}))
    assert raw.meta.iso == iso
    assert read(write(tmp_path / "a.jpg", develop(raw))).meta.iso == iso


@pytest.mark.parametrize("white", [500, 600])
def test_white_below_black_is_damage_also_of_a_grey_sensor(white, tmp_path):
    grey = {ifd.PHOTOMETRIC: make(ifd.SHORT, 34892), 50717: make(ifd.LONG, white)}
    for tags in (grey, {50717: grey[50717]}):
        with pytest.raises(ReadError, match=f"white level {white} is not above black level 600;"):
            read_raw(dng(tmp_path / "a.dng", tags))


@pytest.mark.parametrize("black", [(512, 512, 512), (100, 500, 900), (900, 500, 100), (100, 900, 100), (0, 0, 0)])
@pytest.mark.parametrize("white", [(16383, 16383, 16383), (16383, 16000, 15000), ()])
@pytest.mark.parametrize("light", [1.0, 0.3])
def test_linear_light_above_black_has_its_own_white(black, white, light, tmp_path):
    span = np.array(white or (65535,)) - black
    values = np.rint(np.full((40, 60, 3), light) * [0.5, 1, 0.75] * span + black).astype(np.uint16)
    tags = {ifd.PHOTOMETRIC: make(ifd.SHORT, 34892), ifd.SAMPLES: make(ifd.SHORT, 3)}
    tags |= {ifd.BITS: make(ifd.SHORT, 16, 16, 16), ifd.BLACK: make(ifd.SHORT, *black)}
    tags |= {50717: make(ifd.SHORT, *white) if white else None}
    picture = read_raw(dng(tmp_path / "a.dng", tags, values))
    np.testing.assert_allclose(srgb_to_linear(picture.pixels), light, atol=2e-4)
    with pytest.raises(ReadError, match="white level is not above"):
        read_raw(dng(tmp_path / "a.dng", tags | {50717: make(ifd.SHORT, *map(int, black))}, values))


@pytest.mark.parametrize("area", [(0, 0, 40, 60), (3, 5, 39, 60)])
@pytest.mark.parametrize("repeat", [(1, 1), (2, 2), (4, 3)])
def test_a_grey_sensor_has_black_of_each_site_row_and_column(area, repeat, tmp_path):
    top, left, bottom, right = area
    table = 600 + np.arange(repeat[0] * repeat[1]).reshape(repeat) * 20.5
    black = np.full((40, 60), 600.0)
    black[top:, left:] = (
        np.tile(table, (40, 60))[: 40 - top, : 60 - left] + ROWS[: 40 - top, None] + COLUMNS[: 60 - left]
    )
    light = np.linspace(0.05, 0.9, 2400).reshape(40, 60)
    tags = {ifd.PHOTOMETRIC: make(ifd.SHORT, 34892), ifd.ACTIVE_AREA: make(ifd.LONG, *area)}
    tags |= {ifd.BLACK_REPEAT: make(ifd.SHORT, *repeat), ifd.BLACK: rational(*table.ravel())}
    tags |= {
        50715: rational(*COLUMNS[: right - left], signed=True),
        50716: rational(*ROWS[: bottom - top], signed=True),
    }
    picture = read_raw(dng(tmp_path / "a.dng", tags, np.rint(black + light * (15000 - black)).astype(np.uint16)))
    assert picture.size == (bottom - top, right - left)
    np.testing.assert_allclose(srgb_to_linear(picture.pixels[..., 0]), light[top:bottom, left:right], atol=6e-5)


def test_white_balance_by_the_chromaticity_of_the_light(tmp_path):
    light = {50729: rational(0.4476, 0.4074), 50728: make(ifd.LONG, 0)}
    raw = read_raw(dng(tmp_path / "a.dng", light))
    matrix = np.reshape([0.8, -0.2, -0.1, -0.5, 1.2, 0.3, -0.1, 0.2, 0.7], (3, 3))
    red, green, blue = matrix @ (0.4476 / 0.4074, 1, (1 - 0.4476 - 0.4074) / 0.4074)
    assert raw.white_balance == pytest.approx((green / red, 1, green / blue), rel=1e-3)
    again = rewritten(raw, tmp_path)
    assert again.white_balance == pytest.approx(raw.white_balance, rel=1e-3)


def test_pixels_that_are_not_square_are_told(tmp_path):
    picture = develop(read_raw(dng(tmp_path / "a.dng", {50718: rational(1, 2)})))
    assert "not square" in not_kept(tmp_path / "a.png", picture)[0]
    assert not not_kept(tmp_path / "a.png", develop(read_raw(dng(tmp_path / "a.dng"))))


@pytest.mark.parametrize("name", ["a.dng", "a.jpg", "a.png", "a.tif"])
def test_ratings_and_words_of_a_raw_are_kept_and_lost_iptc_is_said(name, tmp_path):
    words = ifd.Entry(ifd.BYTE, "sea\0".encode("utf-16-le"))
    tags = {18246: make(ifd.SHORT, 4), 18249: make(ifd.SHORT, 75), 40094: words}
    raw = read_raw(dng(tmp_path / "raw.dng", {**tags, 33723: ifd.Entry(ifd.UNDEFINED, b"\x1c\x02\x78\0\1a")}))
    picture = raw if name == "a.dng" else develop(raw)
    assert not_kept(tmp_path / name, picture) == ("IPTC",)
    kept = exif_tree(read(write(tmp_path / name, picture)).meta.exif)[0]
    assert {tag: kept.get(tag) for tag in tags} == tags


@pytest.mark.parametrize(
    ("own", "white"), [([14504] * 4, 15520), ([13000] * 4, 13000), ([700] * 4, 15520), (None, 15520)]
)
def test_a_cameras_own_white_counts_unless_it_is_a_guess(own, white):
    raw = SimpleNamespace(white_level=15520, camera_white_level_per_channel=own)
    assert white_level(raw, is_dng=False) == white  # 14504 is 15520 / 1.07, LibRaw's guess for every Nikon
