"""JPEG, WebP and AVIF through Pillow, and CMYK to sRGB.

Pillow's classes are called directly: `PIL.Image.open` would apply a limit of its own, which is global.
"""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from PIL import AvifImagePlugin, ImageCms, JpegImagePlugin, WebPImagePlugin
from PIL import Image as Pillow

from restore.errors import ReadError, UnsupportedError, WriteError
from restore.files.container import Limits
from restore.files.metadata import boxed_colours, exif_body, meta_from
from restore.files.pieces import Whole
from restore.files.samples import Canvas, Samples, quantise, spans, strips
from restore.files.segments import kept
from restore.picture import Floats, Image

QUALITY = 95
"""Used where the source tells none: half the visible artefacts start below about 92."""
_NO_SIZE = {0x01, *range(0xD0, 0xDA)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def to_canvas(picture: Pillow.Image) -> Canvas:
    """Copy a Pillow picture strip by strip; palettes and bits become RGB and grey."""
    grey = picture.mode in ("1", "L", "LA")
    has_alpha = picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info
    mode = ("L" if grey else "RGB") + ("A" if has_alpha else "")
    same = picture if picture.mode == mode else picture.convert(mode)
    shape = picture.height, picture.width, 1 if grey else 3
    canvas = Canvas(shape, has_alpha=has_alpha, white=255)
    for rows in spans(*shape):
        part = np.asarray(same.crop((0, rows.start, picture.width, rows.stop)))
        canvas.put(part.reshape(*part.shape[:2], -1), rows.start)
    return canvas


def to_pillow(image: Image) -> Pillow.Image:
    """Quantise a picture to 8 bits strip by strip."""
    height, width, colours = image.pixels.shape
    mode = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}[colours, image.alpha is not None]
    picture, top = Pillow.new(mode, (width, height)), 0
    for part in strips(image):
        samples = quantise(part, 8)
        picture.paste(Pillow.fromarray(samples[..., 0] if mode == "L" else samples), (0, top))
        top += len(samples)
    return picture


# ---- JPEG


def read_jpeg(path: Path, view: Whole, limits: Limits) -> Image:
    """Read a JPEG; see `restore.files.read`."""
    limits.check(path, *jpeg_size(path, view))
    with JpegImagePlugin.JpegImageFile(path) as picture:
        info, icc = picture.info, picture.info.get("icc_profile")
        segments = kept(getattr(picture, "applist", ()))
        dropped = ["comments, IPTC and extended XMP of 64 MiB or more"] if segments is None else []
        dropped += ["further pictures in the file (MPF: previews, depth or gain maps)"] if "mp" in info else []
        extra: dict[str, Any] = {"jpeg_segments": segments}
        if picture.mode == "CMYK":
            canvas = Canvas((picture.height, picture.width, 3), has_alpha=False, white=1)
            dropped.append("CMYK profile: converted to sRGB" if _is_cmyk(icc) else "CMYK: converted to sRGB")
            ink = np.asarray(picture)
            # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's mark it is not.
            cmyk_to_srgb(ink if "adobe" in info else 255 - ink, icc, canvas.pixels)
            icc = None
        else:
            canvas = to_canvas(picture)
            extra["jpeg_tables"] = getattr(picture, "quantization", None)
            extra["jpeg_subsampling"] = JpegImagePlugin.get_sampling(picture)
            extra["jpeg_progressive"] = bool(info.get("progressive"))
    extra["dropped"] = tuple(dropped)
    inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    across, down = info.get("jfif_density", (0, 0))
    dpi = (across * inch, down * inch) if inch and across and down else None
    xmp = info.get("xmp")
    meta = meta_from(path, "jpeg", info.get("exif"), dpi=dpi, icc=icc, xmp=xmp, extra=extra)
    return Image(canvas.pixels, canvas.alpha, meta)


def jpeg_size(path: Path, view: Whole) -> tuple[int, int]:
    """Return width and height, and refuse a file that ends before its picture does."""
    at, size = 2, None
    while at + 4 <= len(view):
        if view[at] != 0xFF:
            break
        marker, length = view[at + 1], struct.unpack_from(">H", view, at + 2)[0]
        if marker in _FRAMES and at + 10 <= len(view):
            depth, height, width = struct.unpack_from(">BHH", view, at + 4)
            size = width, height
            if depth != 8 or marker in (0xC3, 0xC7, 0xCB, 0xCF):
                raise UnsupportedError(path, f"JPEG with {depth} bits or lossless; convert it to PNG or TIFF first")
        if marker == 0xDA:
            if size is None:
                break
            if view.find(b"\xff\xd9", at) < 0:
                raise ReadError(path, f"truncated JPEG ({len(view)} bytes, no end mark); get a fresh copy")
            return size
        at += 1 if marker == 0xFF else 2 if marker in _NO_SIZE else 2 + length
    raise ReadError(path, "damaged JPEG (no picture in it); get a fresh copy")


def write_jpeg(file: IO[bytes], image: Image, quality: int | None) -> None:
    """Write a picture as JPEG with the source's tables where they are known and no quality is asked for."""
    meta, options = image.meta, {"extra": image.meta.extra.get("jpeg_segments") or b""}
    tables = meta.extra.get("jpeg_tables")
    if quality is None and tables and meta.format == "jpeg":
        sampling = meta.extra.get("jpeg_subsampling", -1)
        options |= {"qtables": tables, "subsampling": sampling if sampling >= 0 else 0}
        options |= {"progressive": meta.extra.get("jpeg_progressive", False)}
    else:
        options |= {"quality": quality or QUALITY, "subsampling": 0}
    if meta.dpi and max(meta.dpi) < 1 << 16:
        options["dpi"] = meta.dpi
    exif = b"Exif\0\0" + meta.exif if meta.exif else b""
    try:
        _save(file, image, "JPEG", exif=exif, **options)
    except WriteError:
        if not options.pop("progressive", False):
            raise
        # Pillow's buffer for a progressive JPEG is too small for strong noise; a sequential one needs none
        _save(file, image, "JPEG", exif=exif, **options)


def _is_cmyk(icc: bytes | None) -> bool:
    return bool(icc) and (icc or b"")[16:20] == b"CMYK"


def cmyk_to_srgb(ink: Samples, icc: bytes | None, target: Floats) -> None:
    """Convert 8-bit ink ``(H, W, 4)``, 255 = full, to sRGB by its profile, else by (1 - ink)(1 - black)."""
    transform = None
    if icc and _is_cmyk(icc):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
            transform = ImageCms.buildTransform(source, srgb, "CMYK", "RGB", intent, flags)
        except (ImageCms.PyCMSError, OSError):
            transform = None
    for rows in spans(*ink.shape):
        part = np.ascontiguousarray(ink[rows])
        if transform is None:
            paper = 1 - part / np.float32(255)
            target[rows] = paper[..., :3] * paper[..., 3:]
        else:
            mixed = ImageCms.applyTransform(Pillow.fromarray(part, "CMYK"), transform)
            target[rows] = np.asarray(mixed) / np.float32(255)


# ---- WebP and AVIF


def read_webp(path: Path, view: Whole, limits: Limits) -> Image:
    """Read the first frame of a WebP; see `restore.files.read`."""
    if len(view) < 30 or len(view) < struct.unpack_from("<I", view, 4)[0] + 8:
        raise ReadError(path, f"truncated WebP ({len(view)} bytes); get a fresh copy")
    limits.check(path, *_webp_size(view))
    with WebPImagePlugin.WebPImageFile(path) as picture:
        limits.check(path, *picture.size)
        extra = {"webp_lossless": _is_lossless(view)}
        return _with_info(path, "webp", picture, extra)


def _webp_size(view: Whole) -> tuple[int, int]:
    name = view[12:16]
    if name == b"VP8X":
        width, height = (int.from_bytes(view[at : at + 3], "little") + 1 for at in (24, 27))
    elif name == b"VP8L":
        bits = int.from_bytes(view[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(view[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width, height


def _is_lossless(view: Whole) -> bool:
    """Whether the first picture chunk is a lossless one."""
    at = 12
    while at + 8 <= len(view):
        name, length = struct.unpack_from("<4sI", view, at)
        if name in (b"VP8L", b"VP8 "):
            return bool(name == b"VP8L")
        at += 24 if name == b"ANMF" else 8 + length + length % 2
    return False


def read_avif(path: Path, view: Whole, limits: Limits) -> Image:
    """Read the first frame of an AVIF, more than 8 bits through OpenCV; see `restore.files.read`."""
    for place in re.finditer(rb"ispe", bytes(view[: 1 << 16])):  # libavif calls a large picture a damaged one
        if place.end() + 12 <= len(view):
            limits.check(path, *struct.unpack_from(">II", view, place.end() + 4))
    with AvifImagePlugin.AvifImageFile(path) as picture:
        limits.check(path, *picture.size)
        extra = {"dropped": boxed_colours(view, picture.info.get("icc_profile"))}
        codec = bytes(view[: 1 << 16]).partition(b"av1C")[2]
        bits = 8 if len(codec) < 3 or not codec[2] & 0x40 else 12 if codec[2] & 0x20 else 10
        if bits == 8:
            return _with_info(path, "avif", picture, extra)
        found: Samples | None = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None or found.dtype != np.uint16:
            raise ValueError("it cannot be decoded")
        samples = found.reshape(*found.shape[:2], -1)
        has_alpha = samples.shape[2] == 4
        samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]] if samples.shape[2] > 1 else samples
        canvas = Canvas((*found.shape[:2], min(3, samples.shape[2])), has_alpha=has_alpha, white=(1 << bits) - 1)
        canvas.put_all(samples)
        return _with_info(path, "avif", picture, extra, canvas, bits)


def _with_info(
    path: Path,
    name: str,
    picture: Pillow.Image,
    extra: dict[str, Any],
    canvas: Canvas | None = None,
    bits: int = 8,
) -> Image:
    canvas, info = canvas or to_canvas(picture), picture.info
    frames = ("frames after the first",) * (getattr(picture, "n_frames", 1) > 1)
    extra |= {"dropped": frames + extra.get("dropped", ())}
    icc, xmp = info.get("icc_profile"), info.get("xmp")
    meta = meta_from(path, name, exif_body(info.get("exif")), bits=bits, icc=icc, xmp=xmp, extra=extra)
    return Image(canvas.pixels, canvas.alpha, meta)


def write_webp(file: IO[bytes], image: Image, quality: int | None) -> None:
    """Write a picture as WebP: lossless if its source was and no quality is asked for."""
    is_lossless = quality is None and bool(image.meta.extra.get("webp_lossless"))
    exif = image.meta.exif or b""
    _save(file, image, "WEBP", exif=exif, lossless=is_lossless, quality=quality or QUALITY, exact=True, method=4)


def write_avif(file: IO[bytes], image: Image, quality: int | None) -> None:
    """Write a picture as 8-bit AVIF without chroma subsampling."""
    options: dict[str, Any] = {} if image.pixels.shape[2] == 1 else {"subsampling": "4:4:4"}
    _save(file, image, "AVIF", exif=image.meta.exif or b"", quality=quality or QUALITY, max_threads=1, **options)


def _save(file: IO[bytes], image: Image, name: str, **options: Any) -> None:
    meta = image.meta
    if meta.xmp:
        options["xmp"] = meta.xmp
    if meta.icc:
        options["icc_profile"] = meta.icc
    body = io.BytesIO()  # not the file: Pillow would hide why it cannot be written
    try:
        to_pillow(image).save(body, name, **options)
    except (OSError, ValueError, TypeError, RuntimeError, SyntaxError, struct.error) as error:
        problem = f"{name} cannot hold this picture ({error}); choose PNG or TIFF"
        raise WriteError(Path(file.name), problem) from error
    file.write(body.getbuffer())
