"""Writing TIFF strip by strip: 8 and 16 bits and floats, with profile, XMP, the EXIF tree and private tags."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from restore.errors import WriteError
from restore.files import ifd
from restore.files.metadata import exif_tree, resolution, resolution_tags
from restore.files.samples import Samples, quantise, strips
from restore.files.tiff import DEFLATE, GREY, NONE, RGB
from restore.files.tiff_tags import STRUCTURE
from restore.picture import Floats, Image

_UNSIGNED, _FLOAT = 1, 3
_DIFFERENCES = 2
_STRAIGHT_ALPHA, _UNSPECIFIED = 2, 0
_CLASSIC_LIMIT = (1 << 32) - (1 << 24)
_HALF_MAX = 65504.0


def size_of(page: tuple[Image, int, bool]) -> int:
    """Return the bytes of a page's samples."""
    image, bits, _ = page
    return math.prod(image.size) * _channels(image) * bits // 8


def write_tiff(file: IO[bytes], pages: Iterable[tuple[Image, int, bool]], size: int) -> None:
    """Write pictures, each with its bits a sample and whether they are floats, as the pages of a TIFF.

    A page is deflated if its source was compressed; above 4 GiB it is a BigTIFF. The byte order is that of the first
    EXIF block, so that its values are copied as they are. The samples of all pages come first, without gaps: ImageJ
    looks for them there, and not where the tags say.

    Parameters
    ----------
    size
        Bytes of all samples.

    Raises
    ------
    WriteError
        They are more than was said.
    """
    pages = iter(pages)
    first = next(pages)
    how = ifd.Layout(exif_tree(first[0].meta.exif)[1].order, is_big=size > _CLASSIC_LIMIT)
    file.write(how.header(0))
    directories = list[ifd.Tree]()
    for page in itertools.chain([first], pages):
        if not how.is_big and file.tell() + size_of(page) > _CLASSIC_LIMIT + len(how.header(0)):
            raise WriteError(Path(file.name), "the pages differ in kind, and are more than 4 GiB; split the stack")
        directories.append(_stored(file, how, *page))
    file.write(b"\0" * (file.tell() % 2))
    link = len(how.header(0)) - how.offset.size
    for found in directories:
        at = file.tell()
        file.seek(link)
        file.write(how.offset.pack(at))
        file.seek(at)
        file.write(ifd.pack(found, how, at))
        link = at + how.count.size + len(found) * (how.entry.size + how.offset.size)


def _channels(image: Image) -> int:
    return int(image.pixels.shape[2]) + (image.alpha is not None)


def _stored(file: IO[bytes], how: ifd.Layout, image: Image, bits: int, is_float: bool) -> ifd.Tree:
    """Write the samples of a page, and return its tags."""
    (height, width, colours), channels = image.pixels.shape, _channels(image)
    tags, _ = exif_tree(image.meta.exif)
    is_deflated = image.meta.extra.get("tiff_compression") == "deflate"
    is_differenced = is_deflated and not is_float
    places, lengths, rows = [], [], 1
    for part in strips(image):
        rows = max(rows, len(part))
        samples = _samples(part, bits, is_float=is_float)
        data = _bytes(_differences(samples) if is_differenced else samples, how.order)
        data = zlib.compress(data, 6) if is_deflated else data
        places.append(file.tell())
        lengths.append(len(data))
        file.write(data)
    integer = ifd.LONG8 if how.is_big else ifd.LONG
    found: ifd.Tree = {tag: item for tag, item in tags.items() if tag not in STRUCTURE}
    found |= image.meta.extra.get("tiff_tags", {})
    found |= {
        ifd.WIDTH: ifd.make(ifd.LONG, width),
        ifd.HEIGHT: ifd.make(ifd.LONG, height),
        ifd.BITS: ifd.make(ifd.SHORT, *[bits] * channels),
        ifd.CODEC: ifd.make(ifd.SHORT, DEFLATE if is_deflated else NONE),
        ifd.PHOTOMETRIC: ifd.make(ifd.SHORT, GREY if colours == 1 else RGB),
        ifd.PLACES: ifd.make(integer, *places),
        ifd.SAMPLES: ifd.make(ifd.SHORT, channels),
        ifd.ROWS: ifd.make(ifd.LONG, rows),
        ifd.LENGTHS: ifd.make(integer, *lengths),
        ifd.PLANAR: ifd.make(ifd.SHORT, 1),
        ifd.SAMPLE_FORMAT: ifd.make(ifd.SHORT, *[_FLOAT if is_float else _UNSIGNED] * channels),
    }
    if is_differenced:
        found[ifd.PREDICTOR] = ifd.make(ifd.SHORT, _DIFFERENCES)
    if channels > colours:
        is_beside = image.meta.extra.get("is_alpha_beside", False)
        found[ifd.EXTRA_SAMPLES] = ifd.make(ifd.SHORT, _UNSPECIFIED if is_beside else _STRAIGHT_ALPHA)
    return found | dict(_described(image, tags))


def _described(image: Image, tags: ifd.Tree) -> Iterator[tuple[int, ifd.Entry]]:
    """Give the tags that the record knows better than the EXIF block does."""
    meta = image.meta
    if meta.orientation != 1 and ifd.ORIENTATION not in tags:
        yield ifd.ORIENTATION, ifd.make(ifd.SHORT, meta.orientation)
    if meta.dpi and meta.dpi != resolution(tags):
        yield from resolution_tags(meta.dpi).items()
    if meta.icc:
        yield ifd.ICC, ifd.Entry(ifd.UNDEFINED, meta.icc)
    if meta.xmp:
        yield ifd.XMP, ifd.Entry(ifd.BYTE, meta.xmp)


def _samples(part: Floats, bits: int, *, is_float: bool) -> Samples:
    """Return integers, or floats as they are (unclipped)."""
    return part.astype(f"f{bits // 8}") if is_float else quantise(part, bits)


def _bytes(samples: Samples, order: str) -> bytes:
    return samples.astype(f"{order}{samples.dtype.kind}{samples.dtype.itemsize}").tobytes()


def _differences(samples: Samples) -> Samples:
    """Replace each sample by its difference from the left one, modulo its range (TIFF 6, section 14).

    >>> import numpy as np
    >>> _differences(np.array([[[3], [2], [9]]], np.uint8)).ravel().tolist()
    [3, 255, 7]
    """
    found = samples.copy()
    found[:, 1:] -= samples[:, :-1]
    return found


def fits_half(image: Image) -> bool:
    """Whether 16-bit floats can hold every value."""
    return bool(max(abs(float(image.pixels.max())), abs(float(image.pixels.min()))) <= _HALF_MAX)
