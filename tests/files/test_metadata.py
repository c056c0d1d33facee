"""EXIF blocks are understood, turned without moving anything else, and packed back."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as Pillow

from restore.files import ifd, read, write
from restore.files.metadata import (
    described,
    exif_body,
    exif_tree,
    exif_with_orientation,
    exif_without_thumbnail,
    meta_from,
    orientation,
    resolution,
    resolution_tags,
)
from restore.picture import Image, Meta


@pytest.mark.parametrize("order", ["<", ">"])
def test_pillow_reads_what_is_packed(order):
    text = ifd.Entry(2, b"a camera\0")
    photo: ifd.Tree = {34855: ifd.make(ifd.SHORT, 400), 33434: ifd.make(ifd.RATIONAL, 1, 60)}
    exif = ifd.block({271: text, ifd.ORIENTATION: ifd.make(ifd.SHORT, 3), ifd.EXIF: photo}, order)
    found = Pillow.Exif()
    found.load(exif)
    assert found[ExifTags.Base.Make] == "a camera"
    assert found[ExifTags.Base.Orientation] == 3
    assert found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
    meta = meta_from(Path("a"), "jpeg", exif)
    assert (meta.iso, meta.exposure_s, meta.camera, meta.orientation) == (
        400,
        pytest.approx(1 / 60),
        "a camera",
        3,
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [ifd.SHORT, ifd.LONG])
@pytest.mark.parametrize("turn", range(1, 9))
def test_turning_changes_the_tag_and_nothing_else(order, kind, turn):
    exif = ifd.block({271: ifd.Entry(2, b"Camera\0"), ifd.ORIENTATION: ifd.make(kind, 5)}, order)
    turned = exif_with_orientation(exif, turn)
    assert turned is not None
    assert orientation(exif_tree(turned)[0]) == turn
    assert len(turned) == len(exif)
    assert sum(a != b for a, b in zip(turned, exif, strict=True)) == (turn != 5)


def test_an_orientation_of_an_odd_type_is_replaced():
    exif = ifd.block({ifd.ORIENTATION: ifd.Entry(1, b"\6")})
    assert orientation(exif_tree(exif)[0]) == 6
    for turn in (1, 3):
        assert orientation(exif_tree(exif_with_orientation(exif, turn))[0]) == turn


@pytest.mark.parametrize("order", ["<", ">"])
def test_turning_adds_a_missing_tag_and_leaves_maker_notes_where_they_were(order):
    note = bytes(range(100))
    photo: ifd.Tree = {37500: ifd.Entry(7, note)}
    exif = ifd.block({271: ifd.Entry(2, b"Camera\0"), ifd.EXIF: photo}, order)
    turned = exif_with_orientation(exif, 6)
    assert turned is not None
    assert turned.index(note) == exif.index(note)
    tags = exif_tree(turned)[0]
    assert orientation(tags) == 6
    assert {tag for tag in tags if tag != ifd.ORIENTATION} == {271, ifd.EXIF}
    assert exif_with_orientation(exif, 1) == exif


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_the_thumbnail_of_the_old_picture_is_not_written_and_maker_notes_stay(tmp_path, name, turn):
    old = io.BytesIO()
    Pillow.new("RGB", (16, 12), "red").save(old, "JPEG")
    note, thumbnail = bytes(range(200)), old.getvalue()
    tags: ifd.Tree = {ifd.MAKE: ifd.ascii_text("Camera"), ifd.EXIF: {ifd.MAKER_NOTE: ifd.Entry(7, note)}}
    first = ifd.block(tags)
    at = first.index(bytes(4), 10 + 2 * 12)  # the offset of the next directory, which there is none of yet
    exif = first[:at] + struct.pack("<I", len(first)) + first[at + 4 :]
    place = len(exif) + 2 + 2 * 12 + 4
    exif += ifd.pack(
        {513: ifd.make(ifd.LONG, place), 514: ifd.make(ifd.LONG, len(thumbnail))}, ifd.Layout(), len(first)
    )
    exif += thumbnail
    assert _thumbnail(exif) == thumbnail
    path = write(
        tmp_path / "a", Image(np.zeros((16, 16, 3), np.float32), meta=Meta(exif=exif, orientation=turn)), format=name
    )
    written = read(path).meta.exif
    assert _thumbnail(written) is None
    assert written.index(note) == exif.index(note)
    assert orientation(exif_tree(written)[0]) == turn


def _thumbnail(exif: bytes) -> bytes | None:
    found = Pillow.Exif()
    found.load(exif)
    inner = found.get_ifd(ExifTags.IFD.IFD1)
    return exif[inner[513] :][: inner[514]] if inner else None


@given(st.binary(max_size=200))
def test_damaged_blocks_are_survived(noise):
    for exif in (
        noise,
        b"II*\0\x08\0\0\0" + noise,
        b"MM\0*\0\0\0\x08" + noise,
        b"II+\0\x08\0\0\0\x10" + noise,
    ):
        assert orientation(exif_tree(exif)[0]) in range(1, 9)
        meta_from(Path("a"), "png", exif)
        turned = exif_with_orientation(exif, 6)
        assert orientation(exif_tree(turned)[0]) == 6
        assert len(exif_without_thumbnail(exif)) == len(exif)


def test_a_directory_that_points_at_itself_ends():
    how = ifd.Layout("<")
    body = how.count.pack(1) + how.entry.pack(ifd.EXIF, ifd.LONG, 1) + struct.pack("<II", 8, 8)
    assert exif_tree(how.header(8) + body)[0]


@given(st.floats(1, 20_000), st.floats(1, 20_000), st.sampled_from("<>"))
def test_resolution_survives(across, down, order):
    tags, _ = exif_tree(ifd.block(resolution_tags((across, down)), order))
    assert resolution(tags) == pytest.approx((across, down), rel=1e-7, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D5", "NIKON D5"),
        ("Canon", "Canon EOS 6D", "Canon EOS 6D"),
        ("SONY", "ILCE-7M3", "SONY ILCE-7M3"),
        ("", "X100", "X100"),
        ("FUJIFILM", "", "FUJIFILM"),
    ],
)
def test_a_camera_is_named_with_its_maker_once(make, model, camera):
    exif = ifd.block({ifd.MAKE: ifd.ascii_text(make), ifd.MODEL: ifd.ascii_text(model)})
    assert meta_from(Path("a"), "jpeg", exif).camera == camera


def test_what_describes_the_photograph_is_told_from_how_it_was_stored():
    photo: ifd.Tree = {ifd.ISO: ifd.make(ifd.SHORT, 400), ifd.MAKER_NOTE: ifd.Entry(7, b"note")}
    photo |= {ifd.INTEROP: {1: ifd.ascii_text("R98")}, ifd.EXPOSURE: ifd.rational(0.5)}
    gps: ifd.Tree = {1: ifd.ascii_text("N")}
    stored: ifd.Tree = {ifd.WIDTH: ifd.make(ifd.LONG, 9), ifd.EXPOSURE: ifd.rational(0.25), 37378: ifd.rational(2)}
    kept = described(stored | {ifd.MODEL: ifd.ascii_text("A"), ifd.EXIF: photo, ifd.GPS: gps})
    shot = {ifd.ISO: photo[ifd.ISO], ifd.EXPOSURE: photo[ifd.EXPOSURE], 37378: stored[37378]}
    assert kept == {ifd.MODEL: ifd.ascii_text("A"), ifd.EXIF: shot, ifd.GPS: gps}
    assert described({ifd.WIDTH: stored[ifd.WIDTH]}) == {}


def test_the_prefix_is_taken_off_once():
    assert exif_body(b"Exif\0\0MM\0*") == b"MM\0*"
    assert exif_body(b"") is None
