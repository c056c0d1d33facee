import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import rawpy

from restore.errors import FileError, ReadError, TooLargeError, UnsupportedError
from restore.files import Limits, ifd, kind, read
from restore.files.levels import invert_to_srgb, sensor_values
from restore.files.sensor import read_raw, shot
from restore.picture import Image, RawImage

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
RAW = SHARED / "raw"
FACTS = {
    "canon_bayer14_ob_colorchart.dng": ((0, 1), (1, 2), 2056, 15000, (1156, 1734)),
    "kodak_dc50.kdc": ((1, 0), (2, 1), 0, 16383, (512, 768)),
    "nikon_dsc1339_rggb_crop.dng": ((0, 1), (1, 2), 600, 15520, (512, 768)),
}
MOSAICS = (*FACTS, "simulated_xtrans_kodim05.dng")


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no shared data: {name}")
    return path


@pytest.mark.parametrize("name", FACTS)
def test_levels_pattern_and_size_are_those_of_the_file(name):
    first, second, black, white, size = FACTS[name]
    raw = read_raw(shared(f"raw/{name}"))
    assert isinstance(raw, RawImage)
    assert raw.cfa == (first, second)
    assert raw.black == ((black, black), (black, black))
    assert (raw.white, raw.size) == (white, size)
    assert raw.meta.format == "raw"
    assert raw.meta.bits == 14
    assert not raw.mosaic.flags.writeable


@pytest.mark.parametrize("name", MOSAICS)
def test_mosaic_is_libraws_visible_area_dn_for_dn(name):
    raw = read_raw(shared(f"raw/{name}"))
    with rawpy.imread(str(RAW / name)) as libraw:
        visible = libraw.raw_image_visible.copy()
        colours = np.array([0, 1, 2, 1])[libraw.raw_colors_visible]
        gains = np.array(libraw.camera_whitebalance[:3]) / libraw.camera_whitebalance[1]
    np.testing.assert_array_equal(sensor_values(raw), visible)
    period = len(raw.cfa)
    height, width = raw.size
    tiled = np.tile(raw.cfa, (height // period + 1, width // period + 1))[:height, :width]
    np.testing.assert_array_equal(tiled, colours)
    assert raw.white_balance == pytest.approx(tuple(gains), rel=1e-6)
    scaled = (visible - raw.black[0][0]) / (raw.white - raw.black[0][0])
    np.testing.assert_allclose(raw.mosaic, scaled, rtol=2e-6, atol=1e-7)


def test_noise_below_black_is_kept():
    raw = read_raw(shared("raw/canon_bayer14_ob_colorchart.dng"))
    assert raw.mosaic.min() < -0.005


@pytest.mark.parametrize("name", FACTS)
def test_the_camera_matrix_is_libraws_output_matrix(name):
    """Measured: the matrix that turns LibRaw's camera colours into its sRGB output."""
    path = shared(f"raw/{name}")

    def rendered(colour):
        with rawpy.imread(str(path)) as libraw:
            linear = rawpy.DemosaicAlgorithm.LINEAR
            options = {"output_bps": 16, "gamma": (1, 1), "no_auto_bright": True, "adjust_maximum_thr": 0.0}
            return libraw.postprocess(
                use_camera_wb=True, output_color=colour, demosaic_algorithm=linear, **options
            ).astype(float)

    camera, srgb = rendered(rawpy.ColorSpace.raw), rendered(rawpy.ColorSpace.sRGB)
    usable = (srgb.min(2) > 600) & (srgb.max(2) < 60000) & (camera.max(2) < 60000)
    matrix = np.linalg.lstsq(camera[usable], srgb[usable], rcond=None)[0].T
    np.testing.assert_allclose(read_raw(path).camera_to_srgb, matrix, atol=2e-3)


def test_dcraws_way_agrees_with_libraws_matrix():
    with rawpy.imread(str(shared("raw/canon_eos_6d_linear.dng"))) as libraw:
        ours = invert_to_srgb(np.asarray(libraw.rgb_xyz_matrix, float)[:3])
        np.testing.assert_allclose(ours, libraw.color_matrix[:, :3], atol=1e-4)
    np.testing.assert_array_equal(invert_to_srgb(np.zeros((3, 3))), np.eye(3))


def test_a_linear_dng_is_a_picture():
    picture = read_raw(shared("raw/canon_eos_6d_linear.dng"))
    assert picture.pixels.mean() == pytest.approx(0.137, abs=0.005)  # as LibRaw shows it
    assert isinstance(picture, Image)
    assert picture.pixels.shape == (816, 1224, 3)
    assert 0 <= picture.pixels.min() < 0.1
    assert picture.meta.format == "raw"
    assert (picture.meta.iso, picture.meta.camera) == (1000, "Canon EOS 6D")
    assert picture.meta.exposure_s == pytest.approx(1 / 60)
    assert b"EF24-105mm" in picture.meta.exif
    assert picture.meta.xmp.startswith(b"<?xpacket")


def test_what_the_file_says_about_the_shot():
    meta = read_raw(shared("raw/kodak_dc50.kdc")).meta
    assert meta.iso == 84
    assert meta.exposure_s == pytest.approx(0.00435)
    assert "DC50" in meta.camera
    assert read_raw(shared("raw/canon_bayer14_ob_colorchart.dng")).meta.exposure_s is None


@pytest.mark.parametrize("name", ["bayer10_openisp_1920x1080_rggb.raw", "nikon_dsc1339_768x512_rggb_u16le.raw"])
def test_headerless_dumps_are_not_guessed(name):
    path = shared(f"raw/{name}")
    with pytest.raises(ReadError, match="is not a picture"):
        kind(path)
    with pytest.raises(UnsupportedError, match=f"{name}: .*headerless.*convert it to DNG"):
        read_raw(path)


def test_a_truncated_file_is_named():
    path = shared("raw/truncated_fuji.raf")
    assert kind(path) == "raw"
    with pytest.raises(ReadError, match=r"truncated_fuji\.raf: truncated or damaged"):
        read_raw(path)


@pytest.mark.parametrize("kept", [1, 64, 300, 1500, 200_000, -2])
def test_every_truncation_is_an_error(tmp_path, kept):
    data = shared("raw/nikon_dsc1339_rggb_crop.dng").read_bytes()
    path = tmp_path / "half ü.dng"
    path.write_bytes(data[:kept])
    with pytest.raises(FileError, match="half ü"):
        read_raw(path)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_headers_give_a_picture_or_a_typed_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = np.frombuffer(shared("raw/nikon_dsc1339_rggb_crop.dng").read_bytes(), np.uint8)
    path = tmp_path / "damaged.dng"
    for _ in range(40):
        hurt = data.copy()
        places = rng.integers(0, 480, rng.integers(1, 6))
        hurt[places] = rng.integers(0, 256, len(places))
        path.write_bytes(hurt.tobytes())
        with contextlib.suppress(FileError):
            assert isinstance(read_raw(path, Limits(max_pixels=10_000_000)), RawImage | Image)


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read_raw(tmp_path / "none.nef")
    (tmp_path / "empty.cr2").touch()
    with pytest.raises(ReadError, match="empty"):
        read_raw(tmp_path / "empty.cr2")
    (tmp_path / "text.nef").write_text("not a raw file" * 100)
    with pytest.raises(UnsupportedError, match="no raw header"):
        read_raw(tmp_path / "text.nef")
    with pytest.raises(ReadError, match="is a folder"):
        read_raw(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are not text")
def test_a_name_that_is_not_text_is_a_typed_error(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.dng")
    path.write_bytes(shared("raw/nikon_dsc1339_rggb_crop.dng").read_bytes())
    with pytest.raises(ReadError, match="rename it"):
        read_raw(path)


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(TooLargeError, match="1888 x 1182 is 2.23 megapixels, the limit is 1"):
        read_raw(shared("raw/canon_bayer14_ob_colorchart.dng"), Limits(max_pixels=1_000_000))
    with pytest.raises(TooLargeError, match="the limit is 1"):
        read(shared("raw/canon_bayer14_ob_colorchart.dng"), limits=Limits(max_pixels=1_000_000))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_cr3s_boxes_tell_about_the_shot(order):
    about, photo = {ifd.MODEL: ifd.ascii_text("Canon EOS R5")}, {ifd.ISO: ifd.make(ifd.SHORT, 400)}
    gps = {2: ifd.rational(52, 31, 12.5)}
    boxes = [name + ifd.block(tags, order) for name, tags in ((b"CMT1", about), (b"CMT2", photo), (b"CMT4", gps))]
    file = b"\0\0\0\x18ftypcrx " + bytes(40) + b"....".join(boxes) + bytes(100)
    assert shot(file) == {**about, ifd.EXIF: photo, ifd.GPS: gps}
    assert shot(file.replace(b"CMT4", b"CMTX")) == {**about, ifd.EXIF: photo}
    assert shot(b"FUJIFILMCCD-RAW" + boxes[0]) == {}


def test_a_plain_tiff_is_not_raw(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((8, 8, 3), np.uint8))
    assert kind(tmp_path / "plain.tif") == "tiff"
    for name in MOSAICS:
        assert kind(shared(f"raw/{name}")) == "raw"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs file permissions that bind")
def test_unreadable_files_say_so(tmp_path):
    path = tmp_path / "locked.dng"
    path.write_bytes(b"II*\0")
    path.chmod(0)
    with pytest.raises(ReadError, match="cannot be opened"):
        read_raw(path)
