"""Read raw files: the sensor's mosaic with its levels and colours, through LibRaw."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from restore.colour import linear_to_srgb
from restore.errors import ReadError, TooLargeError, UnsupportedError
from restore.files import tags as ifd
from restore.files.levels import SensorRecord, camera_to_srgb, gains_of, pattern, scaled, white_level
from restore.picture import Image, Meta, Picture, RawImage

_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}
"""LibRaw's flip to EXIF orientation."""

_TIFF_LIKE = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_MAGICS = {
    0: (
        b"FUJIFILMCCD-RAW",
        b"FOVb",
        b"\0MRM",
        b"IIII",
        b"MMMM",
        b"NOKIARAW",
        b"DSC-Image",
        b"ARRI",
        b"qktk",
        b"qktn",
    ),
    4: (b"ftypcrx ",),
    6: (b"HEAPCCDR",),
}
_CFA, _LINEAR_RAW, _PHOTOMETRIC, _WIDTH, _DNG_VERSION = 32803, 34892, 262, 256, 50706
_NONE = (ifd.SHORT, b"")
_HEAD = 64


def is_raw(path: Path) -> bool:
    """Tell by content whether a file is a raw file with a header; a file that cannot be opened is not.

    A TIFF counts if it is a DNG or holds a colour filter array.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if not _has_raw_magic(head) or head[:4] not in _TIFF_LIKE[:2]:
                return _has_raw_magic(head)
            if head[8:10] == b"CR" or head[8:12] == b"IIII":
                return True
            return any(_holds_sensor_data(tags) for tags in ifd.read_ifds(file))
    except OSError:
        return False


def _has_raw_magic(head: bytes) -> bool:
    """Whether a file's first bytes are those of a container that raw files use."""
    return head[:4] in _TIFF_LIKE or any(head[at:].startswith(magics) for at, magics in _MAGICS.items())


def _holds_sensor_data(tags: ifd.Tags) -> bool:
    photometric = ifd.numbers(tags.get(_PHOTOMETRIC, _NONE))
    return _DNG_VERSION in tags or photometric in ((_CFA,), (_LINEAR_RAW,))


def read_raw(path: Path, *, max_pixels: int = 400_000_000) -> Picture:
    """Read a raw file.

    Bayer and X-Trans files give a `RawImage` of the visible area. Files without a mosaic give an `Image`:
    three colours (linear DNG, Foveon) through LibRaw's own colour conversion, grey for monochrome sensors.

    Raises
    ------
    ReadError
        The file is missing, truncated or damaged.
    UnsupportedError
        It has no header that says what it is, or a kind of sensor or compression that cannot be read.
    TooLargeError
        The sensor has more than ``max_pixels``, or decoding does not fit into memory.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ReadError(path, f"cannot be opened ({error.strerror})") from error
    if not head:
        raise ReadError(path, "the file is empty; copy it again from the card")
    if not _has_raw_magic(head):
        raise UnsupportedError(
            path,
            "no raw header found: a headerless sensor dump does not say its size, pattern or levels, and they"
            " are not guessed; convert it to DNG",
        )
    try:
        with rawpy.imread(str(path)) as raw:
            sizes = raw.sizes
            if sizes.raw_height * sizes.raw_width > max_pixels:
                found = f"{sizes.raw_width}x{sizes.raw_height} pixels"
                raise TooLargeError(path, f"{found} are more than the limit of {max_pixels}; raise max_pixels")
            raw.unpack()
            return _picture(raw, path)
    except rawpy.LibRawFileUnsupportedError as error:
        raise UnsupportedError(path, "LibRaw does not know this format or camera; convert it to DNG") from error
    except (rawpy.LibRawTooBigError, rawpy.LibRawUnsufficientMemoryError, MemoryError) as error:
        raise TooLargeError(path, "LibRaw says that it is too large to decode") from error
    except (rawpy.LibRawNotImplementedError, rawpy.NotSupportedError, NotImplementedError) as error:
        raise UnsupportedError(path, f"LibRaw cannot decode it ({error}); convert it to DNG") from error
    except rawpy.LibRawError as error:
        raise ReadError(path, f"truncated or damaged raw data ({_said(error)}); copy it again") from error


def _said(error: Exception) -> str:
    """LibRaw's words: its errors carry bytes."""
    words = error.args[0] if error.args else ""
    return words.decode() if isinstance(words, bytes) else str(words)


def _picture(raw: Any, path: Path) -> Picture:
    """Turn what LibRaw unpacked into a picture."""
    first, raw_tags, exif = _tags(raw, path)
    meta = _meta(raw, path, exif, first)
    if raw.raw_type == rawpy.RawType.Stack:
        return _developed(raw, path, meta)
    if raw.raw_image is None:
        raise UnsupportedError(path, "floating-point sensor data; convert it to a 16-bit DNG")
    if raw.num_colors == 1 or raw.raw_pattern is None:
        return _grey(raw, path, meta)
    cfa, black = pattern(raw, path, raw_tags)
    white = white_level(raw)
    if white <= max(map(max, black)):
        raise ReadError(path, f"white level {white} is not above black level {black}; the file is damaged")
    record = SensorRecord(
        values=raw.raw_image.copy(),
        top=raw.sizes.top_margin,
        left=raw.sizes.left_margin,
        size=raw.raw_image_visible.shape,
        cfa=cfa,
        black=black,
        white=white,
        white_balance=gains_of(raw.camera_whitebalance, raw.daylight_whitebalance),
        daylight=gains_of(raw.daylight_whitebalance),
        tags=first if _DNG_VERSION in first else {},
        raw_tags=raw_tags if _DNG_VERSION in first else {},
    )
    record.values.flags.writeable = False
    return RawImage(
        mosaic=scaled(raw.raw_image_visible, black, white),
        cfa=cfa,
        black=black,
        white=white,
        white_balance=record.white_balance,
        camera_to_srgb=camera_to_srgb(raw, raw_tags),
        meta=replace(meta, extra={"sensor": record}),
    )


def _developed(raw: Any, path: Path, meta: Meta) -> Image:
    """Picture of a file that holds three colours a pixel, by LibRaw, encoded as sRGB."""
    if raw.num_colors != 3:
        raise UnsupportedError(path, f"{raw.num_colors} colours a pixel; convert it to linear DNG")
    pixels = raw.postprocess(
        gamma=(2.4, 12.92),
        output_bps=16,
        output_color=rawpy.ColorSpace.sRGB,
        use_camera_wb=True,
        no_auto_bright=True,
        adjust_maximum_thr=0.0,
        user_flip=0,
    )
    return Image(pixels.astype(np.float32) / np.float32(65535), meta=meta)


def _grey(raw: Any, path: Path, meta: Meta) -> Image:
    """Picture of a monochrome sensor, encoded as sRGB."""
    if raw.num_colors != 1:
        raise UnsupportedError(path, f"a sensor with {raw.num_colors} colours but no known pattern; use linear DNG")
    black = float(raw.black_level_per_channel[0])
    values = raw.raw_image_visible.reshape(raw.raw_image_visible.shape[:2])
    return Image(linear_to_srgb(scaled(values, ((black,),), white_level(raw)))[..., None], meta=meta)


def _tags(raw: Any, path: Path) -> tuple[ifd.Tags, ifd.Tags, tuple[ifd.Tags, ifd.Tags, ifd.Tags]]:
    """First directory, the raw data's directory, and description/EXIF/GPS of the file or its thumbnail."""
    with path.open("rb") as file:
        ifds = ifd.read_ifds(file)
        if ifds:
            mosaics = [tags for tags in ifds if ifd.numbers(tags.get(_PHOTOMETRIC, _NONE)) == (_CFA,)]
            largest = max(mosaics, key=lambda tags: ifd.numbers(tags.get(_WIDTH, _NONE)), default={})
            return ifds[0], largest, ifd.describe(file)
        exif = ifd.describe(file)
    if exif[0]:
        return {}, {}, exif
    try:
        jpeg = raw.extract_thumb().data
        block = Pillow.open(io.BytesIO(jpeg)).info.get("exif", b"") if isinstance(jpeg, bytes) else b""
    except (rawpy.LibRawError, UnidentifiedImageError):
        block = b""
    return {}, {}, ifd.read_exif(block.removeprefix(b"Exif\0\0"))


def _meta(raw: Any, path: Path, exif: tuple[ifd.Tags, ifd.Tags, ifd.Tags], first: ifd.Tags) -> Meta:
    """Collect what the file says about the shot; LibRaw's reading where it has one."""
    about, photo, gps = exif
    other, lens = raw.other, raw.lens
    if lens.model and 42036 not in photo:
        photo = {**photo, 42036: ifd.ascii_tag(lens.model)}
    maker, model = ifd.text(about, 271), ifd.text(about, 272)
    name = model if model.startswith(maker.split(" ")[0]) else f"{maker} {model}"
    return Meta(
        source=path,
        format="raw",
        bits=max(8, int(raw.white_level).bit_length()),
        iso=float(other.iso_speed) or None,
        exposure_s=_exposure(other.shutter_speed, photo),
        camera=name.strip() or None,
        orientation=_ORIENTATIONS.get(raw.sizes.flip, 1),
        exif=ifd.pack_exif((about, photo, gps)) if about or photo or gps else None,
        xmp=first[700][1] if 700 in first else None,
    )


def _exposure(libraw: float, photo: ifd.Tags) -> float | None:
    """Exposure time in seconds: the EXIF tag if there is one (0 means unknown), else LibRaw's."""
    if 33434 in photo:
        return ifd.numbers(photo[33434])[0] or None
    return float(libraw) or None
