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
from restore.files import ifd, opcodes
from restore.files.atomic import replacing
from restore.files.ifd import BYTE, LONG, SHORT, UNDEFINED, Entries, Entry, Tree, ascii_text, make, rational
from restore.files.levels import (
    BLACK_OF_COLUMNS,
    BLACK_OF_ROWS,
    OF_LEVELS,
    WHITE,
    XYZ_OF_SRGB,
    SensorRecord,
    record_of,
    sensor_values,
)
from restore.files.metadata import described, exif_tree, with_iso
from restore.picture import Floats, Image, Meta, RawImage

PREVIEW_SIDE = 1024
"""Longer side of the embedded preview, at most."""

_CROP_ORIGIN, _CROP_SIZE = 50719, 50720
_NEUTRAL, _WHITE_XY, _NOISE_REDUCED = 50728, 50729, 50935
_OLDEST_READER, _MODEL, _COLOR_MATRIX, _ILLUMINANT, _PREVIEW_SPACE = 50707, 50708, 50721, 50778, 50970
_CFA, _LINEAR, _YCBCR, _NONE, _JPEG, _D65, _SRGB = 32803, 34892, 6, 1, 7, 21, 2
_GAIN_TABLE, _LENS_INFO = 52525, 50736
"""ProfileGainTableMap; the same four fractions as EXIF's `ifd.LENS_LIMITS`."""

_OF_MOSAIC = {
    33421, 33422, *range(50709, 50721), 50733, 50738, 50780, 50829, 50830, 50935, 51008, 51009, 51022, 51041, 51125,
    _GAIN_TABLE,
} - {50712}  # fmt: skip
"""Tags about the mosaic that are kept in its own directory; not the linearisation table, which is used up."""
_STORAGE = {50706, 50707, 50712, 50740, 50828, 50933, *range(50966, 50976), 51111}
"""Tags of a source that describe how it stored its pixels and previews, or point into it: never copied."""
_OF_AREA = {33421, 33422, ifd.ACTIVE_AREA, _CROP_ORIGIN, _CROP_SIZE, 50830, 51125}
_OF_DIGESTS = {ifd.NOISE_PROFILE, _NOISE_REDUCED, 50972, 51111, 50781}
"""Tags that are no longer true once a pixel changed: noise and its reduction, digests and identity of the raw data."""


def write_dng(path: Path, raw: RawImage, *, preview: Image | None = None) -> None:
    """Write a mosaic as DNG: uncompressed 16-bit, with a fresh JPEG preview.

    What the source file held is kept: masked borders, black level of each site, white level, colour tags
    (verbatim from a DNG), orientation, EXIF, GPS, XMP. An unchanged mosaic gives the same numbers again. A
    changed one is rounded to whole DN in the source's own scale; pixels that were saturated, or marked for readers
    to repair, stay so. Of a denoised one, ``meta.extra`` states which share of the noise was taken as ``"denoised"``
    and what is left as ``"noise_profile"``: pairs (S, O) of variance ``S x + O`` of a signal x in 0...1.

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
    place = record_of(raw)
    values, changed = _whole_sensor(raw, place)
    top, left = (place.top, place.left) if place else (0, 0)
    if raw.is_bayer:  # readers disagree about odd margins: one masked row or column less makes them even
        values, top, left = values[top % 2 :, left % 2 :], top - top % 2, left - left % 2
    picture = _preview(raw) if preview is None else preview
    first = {**_camera_tags(raw, record), **_about(raw.meta)}
    below = _mosaic_tags(raw, place, top, left)
    if changed or place is None:
        before = below.get(_NOISE_REDUCED)
        for tag in _OF_DIGESTS:
            first.pop(tag, None)
            below.pop(tag, None)
        below |= _denoised(raw, before)
    first[_OLDEST_READER] = make(BYTE, 1, 3 if opcodes.LISTS & below.keys() else 1, 0, 0)
    _write(path, first, below, values, _CFA, picture)


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
    first = _about(image.meta) | {_OLDEST_READER: make(BYTE, 1, 3, 0, 0)}
    if channels == 3:
        matrix = np.linalg.inv(XYZ_OF_SRGB).ravel()
        first |= {
            _COLOR_MATRIX: rational(*matrix, signed=True),
            _ILLUMINANT: make(SHORT, _D65),
            _NEUTRAL: rational(1, 1, 1),
        }
    first[_MODEL] = ascii_text(image.meta.camera or "unknown")
    _write(path, first, {WHITE: make(SHORT, *(65535,) * channels)}, values, _LINEAR, image)


def _denoised(raw: RawImage, before: Entry | None) -> Entries:
    """How much of the noise was taken, by earlier programs too, and what is left, with that of rounding."""
    if "denoised" not in raw.meta.extra:
        return {}
    step = 1 / (raw.white - np.mean(raw.black))
    pairs = [(gain, square + step**2 / 12) for gain, square in raw.meta.extra["noise_profile"]]
    earlier = (*ifd.numbers({_NOISE_REDUCED: before} if before else {}, _NOISE_REDUCED), 0.0)[0]
    kept = (1 - raw.meta.extra["denoised"]) * (1 - min(max(earlier, 0.0), 1.0))
    return {
        _NOISE_REDUCED: rational(1 - kept),
        ifd.NOISE_PROFILE: make(ifd.DOUBLE, *(value for pair in pairs for value in pair)),
    }


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
    for mark in opcodes.marks_of_bad(record.raw_tags):
        np.copyto(values, visible, where=visible == mark)
    changed = not np.array_equal(values, visible)
    visible[...] = values
    return whole, changed


def _camera_tags(raw: RawImage, record: SensorRecord | None) -> Entries:
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
        tags[_ILLUMINANT] = make(SHORT, _D65)
    if _MODEL not in tags:
        tags[_MODEL] = ascii_text(raw.meta.camera or "unknown")
    if record is None or record.white_balance != raw.white_balance or not {_NEUTRAL, _WHITE_XY} & tags.keys():
        tags.pop(_WHITE_XY, None)
        tags[_NEUTRAL] = rational(*(gains.min() / gains))
    return tags


def _mosaic_tags(raw: RawImage, record: SensorRecord | None, top: int, left: int) -> Entries:
    """Pattern, levels and visible area, which begins at row ``top`` and column ``left``.

    Pattern and black levels count from there. A source DNG's own tags are kept where they say the same.
    """
    period, (height, width) = len(raw.cfa), raw.size
    corners = top, left, top + height, left + width
    tags = {**record.raw_tags} if record else {}
    for tag, entry in (record.tags if record else {}).items():
        if tag in (ifd.NOISE_PROFILE, _GAIN_TABLE):  # some programs put it into the first directory
            tags.setdefault(tag, entry)
    source = {code: entry for code, entry in tags.items() if code in _OF_MOSAIC - opcodes.LISTS}
    source |= opcodes.fitted(tags, corners)[0]
    same_area = ifd.ACTIVE_AREA not in source or ifd.numbers(source, ifd.ACTIVE_AREA) == corners
    if record and not (same_area and (record.black, record.white) == (raw.black, raw.white)):
        source = {code: source[code] for code in source.keys() - OF_LEVELS}
    if not same_area:
        source = {code: source[code] for code in source.keys() - _OF_AREA}
    black = [level for row in raw.black for level in row]
    whole_numbers = all(level == round(level) for level in black)
    made = {
        33421: make(SHORT, period, period),
        33422: make(BYTE, *(colour for row in raw.cfa for colour in row)),
        50710: make(BYTE, 0, 1, 2),
        50711: make(SHORT, 1),
        ifd.BLACK_REPEAT: make(SHORT, period, period),
        ifd.BLACK: make(LONG, *map(round, black)) if whole_numbers else rational(*black),
        WHITE: make(LONG, round(raw.white)),
        ifd.ACTIVE_AREA: make(LONG, *corners),
        _CROP_ORIGIN: make(LONG, 0, 0),
        _CROP_SIZE: make(LONG, width, height),
    }
    if ifd.BLACK in source:
        made.pop(ifd.BLACK_REPEAT)
    if record and record.offsets and not {BLACK_OF_ROWS, BLACK_OF_COLUMNS} & source.keys():
        rows, columns = record.offsets
        made |= {
            BLACK_OF_ROWS: rational(*rows.tolist(), signed=True),
            BLACK_OF_COLUMNS: rational(*columns.tolist(), signed=True),
        }
    return made | source


def _about(meta: Meta) -> Tree:
    """Version, orientation, description, lens, XMP, EXIF and GPS, with what only the record knows added."""
    tags = described(exif_tree(meta.exif)[0])
    photo: Tree = {ifd.EXIF_VERSION: Entry(UNDEFINED, b"0231")} | ifd.branch(tags, ifd.EXIF)
    if meta.iso and ifd.ISO not in photo:
        photo = with_iso(photo, meta.iso)
    if meta.exposure_s and ifd.EXPOSURE not in photo:
        photo[ifd.EXPOSURE] = rational(meta.exposure_s)
    lens = {_LENS_INFO: photo[ifd.LENS_LIMITS]} if ifd.LENS_LIMITS in photo else {}
    if meta.camera and ifd.MODEL not in tags:
        maker, _, model = meta.camera.partition(" ")
        tags |= {ifd.MAKE: ascii_text(maker), ifd.MODEL: ascii_text(model)}
    return {ifd.SOFTWARE: ascii_text("restore"), **lens, **tags} | {
        ifd.EXIF: photo,
        ifd.ORIENTATION: make(SHORT, meta.orientation),
        ifd.DNG_VERSION: make(BYTE, 1, 4, 0, 0),
        **({ifd.XMP: Entry(BYTE, meta.xmp)} if meta.xmp else {}),
    }


def _strip(size: tuple[int, int], bits: tuple[int, ...], codec: int, photometric: int, length: int) -> Entries:
    """Layout of a picture in one strip, the offset of which is filled in when it is known."""
    height, width = size
    return {
        ifd.WIDTH: make(LONG, width),
        ifd.HEIGHT: make(LONG, height),
        ifd.BITS: make(SHORT, *bits),
        ifd.CODEC: make(SHORT, codec),
        ifd.PHOTOMETRIC: make(SHORT, photometric),
        ifd.PLACES: make(LONG, 0),
        ifd.SAMPLES: make(SHORT, len(bits)),
        ifd.ROWS: make(LONG, height),
        ifd.LENGTHS: make(LONG, length),
        ifd.PLANAR: make(SHORT, 1),
    }


def _write(path: Path, first: Tree, below: Entries, values: NDArray[np.uint16], photometric: int, shown: Image) -> None:
    """Lay out directories, preview and pixels one behind the other and write them.

    The size of the directories does not depend on the offsets in them: they are packed twice.
    """
    jpeg, size = _jpeg(shown)
    bits = (16,) * (values.size // (values.shape[0] * values.shape[1]))
    first = first | _strip(size, (8, 8, 8), _JPEG, _YCBCR, len(jpeg))
    first |= {ifd.SUBFILE: make(LONG, 1), 530: make(SHORT, 2, 2), 532: rational(0, 255, 128, 255, 128, 255)}
    first |= {_PREVIEW_SPACE: make(LONG, _SRGB)}
    below = below | {ifd.SUBFILE: make(LONG, 0)} | _strip(values.shape[:2], bits, _NONE, photometric, values.nbytes)

    def directories(at: int) -> bytes:
        inner: Tree = {**below, ifd.PLACES: make(LONG, at + len(jpeg))}
        return ifd.block({**first, ifd.PLACES: make(LONG, at), ifd.SUB_IFDS: inner})

    with replacing(path) as part, part.open("wb") as file:
        file.write(directories(len(directories(0))) + jpeg)
        file.write(np.ascontiguousarray(values, "<u2").data)


def _jpeg(picture: Image) -> tuple[bytes, tuple[int, int]]:
    """Encode a picture, made smaller, as JPEG of even length; also its height and width."""
    height, width = picture.size
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    eight = np.rint(small.clip(0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(np.broadcast_to(eight, (*eight.shape[:2], 3)).copy()).save(buffer, "JPEG", quality=90)
    jpeg = buffer.getvalue()
    return jpeg + b"\0" * (len(jpeg) % 2), (size[1], size[0])


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
