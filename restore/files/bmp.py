"""BMP with its longest header (BITMAPV5HEADER), the one that carries alpha and a profile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import numpy as np
from PIL import BmpImagePlugin

from restore.files.container import Limits
from restore.files.metadata import meta_from
from restore.files.pieces import Whole
from restore.files.samples import quantise
from restore.files.through_pillow import to_canvas
from restore.picture import Image

_HEADER = struct.Struct("<IiiHHIIiiII4I4s36s3IIIII")
_EMBEDDED, _SRGB = b"DEBM", b"BGRs"
_METRE = 0.0254


def read_bmp(path: Path, view: Whole, limits: Limits) -> Image:
    """Read a BMP; see `restore.files.read`."""
    with BmpImagePlugin.BmpImageFile(path) as picture:
        limits.check(path, *picture.size)
        canvas = to_canvas(picture)
    icc = None
    if len(view) >= 14 + _HEADER.size and struct.unpack_from("<I", view, 14)[0] == _HEADER.size:
        fields = _HEADER.unpack_from(view, 14)
        if fields[15] == _EMBEDDED:
            icc = bytes(view[14 + fields[21] : 14 + fields[21] + fields[22]])
    across, down = struct.unpack_from("<ii", view, 38) if view[14] >= 40 else (0, 0)
    dpi = (across * _METRE, down * _METRE) if across > 0 and down > 0 else None
    return Image(canvas.pixels, canvas.alpha, meta_from(path, "bmp", None, dpi=dpi, icc=icc))


def write_bmp(file: IO[bytes], image: Image) -> None:
    """Write a picture as BMP: grey by a palette, colour with 24 bits, with alpha 32; bottom row first."""
    height, width, colours = image.pixels.shape
    has_alpha = image.alpha is not None
    depth = 32 if has_alpha else 8 * colours
    stride = (width * depth + 31) // 32 * 4
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256)) if depth == 8 else b""
    icc, start = image.meta.icc or b"", 14 + _HEADER.size + len(palette)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if has_alpha else (0, 0, 0, 0)
    metre = tuple(round(value / _METRE) for value in image.meta.dpi or (0, 0))
    size = stride * height
    numbers = (
        _HEADER.size,
        width,
        height,
        1,
        depth,
        3 if has_alpha else 0,
        size,
        *metre,
        len(palette) // 4,
        0,
    )
    space = (_EMBEDDED if icc else _SRGB, bytes(36), 0, 0, 0, 4)
    header = _HEADER.pack(*numbers, *masks, *space, start - 14 + size if icc else 0, len(icc), 0)
    file.write(struct.pack("<2sIHHI", b"BM", start + size + len(icc), 0, 0, start) + header + palette)
    for row in range(height - 1, -1, -1):
        samples = quantise(image.pixels[row], 8)[:, ::-1]
        if image.alpha is not None:
            alpha = quantise(image.alpha[row], 8)[:, None]
            samples = np.hstack([samples if colours == 3 else samples.repeat(3, 1), alpha])
        file.write(samples.tobytes().ljust(stride, b"\0"))
    file.write(icc)
