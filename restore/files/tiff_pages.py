"""The pages of a TIFF: which are pictures, all of them, or one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import tifffile

from restore.errors import FileError, UnsupportedError
from restore.files import ifd
from restore.files.container import Limits
from restore.files.tiff import checked, read_page
from restore.picture import Image

_MOST_PAGES, _MOST_TOGETHER = 65_535, 100


def read_tiff(path: Path, view: ifd.Buffer, limits: Limits) -> Image:
    """Read a TIFF that has one page beside thumbnails; see `restore.files.read`."""
    with tifffile.TiffFile(path) as file:
        page, *others = _pages(path, file)
        if others:
            problem = f"is a stack of {1 + len(others)} pages, and one picture is wanted here"
            raise UnsupportedError(path, f"{problem}; `restore run` and restore.files.read_stack take every page")
        return read_page(path, view, limits, page)


class Place(NamedTuple):
    """Where a page's directory lies, and its height and width."""

    offset: int
    size: tuple[int, int]


def tiff_places(path: Path, view: ifd.Buffer, limits: Limits) -> list[Place]:
    """Return where the pages of a TIFF lie, but its thumbnails, after checking what their tags promise.

    Raises
    ------
    ReadError, UnsupportedError, TooLargeError
        As `restore.files.read_stack`; also of pages that together are `_MOST_TOGETHER` times as large as one may be.
    """
    with tifffile.TiffFile(path) as file:
        pages = _pages(path, file)
        for number, page in enumerate(pages):
            with _numbered(path, number, len(pages)):
                checked(path, len(view), limits, page)
        places = [Place(page.offset, (page.imagelength, page.imagewidth)) for page in pages]
    together = sum(height * width for _, (height, width) in places)
    replace(limits, max_pixels=_MOST_TOGETHER * limits.max_pixels).check(path, 1, together)
    return places


def read_tiff_page(path: Path, view: ifd.Buffer, limits: Limits, places: Sequence[Place], number: int) -> Image:
    """Read the page of a number, from 0; see `restore.files.read_stack`."""
    with tifffile.TiffFile(path) as file, _numbered(path, number, len(places)):
        file.filehandle.seek(places[number].offset)
        return read_page(path, view, limits, tifffile.TiffPage(file, number))


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
        They are too many, or lie behind the first without being listed (ImageJ beyond 4 GB, MetaMorph).
    """
    if len(file.pages) > _MOST_PAGES:
        raise UnsupportedError(path, f"a TIFF of {len(file.pages)} pages, more than {_MOST_PAGES}; split it")
    pages = [page.aspage() for page in file.pages]
    is_one = len(pages) == 1 and (pages[0].is_imagej or pages[0].is_stk or pages[0].is_shaped)
    if is_one and file.series[0].size > pages[0].size:
        problem = "a stack that lists its first page only (as ImageJ does beyond 4 GB, and MetaMorph)"
        raise UnsupportedError(path, f"{problem}; save it as OME-TIFF or BigTIFF with every page listed")
    within = [[*(page.pages or ())] if page.is_reduced else [page] for page in pages]  # under a thumbnail: its picture
    found = [inner.aspage() for group in within for inner in group]
    return [page for page in found if not page.is_reduced] or pages[:1]
