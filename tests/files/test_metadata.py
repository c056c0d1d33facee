"""EXIF blocks are understood, turned without moving anything else, and packed back."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as Pillow

from restore.files import ifd
from restore.files.metadata import (
    ORIENTATION,
    exif_body,
    exif_tree,
    exif_with_orientation,
    meta_from,
    orientation,
    resolution,
    resolution_tags,
)


def block(order: str, tags: ifd.Tree, *, big: bool = False) -> bytes:
    how = ifd.Layout(order, is_big=big)
    header = how.header(16 if big else 8)
    return header + ifd.pack(tags, how, len(header))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pillow_reads_what_is_packed(order):
    how = ifd.Layout(order)
    text = ifd.Entry(2, 9, b"a camera\0")
    photo: ifd.Tree = {34855: how.make(ifd.SHORT, 400), 33434: how.make(ifd.RATIONAL, 1, 60)}
    exif = block(order, {271: text, ORIENTATION: how.make(ifd.SHORT, 3), ifd.EXIF: photo})
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
    how = ifd.Layout(order)
    exif = block(order, {271: ifd.Entry(2, 7, b"Camera\0"), ORIENTATION: how.make(kind, 5)})
    turned = exif_with_orientation(exif, turn)
    assert turned is not None
    assert orientation(*exif_tree(turned)) == turn
    assert len(turned) == len(exif)
    assert sum(a != b for a, b in zip(turned, exif, strict=True)) == (turn != 5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_turning_adds_a_missing_tag_and_leaves_maker_notes_where_they_were(order):
    how, note = ifd.Layout(order), bytes(range(100))
    photo: ifd.Tree = {37500: ifd.Entry(7, 100, note)}
    exif = block(order, {271: ifd.Entry(2, 7, b"Camera\0"), ifd.EXIF: photo})
    turned = exif_with_orientation(exif, 6)
    assert turned is not None
    assert turned.index(note) == exif.index(note)
    tags = exif_tree(turned)[0]
    assert orientation(tags, how) == 6
    assert {tag for tag in tags if tag != ORIENTATION} == {271, ifd.EXIF}
    assert exif_with_orientation(exif, 1) == exif


@given(st.binary(max_size=200))
def test_damaged_blocks_are_survived(noise):
    for exif in (
        noise,
        b"II*\0\x08\0\0\0" + noise,
        b"MM\0*\0\0\0\x08" + noise,
        b"II+\0\x08\0\0\0\x10" + noise,
    ):
        assert orientation(*exif_tree(exif)) in range(1, 9)
        meta_from(Path("a"), "png", exif)
        turned = exif_with_orientation(exif, 6)
        assert orientation(*exif_tree(turned)) == 6


def test_a_directory_that_points_at_itself_ends():
    how = ifd.Layout("<")
    body = how.count.pack(1) + how.entry.pack(ifd.EXIF, ifd.LONG, 1) + struct.pack("<II", 8, 8)
    assert exif_tree(how.header(8) + body)[0]


@given(st.floats(1, 20_000), st.floats(1, 20_000), st.sampled_from("<>"))
def test_resolution_survives(across, down, order):
    how = ifd.Layout(order)
    assert resolution(resolution_tags((across, down), how), how) == pytest.approx((across, down), rel=1e-7, abs=1e-4)


@pytest.mark.parametrize("big", [False, True])
def test_trees_survive_in_both_sizes(big):
    how = ifd.Layout("<", is_big=big)
    gps: ifd.Tree = {1: ifd.Entry(2, 2, b"N\0")}
    tags: ifd.Tree = {256: how.make(ifd.LONG, 5), 273: how.make(ifd.LONG8, 1, 2, 3), ifd.GPS: gps}
    data = block("<", tags, big=big)
    found, at = ifd.layout(data)
    assert found == how
    tree = ifd.tree(data, found, at)
    assert ifd.values(tree[273], how) == (1, 2, 3)
    assert ifd.pack(tree, how, at) == data[at:]


def test_the_prefix_is_taken_off_once():
    assert exif_body(b"Exif\0\0MM\0*") == b"MM\0*"
    assert exif_body(b"") is None
