"""Plots as pictures, drawn with Pillow alone: lines and dots over two axes, and maps in false colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from restore.picture import Floats

_SIZE, _SCALE = (760, 500), 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 20, 44, 56
_INK, _GRID, _PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
COLOURS = {"real": (30, 30, 30), "gaussian": (214, 120, 30), "eld": (40, 130, 60), "pnnp": (30, 90, 200)}


@dataclass(frozen=True, eq=False)
class Line:
    """One curve; ``is_dots`` draws its points alone."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    label: str
    colour: tuple[int, int, int]
    is_dots: bool = False
    width: float = 1.6


def ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about six; powers of ten where the axis is logarithmic.

    >>> ticks(0.0, 10.0, is_log=False), ticks(0.5, 2000.0, is_log=True)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 10.0, 100.0, 1000.0])
    """
    if is_log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        step = max(1, (last - first) // 6)
        marks = [10.0**power for power in range(first, last + 1, step)]
        return (
            marks
            if len(marks) > 1
            else [
                factor * 10.0 ** (first - 1)
                for factor in (1, 2, 5, 10, 20, 50)
                if low <= factor * 10.0 ** (first - 1) <= high
            ]
        )
    rough = (high - low) / 6 or 1.0
    base = 10.0 ** math.floor(math.log10(rough))
    step_size = next(factor * base for factor in (1, 2, 5, 10) if factor * base >= rough)
    start = math.ceil(low / step_size - 1e-9)
    return [round(index * step_size, 12) for index in range(start, math.floor(high / step_size + 1e-9) + 1)]


class _Axis:
    """Maps values of one axis to places on the paper."""

    def __init__(self, values: Sequence[NDArray[np.float64]], ends: tuple[float, float], *, is_log: bool) -> None:
        known = np.concatenate([np.asarray(part, np.float64).ravel() for part in values])
        known = known[np.isfinite(known) & ((known > 0) | (not is_log))]
        low, high = (float(known.min()), float(known.max())) if len(known) else (1.0, 10.0)
        if is_log:
            self.low, self.high = low / 1.15, high * 1.15
        else:
            margin = 0.04 * (high - low) or max(abs(low) * 0.1, 1.0)
            self.low, self.high = low - margin, high + margin
        self.ends, self.is_log = ends, is_log

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places in pixels of the enlarged drawing; NaN for what cannot be shown."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.array([self.low, self.high])
            x, (low, high) = (np.log(values), np.log(ends)) if self.is_log else (values, ends)
        share = (x - low) / (high - low)
        share = np.where(np.isfinite(share), share, np.nan)
        return np.asarray(_SCALE * (self.ends[0] + share * (self.ends[1] - self.ends[0])))

    def marks(self) -> list[tuple[float, str]]:
        """Places of ticks with their texts."""
        values = ticks(self.low, self.high, is_log=self.is_log)
        return [(float(self.place(np.array(value))), f"{value:g}") for value in values]


def chart(
    lines: Sequence[Line], title: str, x_label: str, y_label: str, *, log_x: bool = False, log_y: bool = False
) -> Pillow.Image:
    """Draw curves over two axes with a legend."""
    width, height = _SIZE
    paper = Pillow.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
    draw = ImageDraw.Draw(paper)
    across = _Axis([line.x for line in lines], (_LEFT, width - _RIGHT), is_log=log_x)
    up = _Axis([line.y for line in lines], (height - _BOTTOM, _TOP), is_log=log_y)
    _frame(draw, across, up, title, x_label, y_label)
    for line in lines:
        points = np.stack([across.place(line.x), up.place(line.y)], axis=1)
        for run in np.split(points, np.flatnonzero(np.isnan(points).any(axis=1))):
            run = run[~np.isnan(run).any(axis=1)]
            if line.is_dots or len(run) == 1:
                for x, y in run:
                    draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=line.colour)
            elif len(run) > 1:
                draw.line(
                    [(float(x), float(y)) for x, y in run],
                    fill=line.colour,
                    width=round(line.width * _SCALE),
                    joint="curve",
                )
    _legend(draw, lines)
    return paper.resize(_SIZE, Pillow.Resampling.LANCZOS)


def _frame(draw: ImageDraw.ImageDraw, across: _Axis, up: _Axis, title: str, x_label: str, y_label: str) -> None:
    """Draw title, grid, ticks and labels."""
    width, height = (side * _SCALE for side in _SIZE)
    left, top, right, bottom = (_SCALE * v for v in (_LEFT, _TOP, _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM))
    for x, text in across.marks():
        draw.line([(x, top), (x, bottom)], fill=_GRID, width=_SCALE)
        draw.text((x, bottom + 6 * _SCALE), text, _INK, _font(12), anchor="mt")
    for y, text in up.marks():
        draw.line([(left, y), (right, y)], fill=_GRID, width=_SCALE)
        draw.text((left - 6 * _SCALE, y), text, _INK, _font(12), anchor="rm")
    draw.rectangle((left, top, right, bottom), outline=_INK, width=_SCALE)
    draw.text((left, 12 * _SCALE), title, _INK, _font(16))
    draw.text(((left + right) / 2, height - 12 * _SCALE), x_label, _INK, _font(13), anchor="mb")
    side = Pillow.new("L", (bottom - top, 20 * _SCALE), 0)
    ImageDraw.Draw(side).text((side.width / 2, side.height / 2), y_label, 255, _font(13), anchor="mm")
    turned = side.rotate(90, expand=True)
    draw.bitmap((4 * _SCALE, top), turned, _INK)
    assert width > right


def _legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line]) -> None:
    """List the labels along the top edge, right of the title's line."""
    x, y = (_SIZE[0] - _RIGHT) * _SCALE, 20 * _SCALE
    for line in reversed([line for line in lines if line.label]):
        x -= round(draw.textlength(line.label, _font(13))) + 6 * _SCALE
        draw.text((x, y), line.label, _INK, _font(13), anchor="lm")
        x -= 22 * _SCALE
        draw.line([(x, y), (x + 16 * _SCALE, y)], fill=line.colour, width=3 * _SCALE)
        x -= 10 * _SCALE


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SCALE)


def shading(fields: Sequence[tuple[str, Floats]], title: str) -> Pillow.Image:
    """Draw maps side by side in false colours, 1st to 99th percentile, with a scale under each."""
    side = 460
    tiles = []
    for name, field in fields:
        low, high = (float(value) for value in np.percentile(field, (1, 99)))
        high = high if high > low else low + 1
        width = side
        height = max(1, round(side * field.shape[0] / field.shape[1]))
        small = cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        eight = (255 * ((small - low) / (high - low)).clip(0, 1)).astype(np.uint8)
        bar = np.tile(np.linspace(0, 255, width).astype(np.uint8), (14, 1))
        tiles.append((name, low, high, _coloured(eight), _coloured(bar)))
    tall = max(tile[3].height for tile in tiles)
    paper = Pillow.new("RGB", ((side + 20) * len(tiles) + 20, tall + 120), _PAPER)
    draw = ImageDraw.Draw(paper)
    draw.text((20, 10), title, _INK, ImageFont.load_default(17))
    for index, (name, low, high, field_picture, bar_picture) in enumerate(tiles):
        x = 20 + index * (side + 20)
        draw.text((x, 36), name, _INK, ImageFont.load_default(14))
        paper.paste(field_picture, (x, 58))
        paper.paste(bar_picture, (x, 66 + tall))
        draw.text((x, 84 + tall), f"{low:.2f} DN", _INK, ImageFont.load_default(13))
        draw.text((x + side, 84 + tall), f"{high:.2f} DN", _INK, ImageFont.load_default(13), anchor="ra")
    return paper


def _coloured(eight: NDArray[np.uint8]) -> Pillow.Image:
    return Pillow.fromarray(cv2.cvtColor(cv2.applyColorMap(eight, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB))
