"""Write DNG files: a mosaic with everything a developer needs, or a developed picture in linear light."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from restore.colour import linear_to_srgb, srgb_to_linear
from restore.files import tags as ifd
from restore.files.atomic import replacing
from restore.files.levels import XYZ_OF_SRGB, SensorRecord, sensor_values
from restore.files.tags import BYTE, LONG, SHORT, UNDEFINED, Tags, ascii_tag, rational, tag
from restore.picture import Floats, Image, Meta, RawImage

PREVIEW_SIDE = 1024
"""Longer side of the embedded preview, at most."""

_BLACK_REPEAT, _BLACK, _WHITE, _ACTIVE, _CROP_ORIGIN, _CROP_SIZE = 50713, 50714, 50717, 50829, 50719, 50720
_NEUTRAL, _WHITE_XY, _NOISE_PROFILE, _NOISE_REDUCED = 50728, 50729, 51041, 50935
_XMP, _MODEL, _COLOR_MATRIX = 700, 50708, 50721
_D65 = 21
_LENS_OF_EXIF, _LENS_INFO = 42034, 50736
"""LensSpecification in EXIF, LensInfo in DNG: the same four fractions."""

_OF_MOSAIC = {
    33421, 33422, *range(50709, 50721), 50733, 50738, 50780, 50829, 50830, 50935, 51008, 51009, 51022, 51125,
} - {50712}  # fmt: skip
"""Tags about the mosaic that are kept in its own directory; not the linearisation table, which is used up."""
_STORAGE = {50706, 50707, 50712, 50740, 50828, *range(50966, 50976), 51043, *range(51105, 51112), 52525}
"""Tags of a source that describe how it stored its pixels and previews, or point into it: never copied."""
_OF_LEVELS = {_BLACK_REPEAT, _BLACK, 50715, 50716, _WHITE}
_OF_AREA = {33421, 33422, _ACTIVE, _CROP_ORIGIN, _CROP_SIZE, 51125}
_OF_DIGESTS = {_NOISE_PROFILE, 50972, 51111, 50781}
"""Tags that are no longer true once a pixel changed: noise profile, digests and identity of the raw data."""
_OPCODES = {51008, 51009, 51022}


def write_dng(path: Path, raw: RawImage, *, preview: Image | None = None) -> None:
    """Write a mosaic as DNG: uncompressed 16-bit, with a fresh JPEG preview.

    What the source file held is kept: masked borders, black level of each site, white level, colour tags
    (verbatim from a DNG), orientation, EXIF, GPS, XMP. An unchanged mosaic gives the same numbers again. A
    changed one is rounded to whole DN in the source's own scale; pixels that were saturated stay so.

    Parameters
    ----------
    preview
        The developed picture; by default a quick rendering is made.

    Raises
    ------
    WriteError
        The file cannot be written there.
    """
    record: SensorRecord | None = raw.meta.extra.get("sensor")
    place = record if record and (record.size, record.cfa) == (raw.size, raw.cfa) else None
    values, changed = _whole_sensor(raw, place)
    top, left = (place.top, place.left) if place else (0, 0)
    if raw.is_bayer:  # readers disagree about odd margins: one masked row or column less makes them even
        values, top, left = values[top % 2 :, left % 2 :], top - top % 2, left - left % 2
    picture = _preview(raw) if preview is None else preview
    first = _camera_tags(raw, record) | _common(raw.meta)
    below = _mosaic_tags(raw, place, top, left) | _strip_tags(values, 32803)
    if changed:
        below |= {_NOISE_REDUCED: rational(1.0)}
        first, below = ({code: tags[code] for code in tags.keys() - _OF_DIGESTS} for tags in (first, below))
    first[50707] = tag(BYTE, 1, 3 if _OPCODES & below.keys() else 1, 0, 0)
    _write(path, first, below, values, picture, raw.meta)


def write_linear_dng(path: Path, image: Image) -> None:
    """Write a developed picture as linear DNG: 16-bit linear sRGB light (or grey), with a preview.

    Values are clipped to 0...1. A profile other than sRGB is not taken into account.

    Raises
    ------
    WriteError
        The file cannot be written there.
    """
    channels = image.pixels.shape[2]
    values = np.rint(srgb_to_linear(image.pixels.clip(0, 1)) * 65535).astype(np.uint16)
    first = {50707: tag(BYTE, 1, 3, 0, 0)} | _common(image.meta)
    if channels == 3:
        matrix = np.linalg.inv(XYZ_OF_SRGB).ravel()
        first |= {
            _COLOR_MATRIX: rational(*matrix, signed=True),
            50778: tag(SHORT, _D65),
            _NEUTRAL: rational(1, 1, 1),
        }
    first[_MODEL] = ascii_tag(image.meta.camera or "unknown")
    below = _strip_tags(values, 34892) | {_WHITE: tag(SHORT, *(65535,) * channels)}
    _write(path, first, below, values, image, image.meta)


def _whole_sensor(raw: RawImage, record: SensorRecord | None) -> tuple[NDArray[np.uint16], bool]:
    """Sensor values with the masked border, and whether any visible one differs from the source."""
    values = sensor_values(raw)
    if record is None:
        return values, False
    whole = record.values.copy()
    height, width = raw.size
    visible = whole[record.top : record.top + height, record.left : record.left + width]
    saturated = visible >= record.white
    values[saturated] = np.maximum(visible, np.uint16(np.rint(min(raw.white, 65535))))[saturated]
    changed = not np.array_equal(values, visible)
    visible[...] = values
    return whole, changed


def _camera_tags(raw: RawImage, record: SensorRecord | None) -> Tags:
    """Colour and identity: the source DNG's own, else made from the matrix and the gains.

    A ColorMatrix says how the camera sees XYZ under D65: the inverse of ``camera_to_srgb``, each row scaled
    by the camera's response to a white card.
    """
    source = record.tags if record else {}
    tags = {code: source[code] for code in source if code >= _MODEL and code not in _STORAGE | _OF_MOSAIC}
    gains = np.array(raw.white_balance, np.float64)
    if _COLOR_MATRIX not in tags:
        daylight = np.array(record.daylight if record else raw.white_balance, np.float64)
        camera = np.linalg.inv(raw.camera_to_srgb.astype(np.float64)) @ np.linalg.inv(XYZ_OF_SRGB)
        tags[_COLOR_MATRIX] = rational(*(camera / daylight[:, None]).ravel(), signed=True)
        tags[50778] = tag(SHORT, _D65)
    if _MODEL not in tags:
        tags[_MODEL] = ascii_tag(raw.meta.camera or "unknown")
    if record is None or record.white_balance != raw.white_balance or not {_NEUTRAL, _WHITE_XY} & tags.keys():
        tags.pop(_WHITE_XY, None)
        tags[_NEUTRAL] = rational(*(gains.min() / gains))
    return tags


def _mosaic_tags(raw: RawImage, record: SensorRecord | None, top: int, left: int) -> Tags:
    """Pattern, levels and visible area, which begins at row ``top`` and column ``left``.

    Pattern and black levels count from there. A source DNG's own tags are kept where they say the same.
    """
    period, (height, width) = len(raw.cfa), raw.size
    area = tag(LONG, top, left, top + height, left + width)
    tags = record.raw_tags if record else {}
    source = {code: entry for code, entry in tags.items() if code in _OF_MOSAIC}
    same_area = ifd.numbers(source.get(_ACTIVE, area)) == ifd.numbers(area)
    if record and not (same_area and (record.black, record.white) == (raw.black, raw.white)):
        source = {code: source[code] for code in source.keys() - _OF_LEVELS}
    if not same_area:
        source = {code: source[code] for code in source.keys() - _OF_AREA}
    black = [level for row in raw.black for level in row]
    whole_numbers = all(level == round(level) for level in black)
    made = {
        33421: tag(SHORT, period, period),
        33422: tag(BYTE, *(colour for row in raw.cfa for colour in row)),
        50710: tag(BYTE, 0, 1, 2),
        50711: tag(SHORT, 1),
        _BLACK_REPEAT: tag(SHORT, period, period),
        _BLACK: tag(LONG, *map(round, black)) if whole_numbers else rational(*black),
        _WHITE: tag(LONG, round(raw.white)),
        _ACTIVE: area,
        _CROP_ORIGIN: tag(LONG, 0, 0),
        _CROP_SIZE: tag(LONG, width, height),
    }
    if _BLACK in source:
        made.pop(_BLACK_REPEAT)
    return made | source


def _common(meta: Meta) -> Tags:
    """Version, orientation, description and lens, for the first directory."""
    about, photo, _ = ifd.read_exif(meta.exif)
    lens = {_LENS_INFO: photo[_LENS_OF_EXIF]} if _LENS_OF_EXIF in photo else {}
    if meta.camera and 272 not in about:
        maker, _, model = meta.camera.partition(" ")
        about |= {271: ascii_tag(maker), 272: ascii_tag(model)}
    return {305: ascii_tag("restore"), **lens, **about} | {
        274: tag(SHORT, meta.orientation),
        50706: tag(BYTE, 1, 4, 0, 0),
        **({_XMP: (BYTE, meta.xmp)} if meta.xmp else {}),
    }


def _photo_tags(meta: Meta) -> tuple[Tags, Tags]:
    """EXIF and GPS directories, with ISO and exposure time added where only the record knows them."""
    _, photo, gps = ifd.read_exif(meta.exif)
    photo = {36864: (UNDEFINED, b"0231"), **photo}
    if meta.iso and 34855 not in photo:
        photo[34855] = tag(SHORT, min(round(meta.iso), 65535))
    if meta.exposure_s and 33434 not in photo:
        photo[33434] = rational(meta.exposure_s)
    return photo, gps


def _strip_tags(values: NDArray[np.uint16], photometric: int) -> Tags:
    """Layout of uncompressed 16-bit values in one strip; the offset is filled in when it is known."""
    height, width, *channels = values.shape
    samples = channels[0] if channels else 1
    return {
        254: tag(LONG, 0),
        256: tag(LONG, width),
        257: tag(LONG, height),
        258: tag(SHORT, *(16,) * samples),
        259: tag(SHORT, 1),
        262: tag(SHORT, photometric),
        273: tag(LONG, 0),
        277: tag(SHORT, samples),
        278: tag(LONG, height),
        279: tag(LONG, values.nbytes),
        284: tag(SHORT, 1),
    }


def _preview_tags(jpeg: bytes, width: int, height: int) -> Tags:
    """Layout of a JPEG preview in one strip."""
    return {
        254: tag(LONG, 1),
        256: tag(LONG, width),
        257: tag(LONG, height),
        258: tag(SHORT, 8, 8, 8),
        259: tag(SHORT, 7),
        262: tag(SHORT, 6),
        273: tag(LONG, 0),
        277: tag(SHORT, 3),
        278: tag(LONG, height),
        279: tag(LONG, len(jpeg)),
        284: tag(SHORT, 1),
        530: tag(SHORT, 2, 2),
        532: rational(0, 255, 128, 255, 128, 255),
        50970: tag(LONG, 2),
    }


def _write(path: Path, first: Tags, below: Tags, values: NDArray[np.uint16], picture: Image, meta: Meta) -> None:
    """Lay out preview, directories and pixels one behind the other and write them.

    The size of a directory does not depend on the pointers in it: every place is known before it is filled
    in.
    """
    jpeg, width, height = _jpeg(picture)
    photo, gps = _photo_tags(meta)
    first = first | _preview_tags(jpeg, width, height) | {ifd.SUB_IFDS: tag(LONG, 0), ifd.EXIF_IFD: tag(LONG, 0)}
    if gps:
        first[ifd.GPS_IFD] = tag(LONG, 0)
    at_jpeg = 8 + len(ifd.pack_ifd(first, 8))
    at_below = at_jpeg + len(jpeg)
    at_photo = at_below + len(ifd.pack_ifd(below, 0))
    at_gps = at_photo + len(ifd.pack_ifd(photo, 0))
    at_values = at_gps + (len(ifd.pack_ifd(gps, 0)) if gps else 0)
    first |= {273: tag(LONG, at_jpeg), ifd.SUB_IFDS: tag(LONG, at_below), ifd.EXIF_IFD: tag(LONG, at_photo)}
    if gps:
        first[ifd.GPS_IFD] = tag(LONG, at_gps)
    below = below | {273: tag(LONG, at_values)}
    with replacing(path) as part, part.open("wb") as file:
        file.write(b"II*\0\x08\0\0\0" + ifd.pack_ifd(first, 8) + jpeg)
        file.write(ifd.pack_ifd(below, at_below) + ifd.pack_ifd(photo, at_photo))
        file.write(ifd.pack_ifd(gps, at_gps) if gps else b"")
        file.write(np.ascontiguousarray(values, "<u2").data)


def _jpeg(picture: Image) -> tuple[bytes, int, int]:
    """Encode a picture, made smaller, as JPEG of even length; also its width and height."""
    height, width = picture.size
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    eight = np.rint(small.clip(0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(np.broadcast_to(eight, (*eight.shape[:2], 3)).copy()).save(buffer, "JPEG", quality=90)
    jpeg = buffer.getvalue()
    return jpeg + b"\0" * (len(jpeg) % 2), *size


def _preview(raw: RawImage) -> Image:
    """Quick rendering: one pixel per cell of the pattern, white balance, camera colours, sRGB."""
    period = len(raw.cfa)
    height, width = (-(-side // period) * period for side in raw.size)
    margins = (0, height - raw.size[0]), (0, width - raw.size[1])
    cells = np.pad(raw.mosaic, margins, mode="reflect").reshape(height // period, period, width // period, period)
    colours = np.array(raw.cfa)
    gains = np.array(raw.white_balance, np.float32) / min(raw.white_balance)
    planes: list[Floats] = []
    for colour in range(3):
        rows, columns = np.nonzero(colours == colour)
        planes.append(np.minimum(cells[:, rows, :, columns].mean(axis=0) * gains[colour], 1))
    linear = np.stack(planes, axis=2) @ raw.camera_to_srgb.T
    return Image(linear_to_srgb(linear.clip(0, 1)), meta=replace(raw.meta, extra={}))
