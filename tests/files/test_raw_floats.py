"""Raw files of floating-point numbers, of which LibRaw makes whole ones: read right or refused."""

import numpy as np
import pytest
import tifffile
from made import DNG_TAGS, dng

from restore.colour import srgb_to_linear
from restore.errors import UnsupportedError
from restore.files import ifd, read, write
from restore.files.ifd import make, rational
from restore.files.levels import XYZ_OF_SRGB
from restore.files.sensor import read_raw


def test_floats_become_a_dng_with_levels_of_its_own(tmp_path):
    values = np.random.default_rng(6).random((40, 60), np.float32)
    values[0, 0] = 1
    levels = {ifd.BLACK: make(ifd.SHORT, 0), 50717: make(ifd.LONG, 1)}
    raw = read_raw(dng(tmp_path / "a.dng", levels, values))
    np.testing.assert_allclose(raw.mosaic, values, atol=1e-4)
    assert "rounded" in raw.meta.extra["dropped"][0]
    np.testing.assert_array_equal(read(write(tmp_path / "again.dng", raw)).mosaic, raw.mosaic)


def test_floats_above_a_fractional_black_are_refused(tmp_path):
    values = np.full((40, 60), 0.5, np.float32)
    path = dng(tmp_path / "a.dng", {ifd.BLACK: rational(0.04), 50717: make(ifd.LONG, 1)}, values)
    with pytest.raises(UnsupportedError, match="fractional black level"):
        read_raw(path)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("samples", [1, 3])
def test_floats_are_read_right_or_refused(kind, samples, tmp_path):
    values = np.linspace(0.01, 0.9, 2400 * samples).reshape(40, 60, samples).astype(kind)
    several = {ifd.PHOTOMETRIC: make(ifd.SHORT, 34892), ifd.SAMPLES: make(ifd.SHORT, 3), 50728: rational(1, 1, 1)}
    several |= {tag: make(ifd.SHORT, *(n,) * 3) for tag, n in ((ifd.BITS, 8 * values.itemsize), (ifd.SAMPLE_FORMAT, 3))}
    several |= {50721: rational(*np.linalg.inv(XYZ_OF_SRGB).ravel(), signed=True)}
    tags = {ifd.BLACK: make(ifd.SHORT, *(0,) * samples)} | (several if samples == 3 else {})
    path = tmp_path / "a.dng"
    picture = read_raw(dng(path, tags | {50717: make(ifd.SHORT, *(1,) * samples)}, values))
    seen = picture.mosaic[..., None] if samples == 1 else srgb_to_linear(picture.pixels)
    np.testing.assert_allclose(seen, values, atol=3e-4)
    assert "rounded" in picture.meta.extra["dropped"][0]
    tags |= {50717: None}
    if kind == np.float16:
        with pytest.raises(UnsupportedError, match="no WhiteLevel.*add a WhiteLevel of 1"):
            read_raw(dng(path, tags, values))
    else:
        assert read_raw(dng(path, tags, values)).size == (40, 60)


@pytest.mark.parametrize("predictor", [None, 1, 3])
def test_deflated_floats_without_the_predictor_for_them_are_refused(predictor, tmp_path):
    values = np.linspace(0.01, 0.9, 2400).reshape(40, 60).astype(np.float32)
    more = [(tag, entry.type, entry.count, entry.data, True) for tag, entry in DNG_TAGS.items() if tag > 33420]
    more = [entry for entry in more if entry[0] not in (ifd.BLACK, 50717)] + [(50717, 4, 1, 1, True)]
    tifffile.imwrite(
        tmp_path / "a.dng", values, photometric="cfa", compression="zlib", predictor=predictor, extratags=more
    )
    if predictor == 3:
        np.testing.assert_allclose(read_raw(tmp_path / "a.dng").mosaic, values, atol=2e-4)
    else:
        with pytest.raises(UnsupportedError, match="deflated without the predictor.*write it uncompressed"):
            read_raw(tmp_path / "a.dng")
