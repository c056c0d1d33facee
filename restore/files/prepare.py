"""What is settled about a picture before it is written: depth, metadata, and whether the format can hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from restore.errors import ResultError, WriteError
from restore.files import ifd
from restore.files.container import has_long_settings
from restore.files.metadata import as_developed, exif_with_orientation, exif_without_thumbnail, resolution_tags
from restore.files.segments import EXTENDED_XMP, without_pointer
from restore.files.tiff_writer import fits_half
from restore.picture import Floats, Image

_DEPTHS = {"png": (8, 16), "tiff": (8, 16, 32), "jxl": (8, 16, 32), "dng": (16,)}
_LARGEST_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 65535, "bmp": (1 << 31) - 1}
_HAS_NO_DPI = ("webp", "avif", "jxl")
_IS_UPRIGHT = ("bmp", "jxl")

Page = tuple[Image, int, bool]
"""A picture, the bits a sample to write, and whether they are floats."""


def page(path: Path, container: str, image: Image, bits: int | None, quality: int | None = None) -> Page:
    """Return a picture as it is to be written, the bits a sample, and whether they are floats.

    Raises
    ------
    WriteError, ResultError
        The format cannot hold it; it is not finite.
    """
    depth = _depth(path, container, image, bits)
    return prepared(path, container, image, quality), *depth


def _depth(path: Path, container: str, image: Image, bits: int | None) -> tuple[int, bool]:
    """Return the bits a sample to write, and whether they are floats."""
    possible = depths(container)
    if bits is not None:
        check_depth(path, container, bits)
        return bits, bits == 32
    meta = image.meta
    if meta.is_float and 32 in possible:
        is_half = container == "tiff" and meta.bits == 16 and fits_half(image)
        return (16 if is_half else 32), True
    wants_16 = meta.bits > 8 or meta.is_float or (meta.format == "raw" and container in _DEPTHS)
    return (16 if wants_16 and 16 in possible else 8), False


def depths(container: str) -> tuple[int, ...]:
    """Return the bits a sample that a format can be written with."""
    return _DEPTHS.get(container, (8,))


def check_depth(path: Path, container: str, bits: int | None) -> None:
    """Refuse bits that the format has not."""
    possible = depths(container)
    if bits is not None and bits not in possible:
        choices = " or ".join(map(str, possible))
        raise WriteError(path, f"{container} cannot be written with {bits} bits; choose {choices}")


def check_finite(path: Path, values: Floats) -> None:
    """Refuse values that are not finite."""
    if not np.isfinite([values.min(), values.max()]).all():
        raise ResultError(f"{path}: the picture has NaN or infinite samples; this is a fault of the step before")


def prepared(path: Path, container: str, image: Image, quality: int | None) -> Image:
    """Check that the format can hold the picture, and bring its EXIF block in line with the record."""
    if image.pixels.size == 0:
        raise WriteError(path, "a picture without pixels cannot be written")
    check_finite(path, image.pixels)
    if image.alpha is not None:
        check_finite(path, image.alpha)
    if quality is not None and not 1 <= quality <= 100:
        raise WriteError(path, f"quality {quality} is outside 1...100")
    if max(image.size) > _LARGEST_SIDE.get(container, 1 << 30):
        raise WriteError(path, f"{container} cannot hold {image.size[1]} x {image.size[0]} pixels; choose PNG or TIFF")
    if container != "tiff" and image.meta.extra.get("is_alpha_beside", False):
        problem = "has a channel beside its colours that is no transparency, which only a TIFF can hold"
        raise WriteError(path, f"the picture {problem}; choose TIFF, or remove that channel")
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
