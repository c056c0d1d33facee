"""What the numbers of a picture mean is kept, or said to be lost."""

from __future__ import annotations

import struct
import zlib

import pytest
from made import ICC, chunk, heic, png
from PIL import Image as Pillow

from restore.files import not_kept, read, write


def recoloured(path, old: bytes, new: bytes):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return read(path)


def teal(path, **more):
    Pillow.new("RGB", (64, 64), "teal").save(path, **more)


@pytest.mark.parametrize(
    ("primaries", "curve", "words"), [(9, 16, "BT.2020, PQ"), (12, 13, "Display P3"), (5, 1, "primaries 5")]
)
@pytest.mark.parametrize("name", ["avif", "heic"])
def test_colours_that_are_not_srgbs_are_said_to_lose_their_meaning(tmp_path, name, primaries, curve, words):
    path = tmp_path / f"a.{name}"
    save = heic if name == "heic" else teal
    save(path)
    assert not read(path).meta.extra["dropped"]
    found = recoloured(path, b"colrnclx\0\1\0\r", b"colrnclx" + struct.pack(">HH", primaries, curve))
    assert found.meta.extra["dropped"] == (f"what its colours mean ({words})",)
    save(path, icc_profile=ICC)
    assert not read(path).meta.extra["dropped"], "the profile is kept"


SRGB_GAMUT = struct.pack(">8I", 31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999)


@pytest.mark.parametrize(
    ("chunks", "is_foreign"),
    [
        ([(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", SRGB_GAMUT)], False),
        ([(b"gAMA", struct.pack(">I", 100_000))], True),
        ([(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")], False),
        ([(b"cHRM", SRGB_GAMUT[:8] + struct.pack(">I", 68000) + SRGB_GAMUT[12:])], True),
        ([(b"cICP", bytes((9, 16, 0, 1)))], True),
        ([(b"cICP", bytes((9, 16, 0, 1))), (b"iCCP", b"profile\0\0" + zlib.compress(ICC))], True),
        ([(b"cICP", bytes((1, 13, 0, 1)))], False),
        ([(b"gAMA", b"\0")], False),
    ],
    ids=str,
)
def test_what_a_png_says_of_its_colours_is_kept_or_said_to_be_lost(tmp_path, chunks, is_foreign):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 8, 2, bytes(7), *(chunk(*each) for each in chunks)))
    image = read(path)
    assert not_kept(write(tmp_path / "b.png", image), image) == ()
    assert read(tmp_path / "b.png").meta.extra["png_colour"] == image.meta.extra["png_colour"]
    said = ("what its colours mean (cICP, gAMA or cHRM)",) * is_foreign
    assert not_kept(write(tmp_path / "b.tif", image), image) == said
