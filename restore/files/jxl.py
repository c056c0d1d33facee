"""JPEG XL through imagecodecs; boxes and size are read here, because the decoder allocates blindly."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ImageCms

from restore.errors import ReadError, WriteError
from restore.files.container import Limits, optional
from restore.files.metadata import exif_with_orientation, meta_from
from restore.files.pieces import Whole
from restore.files.samples import Canvas, Samples, quantise, strips
from restore.picture import Image

_BARE = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def read_jxl(path: Path, view: Whole, limits: Limits) -> Image:
    """Read a JPEG XL; its pixels come upright. See `restore.files.read`."""
    stream, found = b"", dict[bytes, bytes]()
    for name, start, end in _boxes(path, view):
        if name in (b"jxlc", b"jxlp") and not stream:
            start += 4 * (name == b"jxlp")
            stream = bytes(view[start : start + 32])
        elif name in (b"Exif", b"xml "):
            found.setdefault(name, bytes(view[start:end]))
    if not stream.startswith(_BARE):
        raise ReadError(path, "damaged JPEG XL (no picture in it); get a fresh copy")
    limits.check(path, *stream_size(stream))
    imagecodecs = optional(path, "imagecodecs", "reading JPEG XL", "jxl")
    samples: Samples = imagecodecs.jpegxl_decode(view, numthreads=1)
    extra = {"dropped": ("frames after the first",)} if samples.ndim == 4 and len(samples) > 1 else {}
    samples = samples.reshape(*samples.shape[:2], -1) if samples.ndim in (2, 3) else samples[0]
    is_float, bits = samples.dtype.kind == "f", 8 * samples.dtype.itemsize
    channels = samples.shape[2]
    if is_float and not np.isfinite(samples).all():
        raise ReadError(path, "JPEG XL with NaN or infinite samples; replace them by numbers first")
    shape = (*samples.shape[:2], 1 if channels < 3 else 3)
    canvas = Canvas(shape, has_alpha=channels in (2, 4), white=1.0 if is_float else float((1 << bits) - 1))
    canvas.put_all(samples)
    block = found.get(b"Exif", b"")
    exif = block[4 + int.from_bytes(block[:4], "big") :] or None
    exif = exif_with_orientation(exif, 1)
    meta = meta_from(path, "jxl", exif, bits=bits, is_float=is_float, xmp=found.get(b"xml "), extra=extra)
    return Image(canvas.pixels, canvas.alpha, meta)


def _boxes(path: Path, view: Whole) -> Iterator[tuple[bytes, int, int]]:
    """Give name, start and end of each box's content; a bare stream counts as one box."""
    if view[:2] == _BARE:
        yield b"jxlc", 0, len(view)
        return
    at = 0
    while at + 8 <= len(view):
        length, name = struct.unpack_from(">I4s", view, at)
        start, end = at + 8, at + length
        if length == 1 and at + 16 <= len(view):
            start, end = at + 16, at + struct.unpack_from(">Q", view, at + 8)[0]
        if length == 0:
            end = len(view)
        if end < start or end > len(view):
            raise ReadError(path, f"truncated JPEG XL ({len(view)} bytes, box {name!r} is cut off); get a fresh copy")
        yield name, start, end
        at = end


def stream_size(stream: bytes) -> tuple[int, int]:
    """Return width and height from a stream's first bytes (ISO/IEC 18181-1, SizeHeader).

    >>> stream_size(bytes([0xFF, 0x0A, 0b0100_1111, 0, 0]))
    (64, 64)
    """
    bits, at = int.from_bytes(stream[2:], "little"), 0

    def take(number: int) -> int:
        nonlocal at
        at += number
        return bits >> (at - number) & ((1 << number) - 1)

    is_small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    height, ratio = side(), take(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def write_jxl(file: IO[bytes], image: Image, bits: int, *, is_float: bool, quality: int | None) -> None:
    """Write a picture as JPEG XL, lossless unless a quality is asked for; it must be upright.

    Raises
    ------
    UnsupportedError, WriteError
        The optional package is missing; the picture has a profile other than sRGB.
    """
    path, meta = Path(file.name), image.meta
    imagecodecs = optional(path, "imagecodecs", "writing JPEG XL", "jxl")
    if meta.icc and not _is_srgb(meta.icc):
        raise WriteError(path, "JPEG XL is written without a profile, and this picture has one; choose PNG or TIFF")
    parts = [part.astype(np.float32) if is_float else quantise(part, bits) for part in strips(image)]
    samples = np.concatenate(parts)
    samples = samples[..., 0] if samples.shape[2] == 1 else samples
    loss: dict[str, Any] = (
        {"lossless": True} if quality is None else {"distance": max(0.1, 0.1 + (100 - quality) * 0.09)}
    )
    try:
        stream = imagecodecs.jpegxl_encode(samples, usecontainer=True, numthreads=1, **loss)
    except (ValueError, RuntimeError) as error:
        raise WriteError(path, f"JPEG XL cannot hold this picture ({error}); choose PNG or TIFF") from error
    file.write(stream)
    for name, data in ((b"Exif", meta.exif and bytes(4) + meta.exif), (b"xml ", meta.xmp)):
        if data:
            file.write(struct.pack(">I4s", len(data) + 8, name) + data)


def _is_srgb(icc: bytes) -> bool:
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):
        return False
