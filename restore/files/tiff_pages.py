"""The pages of a TIFF: which are pictures, all of them, or one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import tifffile

from restore.errors import FileError, ReadError, UnsupportedError
from restore.files import ifd
from restore.files.container import Limits
from restore.files.tiff import NONE, checked, read_page
from restore.picture import Image

_MOST_PAGES, _MOST_TOGETHER = 65_535, 100


def read_tiff(path: Path, view: ifd.Buffer, limits: Limits) -> Image:
    """Read a TIFF that has one page beside thumbnails; see `restore.files.read`."""
    with tifffile.TiffFile(path) as file:
        page, *others = [file.pages.first] * (_unlisted(file) or 1) if _is_regular(file) else _pages(path, file)
        if others:
            problem = f"is a stack of {1 + len(others)} pages, and one picture is wanted here"
            raise UnsupportedError(path, f"{problem}; `restore run` and restore.files.read_stack take every page")
        return read_page(path, view, limits, page)


class Place(NamedTuple):
    """Where a page's directory lies, its height and width, and how far behind what it says the samples begin."""

    offset: int
    size: tuple[int, int]
    shift: int = 0


def tiff_places(path: Path, view: ifd.Buffer, limits: Limits) -> list[Place]:
    """Return where the pages of a TIFF lie, but its thumbnails, after checking what their tags promise.

    Raises
    ------
    ReadError, UnsupportedError, TooLargeError
        As `restore.files.read_stack`; also of pages that together are `_MOST_TOGETHER` times as large as one may be.
    """
    with tifffile.TiffFile(path) as file:
        if _is_regular(file):
            return _behind_first(path, file.pages.first, len(view), _unlisted(file), limits)
        pages = _pages(path, file)
        for number, page in enumerate(pages):
            with _numbered(path, number, len(pages)):
                checked(path, len(view), limits, page)
        places = [Place(page.offset, (page.imagelength, page.imagewidth)) for page in pages]
    _check_together(path, places, limits)
    return places


def _behind_first(path: Path, first: Any, size: int, count: int, limits: Limits) -> list[Place]:
    """Return the places of pages that lie behind the first without being listed, as ImageJ stores more than 4 GB."""
    checked(path, size, limits, first)
    each, area = sum(first.databytecounts), (first.imagelength, first.imagewidth)
    if first.dataoffsets[0] + count * each > size:
        raise ReadError(path, f"truncated TIFF ({size} bytes, its {count} pages do not fit in); get a fresh copy")
    if count > _MOST_PAGES:
        raise UnsupportedError(path, f"a TIFF of {count} pages, more than {_MOST_PAGES}; split it")
    places = [Place(first.offset, area, number * each) for number in range(count)]
    _check_together(path, places, limits)
    return places


def _check_together(path: Path, places: Sequence[Place], limits: Limits) -> None:
    together = sum(height * width for _, (height, width), _ in places)
    replace(limits, max_pixels=_MOST_TOGETHER * limits.max_pixels).check(path, 1, together)


def read_tiff_page(path: Path, view: ifd.Buffer, limits: Limits, places: Sequence[Place], number: int) -> Image:
    """Read the page of a number, from 0; see `restore.files.read_stack`."""
    offset, _, shift = places[number]
    with tifffile.TiffFile(path) as file, _numbered(path, number, len(places)):
        file.filehandle.seek(offset)
        page = tifffile.TiffPage(file, number)
        page.dataoffsets = tuple(start + shift for start in page.dataoffsets)
        return read_page(path, view, limits, page)


@contextmanager
def _numbered(path: Path, number: int, count: int) -> Iterator[None]:
    """Name the page in errors."""
    try:
        yield
    except FileError as error:
        which = f"page {1 + number} of {count}: " if count > 1 else ""
        raise type(error)(path, which + error.problem) from error


def read_tiff_stack(path: Path, view: ifd.Buffer, limits: Limits) -> list[Image]:
    """Read every page of a TIFF but its thumbnails; see `restore.files.read_stack`."""
    with tifffile.TiffFile(path) as file:
        pages = _pages(path, file)
        limits.check(path, 1, sum(page.imagewidth * page.imagelength for page in pages))
        found = list[Image]()
        for number, page in enumerate(pages):
            with _numbered(path, number, len(pages)):
                found.append(read_page(path, view, limits, page))
        return found


def _pages(path: Path, file: Any) -> list[Any]:
    """Return the pages of an open TIFF but its thumbnails.

    Raises
    ------
    UnsupportedError
        They are too many, or lie behind the first without being listed.
    """
    if len(file.pages) > _MOST_PAGES:
        raise UnsupportedError(path, f"a TIFF of {len(file.pages)} pages, more than {_MOST_PAGES}; split it")
    if _unlisted(file):
        problem = "a stack that lists its first page only (as MetaMorph does)"
        raise UnsupportedError(path, f"{problem}; save it as OME-TIFF or BigTIFF with every page listed")
    pages = [page.aspage() for page in file.pages]
    within = [[*(page.pages or ())] if page.is_reduced else [page] for page in pages]  # under a thumbnail: its picture
    found = [inner.aspage() for group in within for inner in group]
    return [page for page in found if not page.is_reduced] or pages[:1]


def _unlisted(file: Any) -> int:
    """Return how many pages an open TIFF has that lists the first alone; 0 where it lists all."""
    first = file.pages.first
    if len(file.pages) > 1 or not (first.is_imagej or first.is_stk or first.is_shaped):
        return 0
    if not first.is_imagej:
        count = int(file.series[0].size // max(1, first.size))
    elif first.dataoffsets[0] + 2 * sum(first.databytecounts) <= file.filehandle.size:
        count = int((file.imagej_metadata or {}).get("images", 1))  # tifffile's series of a truncated file has one page
    else:
        count = 1  # one page that was taken out of a stack may still say how many there were
    return count if count > 1 else 0


def _is_regular(file: Any) -> bool:
    """Whether pages that are not listed lie behind the first one as it does, without a gap."""
    first = file.pages.first
    return bool(_unlisted(file) and first.compression == NONE and first.is_contiguous and not first.is_stk)
