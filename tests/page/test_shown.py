"""What the screen gets: exact, upright, with its profile."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from restore.files import read
from restore.page import shown
from restore.picture import Image, Meta

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_has_the_pixels_and_the_profile(tmp_path: Path, channels: int) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image(RNG.random((20, 30, channels), np.float32) * 1.4 - 0.2, meta=Meta(icc=icc, orientation=6))
    screen = shown.screen(image)
    path = shown.write_png(tmp_path / "x.png", screen)
    expected = np.rint(np.clip(image.upright().pixels, 0, 1) * 255)
    with Pillow.open(path) as png:
        np.testing.assert_array_equal(np.asarray(png).reshape(30, 20, channels), expected)
        assert png.info["icc_profile"] == icc
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), expected)


def test_crops_reach_all_edges_and_bear_small_pictures() -> None:
    screen = shown.Screen(RNG.integers(0, 256, (700, 900, 3), np.uint8))
    np.testing.assert_array_equal(shown.crop(screen, 0, 0).pixels, screen.pixels[:480, :480])
    np.testing.assert_array_equal(shown.crop(screen, 100, 100).pixels, screen.pixels[-480:, -480:])
    np.testing.assert_array_equal(shown.crop(screen, -5, 900).pixels, screen.pixels[-480:, :480])
    small = shown.Screen(screen.pixels[:9, :7])
    np.testing.assert_array_equal(shown.crop(small, 70, 30).pixels, small.pixels)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    screen = shown.Screen(RNG.integers(0, 256, (8, 9, 3), np.uint8), b"profile")
    shown.keep(tmp_path, "a", screen)
    back = shown.kept(tmp_path, "a")
    np.testing.assert_array_equal(back.pixels, screen.pixels)
    assert back.icc == b"profile"
    with pytest.raises(OSError):
        shown.kept(tmp_path, "b")


def test_difference_is_grey_where_nothing_was_taken() -> None:
    before = shown.Screen(np.full((2, 2, 3), 100, np.uint8))
    after = shown.Screen(np.full((2, 2, 3), 97, np.uint8))
    assert (shown.difference(before, before).pixels == 128).all()
    assert (shown.difference(before, after).pixels == 128 + 3 * shown.AMPLIFIED).all()


def test_what_is_said_to_be_white_is_shown_white() -> None:
    counts = Image(np.full((4, 5, 1), 1023 / 65535, np.float32), meta=Meta(bits=16))
    assert shown.seen(counts, like=counts, white=1023).pixels == pytest.approx(1)
    assert shown.seen(counts, like=counts).pixels == pytest.approx(1023 / 65535)
