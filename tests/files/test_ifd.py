"""Directories survive packing in every byte order and size, and damaged ones are left out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.files import ifd

LAYOUTS = [ifd.Layout(order, is_big=big) for order in "<>" for big in (False, True)]
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
ENTRIES = st.sampled_from([*WIDTHS]).flatmap(
    lambda kind: st.integers(1, 5).flatmap(
        lambda count: st.binary(min_size=count * WIDTHS[kind], max_size=count * WIDTHS[kind]).map(
            lambda data: ifd.Entry(kind, data)
        )
    )
)
DIRECTORIES = st.dictionaries(st.integers(1, 30000), ENTRIES, max_size=6)


@given(DIRECTORIES, DIRECTORIES, DIRECTORIES, st.sampled_from(LAYOUTS))
def test_trees_survive_in_every_order_and_size(first, photo, gps, how):
    tags: ifd.Tree = {**first, ifd.EXIF: {**photo, ifd.INTEROP: dict(gps)}, ifd.GPS: dict(gps)}
    header = how.header(16 if how.is_big else 8)
    data = header + ifd.pack(tags, how, len(header))
    found, at = ifd.layout(data)
    assert (found, at) == (how, len(header))
    assert ifd.tree(data, found, at) == tags
    assert ifd.pack(ifd.tree(data, found, at), how, at) == data[at:]


@pytest.mark.parametrize("how", LAYOUTS)
def test_numbers_are_those_that_were_stored(how):
    stored = struct.pack(how.order + "2d", 0.25, -7e99)
    assert struct.unpack("<2d", how.turned(12, stored)) == (0.25, -7e99)
    tags = {1: ifd.make(ifd.LONG8, 1, 1 << 60), 2: ifd.rational(-0.5, 3, signed=True), 3: ifd.ascii_text("Ä b ")}
    header = how.header(16 if how.is_big else 8)
    data = header + ifd.pack(tags, how, len(header))
    (found,) = ifd.directories(data)
    assert ifd.numbers(found, 1) == ifd.integers(found, 1) == (1, 1 << 60)
    assert (ifd.numbers(found, 2), ifd.integers(found, 2)) == ((-0.5, 3), ())
    assert (ifd.text(found, 3), ifd.numbers(found, 3)) == ("? b", ())
    assert (ifd.text(found, 1), ifd.numbers(found, 4)) == ("", ())


def test_a_fraction_of_nothing_is_nothing():
    assert ifd.numbers({1: ifd.make(ifd.RATIONAL, 5, 0, 1, 2)}, 1) == (0, 0.5)


@given(st.floats(-(2**31) + 1, 2**31 - 1, allow_subnormal=False))
def test_every_number_that_fits_has_a_fraction(value):
    entry = ifd.rational(value, signed=True)
    limit = min(10**6, (2**31 - 1) // max(1, abs(value)))
    assert abs(ifd.numbers({1: entry}, 1)[0] - value) <= max(1, abs(value)) / limit


def chained(number: int, following: int, tag: int, *pointers: int) -> bytes:
    """A directory that says its number and points on."""
    rows = [(256, ifd.LONG, 1, number), (tag, ifd.LONG, 1, pointers[0])] if pointers else [(256, ifd.LONG, 1, number)]
    return (
        struct.pack("<H", len(rows))
        + b"".join(struct.pack("<HHII", *row) for row in rows)
        + struct.pack("<I", following)
    )


@pytest.mark.parametrize("version", [b"II*\0", b"IIRO", b"IIRS", b"IIU\0"])
def test_the_chain_and_sub_directories_are_followed_once_and_damaged_ones_left_out(version):
    size = len(chained(0, 0, 330, 0))
    first, second, third = 8, 8 + size, 8 + 2 * size
    parts = chained(1, second, 330, third), chained(2, first, 330, 1 << 30), chained(3, third, 330, third)
    data = version + struct.pack("<I", 8) + b"".join(parts)
    assert [ifd.numbers(tags, 256) for tags in ifd.directories(data)] == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    "data", [b"", b"II", b"IIII\0waR", b"II\x1a\0\0\0HEAPCCDR", b"MM\0*\0\0\1\0", b"II+\0\x08\0\0\0"]
)
def test_what_has_no_directories_gives_none(data):
    assert [*ifd.directories(data)] == []


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 8.0])
def test_pointers_that_are_not_integers_are_not_followed(value):
    pointer = ifd.Entry(11, struct.pack("<f", value))
    data = ifd.block({ifd.SUB_IFDS: pointer, ifd.EXIF: pointer})
    assert len([*ifd.directories(data)]) == 1
    assert ifd.tree(data, ifd.Layout(), 8).keys() == {ifd.SUB_IFDS}


def test_values_that_lie_outside_are_left_out_or_refused():
    data = ifd.block({1: ifd.make(ifd.SHORT, 7), 2: ifd.make(ifd.LONG, 1, 2, 3)})[:-1]
    assert ifd.directory(data, ifd.Layout(), 8)[0].keys() == {1}
    with pytest.raises(ValueError, match="the value of tag 2 is cut off"):
        ifd.directory(data, ifd.Layout(), 8, is_strict=True)
    with pytest.raises(ValueError, match="a directory is cut off"):
        ifd.directory(data[:20], ifd.Layout(), 8)
