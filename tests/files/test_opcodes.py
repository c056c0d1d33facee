import struct
from dataclasses import replace

import numpy as np
import pytest
from made import dng

from restore.files import ifd, not_kept, read, write
from restore.files.ifd import make
from restore.files.opcodes import LISTS, fitted
from restore.files.sensor import read_raw
from restore.raw.develop import develop

GAINS = np.float32([[1, 2, 3], [4, 5, 6]])


def opcode(code, data):
    return struct.pack(">4I", code, 0x01030000, 0, len(data)) + data


def gain_map(points, *, bounds=(0, 0, 40, 60), pitch=(1, 1), origin=(0.0, 0.0), plane=0, step=None):
    rows, columns = points.shape
    step = step or (1 / max(1, rows - 1), 1 / max(1, columns - 1))
    head = struct.pack(">10I4dI", *bounds, plane, 1, *pitch, rows, columns, *step, *origin, 1)
    return opcode(9, head + points.astype(">f4").tobytes())


def opcode_list(*opcodes):
    return ifd.Entry(ifd.UNDEFINED, struct.pack(">I", len(opcodes)) + b"".join(opcodes))


def shaded(raw):
    """What the gain maps of a raw make of a mosaic of ones, whole and in strips."""
    whole = np.ones(raw.size, np.float32)
    for one in raw.meta.extra["gain_maps"]:
        one.apply(whole, 0)
    parts = [np.ones((7, raw.size[1]), np.float32) for _ in range(0, raw.size[0], 7)]
    for number, part in enumerate(parts):
        for one in raw.meta.extra["gain_maps"]:
            one.apply(part, 7 * number)
    np.testing.assert_array_equal(np.concatenate(parts)[: raw.size[0]], whole)
    return whole


def test_a_gain_map_is_linear_between_its_points(tmp_path):
    raw = read_raw(dng(tmp_path / "a.dng", {51009: opcode_list(gain_map(GAINS))}))
    down, across = (np.arange(40)[:, None] + 0.5) / 40, (np.arange(60) + 0.5) / 60
    np.testing.assert_allclose(shaded(raw), 1 + 3 * down + 2 * across, rtol=1e-5)


def test_a_map_for_each_site_counts_from_the_active_area(tmp_path):
    maps = [gain_map(np.full((1, 1), 2.0 + i), bounds=(i // 2, i % 2, 34, 52), pitch=(2, 2)) for i in range(4)]
    area = {ifd.ACTIVE_AREA: make(ifd.LONG, 5, 7, 39, 59)}  # LibRaw makes it begin at 6, 8
    raw = read_raw(dng(tmp_path / "a.dng", {51009: opcode_list(*maps), **area}))
    assert raw.meta.extra["sensor"].top == 6
    np.testing.assert_array_equal(shaded(raw)[:2, :2], [[5, 4], [3, 2]])
    assert (shaded(raw)[0::2, 0::2] == 5).all()
    again = read_raw(write(tmp_path / "b.dng", raw))
    np.testing.assert_array_equal(shaded(again), shaded(raw))


@pytest.mark.parametrize("area", [(5, 7, 39, 59), (0, 0, 40, 60), (3, 4, 40, 60), (4, 3, 39, 57)])
@pytest.mark.parametrize("place", [51009, 51022])
def test_maps_are_written_as_the_visible_area_counts_their_sites_and_points(area, place, tmp_path):
    height, width = area[2] - area[0], area[3] - area[1]
    bounds = {"bounds": (0, 1, height, width), "origin": (0.1, -0.2)}
    maps = opcode_list(gain_map(GAINS, **bounds), gain_map(GAINS.T, pitch=(2, 3), **bounds), opcode(3, bytes(8)))
    raw = read_raw(dng(tmp_path / "a.dng", {place: maps, ifd.ACTIVE_AREA: make(ifd.LONG, *area)}))
    is_moved = any(side % 2 for side in area[:2])
    assert len([words for words in not_kept(tmp_path / "b.dng", raw) if "opcodes 3" in words]) == is_moved
    assert not [words for words in not_kept(tmp_path / "b.png", develop(raw)) if "begins one pixel" in words]
    path = write(tmp_path / "b.dng", raw)
    again, tags = read_raw(path), [*ifd.directories(path.read_bytes())][1]
    assert (tags[place] == maps) is not is_moved
    np.testing.assert_allclose(shaded(again), shaded(raw), rtol=1e-5)
    assert len(again.meta.extra["gain_maps"]) == 2 * (place == 51009)


def test_an_evenly_lit_card_behind_a_shading_lens_is_developed_even(tmp_path):
    gains = np.float32([[2, 1, 2]])
    card = 600 + 3000 / np.interp((np.arange(60) + 0.5) / 60, [0, 0.5, 1], gains[0])
    values = np.rint(np.broadcast_to(card, (40, 60))).astype(np.uint16)
    flat, plain = (dng(tmp_path / name, tags, values) for name, tags in (
        ("a.dng", {51009: opcode_list(gain_map(gains, bounds=(0, 0, 40, 60)))}), ("b.dng", {}),
    ))  # fmt: skip
    assert np.ptp(develop(read_raw(plain)).pixels, axis=1).min() > 0.1
    assert np.ptp(develop(read(flat)).pixels, axis=1).max() < 0.005
    raw = read_raw(flat)
    cut = replace(raw, mosaic=raw.mosaic[:20])
    assert np.ptp(develop(cut).pixels, axis=1).min() > 0.1


def test_what_is_not_applied_is_said_of_the_picture_and_kept_in_a_dng(tmp_path):
    lists = {51008: opcode_list(opcode(5, bytes(8))), 51022: opcode_list(opcode(1, bytes(100)), gain_map(GAINS))}
    raw = read_raw(dng(tmp_path / "a.dng", lists))
    assert raw.meta.extra["gain_maps"] == ()
    assert "opcodes 1, 5, 9" in not_kept(tmp_path / "a.png", develop(raw))[0]
    assert not not_kept(tmp_path / "b.dng", raw)
    _, below = ifd.directories(write(tmp_path / "b.dng", raw).read_bytes())
    assert {code: below.get(code) for code in LISTS & lists.keys()} == lists


@pytest.mark.parametrize("table", [None, (np.arange(16384) * 3 + 7).clip(0, 45007)])
def test_pixels_that_are_marked_bad_stay_marked(table, tmp_path):
    values = np.random.default_rng(5).integers(700, 14000, (40, 60)).astype(np.uint16)
    values[::7, ::9] = 3
    tags = {51008: opcode_list(opcode(4, struct.pack(">II", 3, 0)), opcode(5, bytes(12)))}
    if table is not None:
        tags |= {50712: make(ifd.SHORT, *table.tolist()), 50717: make(ifd.LONG, 45007)}
    raw = read_raw(dng(tmp_path / "a.dng", tags, values))
    path = write(tmp_path / "b.dng", replace(raw, mosaic=raw.mosaic * np.float32(0.5)))
    written = read_raw(path).meta.extra["sensor"].values
    mark = 3 if table is None else 16
    np.testing.assert_array_equal(written == mark, values == 3)
    below = [*ifd.directories(path.read_bytes())][1]
    assert below[51008] == opcode_list(opcode(4, struct.pack(">II", mark, 0)), opcode(5, bytes(12)))


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\0\0",
        opcode(9, b""),
        opcode(9, bytes(76)),
        opcode(4, b"1"),
        gain_map(GAINS)[:-4],
        gain_map(GAINS, plane=1),
        gain_map(GAINS, pitch=(0, 1)),
        gain_map(GAINS, step=(float("nan"), 1.0)),
        gain_map(GAINS, step=(0.0, 1.0)),
        gain_map(GAINS * np.nan),
        gain_map(-GAINS),
        gain_map(GAINS, bounds=(100, 100, 10, 10)),
        struct.pack(">4I", 9, 0, 0, 0xFFFFFFFF),
    ],
)
def test_damaged_opcodes_change_nothing(damaged, tmp_path):
    tag = ifd.Entry(ifd.UNDEFINED, struct.pack(">I", 0xFFFFFFFF) + damaged)
    raw = read_raw(dng(tmp_path / "a.dng", {51008: tag, 51009: tag, 50712: make(ifd.SHORT, *range(0, 65536, 4))}))
    assert (shaded(raw) == 1).all()
    assert develop(raw).size == (40, 60)
    assert read_raw(write(tmp_path / "b.dng", raw)).size == (40, 60)


@pytest.mark.parametrize("area", [(3, 5, 40, 60), (0xFFFFFFFF, 0xFFFFFFFE, 7, 3), (39, 59, 0, 0)])
def test_damaged_places_and_tables_harm_nobody(area, tmp_path):
    maps = opcode_list(gain_map(GAINS, bounds=(0xFFFFFFFF,) * 4, pitch=(0xFFFFFFFF, 1)), gain_map(GAINS, pitch=(7, 0)))
    tags = {51009: maps, ifd.ACTIVE_AREA: make(ifd.LONG, *area), 50712: make(8, *range(-9, 20000))}
    tags |= {51008: opcode_list(opcode(4, bytes(8)), opcode(4, b"\xff" * 8))}
    assert fitted(tags, (4, 6, 40, 60))[1] == (9,)
    raw = read(dng(tmp_path / "a.dng", tags | {ifd.ACTIVE_AREA: make(ifd.LONG, 3, 5, 40, 60)}))
    assert read(write(tmp_path / "b.dng", raw)).size == raw.size
