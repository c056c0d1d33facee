"""PNG with 8 or 16 bits a sample and every metadata chunk that matters, checked to the last byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import PngImagePlugin

from restore.errors import ReadError
from restore.files.container import Limits
from restore.files.metadata import exif_body, foreign_colours, meta_from
from restore.files.pieces import Whole
from restore.files.samples import Canvas, Samples, quantise, spans, strips
from restore.picture import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
"""Chunks that say what the numbers mean where there is no profile; kept as they are."""
_SRGB = {b"gAMA": (45455,), b"cHRM": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)}
_CLOSE = 500
"""By how much what a program wrote of sRGB may differ from that."""
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_MAX_TEXT = 16 << 20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_METRE = 0.0254


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    is_interlaced: bool

    @property
    def length(self) -> int:
        """Bytes of the unpacked rows, each with its filter byte."""
        bits = self.depth * _CHANNELS[self.colour]

        def rows(width: int, height: int) -> int:
            return height * (1 + (width * bits + 7) // 8) if width and height else 0

        if not self.is_interlaced:
            return rows(self.width, self.height)
        return sum(rows(-((x - self.width) // dx), -((y - self.height) // dy)) for x, y, dx, dy in _ADAM7)


def read_png(path: Path, view: Whole, limits: Limits) -> Image:
    """Read a PNG; see `restore.files.read`."""
    header = _header(path, view, limits)
    parts: dict[bytes, list[tuple[int, int]]] = {}
    for name, start, length in _chunks(path, view):
        parts.setdefault(name, []).append((start, length))
    _check_rows(path, view, parts.get(b"IDAT", []), header)

    def chunk(name: bytes) -> bytes | None:
        return bytes(view[parts[name][0][0] :][: parts[name][0][1]]) if name in parts else None

    plain = SIGNATURE + _chunk(b"IHDR", bytes(view[16:29]))
    plain += b"".join(_chunk(name, chunk(name) or b"") for name in (b"PLTE",) if name in parts)
    rows = b"".join(bytes(view[start : start + length]) for start, length in parts[b"IDAT"])
    see_through, end = chunk(b"tRNS"), _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    if header.depth == 16:
        canvas = _decode16(plain + end, header, see_through)
    else:
        canvas = _decode8(plain + (_chunk(b"tRNS", see_through) if see_through else b"") + end, header)
    said = [(name, place) for name in _TEXT_CHUNKS for place in parts.get(name, ())]
    is_bearable = sum(length for _, (_, length) in said) <= _MAX_TEXT
    texts = [(name, bytes(view[at : at + length])) for name, (at, length) in said if is_bearable]
    icc = _profile(chunk(b"iCCP"))
    colours = tuple((name, chunk(name) or b"") for name in COLOUR_CHUNKS if name in parts)
    meta = meta_from(
        path,
        "png",
        exif_body(chunk(b"eXIf")),
        bits=max(8, header.depth),
        dpi=_dpi(chunk(b"pHYs")),
        icc=icc,
        xmp=next((xmp for _, text in texts if (xmp := _xmp(text))), None),
        extra={
            "png_colour": colours,
            "is_png_foreign": _is_foreign(dict(colours), icc),
            "png_texts": tuple((name, text) for name, text in texts if not text.startswith(_XMP + b"\0")),
            "dropped": ("frames after the first",) * (b"fdAT" in parts)
            + ("texts and XMP of more than 16 MiB",) * (not is_bearable),
        },
    )
    return Image(canvas.pixels, canvas.alpha, meta)


def _header(path: Path, view: Whole, limits: Limits) -> _Header:
    if len(view) < 33 or view[12:16] != b"IHDR":
        raise ReadError(path, "damaged PNG (its header is cut off); get a fresh copy")
    width, height, depth, colour, packing, filtering, lacing = struct.unpack_from(">IIBBBBB", view, 16)
    limits.check(path, width, height)
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or lacing > 1:
        raise ReadError(path, f"damaged PNG (depth {depth}, colour type {colour}); get a fresh copy")
    return _Header(width, height, depth, colour, bool(lacing))


def _chunks(path: Path, view: Whole) -> Iterator[tuple[bytes, int, int]]:
    """Give name, start and length of each chunk after checking its sum; the last must be IEND."""
    at = len(SIGNATURE)
    while at + 12 <= len(view):
        length, name = struct.unpack_from(">I4s", view, at)
        start, at = at + 8, at + 12 + length
        if at > len(view):
            break
        if zlib.crc32(view[start - 4 : start + length]) != struct.unpack_from(">I", view, start + length)[0]:
            raise ReadError(path, f"damaged PNG (wrong check sum in {name!r}); get a fresh copy")
        if name == b"IEND":
            return
        yield name, start, length
    raise ReadError(path, f"truncated PNG ({len(view)} bytes, no end mark); get a fresh copy")


def _check_rows(path: Path, view: Whole, parts: list[tuple[int, int]], header: _Header) -> None:
    """Raise unless the packed rows unpack to the whole picture; nothing larger than a megabyte is held."""
    unpack, found = zlib.decompressobj(), 0
    try:
        for start, length in parts:
            waiting = bytes(view[start : start + length])
            while waiting and not unpack.eof and found <= header.length:
                found += len(unpack.decompress(waiting, 1 << 20))
                waiting = unpack.unconsumed_tail
        while not unpack.eof and found <= header.length and (more := unpack.decompress(b"", 1 << 20)):
            found += len(more)
    except zlib.error as error:
        raise ReadError(path, f"damaged PNG ({error}); get a fresh copy") from error
    if found < header.length:
        raise ReadError(path, f"truncated PNG ({found} of {header.length} bytes of rows); get a fresh copy")


def _decode8(plain: bytes, header: _Header) -> Canvas:
    with PngImagePlugin.PngImageFile(io.BytesIO(plain)) as picture:
        is_grey = header.colour in (0, 4)
        has_alpha = header.colour in (4, 6) or "transparency" in picture.info
        if header.colour == 0 and header.depth in (2, 4) and has_alpha:  # Pillow widens samples, but not this one
            picture.info["transparency"] *= 255 // ((1 << header.depth) - 1)
        mode = ("L" if is_grey else "RGB") + ("A" if has_alpha else "")
        shape = header.height, header.width, 1 if is_grey else 3
        canvas = Canvas(shape, has_alpha=has_alpha, white=255)
        same = picture if picture.mode == mode else picture.convert(mode)
        for rows in spans(*shape):
            part = np.asarray(same.crop((0, rows.start, header.width, rows.stop)))
            canvas.put(part.reshape(*part.shape[:2], -1), rows.start)
    return canvas


def _decode16(plain: bytes, header: _Header, see_through: bytes | None) -> Canvas:
    is_grey = header.colour in (0, 4)
    found: Samples | None = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise ValueError("the rows cannot be decoded")
    samples = found.reshape(header.height, header.width, -1)
    samples = samples[..., [0]] if is_grey else samples[..., 2::-1]
    key = None if see_through is None or header.colour in (4, 6) else np.frombuffer(see_through, ">u2")
    has_alpha = header.colour in (4, 6) or key is not None
    canvas = Canvas(samples.shape, has_alpha=has_alpha, white=65535)
    canvas.put_all(samples)
    if canvas.alpha is not None:
        for rows in spans(*samples.shape):
            alpha = found[rows][..., 3] / np.float32(65535) if key is None else (samples[rows] != key).any(2)
            canvas.alpha[rows] = alpha
    return canvas


def _profile(chunk: bytes | None) -> bytes | None:
    """Unpack the profile; a damaged one is left out."""
    if chunk is None:
        return None
    return _unpacked(chunk.partition(b"\0")[2][1:])


def _is_foreign(chunks: Mapping[bytes, bytes], icc: bytes | None) -> bool:
    """Whether chunks say that the colours are neither those of sRGB nor of the profile."""
    if len(codes := chunks.get(b"cICP", b"")) == 4:
        return bool(foreign_colours(*codes[:2]))
    if icc or b"sRGB" in chunks:
        return False
    said = [(data, srgb) for name, srgb in _SRGB.items() if len(data := chunks.get(name, b"")) == 4 * len(srgb)]
    return any(np.abs(np.frombuffer(data, ">u4").astype(float) - srgb).max() > _CLOSE for data, srgb in said)


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _MAX_TEXT)
    except zlib.error:
        return None


def _xmp(text: bytes) -> bytes | None:
    if not text.startswith(_XMP + b"\0"):
        return None
    body = text[len(_XMP) + 3 :].split(b"\0", 2)
    if len(body) < 3:
        return None
    return _unpacked(body[2]) if text[len(_XMP) + 1] else body[2]


def _dpi(chunk: bytes | None) -> tuple[float, float] | None:
    if chunk is None or len(chunk) != 9 or chunk[8] != 1:
        return None
    across, down = struct.unpack_from(">II", chunk)
    return (across * _METRE, down * _METRE) if across and down else None


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(file: IO[bytes], image: Image, bits: int) -> None:
    """Write a picture as PNG, strip by strip, with its metadata in front of the rows."""
    height, width, colours = image.pixels.shape
    channels = colours + (image.alpha is not None)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    file.write(SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)))
    file.writelines(_metadata(image))
    pack, above = zlib.compressobj(strategy=zlib.Z_RLE), np.zeros(width * channels * bits // 8, np.uint8)
    for part in strips(image):
        samples = quantise(part, bits).astype(">u2" if bits == 16 else np.uint8)
        rows = np.ascontiguousarray(samples.reshape(len(samples), -1)).view(np.uint8)  # rows of one pixel may lie apart
        packed = pack.compress(_filtered(rows, above, channels * bits // 8).tobytes())
        above = rows[-1]
        if packed:
            file.write(_chunk(b"IDAT", packed))
    file.write(_chunk(b"IDAT", pack.flush()) + _chunk(b"IEND", b""))


def _metadata(image: Image) -> Iterator[bytes]:
    meta = image.meta
    if meta.icc:
        yield _chunk(b"iCCP", b"profile\0\0" + zlib.compress(meta.icc))
    colours = meta.extra.get("png_colour", ())
    yield from (_chunk(name, data) for name, data in colours if name == b"cICP" or not meta.icc)
    if meta.dpi:
        yield _chunk(b"pHYs", struct.pack(">IIB", *(round(value / _METRE) for value in meta.dpi), 1))
    if meta.exif:
        yield _chunk(b"eXIf", meta.exif)
    yield from (_chunk(name, text) for name, text in meta.extra.get("png_texts", ()))
    if meta.xmp:
        yield _chunk(b"iTXt", _XMP + bytes(5) + meta.xmp)


def _filtered(rows: Samples, above: Samples, step: int) -> Samples:
    """Filter each row by the guess that leaves the least, its number in front (PNG, section 12.8)."""
    up = np.vstack([above, rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    tries = [rows, rows - left, rows - up, rows - _paeth(left, up, corner)]
    sizes = [
        cv2.reduce(np.minimum(left_over, 0 - left_over), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S) for left_over in tries
    ]
    best = np.hstack(sizes).argmin(1)
    kept = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    kept[:, 0] = np.array([0, 1, 2, 4], np.uint8)[best]
    for row, number in zip(kept, range(len(rows)), strict=True):
        row[1:] = tries[best[number]][number]
    return kept


def _paeth(left: Samples, up: Samples, corner: Samples) -> Samples:
    """Return the neighbour that is closest to left + up - corner (PNG, section 9.4), by bytes alone: that is quick."""
    of_left, of_up = cv2.absdiff(up, corner), cv2.absdiff(left, corner)
    of_corner = cv2.absdiff(of_left, of_up)
    is_sum = (left >= corner) == (up >= corner)
    cv2.copyTo(
        cv2.add(of_left, of_up), is_sum.view(np.uint8), of_corner
    )  # beyond 255 it stays 255: no less than others
    cv2.copyTo(up, (of_up <= of_corner).view(np.uint8), corner)
    cv2.copyTo(left, ((of_left <= of_up) & (of_left <= of_corner)).view(np.uint8), corner)
    return corner
