"""Pictures and files that several test modules make."""

from __future__ import annotations

import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, ImageCms
from PIL import Image as Pillow

from restore.files import ifd
from restore.files.ifd import make, rational
from restore.files.metadata import exif_tree
from restore.picture import Image, Meta

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>caf\xc3\xa9</a></x:xmpmeta>'


HEIGHT, WIDTH = 37, 53


def exif_block(orientation: int = 6) -> bytes:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "Maker Model 5"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 300.0
    exif[ExifTags.Base.ResolutionUnit] = 2
    photo = exif.get_ifd(ExifTags.IFD.Exif)
    photo[ExifTags.Base.ISOSpeedRatings], photo[ExifTags.Base.ExposureTime] = 800, 0.005
    photo[ExifTags.Base.MakerNote] = bytes(range(200))
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def picture(levels: int, channels: int, *, has_alpha: bool, **meta: object) -> Image:
    """A picture of random integers below ``levels``, as fractions."""
    rng = np.random.default_rng(levels + channels)
    numbers = rng.integers(0, levels, (HEIGHT, WIDTH, channels + 1)).astype(np.float32) / np.float32(levels - 1)
    alpha = np.ascontiguousarray(numbers[..., -1]) if has_alpha else None
    return Image(np.ascontiguousarray(numbers[..., :-1]), alpha, Meta(**meta))  # type: ignore[arg-type]


def tags_of(exif: bytes | None, *, without: tuple[int, ...] = ()) -> dict[int, object]:
    def plain(tree: dict) -> dict[int, object]:
        return {
            tag: plain(item) if isinstance(item, dict) else item.data
            for tag, item in tree.items()
            if tag not in without
        }

    return plain(exif_tree(exif)[0])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def heic(path: Path, **options: object) -> np.ndarray:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.linspace(20, 230, 64)
    samples = np.stack([np.add.outer(ramp, ramp * part) / 2 for part in (1, 0.5, 0.2)], axis=2).astype(np.uint8)
    file = pillow_heif.from_bytes("RGB", (64, 64), samples.tobytes())
    file.save(path, quality=95, chroma=444, **options)
    return samples / 255


DNG_TAGS = {
    33421: make(ifd.SHORT, 2, 2),
    33422: make(ifd.BYTE, 0, 1, 1, 2),
    ifd.MAKE: ifd.ascii_text("Maker"),
    ifd.MODEL: ifd.ascii_text("Model"),
    ifd.DNG_VERSION: make(ifd.BYTE, 1, 4, 0, 0),
    50708: ifd.ascii_text("Maker Model"),
    ifd.BLACK: make(ifd.SHORT, 600),
    50717: make(ifd.LONG, 15000),
    50721: rational(0.8, -0.2, -0.1, -0.5, 1.2, 0.3, -0.1, 0.2, 0.7, signed=True),
    50728: rational(0.5, 1, 0.75),
    50778: make(ifd.SHORT, 21),
}


def dng(path, tags=None, values=None, order="<"):
    """A DNG of one directory, with ``tags`` beside or in place of `DNG_TAGS`; those of None are left out."""
    if values is None:
        values = np.random.default_rng(5).integers(500, 15100, (40, 60)).astype(np.uint16)
    layout = {
        ifd.SUBFILE: make(ifd.LONG, 0),
        ifd.WIDTH: make(ifd.LONG, values.shape[1]),
        ifd.HEIGHT: make(ifd.LONG, values.shape[0]),
        ifd.BITS: make(ifd.SHORT, 8 * values.itemsize),
        ifd.CODEC: make(ifd.SHORT, 1),
        ifd.PHOTOMETRIC: make(ifd.SHORT, 32803),
        ifd.PLACES: make(ifd.LONG, 0),
        ifd.SAMPLES: make(ifd.SHORT, 1),
        ifd.ROWS: make(ifd.LONG, values.shape[0]),
        ifd.LENGTHS: make(ifd.LONG, values.nbytes),
        ifd.PLANAR: make(ifd.SHORT, 1),
        ifd.SAMPLE_FORMAT: make(ifd.SHORT, 3 if values.dtype.kind == "f" else 1),
    }
    tree = {tag: entry for tag, entry in (layout | DNG_TAGS | (tags or {})).items() if entry}
    tree[ifd.PLACES] = make(ifd.LONG, len(ifd.block(tree)))
    path.write_bytes(ifd.block(tree, order) + values.astype(values.dtype.newbyteorder(order)).tobytes())
    return path


PEAK = """
import re, sys
from pathlib import Path
from restore.errors import TooLargeError
from restore.files import read, write
def peak():
    # not getrusage, which starts at what the parent held
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
start = peak()
"""


needs_peak = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")


def peaks(code: str, *arguments: Path) -> list[float]:
    """Run code in a fresh interpreter and return the mebibytes that it prints."""
    run = [sys.executable, "-c", PEAK + textwrap.dedent(code), *arguments]
    return [float(word) for word in subprocess.run(run, check=True, timeout=300, capture_output=True).stdout.split()]
