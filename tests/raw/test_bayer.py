import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from restore.errors import ArrayError
from restore.raw.bayer import PHASES, pack, pad_to_red, phase, phase_name, red_site, unpack

cfas = st.sampled_from(sorted(PHASES.values()))
mosaics = hnp.arrays(
    st.sampled_from([np.float32, np.uint16, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.integers(0, 1000),
)


@given(mosaics, cfas)
def test_unpack_undoes_pack(mosaic, cfa):
    planes = pack(mosaic, cfa)
    back = unpack(planes, cfa, mosaic.shape)
    assert back.dtype == mosaic.dtype
    np.testing.assert_array_equal(back, mosaic)


@given(st.integers(2, 9), st.integers(2, 9), cfas)
def test_every_plane_holds_one_colour_only(height, width, cfa):
    """The padding too: a mosaic that holds its own site number must not mix numbers in a plane."""
    sites = np.arange(4).reshape(2, 2)
    mosaic = np.tile(sites, (5, 5))[:height, :width]
    planes = pack(mosaic, cfa)
    rows, columns = red_site(cfa)
    for plane, (row, column) in zip(planes, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        assert set(plane.ravel().tolist()) == {int(sites[(rows + row) % 2, (columns + column) % 2])}


@pytest.mark.parametrize("name", PHASES)
def test_order_is_red_green_green_blue_and_greens_stay_in_their_rows(name):
    cfa = np.array(PHASES[name])
    red_row = int(np.argwhere(cfa == 0)[0, 0])
    codes = np.where(cfa == 1, np.where(np.arange(2)[:, None] == red_row, 10, 11), cfa)
    planes = pack(np.tile(codes, (3, 3)), PHASES[name])
    assert [set(plane.ravel().tolist()) for plane in planes] == [{0}, {10}, {11}, {2}]


def test_opencv_names_patterns_by_the_second_row():
    red = np.zeros((8, 8), np.uint8)
    red[0::2, 0::2] = 200
    assert phase_name(PHASES["RGGB"]) == "RGGB"
    assert cv2.cvtColor(red, cv2.COLOR_BayerBG2RGB)[3:5, 3:5, 0].min() > 0
    assert cv2.cvtColor(red, cv2.COLOR_BayerBG2RGB)[..., 2].max() == 0


def test_padding_is_at_most_one_pixel_a_side():
    assert pad_to_red(np.zeros((3, 4)), PHASES["BGGR"]).shape == (4, 6)
    assert pack(np.zeros((1, 1)), PHASES["BGGR"]).shape == (4, 1, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArrayError, match="not a 2x2 Bayer"):
        pack(np.zeros((6, 6)), ((1,) * 6,) * 6)
    with pytest.raises(ArrayError, match="at least one pixel"):
        pack(np.zeros((0, 6)), PHASES["RGGB"])
    with pytest.raises(ArrayError, match=r"\(4, 3, 3\)"):
        unpack(np.zeros((4, 2, 3)), PHASES["BGGR"], (4, 4))
    with pytest.raises(ArrayError, match="'RGBG'.*RGGB|'RGBG'.*Did you mean"):
        phase("RGBG")
