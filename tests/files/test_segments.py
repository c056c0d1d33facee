"""What a JPEG says beside EXIF, profile and XMP is kept, but for what shows the old picture or points to nothing."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from restore.files import read, suffix, write
from restore.files.segments import kept, resources

GUID = b"0123456789ABCDEF0123456789ABCDEF"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d xmpNote:HasExtendedXMP="' + GUID + b'"/></x:xmpmeta>'
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0" + GUID + struct.pack(">II", 4, 0) + b"<a/>"
IPTC = b"\x1c\x02\x78\0\4cafe"


def resource(code: int, data: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name
    title += b"\0" * (len(title) % 2)
    return b"8BIM" + struct.pack(">H", code) + title + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def jpeg(path: Path, *segments: tuple[int, bytes], **options: object) -> Path:
    body = io.BytesIO()
    Pillow.new("RGB", (16, 16), "teal").save(body, "JPEG", **options)
    more = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    path.write_bytes(body.getvalue()[:2] + more + body.getvalue()[2:])
    return path


def test_comments_iptc_and_extended_xmp_of_a_jpeg_are_kept_and_its_photoshop_thumbnail_is_not(tmp_path: Path) -> None:
    path, old = resource(2000, b"curves", b"Path 1"), resource(1036, b"an old jpeg")
    photoshop = b"Photoshop 3.0\0" + resource(0x0404, IPTC) + old + path
    comments = (0xFE, b"first"), (0xFE, b"second")
    source = jpeg(tmp_path / "a.jpg", (0xED, photoshop), *comments, (0xE1, EXTENSION), xmp=XMP)
    with Pillow.open(write(tmp_path / "b.jpg", read(source))) as found:
        segments = found.applist
        assert found.info["photoshop"] == {0x0404: IPTC, 2000: b"curves"}
    assert [data for name, data in segments if name == "COM"] == [b"first", b"second"]
    assert ("APP1", EXTENSION) in segments
    assert any(b"Path 1" in data for name, data in segments if name == "APP13")
    assert read(tmp_path / "b.jpg").meta.xmp == XMP


def test_photoshop_data_of_several_segments_are_put_together_again() -> None:
    blocks = resource(0x0404, bytes(range(256)) * 500) + resource(0x0425, bytes(16))
    parts = [("APP13", b"Photoshop 3.0\0" + blocks[at : at + 60_000]) for at in range(0, len(blocks), 60_000)]
    written, found, at = kept(parts), b"", 0
    assert written is not None
    while at < len(written):
        marker, length = struct.unpack_from(">HH", written, at)
        assert marker == 0xFFED
        found += written[at + 4 + len(b"Photoshop 3.0\0") : at + 2 + length]
        at += 2 + length
    assert found == blocks


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp"])
def test_xmp_does_not_point_to_an_extension_that_is_not_there(tmp_path: Path, name: str) -> None:
    segments = [] if name == "jpeg" else [(0xE1, EXTENSION)]
    image = read(jpeg(tmp_path / "a.jpg", *segments, xmp=XMP))
    xmp = read(write(tmp_path / f"b{suffix(name)}", image)).meta.xmp
    assert xmp is not None
    assert b"<d/>" in xmp


def test_more_pictures_in_a_jpeg_are_said_to_be_dropped(tmp_path: Path) -> None:
    dropped = read(jpeg(tmp_path / "a.jpg", (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"))).meta.extra["dropped"]
    assert [what for what in dropped if "MPF" in what]


def test_segments_of_absurd_size_are_left_out() -> None:
    assert kept([("COM", bytes(65_533))] * 1100) is None


@given(st.binary(max_size=200))
def test_damaged_resources_are_survived(noise: bytes) -> None:
    for blocks in (noise, resource(0x0404, IPTC) + noise, b"8BIM" + noise):
        once = resources(blocks)
        assert resources(once) == once
