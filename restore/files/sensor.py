"""Read raw files: the sensor's mosaic with its levels and colours, through LibRaw."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from restore.colour import linear_to_srgb
from restore.errors import FileError, ReadError, TooLargeError, UnsupportedError
from restore.files import ifd, isolated, parcel
from restore.files.container import Limits, kind_of, opened
from restore.files.levels import (
    OF_LEVELS,
    WHITE,
    Black,
    Offsets,
    SensorRecord,
    camera_to_srgb,
    gains_by_white,
    gains_of,
    grey_levels,
    linear_white,
    pattern,
    scaled,
    white_level,
)
from restore.files.metadata import described, exif_body, exif_tree, meta_from
from restore.files.opcodes import corrections, fitted
from restore.picture import Image, Meta, Picture, RawImage

_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)
"""EXIF orientations by LibRaw's flip: 1 mirrors columns, 2 rows, 4 swaps both before."""

_DEFLATED, _FLOAT_PREDICTORS, _WHOLE_FLOAT = {(8,), (32946,)}, {(3,), (34894,), (34895,)}, 32
_CFA, _LINEAR, _FLOAT, _PRIVATE, _IPTC = 32803, 34892, 3, 50740, 33723
_MOVED = "corrections of a lens whose picture begins one pixel before the one that is written (opcodes {})"
_TURNED = "gain and colour tables of a profile that are stored in the other byte order"
_IN_ORDER = {52525, 52543, 52544}
"""Those tables: blocks of numbers in the byte order of the file, whose layout is not known here."""
_STRETCH = "the true proportions: its pixels are not square, and the picture is not stretched"
_ROUNDED = "floating-point sensor data: rounded to whole numbers of 14 bits"


def read_raw(path: Path, limits: Limits = Limits()) -> Picture:  # noqa: B008 - frozen
    """Read a raw file in this process.

    Bayer and X-Trans files give a `RawImage` of the visible area. Files without a mosaic give an `Image`:
    three colours (linear DNG, Foveon) through LibRaw's own colour conversion, grey for monochrome sensors.

    Raises
    ------
    ReadError
        The file is missing, truncated or damaged.
    UnsupportedError
        It has no header that says what it is, or a kind of sensor or compression that cannot be read.
    TooLargeError
        The sensor has more than ``limits.max_pixels``, or decoding does not fit into memory.
    """
    try:
        with opened(path, limits) as view:
            _check_header(path, view)
            with rawpy.imread(str(path)) as raw:
                limits.check(path, raw.sizes.raw_width, raw.sizes.raw_height)
                raw.unpack()
                return _picture(raw, path, view)
    except UnicodeEncodeError as error:
        raise ReadError(path, "its name is not valid text, which LibRaw needs; rename it") from error
    except rawpy.LibRawFileUnsupportedError as error:
        problem = "LibRaw does not know this format, compression or camera; convert it to an uncompressed DNG"
        raise UnsupportedError(path, problem) from error
    except (rawpy.LibRawTooBigError, rawpy.LibRawUnsufficientMemoryError, MemoryError) as error:
        raise TooLargeError(path, "LibRaw says that it is too large to decode") from error
    except (rawpy.LibRawNotImplementedError, rawpy.NotSupportedError, NotImplementedError) as error:
        raise UnsupportedError(path, f"LibRaw cannot decode it ({error}); convert it to DNG") from error
    except rawpy.LibRawError as error:
        raise ReadError(path, f"truncated or damaged raw data ({_said(error)}); copy it again") from error


def _check_header(path: Path, view: ifd.Buffer) -> None:
    """Refuse what does not begin like a raw file, or like a TIFF, which may be one that LibRaw alone knows."""
    try:
        is_known = kind_of(path, view) in ("raw", "tiff")
    except FileError:
        is_known = False
    if not is_known:
        raise UnsupportedError(
            path,
            "no raw header found: a headerless sensor dump does not say its size, pattern or levels, and they"
            " are not guessed; convert it to DNG",
        )


def _said(error: Exception) -> str:
    """LibRaw's words: its errors carry bytes."""
    words = error.args[0] if error.args else ""
    return words.decode() if isinstance(words, bytes) else str(words)


def _picture(raw: Any, path: Path, view: ifd.Buffer) -> Picture:
    """Turn what LibRaw unpacked into a picture."""
    ifds = [*ifd.directories(view)]
    lost = tuple[str, ...]()
    if ifds and ifd.layout(view)[0].order == ">":  # a DNG is written with the least significant byte first
        lost = (_TURNED,) * any(_IN_ORDER & tags.keys() for tags in ifds)
        ifds = [{code: tags[code] for code in tags.keys() - _IN_ORDER} for tags in ifds]
    first = ifds[0] if ifds else {}
    is_dng = ifd.DNG_VERSION in first
    colours = (_LINEAR if raw.raw_type == rawpy.RawType.Stack or raw.num_colors == 1 else _CFA,)
    sensors = [tags for tags in ifds if ifd.numbers(tags, ifd.PHOTOMETRIC) == colours]
    raw_tags = max(sensors, key=lambda tags: ifd.numbers(tags, ifd.WIDTH), default={})
    meta = _meta(raw, path, shot(view) or ({} if first else _shot_of_thumbnail(raw)), first)
    if _FLOAT in ifd.numbers(raw_tags, ifd.SAMPLE_FORMAT):
        raw_tags = _without_float_levels(path, raw_tags)
        meta = replace(meta, extra={"dropped": (*meta.extra.get("dropped", ()), _ROUNDED)})
    if raw.raw_type == rawpy.RawType.Stack:
        return _developed(raw, path, meta, raw_tags)
    if raw.raw_image is None:
        raise UnsupportedError(path, "floating-point sensor data; convert it to a 16-bit DNG")
    white = white_level(raw, is_dng=is_dng)
    _check_white(path, white, (tuple(raw.black_level_per_channel),), None)
    if raw.num_colors == 1 or raw.raw_pattern is None:
        return _grey(raw, path, meta, raw_tags, white)
    cfa, black, offsets = pattern(raw, path, raw_tags)
    _check_white(path, white, black, offsets)
    record = SensorRecord(
        values=parcel.kept(raw.raw_image),
        top=raw.sizes.top_margin,
        left=raw.sizes.left_margin,
        size=raw.raw_image_visible.shape,
        cfa=cfa,
        black=black,
        white=white,
        white_balance=gains_of(raw.camera_whitebalance, gains_by_white(raw, first), raw.daylight_whitebalance),
        daylight=gains_of(raw.daylight_whitebalance),
        tags=first if is_dng else {},
        raw_tags=raw_tags if is_dng else {},
        offsets=offsets,
    )
    record.values.flags.writeable = False
    maps, others = corrections(record.raw_tags, record.top, record.left)
    others += (_STRETCH,) if raw.sizes.pixel_aspect != 1 else ()
    extra = {**meta.extra, "sensor": record, "gain_maps": maps, "undeveloped": others}
    if codes := ", ".join(map(str, _unfit(record)[:10])):
        lost += (_MOVED.format(codes),)
    extra |= {"not_in_dng": lost} if lost else {}
    extra |= _noise_profile(raw_tags, first)
    # A worker sends the sensor's values alone; whoever asked scales them.
    mosaic = np.broadcast_to(np.float32(0), record.size) if isolated.is_inside() else record.mosaic()
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black=black,
        white=white,
        white_balance=record.white_balance,
        camera_to_srgb=camera_to_srgb(raw, raw_tags),
        meta=replace(meta, extra=extra),
    )


def _check_white(path: Path, white: float, black: Black, offsets: Offsets) -> None:
    """Refuse a white level that is not above all of black."""
    dark = max(map(max, black)) + sum(float(each.max()) for each in offsets or ())
    if white <= dark:
        raise ReadError(path, f"white level {white:g} is not above black level {dark:g}; the file is damaged")


def _unfit(record: SensorRecord) -> tuple[int, ...]:
    """Numbers of the opcodes that count from where the visible area does not begin."""
    height, width = record.size
    return fitted(record.raw_tags, (record.top, record.left, record.top + height, record.left + width))[1]


def _without_float_levels(path: Path, raw_tags: ifd.Entries) -> ifd.Entries:
    """Return the tags without levels: LibRaw makes whole numbers of floats, with levels on a scale of its own.

    Raises
    ------
    UnsupportedError
        It would round a black level, divide by a white level that is none, or unpack them wrongly.
    """
    if ifd.numbers(raw_tags, ifd.CODEC) in _DEFLATED and ifd.numbers(raw_tags, ifd.PREDICTOR) not in _FLOAT_PREDICTORS:
        problem = "floating-point sensor data deflated without the predictor for floats, which LibRaw needs"
        raise UnsupportedError(path, f"{problem}; write it uncompressed or with predictor 3")
    if WHITE not in raw_tags and min(ifd.numbers(raw_tags, ifd.BITS), default=32) < _WHOLE_FLOAT:
        problem = "floating-point sensor data of less than 32 bits and no WhiteLevel, for which LibRaw takes 65535"
        raise UnsupportedError(path, f"{problem}; add a WhiteLevel of 1, or convert it to 32 bits")
    if any(level % 1 for tag in OF_LEVELS - {WHITE} for level in ifd.numbers(raw_tags, tag)):
        raise UnsupportedError(path, "floating-point sensor data above a fractional black level; convert it to 16 bits")
    return {code: raw_tags[code] for code in raw_tags.keys() - OF_LEVELS}


def _noise_profile(*directories: ifd.Entries) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return what a DNG says of its noise: variance ``S x + O`` as (S, O), one pair or those of R, G and B."""
    for tags in directories:
        values = ifd.numbers(tags, ifd.NOISE_PROFILE)
        pairs = tuple(zip(values[::2], values[1::2], strict=False))
        is_sane = all(math.isfinite(s + o) and 0 <= s < 1 and abs(o) < 1 and s + o > 0 for s, o in pairs)
        if len(values) in (2, 6) and is_sane:
            return {"noise_profile": pairs}
    return {}


def _developed(raw: Any, path: Path, meta: Meta, tags: ifd.Entries) -> Image:
    """Picture of a file that holds three colours a pixel, by LibRaw, encoded as sRGB."""
    if raw.num_colors != 3:
        raise UnsupportedError(path, f"{raw.num_colors} colours a pixel; convert it to linear DNG")
    white = linear_white(raw, tags)
    if white < 1:
        raise ReadError(path, "its white level is not above its black level; the file is damaged")
    pixels = raw.postprocess(
        gamma=(2.4, 12.92),
        output_bps=16,
        output_color=rawpy.ColorSpace.sRGB,
        use_camera_wb=True,
        no_auto_bright=True,
        adjust_maximum_thr=0.0,
        user_sat=white,
        user_flip=0,
    )
    return Image(pixels.astype(np.float32) / np.float32(65535), meta=meta)


def _grey(raw: Any, path: Path, meta: Meta, tags: ifd.Entries, white: float) -> Image:
    """Picture of a monochrome sensor, encoded as sRGB."""
    if raw.num_colors != 1:
        raise UnsupportedError(path, f"a sensor with {raw.num_colors} colours but no known pattern; use linear DNG")
    black, offsets = grey_levels(raw, tags)
    _check_white(path, white, black, offsets)
    values = raw.raw_image_visible.reshape(raw.raw_image_visible.shape[:2])
    return Image(linear_to_srgb(scaled(values, black, white, offsets))[..., None], meta=meta)


def shot(view: ifd.Buffer) -> ifd.Tree:
    """Return the first directory of a TIFF-like file, or what a Canon CR3 has of it; nothing of any other."""
    if view[4:12] != b"ftypcrx ":
        return exif_tree(view)[0]
    head = bytes(view[: 1 << 16])  # three boxes near its beginning, each a TIFF block of one directory
    about, photo, gps = (exif_tree(head.partition(name)[2])[0] for name in (b"CMT1", b"CMT2", b"CMT4"))
    photo |= {ifd.MAKER_NOTE: ifd.ascii_text("")} if b"CMT3" in head else {}
    return about | ({ifd.EXIF: photo} if photo else {}) | ({ifd.GPS: gps} if gps else {})


def _shot_of_thumbnail(raw: Any) -> ifd.Tree:
    """Return the same tags of the embedded JPEG."""
    try:
        jpeg = raw.extract_thumb().data
        block = Pillow.open(io.BytesIO(jpeg)).info.get("exif", b"") if isinstance(jpeg, bytes) else b""
    except (rawpy.LibRawError, UnidentifiedImageError):
        block = b""
    return exif_tree(exif_body(block))[0]


def _meta(raw: Any, path: Path, whole: ifd.Tree, first: ifd.Entries) -> Meta:
    """Collect what the file says about the shot; LibRaw's reading where it has one."""
    has_notes = ifd.MAKER_NOTE in ifd.branch(whole, ifd.EXIF) or _PRIVATE in whole
    dropped = ("the camera's own notes (MakerNote)",) * has_notes + ("IPTC",) * (_IPTC in whole)
    tags = described(whole)
    other, lens, photo = raw.other, raw.lens.model, ifd.branch(tags, ifd.EXIF)
    if lens and ifd.LENS not in photo:
        photo[ifd.LENS] = ifd.ascii_text(lens)
        tags = tags | {ifd.EXIF: photo}
    meta = meta_from(
        path,
        "raw",
        ifd.block(tags) if tags else None,
        bits=max(8, int(raw.white_level).bit_length()),
        xmp=first[ifd.XMP].data if ifd.XMP in first else None,
        extra={"dropped": dropped} if dropped else {},
    )
    return replace(
        meta,
        iso=meta.iso if meta.iso and meta.iso != 65535 else float(other.iso_speed) or meta.iso,
        exposure_s=meta.exposure_s if ifd.EXPOSURE in photo else float(other.shutter_speed) or None,
        orientation=_ORIENTATIONS[raw.sizes.flip % 8],
    )
