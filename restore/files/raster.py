"""Pictures from and to files: which reader, which writer, and what all containers have in common."""

from __future__ import annotations

import itertools
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import cv2
import tifffile

from restore import workers
from restore.errors import (
    ArrayError,
    FileError,
    MemoryLimitError,
    ReadError,
    RestoreError,
    WriteError,
)
from restore.files import ifd, isolated
from restore.files.atomic import replacing
from restore.files.bmp import read_bmp, write_bmp
from restore.files.container import Limits, check_pages, kind_of, opened, suffix, target_format
from restore.files.heic import read_heic
from restore.files.jxl import read_jxl, write_jxl
from restore.files.pieces import Whole
from restore.files.png import read_png, write_png
from restore.files.prepare import Page, check_depth, check_finite, page, prepared
from restore.files.stack import Stack
from restore.files.through_pillow import read_avif, read_jpeg, read_webp, write_avif, write_jpeg, write_webp
from restore.files.tiff import is_plain
from restore.files.tiff_pages import Place, read_tiff, read_tiff_page, read_tiff_stack, tiff_places
from restore.files.tiff_writer import size_of, write_tiff
from restore.picture import Image, Picture, RawImage


def _read_sensor(path: Path, _view: ifd.Buffer, limits: Limits) -> Picture:
    from restore.files.sensor import read_raw

    return read_raw(path, limits)


_READERS: dict[str, Callable[[Path, Whole, Limits], Picture]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "bmp": read_bmp,
    "avif": read_avif,
    "heic": read_heic,
    "jxl": read_jxl,
}
_PIECEWISE: dict[str, Callable[[Path, ifd.Buffer, Limits], Picture]] = {"tiff": read_tiff, "raw": _read_sensor}
"""Readers that look at some places only."""
_RISKY = {"raw", "heic", "jxl", "avif"}
"""Formats whose decoders are young, huge or written for trusted files; and TIFF in a rare compression."""
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


def read_stack(path: Path | str, *, limits: Limits = Limits()) -> Sequence[Picture]:  # noqa: B008 - frozen
    """Return every page of a TIFF except thumbnails, in order; any other picture is a stack of one.

    Pages that are stored as they are or deflated are read when they are asked for, each time anew, so that a stack may
    be larger than memory; of other stacks the limit holds for all pages together.

    Raises
    ------
    ReadError, UnsupportedError, TooLargeError
        As `read`; of a page, when it is asked for.
    """
    path = Path(path)
    with opened(path, limits) as view:
        is_tiff = kind_of(path, view) == "tiff" and is_plain(view)
        if is_tiff:
            with _decoding(path, "tiff"):
                places = tiff_places(path, view, limits)
            if len(places) > 1:
                return Stack([place.size for place in places], partial(_read_page, path, limits, places))
    pictures: list[Picture] = _read(path, limits, is_stack=True)
    return pictures


def _read_page(path: Path, limits: Limits, places: Sequence[Place], number: int) -> Picture:
    with opened(path, limits) as view, _decoding(path, "tiff"):
        return read_tiff_page(path, view, limits, places, number)


def write_stack(path: Path | str, pages: Iterable[Image], pixels: int, *, bits: int | None = None) -> Path:
    """Write the pages of a TIFF as they come, so that they need not be in memory together; return the path, as `write`.

    Parameters
    ----------
    pixels
        Of all pages together, by which it is known beforehand whether they fit into 4 GiB.

    Raises
    ------
    WriteError, ResultError, ArrayError
        As `write`; there is no page, or ``path`` names another format.
    """
    path = Path(path)
    path = path if path.suffix else path.with_name(path.name + suffix("tiff"))
    if (container := target_format(path, None, "tiff")) != "tiff":
        raise WriteError(path, f"{container} holds one picture; choose a name that ends in .tif for a stack")
    ready = (page(path, "tiff", _image(image), bits) for image in pages)
    with replacing(path) as part, part.open("wb") as file:
        first = next(ready, None)
        if first is None:
            raise WriteError(path, "there is no page to write; give one or more pictures")
        room = size_of(first) * pixels // math.prod(first[0].size)
        try:
            write_tiff(file, itertools.chain([first], ready), room)
        except WriteError as error:  # the writer knows only the temporary file
            raise WriteError(path, error.problem) from error.__cause__
    return path


def _image(picture: Image) -> Image:
    if not isinstance(picture, Image):
        raise ArrayError(f"a page to write is an Image (as restore.Image(array)), got {type(picture).__name__}")
    return picture


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
            is_whole = container in _READERS
            picture = (
                _READERS[container](path, view.whole(), limits)
                if is_whole
                else _PIECEWISE[container](path, view, limits)
            )
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
    for each in (picture, *further):
        if not isinstance(each, Image | RawImage):
            raise ArrayError(f"a picture to write is an Image (as restore.Image(array)), got {type(each).__name__}")
    source = "dng" if isinstance(picture, RawImage) else picture.meta.format
    container = target_format(path, format, source)
    path = path if path.suffix else path.with_name(path.name + suffix(container))
    check_pages(path, container, 1 + len(further))
    if container == "dng":
        check_depth(path, container, bits)
        from restore.files.dng import write_dng, write_linear_dng

        if isinstance(picture, RawImage):
            check_finite(path, picture.mosaic)
            write_dng(path, picture, preview=preview)
        else:
            write_linear_dng(path, prepared(path, container, picture, quality))
        return path
    images = [each for each in (picture, *further) if isinstance(each, Image)]
    if len(images) <= len(further):
        raise WriteError(path, f"a mosaic cannot be written as {container}; develop it first, or choose dng")
    pages = [page(path, container, image, bits, quality) for image in images]
    with replacing(path) as part, part.open("wb") as file:
        try:
            _encode(file, container, pages, quality)
        except FileError as error:  # an encoder knows only the temporary file
            raise type(error)(path, error.problem) from error.__cause__
    return path


def _encode(file: IO[bytes], container: str, pages: list[Page], quality: int | None) -> None:
    image, bits, is_float = pages[0]
    match container:
        case "jpeg":
            write_jpeg(file, image, quality)
        case "png":
            write_png(file, image, bits)
        case "tiff":
            write_tiff(file, pages, sum(size_of(each) for each in pages))
        case "webp":
            write_webp(file, image, quality)
        case "bmp":
            write_bmp(file, image)
        case "avif":
            write_avif(file, image, quality)
        case _:
            write_jxl(file, image, bits, is_float=is_float, quality=quality)
