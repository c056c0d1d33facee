"""Which files of the folders a user names are pictures to work on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore.errors import ReadError
from restore.paths import is_file, is_folder

SIDE_SUFFIX = ".restore.json"
"""Ends the name of the file that says how a picture was made: ``photo.png.restore.json``."""

SIGMA_SUFFIX = ".sigma.tiff"
"""Ends the name of the file that holds the standard error of each value of a result."""

JOURNAL = ".restore-journal.jsonl"
"""Name of the file in which a folder job notes what it has done."""

_DEVELOPED = "avif bmp dib heic heif hif jfif jpe jpeg jpg jxl png tif tiff webp"
_RAW = (
    "3fr arw bay cr2 cr3 crw dcr dcs dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx raf raw rw2 rwl sr2"
    " srf srw x3f"
)
_FOREIGN = "exr gif hdr ico j2k jp2 jpx pbm pdf pgm pnm ppm psb psd qoi svg tga"
SUFFIXES = frozenset(f".{name}" for name in f"{_DEVELOPED} {_RAW}".split())
"""Names that a folder's listing takes for pictures; what a file is, is told by its content when it is read."""

FOREIGN = frozenset(f".{name}" for name in _FOREIGN.split())
"""Names of pictures of kinds that are neither read nor written."""


@dataclass(frozen=True)
class Found:
    """An input file, and its path below the folder it was found in (its name alone when it was named itself).

    ``problem`` is set for a folder that cannot be listed.
    """

    path: Path
    relative: Path
    problem: ReadError | None = None


def find(
    inputs: Sequence[Path],
    *,
    is_recursive: bool = False,
    output: Path | None = None,
    unread: set[Path] | None = None,
) -> tuple[Found, ...]:
    """List the pictures among files and folders, each once, folders in the order of their names.

    A file that is named is always taken, even when it is missing: reading it then says what is wrong. So is a
    dangling link, or a folder that is named like a picture and holds none.

    Parameters
    ----------
    is_recursive
        Whether to go into sub-folders, through links too, but into each folder once.
    output
        Folder of the results, left out where it lies inside an input. Where it *is* an input, results of an earlier
        run, which have a side file beside them, are left out.
    unread
        Gets the files of the folders that are left out because their names are not those of pictures that are read;
        hidden ones and our own are not told of.
    """
    avoid = None if output is None else _real(output)
    found: dict[str, Found] = {}
    unread = set() if unread is None else unread
    for given in inputs:
        listed = [Found(given, Path(given.name))]
        for item in _walk(given, Path(), is_recursive, avoid, set(), unread) if is_folder(given) else listed:
            found.setdefault(os.path.abspath(item.path), item)  # noqa: PTH100 - "..", but not links, is resolved
    return tuple(found.values())


def _real(path: Path) -> Path:
    """Follow all links; unlike ``Path.resolve`` it bears loops."""
    return Path(os.path.realpath(path))


def _walk(
    folder: Path, relative: Path, is_recursive: bool, avoid: Path | None, seen: set[Path], unread: set[Path]
) -> Iterator[Found]:
    """Yield the pictures of a folder, its own files first, then those of its sub-folders."""
    real = _real(folder)
    if real in seen or (relative.parts and real == avoid):
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        problem = f"the folder cannot be listed ({error.strerror}); check your permission"
        yield Found(folder, relative, ReadError(folder, problem))
        return
    names = {path.name for path in entries}
    folders = {path for path in entries if is_recursive and is_folder(path)}
    for path in entries:
        is_result = real == avoid and path.name + SIDE_SUFFIX in names
        is_sigma = path.name.endswith(SIGMA_SUFFIX) and path.name.removesuffix(SIGMA_SUFFIX) + SIDE_SUFFIX in names
        if is_result or is_sigma or path in folders:
            continue
        if is_picture_name(path.name):
            yield Found(path, relative / path.name)
        elif not path.name.startswith(".") and not path.name.endswith(SIDE_SUFFIX) and is_file(path):
            unread.add(path)
    for path in sorted(folders):
        inner = [*_walk(path, relative / path.name, True, avoid, seen, unread)]
        yield from inner
        if not inner and is_picture_name(path.name) and _real(path) != avoid:
            yield Found(path, relative / path.name)


def is_picture_name(name: str) -> bool:
    """Whether a folder's listing takes a file of this name, unless it belongs to a result.

    >>> [is_picture_name(name) for name in ("a.JPG", "a.png.restore.json", ".restore-1.part.png", "a.txt")]
    [True, False, False, False]
    """
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith((".restore-", "._"))
