"""HEIC through pillow_heif; pixels come upright, as its decoder applies the file's turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restore.files.container import Limits, optional
from restore.files.metadata import boxed_colours, exif_body, exif_with_orientation, meta_from
from restore.files.pieces import Whole
from restore.files.samples import Canvas, Samples
from restore.picture import Image


def read_heic(path: Path, view: Whole, limits: Limits) -> Image:
    """Read the primary picture of a HEIC; see `restore.files.read`."""
    pillow_heif = optional(path, "pillow_heif", "reading HEIC", "heif")
    file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    limits.check(path, *file.size)
    bits, info = int(file.info.get("bit_depth", 8)), file.info
    found: Samples = np.asarray(file)
    samples = found.reshape(*found.shape[:2], -1)
    channels = samples.shape[2]
    shape = (*samples.shape[:2], 1 if channels < 3 else 3)
    canvas = Canvas(shape, has_alpha=channels in (2, 4), white=float((1 << bits) - 1))
    canvas.put_all(samples)
    exif = exif_with_orientation(exif_body(info.get("exif")), 1)
    icc, dropped = info.get("icc_profile"), ("pictures beside the main one",) * (len(file) > 1)
    extra = {"dropped": dropped + boxed_colours(view, icc)}
    meta = meta_from(path, "heic", exif, bits=bits, icc=icc, xmp=info.get("xmp"), extra=extra)
    return Image(canvas.pixels, canvas.alpha, meta)
