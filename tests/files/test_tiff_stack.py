"""Stacks come back as the series they were, and nothing of a file is left out in silence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore.errors import ArrayError, ReadError, UnsupportedError, WriteError
from restore.files import read, read_stack, write, write_stack
from restore.picture import Image

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(0, 60000, (3, 2, 4, 21, 33)).astype(np.uint16)
STACKS = {
    "imagej hyperstack": (GREY16, {"imagej": True, "metadata": {"axes": "TZCYX", "spacing": 2.0, "unit": "um"}}),
    "imagej, odd bytes a page": (GREY16.astype(np.uint8), {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    "imagej, floats": (GREY16[0, 0] / np.float32(65535), {"imagej": True, "metadata": {"axes": "ZYX"}}),
    "ome": (GREY16, {"ome": True, "metadata": {"axes": "TZCYX", "PhysicalSizeX": 0.2}}),
    "ome, deflated tiles": (
        GREY16,
        {"ome": True, "metadata": {"axes": "TZCYX"}, "compression": "zlib", "tile": (16, 16)},
    ),
    "ome, lzw": (GREY16[0], {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "lzw"}),
    "ome, colour": (GREY16.reshape(8, 21, 33, 3), {"ome": True, "photometric": "rgb", "metadata": {"axes": "TYXS"}}),
    "plain": (GREY16[0, 0], {"metadata": None, "photometric": "minisblack"}),
    "big, big-endian": (GREY16[0, 0], {"bigtiff": True, "byteorder": ">", "photometric": "minisblack"}),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_written_as_the_series_it_was(tmp_path: Path, name: str) -> None:
    samples, options = STACKS[name]
    tifffile.imwrite(tmp_path / "a.tif", samples, resolution=(5, 5), **options)
    write(tmp_path / "b.tif", *read_stack(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        assert len(old.pages) == len(new.pages)
        assert [(s.axes, s.shape, s.kind) for s in old.series] == [(s.axes, s.shape, s.kind) for s in new.series]
        np.testing.assert_array_equal(old.asarray(), new.asarray())
        assert old.pages.first.description == new.pages.first.description
        assert old.pages.first.resolution == new.pages.first.resolution
        assert (old.pages.first.compression > 1) == (new.pages.first.compression > 1)


def test_pages_follow_each_other_without_gaps_as_imagej_reads_them(tmp_path: Path) -> None:
    samples, options = STACKS["imagej, odd bytes a page"]
    tifffile.imwrite(tmp_path / "a.tif", samples, **options)
    write(tmp_path / "b.tif", *read_stack(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        start = file.pages.first.dataoffsets[0]
    found = np.fromfile(tmp_path / "b.tif", np.uint8, samples.size, offset=start)
    np.testing.assert_array_equal(found, samples.ravel())


def test_pages_of_any_size_colour_and_depth_keep_theirs(tmp_path: Path) -> None:
    pages = [
        GREY16[0, 0, 0],
        (GREY16[0, 0, :3, :10] >> 8).astype(np.uint8).transpose(1, 2, 0),
        GREY16[0, 1, 0, :5] / 1e5,
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page.astype("f4") if page.dtype == float else page, contiguous=False)
    write(tmp_path / "b.tif", *read_stack(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        for one, other in zip(old.pages, new.pages, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one.asarray(), other.asarray())


def test_a_thumbnail_that_comes_first_is_not_the_picture(tmp_path: Path) -> None:
    page = GREY16[0, 0, 0]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(page[::4, ::4], subfiletype=1, contiguous=False)
        file.write(page, contiguous=False)
    assert read(tmp_path / "a.tif").size == page.shape
    assert [image.size for image in read_stack(tmp_path / "a.tif")] == [page.shape]


@pytest.mark.parametrize("options", [{"imagej": True}, {"photometric": "minisblack", "rowsperstrip": 7}])
def test_pages_that_the_file_does_not_list_are_read_too(tmp_path: Path, options: dict) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16[0, 0], truncate=True, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
    found = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal([np.rint(page.pixels[..., 0] * 65535) for page in found], GREY16[0, 0])
    with pytest.raises(UnsupportedError, match=f"stack of {len(found)} pages"):
        read(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-1000])
    with pytest.raises(ReadError, match="its 4 pages do not fit in"):
        read_stack(tmp_path / "b.tif")


def test_pages_that_are_not_listed_and_cannot_be_found_are_not_lost_in_silence(tmp_path: Path) -> None:
    """MetaMorph's tags: four planes, of which the first is listed."""
    planes = [(33628, 4, 4, (0,) * 4, True), (33629, 4, 24, (1,) * 24, True)]
    tifffile.imwrite(tmp_path / "a.stk", GREY16[0, 0, 0], photometric="minisblack", metadata=None, extratags=planes)
    body = (tmp_path / "a.stk").read_bytes()
    body = body.replace(struct.pack("<HHI", 33629, 4, 24), struct.pack("<HHI", 33629, 5, 4))  # longer than it says
    (tmp_path / "a.stk").write_bytes(body + GREY16[0, 0, 1:].tobytes())
    for door in (read, read_stack):
        with pytest.raises(UnsupportedError, match="lists its first page only"):
            door(tmp_path / "a.stk")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_one_page_of_a_stack_is_one_picture_whatever_it_says_of_the_others(tmp_path: Path, options: dict) -> None:
    said = {"description": "ImageJ=1.54f\nimages=4\nslices=4\n", "metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", GREY16[0, 0, 0], **said, **options)
    np.testing.assert_array_equal(np.rint(read(tmp_path / "a.tif").pixels[..., 0] * 65535), GREY16[0, 0, 0])


def test_a_page_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY16[0, 0, 0], contiguous=False)
        file.write(GREY16[0, 0, 0].astype(np.complex64), contiguous=False)
    with pytest.raises(UnsupportedError, match="page 2 of 2: "):
        read_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("end", ["png", "jpg", "webp", "avif", "bmp", "jxl", "dng"])
def test_a_format_of_one_picture_refuses_a_stack(tmp_path: Path, end: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16[0, 0], photometric="minisblack")
    with pytest.raises(WriteError, match=r"one picture.*4 pages; choose a name that ends in .tif"):
        write(tmp_path / f"b.{end}", *read_stack(tmp_path / "a.tif"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_heic_and_jxl_of_several_pictures_say_that_one_was_taken(tmp_path: Path) -> None:
    frames = [np.full((64, 64, 3), 80 * value, np.uint8) for value in range(3)]
    imagecodecs, pillow_heif = pytest.importorskip("imagecodecs"), pytest.importorskip("pillow_heif")
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(np.stack(frames)))
    file = pillow_heif.from_bytes("RGB", (64, 64), frames[0].tobytes())
    file.add_frombytes("RGB", (64, 64), frames[1].tobytes())
    file.save(tmp_path / "a.heic")
    assert read(tmp_path / "a.jxl").meta.extra["dropped"] == ("frames after the first",)
    assert read(tmp_path / "a.heic").meta.extra["dropped"] == ("pictures beside the main one",)


def test_what_is_no_stack_is_not_written(tmp_path: Path) -> None:
    image = Image(np.zeros((4, 5, 1), np.float32))
    for name, pages, error, says in (
        ("a.tif", [], WriteError, "no page"),
        ("a.png", [image], WriteError, "png holds one picture"),
        ("a.tif", [np.zeros((4, 5))], ArrayError, "is an Image"),
    ):
        with pytest.raises(error, match=says):
            write_stack(tmp_path / name, pages, 40)
    assert not list(tmp_path.iterdir())
    assert write_stack(tmp_path / "a", [image, image], 40).name == "a.tif"
