"""Reading a page of a TIFF: strips, tiles, 1 to 16 bits and floats, grey, colour, palette and CMYK, piece by piece."""

from __future__ import annotations

import importlib.util
import io
import logging
import lzma
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import TiffImagePlugin

from restore.errors import ReadError, UnsupportedError
from restore.files import ifd, isolated
from restore.files.container import Limits, not_installed
from restore.files.metadata import exif_with_orientation, meta_from, orientation, resolution
from restore.files.samples import Canvas, Samples, quantise, spans
from restore.files.through_pillow import cmyk_to_srgb, to_canvas
from restore.files.tiff_tags import exif_of, only_in_tiff
from restore.picture import Image

NONE, DEFLATE = 1, 8
WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_PLAIN_CODECS = {NONE, DEFLATE, 32946, 34925}
_PLAIN_BITS = {1, 8, 16, 32, 64}
_FLOAT_PREDICTOR, _SEPARATE, _PREMULTIPLIED, _UNSPECIFIED = 3, 2, 1, 0
_FLOAT, _MEASURED = 3, {(2, 8), (2, 16), (2, 32), (1, 32)}
"""What `_SAMPLES` are, and of how many bits: floats, and integers that are read as such."""
_SAMPLES = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex floats"}

logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class _Page:
    """What the tags of a page say, checked."""

    tags: Any
    shape: tuple[int, int, int]
    bits: int
    is_float: bool
    """Also of integers that are read as floats, as no white is known of them."""
    photometric: int
    has_alpha: bool
    is_beside: bool
    """The channel in the place of alpha is a selection or the like, as Photoshop keeps them."""

    def canvas(self) -> Canvas:
        """Return room for the page's samples."""
        white = 1.0 if self.is_float else float((1 << self.bits) - 1)
        return Canvas(self.shape, has_alpha=self.has_alpha, white=white)


def is_plain(view: ifd.Buffer) -> bool:
    """Whether every page is stored as it is or deflated: what needs no rare decoder."""
    return all(
        ifd.numbers(tags, ifd.CODEC)[:1] in {(), *((codec,) for codec in _PLAIN_CODECS)}
        and ifd.numbers(tags, ifd.PREDICTOR)[:1] != (_FLOAT_PREDICTOR,)
        and set(ifd.numbers(tags, ifd.BITS)) <= _PLAIN_BITS
        for tags in ifd.directories(view)
    )


def read_page(path: Path, view: ifd.Buffer, limits: Limits, tags: Any) -> Image:
    """Read a page whose tags tifffile has read; see `restore.files.read`."""
    page = checked(path, len(view), limits, tags)
    canvas, photometric = _decode(path, view, page)
    bits, dropped = page.bits, ["64-bit floats: rounded to 32 bits"] if page.bits == 64 else []
    if page.is_float and int(tags.sampleformat or 1) != _FLOAT:
        bits, dropped = 32, [f"{_kind(tags)}: written as 32-bit floats"]
    how, _ = ifd.layout(view)
    ifd.directory(view, how, tags.offset, is_strict=True)
    known = ifd.tree(view, how, tags.offset)
    more, lost = only_in_tiff(known)
    dropped += lost
    icc, xmp = (entry.data if isinstance(entry := known.get(tag), ifd.Entry) else None for tag in (ifd.ICC, ifd.XMP))
    if photometric == WHITE_IS_ZERO:
        np.subtract(1, canvas.pixels, out=canvas.pixels)
    if photometric == PALETTE:
        bits = _look_up(canvas, np.asarray(tags.colormap))
    if photometric == CMYK:
        mixed, ink = np.empty((*page.shape[:2], 3), np.float32), quantise(canvas.pixels, 8)
        cmyk_to_srgb(ink, icc, mixed)
        dropped.append(("CMYK profile" if icc else "CMYK") + ": converted to sRGB" + ", 8 bits" * (bits > 8))
        canvas.pixels, icc, bits = mixed, None, 8
    if canvas.alpha is not None and _PREMULTIPLIED in tags.extrasamples:
        _straighten(canvas)
    meta = meta_from(
        path,
        "tiff",
        exif_of(known, how.order),
        bits=max(8, bits),
        is_float=page.is_float,
        dpi=resolution(known),
        icc=icc,
        xmp=xmp,
        extra={
            "tiff_compression": "none" if tags.compression == NONE else "deflate",
            "tiff_tags": more,
            "dropped": tuple(dropped),
            "is_alpha_beside": page.is_beside,
        },
    )
    return Image(canvas.pixels, canvas.alpha, replace(meta, orientation=orientation(known)))


def checked(path: Path, size: int, limits: Limits, tags: Any) -> _Page:
    """Check what a page's tags promise against the limits, against what can be decoded and against the file."""
    height, width, samples, bits = tags.imagelength, tags.imagewidth, tags.samplesperpixel, tags.bitspersample
    limits.check(path, width, height)
    if tags.is_tiled:
        limits.check(path, tags.tilewidth, tags.tilelength)
    photometric = int(tags.photometric)
    samples_are = int(tags.sampleformat or 1)
    is_measured = (samples_are, bits) in _MEASURED and photometric in (GREY, RGB) and samples == _COLOURS[photometric]
    is_float = samples_are == _FLOAT or is_measured
    usable = (samples_are == 1 and bits in range(1, 17)) or is_measured or (is_float and bits in (16, 32, 64))
    if photometric not in _COLOURS or tags.imagedepth != 1:
        found = f"photometric {photometric}, depth {tags.imagedepth}"
        raise UnsupportedError(path, f"TIFF of a kind that cannot be read ({found}); convert it to 16-bit RGB first")
    if not usable:
        how = "convert it to 32-bit floats, or to unsigned 16 bits"
        raise UnsupportedError(path, f"TIFF of {_kind(tags)}, which cannot be read; {how} first")
    colours = _COLOURS[photometric]
    if samples - colours not in (0, 1):
        problem = f"TIFF with {samples} samples a pixel where {colours} or {colours + 1} are expected"
        raise UnsupportedError(path, f"{problem}; flatten its layers or channels first")
    if samples > 1 and int(tags.planarconfig) not in (1, _SEPARATE):
        raise ReadError(path, f"damaged TIFF (planar configuration {int(tags.planarconfig)}); get a fresh copy")
    is_beside = samples > colours and _UNSPECIFIED in tags.extrasamples
    if is_beside and photometric != RGB:
        problem = "TIFF with a channel beside its colours that is not marked as transparency (ExtraSamples 0)"
        raise UnsupportedError(path, f"{problem}; split it into one file a channel, or remove that channel")
    offsets, lengths = tags.dataoffsets, tags.databytecounts
    ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
    short = tags.compression == NONE and sum(lengths) * 8 < height * width * samples * bits
    if not ends or short or max(ends) > size or min(lengths) == 0 or min(offsets) == 0:
        raise ReadError(path, f"truncated TIFF ({size} bytes, its pixels do not fit in); get a fresh copy")
    return _Page(tags, (height, width, colours), bits, is_float, photometric, samples > colours, is_beside)


def _kind(tags: Any) -> str:
    return f"{tags.bitspersample}-bit {_SAMPLES.get(int(tags.sampleformat or 1), 'unknown samples')}"


def _decode(path: Path, view: ifd.Buffer, page: _Page) -> tuple[Canvas, int]:
    """Return the samples and what they mean, by the decoder at hand that keeps all bits."""
    tags = page.tags
    is_common = tags.compression in _PLAIN_CODECS and tags.predictor != _FLOAT_PREDICTOR and page.bits in _PLAIN_BITS
    if not is_common and not isolated.may_decode_here():
        raise ReadError(path, "damaged TIFF (its directories contradict each other); get a fresh copy")
    can_all = importlib.util.find_spec("imagecodecs") is not None
    if page.photometric != YCBCR and (is_common or can_all):
        return _by_segments(path, view, page), page.photometric
    problem = f"this TIFF ({tags.compression.name}, {page.bits} bits)"
    is_separate = int(tags.planarconfig) == _SEPARATE  # OpenCV misreads it
    if (
        tags.treeindex != (0,)
        or (is_separate and page.bits > 8)
        or (page.is_float and int(tags.sampleformat) != _FLOAT)
    ):
        raise not_installed(path, problem, "jxl")
    body = exif_with_orientation(view[:], 1) or b""  # Pillow and OpenCV would turn the picture
    if page.bits <= 8 and page.is_beside:  # which Pillow would leave out
        raise not_installed(path, problem, "jxl")
    if page.bits <= 8:
        return _by_pillow(body), RGB
    found: Samples | None = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    channels = page.shape[2] + page.has_alpha
    if found is None or found.shape[:2] != page.shape[:2] or found[0, 0].size != channels or channels == 2:
        raise not_installed(path, problem, "jxl")
    samples, canvas = found.reshape(*found.shape[:2], -1), page.canvas()
    canvas.put_all(samples[..., [2, 1, 0, 3][:channels]] if channels > 1 else samples)
    _check_finite(path, canvas.pixels)
    return canvas, page.photometric


def _by_segments(path: Path, view: ifd.Buffer, page: _Page) -> Canvas:
    """Decode strip by strip or tile by tile, one at a time."""
    if importlib.util.find_spec("imagecodecs") is None:
        _check_unpacked(path, view, page)
    canvas, is_separate = page.canvas(), int(page.tags.planarconfig) == _SEPARATE
    for data, (plane, _, top, left, _), _ in page.tags.segments(maxworkers=1, buffersize=1 << 22, _fullsize=False):
        if data is None:
            raise ReadError(path, "damaged TIFF (a piece of the picture is missing); get a fresh copy")
        samples = data[0]
        for rows in spans(*samples.shape):
            part = samples[rows]
            if page.is_float:
                _check_finite(path, part)
            if plane >= page.shape[2] and is_separate and canvas.alpha is not None:
                alpha = canvas.alpha[top + rows.start :, left:][: part.shape[0], : part.shape[1]]
                np.divide(part[: alpha.shape[0], : alpha.shape[1], 0], canvas.white, out=alpha, casting="unsafe")
            else:
                canvas.put(part, top + rows.start, left, plane if is_separate else 0)
    return canvas


def _check_unpacked(path: Path, view: ifd.Buffer, page: _Page) -> None:
    """Refuse a piece that unpacks to more than the picture: by itself, tifffile would hold all of it."""
    tags, codec = page.tags, int(page.tags.compression)
    unpackers: dict[int, Any] = {**dict.fromkeys((DEFLATE, 32946), zlib.decompressobj), 34925: lzma.LZMADecompressor}
    piece = tags.tilewidth * tags.tilelength if tags.is_tiled else 0
    most = max(piece, page.shape[0] * page.shape[1]) * tags.samplesperpixel * -(-page.bits // 8) + (1 << 16)
    for offset, length in zip(tags.dataoffsets, tags.databytecounts, strict=True) if codec in unpackers else ():
        if len(unpackers[codec]().decompress(view[offset : offset + length], most + 1)) > most:
            raise ReadError(path, "damaged TIFF (a piece unpacks to more than the picture); do not trust it")


def _by_pillow(body: bytes) -> Canvas:
    """Decode 8 bits or fewer."""
    with TiffImagePlugin.TiffImageFile(io.BytesIO(body)) as picture:
        if picture.mode == "CMYK":
            raise ValueError("compressed CMYK")
        return to_canvas(picture)


def _check_finite(path: Path, samples: Samples) -> None:
    if not np.isfinite(samples).all():
        number = int(np.count_nonzero(~np.isfinite(samples)))
        raise ReadError(
            path, f"TIFF with NaN or infinite samples ({number} in one piece); replace them by numbers first"
        )


def _look_up(canvas: Canvas, colours: Samples) -> int:
    """Replace palette numbers by colours ``(3, N)`` of 16 bits; return the bits that they need.

    Old programs stored 8 bits, in the lower or in the upper half.
    """
    if colours.max(initial=0) < 256:
        colours = colours * 257
    elif not np.any(colours % 256):
        colours = colours // 256 * 257
    table, numbers = colours.T.astype(np.float32) / np.float32(65535), canvas.pixels * canvas.white
    canvas.pixels = np.empty((*numbers.shape[:2], 3), np.float32)
    for rows in spans(*canvas.pixels.shape):
        canvas.pixels[rows] = table[np.rint(numbers[rows, :, 0]).astype(np.intp)]
    return 16 if np.any(colours % 257) else 8


def _straighten(canvas: Canvas) -> None:
    """Undo premultiplied alpha in place; what is fully transparent stays as it is."""
    assert canvas.alpha is not None
    for rows in spans(*canvas.pixels.shape):
        alpha = canvas.alpha[rows, :, None]
        np.divide(canvas.pixels[rows], alpha, out=canvas.pixels[rows], where=alpha > 0)
