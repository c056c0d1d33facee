"""Which kind of file this is, told by its content, and whether it may be opened at all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.errors import FileError, ReadError, TooLargeError, UnsupportedError, WriteError, nearest
from restore.files import ifd
from restore.files.pieces import Pieces
from restore.files.samples import not_whole
from restore.picture import Image, Meta, Picture

SUFFIXES = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "bmp": (".bmp", ".dib"),
    "avif": (".avif",),
    "jxl": (".jxl",),
    "dng": (".dng",),
}
"""Formats that can be written; the first suffix is the one that is given to new files."""

REPLACED = {"heic": "png", "raw": "png"}
"""Formats that are only read, and what is written in their place."""

_MAGIC = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"BM": "bmp",
    b"\xff\x0a": "jxl",
    b"\0\0\0\x0cJXL \r\n\x87\n": "jxl",
    **dict.fromkeys((b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM"), "raw"),
    **dict.fromkeys((b"IIII", b"MMMM", b"NOKIARAW", b"DSC-Image", b"ARRI", b"qktk", b"qktn"), "raw"),
}
_FOREIGN = {
    b"GIF8": "a GIF",
    b"8BPS": "a Photoshop document",
    b"%PDF": "a PDF document",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"v/1\x01": "an OpenEXR picture",
    b"#?RADIANCE": "a Radiance picture",
    b"qoif": "a QOI picture",
    b"<svg": "an SVG drawing",
}
_ARCHIVES = (b"PK\3\4", b"PK\5\6", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_ONLY_IN = {
    "jpeg_segments": ("jpeg", "comments, IPTC and extended XMP"),
    "png_texts": ("png", "texts"),
    "is_png_foreign": ("png", "what its colours mean (cICP, gAMA or cHRM)"),
    "tiff_tags": ("tiff", "ImageJ's, Photoshop's and large tags"),
}
"""Parts of ``meta.extra`` that one format alone keeps."""
_LONGEST_XMP = 65504
"""Bytes of XMP that a JPEG holds in one piece."""
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_SENSOR_COLOURS = {32803, 34892}
_SENSOR_CODECS = {32767, 32769, 32770, 34713, 65000, 65535}


@dataclass(frozen=True)
class Limits:
    """How large a file may be; both are checked from headers before anything is allocated.

    Parameters
    ----------
    max_pixels
        Height times width. Pages of a TIFF that are read one by one may be a hundred times that together; of
        other stacks it holds for all pages together.
    max_bytes
        Size of the file.
    max_seconds
        Processor time for decoding a raw file or a rare format, which has a process of its own for that.
    """

    max_pixels: int = 400_000_000
    max_bytes: int = 4 << 30
    max_seconds: float = 120.0

    def check(self, path: Path, width: int, height: int) -> None:
        """Refuse a picture without pixels or with too many.

        Raises
        ------
        ReadError, TooLargeError
            No pixels, or too many.
        """
        if width < 1 or height < 1:
            raise ReadError(path, f"a picture of {width} x {height} has no pixels; the file is damaged")
        if width * height > self.max_pixels:
            found = f"{width} x {height} is {round(width * height / 1e6, 2):g} megapixels"
            limit = f"the limit is {self.max_pixels / 1e6:g}"
            raise TooLargeError(path, f"{found}, {limit}; raise --max-megapixels (Limits.max_pixels) if you trust it")


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Pieces]:
    """Open a file for reading after checking that it is one, is not empty and is not too large.

    Raises
    ------
    ReadError, TooLargeError
        It cannot be opened, or is larger than the limit.
    """
    try:
        if path.is_dir():
            raise ReadError(path, "is a folder, not a picture; give the files in it, or run it as a folder job")
        if not path.is_file():
            raise ReadError(path, _absent(path))
        size = path.stat().st_size
        if size == 0:
            raise ReadError(path, "the file is empty; copy it again from its source")
        if size > limits.max_bytes:
            problem = f"{size} bytes, the limit is {limits.max_bytes}; raise --max-bytes (Limits.max_bytes)"
            raise TooLargeError(path, problem)
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReadError(path, f"cannot be opened ({reason}); check the path and your permission") from error
    with file:
        yield Pieces(path, file)


def _absent(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"is a link to {path.readlink()}, which is not there; restore its target"
    return "is not a regular file; give a picture file" if path.exists() else "there is no such file; check the path"


def kind(path: Path | str) -> str:
    """Return the container of a file, by its content and never by its name.

    Returns
    -------
    str
        ``"jpeg"``, ``"png"``, ``"tiff"``, ``"webp"``, ``"bmp"``, ``"avif"``, ``"heic"``, ``"jxl"`` or
        ``"raw"``.

    Raises
    ------
    ReadError
        It cannot be opened or is not a picture.
    UnsupportedError
        A picture of a kind that cannot be read.
    """
    path = Path(path)
    with opened(path, Limits(max_bytes=1 << 62)) as view:
        return kind_of(path, view)


def kind_of(path: Path, view: ifd.Buffer) -> str:
    """Return the container of an open file; see `kind`."""
    head = view[:512]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[6:14] == b"HEAPCCDR":
        return "raw"
    if head[4:8] == b"ftyp":
        return _brand(path, head)
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        is_raw = head[8:10] == b"CR" or head[8:12] == b"IIII" or any(map(_has_sensor, ifd.directories(view)))
        return "raw" if is_raw else "tiff"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise UnsupportedError(path, f"is {name}, which cannot be read; convert it to PNG or TIFF first")
    if head.startswith(_ARCHIVES):
        raise UnsupportedError(path, "is an archive, and archives are never unpacked here; unpack it first")
    raise ReadError(path, f"is not a picture (it starts with {head[:8]!r}); its name may be wrong")


def _brand(path: Path, head: bytes) -> str:
    """Return the kind of an ISO media file by its brands."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))}
    if b"crx " in brands:
        return "raw"
    if brands & _AVIF:
        return "avif"
    if brands & _HEIC:
        return "heic"
    raise UnsupportedError(path, f"is a media file of brand {head[8:12]!r}, not a still picture")


def _has_sensor(tags: ifd.Entries) -> bool:
    """Whether a directory of a TIFF file describes a camera's sensor data."""
    colour, codec = ifd.numbers(tags, ifd.PHOTOMETRIC)[:1], ifd.numbers(tags, ifd.CODEC)[:1]
    return ifd.DNG_VERSION in tags or bool(_SENSOR_COLOURS.intersection(colour) or _SENSOR_CODECS.intersection(codec))


def suffix(container: str) -> str:
    """Return the suffix of the file that is written for a source of this format.

    >>> suffix("jpeg"), suffix("heic"), suffix("raw")
    ('.jpg', '.png', '.png')

    Raises
    ------
    ValueError
        There is no such format.
    """
    name = REPLACED.get(container, container)
    if name not in SUFFIXES:
        raise ValueError(f"unknown format {container!r}.{nearest(container, [*SUFFIXES, *REPLACED])}")
    return SUFFIXES[name][0]


def target_format(path: Path, wanted: str | None, source: str | None) -> str:
    """Return the format to write: the one asked for, else the path's suffix, else the source's.

    Raises
    ------
    WriteError
        It cannot be written, or is not known.
    """
    by_suffix = {end: name for name, ends in SUFFIXES.items() for end in ends}
    if wanted is not None:
        name = {"jpg": "jpeg", "tif": "tiff"}.get(wanted.lower(), wanted.lower())
        if name not in SUFFIXES:
            raise WriteError(path, f"cannot write the format {wanted!r}.{nearest(name, SUFFIXES)}")
        return name
    if path.suffix:
        if path.suffix.lower() not in by_suffix:
            problem = f"cannot write files named {path.suffix!r}.{nearest(path.suffix.lower(), by_suffix)}"
            raise WriteError(path, problem)
        return by_suffix[path.suffix.lower()]
    return REPLACED.get(source or "png", source or "png")


def not_kept(path: Path, picture: Picture, depth: int | None = None) -> tuple[str, ...]:
    """Say in phrases what a picture that was written to ``path`` lacks: by reading, and by the format's limits."""
    extra, container = picture.meta.extra, target_format(path, None, None)
    lost = [words for part, (name, words) in _ONLY_IN.items() if extra.get(part) and name != container]
    if container == "jpeg" and has_long_settings(picture.meta):
        lost.append("XMP, too long for a JPEG")
    if container == "bmp":
        lost += [words for words, block in (("EXIF", picture.meta.exif), ("XMP", picture.meta.xmp)) if block]
    if container == picture.meta.format == "avif" and picture.meta.bits > 8:
        lost.append(f"{picture.meta.bits} bits a value: AVIF is written with 8")
    if container == "dng":
        lost += extra.get("not_in_dng", ())
    if container == "dng" and isinstance(picture, Image) and picture.meta.icc:
        lost.append("colour profile: a DNG's colours are written as those of sRGB")
    holds_floats = container in ("tiff", "jxl") and (depth == 32 or (depth is None and picture.meta.is_float))
    if isinstance(picture, Image) and not holds_floats:
        is_deep = container in ("tiff", "jxl", "png", "dng") and (picture.meta.bits > 8 or picture.meta.is_float)
        lost += not_whole(picture, depth or (16 if is_deep else 8))
    return (*extra.get("dropped", ()), *lost)


def has_long_settings(meta: Meta) -> bool:
    """Whether a raw's XMP, which is long for the sake of a converter's settings, does not fit into a JPEG."""
    return meta.format == "raw" and len(meta.xmp or b"") > _LONGEST_XMP


def check_pages(path: Path, container: str, count: int) -> None:
    """Refuse to write several pages where the format holds one picture.

    Raises
    ------
    WriteError
        It does.
    """
    if count > 1 and container != "tiff":
        problem = f"{container} holds one picture, and this is a stack of {count} pages"
        raise WriteError(path, f"{problem}; choose a name that ends in .tif, or --format tiff")


def optional(path: Path, module: str, what: str, extra: str) -> Any:
    """Import an optional package.

    Raises
    ------
    UnsupportedError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise not_installed(path, what, extra) from error


def not_installed(path: Path, what: str, extra: str) -> FileError:
    """Return the error for a format that needs an optional package."""
    return UnsupportedError(path, f"{what} needs an optional package: pip install 'restore[{extra}]'")
