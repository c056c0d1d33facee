"""Pictures from and to files: which reader, which writer, and what all containers have in common."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import tifffile

from restore import workers
from restore.errors import (
    ArrayError,
    FileError,
    MemoryLimitError,
    ReadError,
    RestoreError,
    ResultError,
    WriteError,
)
from restore.files import ifd, isolated
from restore.files.atomic import replacing
from restore.files.bmp import read_bmp, write_bmp
from restore.files.container import Limits, check_pages, has_long_settings, kind_of, opened, suffix, target_format
from restore.files.heic import read_heic
from restore.files.jxl import read_jxl, write_jxl
from restore.files.metadata import as_developed, exif_with_orientation, exif_without_thumbnail, resolution_tags
from restore.files.png import read_png, write_png
from restore.files.segments import EXTENDED_XMP, without_pointer
from restore.files.through_pillow import read_avif, read_jpeg, read_webp, write_avif, write_jpeg, write_webp
from restore.files.tiff import is_plain, read_tiff, read_tiff_stack
from restore.files.tiff_writer import fits_half, write_tiff
from restore.picture import Floats, Image, Picture, RawImage


def _read_sensor(path: Path, _view: ifd.Buffer, limits: Limits) -> Picture:
    from restore.files.sensor import read_raw

    return read_raw(path, limits)


_READERS: dict[str, Callable[[Path, ifd.Buffer, Limits], Picture]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "tiff": read_tiff,
    "webp": read_webp,
    "bmp": read_bmp,
    "avif": read_avif,
    "heic": read_heic,
    "jxl": read_jxl,
    "raw": _read_sensor,
}
_RISKY = {"raw", "heic", "jxl", "avif"}
"""Formats whose decoders are young, huge or written for trusted files; and TIFF in a rare compression."""
_DEPTHS = {"png": (8, 16), "tiff": (8, 16, 32), "jxl": (8, 16, 32), "dng": (16,)}
_LARGEST_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 65535, "bmp": (1 << 31) - 1}
_HAS_NO_DPI = ("webp", "avif", "jxl")
_IS_UPRIGHT = ("bmp", "jxl")
_DECODERS_RAISE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, EOFError,
    OverflowError,
    ZeroDivisionError, RuntimeError, AssertionError, struct.error, zlib.error, lzma.LZMAError, cv2.error,
    tifffile.TiffFileError, Warning,
)  # fmt: skip


@contextmanager
def _decoding(path: Path, container: str) -> Iterator[None]:
    """Turn what decoders raise on damaged files into the typed error."""
    try:
        yield
    except MemoryError as error:
        raise MemoryLimitError(f"{path}: no memory for this picture; close other programs or reduce it") from error
    except _DECODERS_RAISE as error:
        if isinstance(error, RestoreError):
            raise
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ReadError(path, f"damaged {container.upper()} ({reason}); get a fresh copy") from error


def read(path: Path | str, *, limits: Limits = Limits()) -> Picture:  # noqa: B008 - frozen
    """Read a picture file, raw or developed; what it is is told by its content, not by its name.

    Pixels and profile are kept as stored: nothing is turned, converted or clipped. The exceptions are CMYK,
    which becomes sRGB (``meta.extra["dropped"]`` says so), and HEIC and JPEG XL, whose decoders turn the
    picture upright. Of several frames the first is read.

    Parameters
    ----------
    path
        The file.
    limits
        Pixels and bytes beyond which it is refused, by its header, before anything is allocated.

    Raises
    ------
    ReadError
        Missing, empty, unreadable, damaged, truncated, not a picture, or not finite.
    UnsupportedError
        A picture of a kind that cannot be read, or that needs an optional package; the message names it. A TIFF
        of several pages, which `read_stack` reads.
    TooLargeError
        Beyond the limits.
    """
    picture: Picture = _read(Path(path), limits, is_stack=False)
    return picture


def read_stack(path: Path | str, *, limits: Limits = Limits()) -> list[Picture]:  # noqa: B008 - frozen
    """Read every page of a TIFF except thumbnails, in order; any other picture is a stack of one.

    Raises
    ------
    ReadError, UnsupportedError, TooLargeError
        As `read`; the limit holds for all pages together.
    """
    pictures: list[Picture] = _read(Path(path), limits, is_stack=True)
    return pictures


def _read(path: Path, limits: Limits, *, is_stack: bool) -> Any:
    """Read a picture or a stack: here what mainstream code decodes, in a process of its own what is risky."""
    with opened(path, limits) as view:
        container = kind_of(path, view)
        is_risky = container in _RISKY or (container == "tiff" and not is_plain(view))
    if is_risky and not isolated.may_decode_here():
        return isolated.read(path, limits, is_stack=is_stack)
    if container == "jpeg" and workers.IS_POSSIBLE:
        isolated.check_scan(path, limits)
    return read_here(path, limits, is_stack=is_stack)


def read_here(path: Path, limits: Limits, *, is_stack: bool) -> Any:
    """Read a picture or a stack of them in this process; see `read` and `read_stack`."""
    with opened(path, limits) as view:
        container = kind_of(path, view)
        with _decoding(path, container):
            if container == "tiff" and is_stack:
                return read_tiff_stack(path, view, limits)
            picture = _READERS[container](path, view, limits)
    return [picture] if is_stack else picture


def write(
    path: Path | str,
    picture: Picture,
    *further: Picture,
    format: str | None = None,  # noqa: A002 - the word users know
    bits: int | None = None,
    quality: int | None = None,
    preview: Image | None = None,
) -> Path:
    """Write a picture so that ``path`` holds all of it or what it held before; return the path.

    What is not asked for stays as in the source: depth, colours, alpha, EXIF but for its thumbnail, profile, XMP,
    orientation, resolution, a JPEG's tables (else quality 95 without subsampling), whether WebP is lossless and
    TIFF compressed (by deflate); within JPEG also comments, IPTC and extended XMP, within PNG also texts. HEIC and
    developed raw files become PNG, with 16 bits if they had more than 8. BMP and JPEG XL carry no orientation and are
    written upright.

    Parameters
    ----------
    path
        Where to; without a suffix the format's is added.
    picture
        What to write. A `RawImage` becomes a DNG; an `Image` may become a linear one.
    further
        Further pages of a TIFF, each with its own depth and metadata.
    format
        ``"jpeg"``, ``"png"``, ``"tiff"``, ``"webp"``, ``"bmp"``, ``"avif"``, ``"jxl"`` or ``"dng"``;
        by default what the path's suffix says, else what the source was.
    bits
        8 or 16 for integers, 32 for floats (TIFF and JPEG XL), which alone are written unclipped; a DNG has 16.
    quality
        1...100 for JPEG, WebP, AVIF and JPEG XL.
    preview
        The developed picture that a DNG shows.

    Raises
    ------
    WriteError
        The format cannot hold the picture or cannot be written there.
    ResultError
        The picture has samples that are not finite.
    ArrayError
        It is an array, and no picture.
    """
    path = Path(path)
    for page in (picture, *further):
        if not isinstance(page, Image | RawImage):
            raise ArrayError(f"a picture to write is an Image (as restore.Image(array)), got {type(page).__name__}")
    source = "dng" if isinstance(picture, RawImage) else picture.meta.format
    container = target_format(path, format, source)
    path = path if path.suffix else path.with_name(path.name + suffix(container))
    check_pages(path, container, 1 + len(further))
    if container == "dng":
        _check_depth(path, container, bits)
        from restore.files.dng import write_dng, write_linear_dng

        if isinstance(picture, RawImage):
            _check_finite(path, picture.mosaic)
            write_dng(path, picture, preview=preview)
        else:
            write_linear_dng(path, _prepared(path, container, picture, quality))
        return path
    images = [page for page in (picture, *further) if isinstance(page, Image)]
    if len(images) <= len(further):
        raise WriteError(path, f"a mosaic cannot be written as {container}; develop it first, or choose dng")
    depths = [_depth(path, container, image, bits) for image in images]
    ready = [_prepared(path, container, image, quality) for image in images]
    pages = [(image, *depth) for image, depth in zip(ready, depths, strict=True)]
    with replacing(path) as part, part.open("wb") as file:
        try:
            _encode(file, container, pages, quality)
        except FileError as error:  # an encoder knows only the temporary file
            raise type(error)(path, error.problem) from error.__cause__
    return path


def _encode(file: IO[bytes], container: str, pages: list[tuple[Image, int, bool]], quality: int | None) -> None:
    image, bits, is_float = pages[0]
    match container:
        case "jpeg":
            write_jpeg(file, image, quality)
        case "png":
            write_png(file, image, bits)
        case "tiff":
            write_tiff(file, pages)
        case "webp":
            write_webp(file, image, quality)
        case "bmp":
            write_bmp(file, image)
        case "avif":
            write_avif(file, image, quality)
        case _:
            write_jxl(file, image, bits, is_float=is_float, quality=quality)


def _depth(path: Path, container: str, image: Image, bits: int | None) -> tuple[int, bool]:
    """Return the bits a sample to write, and whether they are floats."""
    possible = _DEPTHS.get(container, (8,))
    if bits is not None:
        _check_depth(path, container, bits)
        return bits, bits == 32
    meta = image.meta
    if meta.is_float and 32 in possible:
        is_half = container == "tiff" and meta.bits == 16 and fits_half(image)
        return (16 if is_half else 32), True
    wants_16 = meta.bits > 8 or meta.is_float or (meta.format == "raw" and container in _DEPTHS)
    return (16 if wants_16 and 16 in possible else 8), False


def _check_depth(path: Path, container: str, bits: int | None) -> None:
    possible = _DEPTHS.get(container, (8,))
    if bits is not None and bits not in possible:
        choices = " or ".join(map(str, possible))
        raise WriteError(path, f"{container} cannot be written with {bits} bits; choose {choices}")


def _check_finite(path: Path, values: Floats) -> None:
    if not np.isfinite([values.min(), values.max()]).all():
        raise ResultError(f"{path}: the picture has NaN or infinite samples; this is a fault of the step before")


def _prepared(path: Path, container: str, image: Image, quality: int | None) -> Image:
    """Check that the format can hold the picture, and bring its EXIF block in line with the record."""
    if image.pixels.size == 0:
        raise WriteError(path, "a picture without pixels cannot be written")
    _check_finite(path, image.pixels)
    if image.alpha is not None:
        _check_finite(path, image.alpha)
    if quality is not None and not 1 <= quality <= 100:
        raise WriteError(path, f"quality {quality} is outside 1...100")
    if max(image.size) > _LARGEST_SIDE.get(container, 1 << 30):
        raise WriteError(path, f"{container} cannot hold {image.size[1]} x {image.size[0]} pixels; choose PNG or TIFF")
    if container != "tiff" and image.meta.extra.get("is_alpha_beside", False):
        problem = "has a channel beside its colours that is no transparency, which only a TIFF can hold"
        raise WriteError(path, f"the picture {problem}; choose --format tiff, or remove that channel")
    if container in ("jpeg", "dng") and image.alpha is not None:
        raise WriteError(
            path, f"{container.upper()} cannot hold transparency; choose PNG, WebP, AVIF or TIFF, or remove the alpha"
        )
    if container in _IS_UPRIGHT:
        image = image.upright()
    meta = as_developed(image.meta, image.size) if image.meta.format == "raw" else image.meta
    exif = exif_without_thumbnail(meta.exif)
    if container in _HAS_NO_DPI and meta.dpi and exif is None:
        exif = ifd.block(resolution_tags(meta.dpi))
    is_extended = container == "jpeg" and EXTENDED_XMP in (meta.extra.get("jpeg_segments") or b"")
    xmp = meta.xmp if is_extended else without_pointer(meta.xmp or b"")
    xmp = None if container == "jpeg" and has_long_settings(meta) else xmp
    return replace(image, meta=replace(meta, exif=exif_with_orientation(exif, meta.orientation), xmp=xmp))
