"""Cut pictures into tiles and put them together again: a plan in integers, and one function that carries it out.

EXACT means that the tile size cannot change the answer. It holds when an operation reads at most ``halo`` pixels
around the pixel it writes, and when every tile starts at a multiple of the operation's stride. BLEND fades
overlapping tiles into each other with weights that sum to one: no seam, but the tile is part of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from restore.errors import ResultError
from restore.ferry import carried
from restore.memory import free_memory, pages_kept

OnTile = Callable[[int, int], None]
"""Called after each tile with the number done and the total; raise in it to stop."""

Size = int | tuple[int, int] | None
"""Side, or height and width, of a tile's core; None for the whole picture."""


class Seams(StrEnum):
    """What an operation promises when it is run in tiles."""

    EXACT = "exact"
    BLEND = "blend"
    WHOLE = "whole"


LARGEST_TILE = 8_500_000
"""Pixels computed at once at the most: beyond, tiles gain nothing and progress comes in large steps."""


@dataclass(frozen=True, eq=False)
class Finish:
    """A second, cheap pass over what came out, which sees the picture beside it; always EXACT.

    It has a halo of its own: within `TileOp.run` that would be added to the network's, and computed by it.

    Parameters
    ----------
    run
        Maps what went in and what came out, float32 ``(C, h, w)`` each, to the same shape.
    halo, multiple
        As those of `TileOp`.
    """

    run: Callable[[Tensor, Tensor], Tensor]
    halo: int = 0
    multiple: int = 1


@dataclass(frozen=True, eq=False)
class TileOp:
    """A pure, size-keeping function of a tile, and what a caller must know to cut tiles for it.

    Parameters
    ----------
    run
        Maps float32 ``(C, h, w)`` to float32 ``(C, h, w)`` on the same device; sides are multiples of ``multiple``.
    halo
        Pixels read around a written pixel. For BLEND: the width over which neighbouring tiles overlap on each side.
    multiple
        Sides and origins of tiles are multiples of this.
    seams
        What tiles do to the result.
    tile
        Preferred side of a tile, without halo; None leaves it to the runtime.
    bytes_per_pixel
        Working memory of ``run`` for each pixel of the tile, for planning.
    most
        Pixels of an automatic tile at the most, halos counted.
    finish
        What is done to the result once all of it is there.
    deviation
        Like ``run``, but gives the standard error of each value, where the method knows it.
    is_int8
        It computes in 8-bit integers.
    """

    run: Callable[[Tensor], Tensor]
    halo: int = 0
    multiple: int = 1
    seams: Seams = Seams.EXACT
    tile: int | None = None
    bytes_per_pixel: int = 64
    most: int = LARGEST_TILE
    finish: Finish | None = None
    deviation: Callable[[Tensor], Tensor] | None = None
    is_int8: bool = False


@dataclass(frozen=True)
class Span:
    """One tile along one axis: it reads ``start...stop`` and answers for ``first...last`` (ends excluded)."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, *, tile: int | None, halo: int, multiple: int) -> tuple[Span, ...]:
    """Plan an axis: even cores of at most ``tile`` pixels, each read with a halo inside the padded axis.

    The axis is thought of as padded at its end to a multiple of ``multiple``; reads start and stop at multiples and
    stay inside it. Cores cover ``0...length`` once.

    >>> spans(8, tile=4, halo=1, multiple=2)
    (Span(start=0, stop=6, first=0, last=4), Span(start=2, stop=8, first=4, last=8))
    >>> spans(5, tile=None, halo=3, multiple=4)
    (Span(start=0, stop=8, first=0, last=5),)
    """
    padded = _up(length, multiple)
    if tile is None or tile >= padded:
        return (Span(0, padded, 0, length),)
    count = -(-padded // max(multiple, tile // multiple * multiple))
    core = _up(-(-padded // count), multiple)
    edges = [*range(0, length, core), length]
    reach = _up(halo, multiple)
    return tuple(
        Span(max(0, first - reach), min(padded, _up(last, multiple) + reach), first, last)
        for first, last in pairwise(edges)
    )


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _taken(planes: Tensor, span: Span, axis: int) -> Tensor:
    """Return what a span reads, with the part beyond the end reflected back (tiny axes bounce to and fro)."""
    length = planes.shape[axis]
    inside = planes.narrow(axis, span.start, min(span.stop, length) - span.start)
    if span.stop <= length:
        return inside
    bounced = np.pad(np.arange(length), (0, span.stop - length), mode="reflect" if length > 1 else "edge")
    beyond = torch.from_numpy(bounced[length:].copy()).to(planes.device)
    return torch.cat([inside, planes.index_select(axis, beyond)], axis)


def cut(planes: Tensor, rows: Span, columns: Span) -> Tensor:
    """Return the tile ``(C, h, w)`` that two spans read; beyond the picture's end it is reflected."""
    return _taken(_taken(planes, rows, 1), columns, 2)


def plan(planes: Tensor, *, tile: Size, halo: int, multiple: int) -> list[tuple[Span, Span]]:
    """Return row and column spans of every tile of ``(C, H, W)``, row by row."""
    sides = tile if isinstance(tile, tuple) else (tile, tile)
    rows, columns = (
        spans(n, tile=side, halo=halo, multiple=multiple) for n, side in zip(planes.shape[1:], sides, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def apply(
    op: TileOp, planes: Tensor, *, tile: Size = None, device: str = "cpu", on_tile: OnTile | None = None
) -> Tensor:
    """Run ``op`` over a picture in tiles.

    Parameters
    ----------
    planes
        float32 ``(C, H, W)``, anywhere; not changed.
    tile
        Largest side, or height and width, of a tile's core; None runs the whole picture at once. Ignored when
        ``op`` needs the whole.
    device
        Where tiles are computed. Picture and result lie there too, one way over and one way back, where they take but
        an eighth of the free memory; else tiles go over while others are computed.

    Returns
    -------
    Tensor
        float32 ``(C, H, W)`` on the CPU.

    Raises
    ------
    ResultError
        A tile came back with another shape.
    """
    size = None if op.seams is Seams.WHOLE else tile
    windows = plan(planes, tile=size, halo=op.halo, multiple=op.multiple)
    is_blended = op.seams is Seams.BLEND and len(windows) > 1
    is_small = device != "cpu" and 16 * planes.nbytes <= free_memory(torch.device(device))
    home = device if is_small else "cpu"
    planes = planes.to(home)
    out = torch.zeros_like(planes) if is_blended else torch.empty_like(planes)
    fade_rows, fade_columns = (_fades([w[axis] for w in windows], home) if is_blended else {} for axis in (0, 1))
    with pages_kept():
        sources = (cut(planes, rows, columns) for rows, columns in windows)
        run = partial(_checked, op)
        results = map(run, sources) if home == device else carried(run, sources, torch.device(device))
        for done, ((rows, columns), result) in enumerate(zip(windows, results, strict=True), 1):
            if is_blended:
                _fade_in(out, result * (fade_rows[rows][:, None] * fade_columns[columns]), rows, columns)
            else:
                _put(out, result, rows, columns)
            if on_tile is not None:
                on_tile(done, len(windows))
        if op.finish is not None:
            out = _finished(op.finish, planes, out, size)
    return out.cpu()


def _finished(finish: Finish, planes: Tensor, out: Tensor, size: Size) -> Tensor:
    """Run the second pass, where picture and result lie."""
    done = torch.empty_like(out)
    for rows, columns in plan(planes, tile=size, halo=finish.halo, multiple=finish.multiple):
        with torch.inference_mode():
            _put(done, finish.run(cut(planes, rows, columns), cut(out, rows, columns)), rows, columns)
    return done


def _put(out: Tensor, tile: Tensor, rows: Span, columns: Span) -> None:
    """Write what a tile answers for."""
    inner = tile[:, rows.first - rows.start : rows.last - rows.start]
    inner = inner[:, :, columns.first - columns.start : columns.last - columns.start]
    out[:, rows.first : rows.last, columns.first : columns.last] = inner


def _checked(op: TileOp, source: Tensor) -> Tensor:
    """Return what an operation makes of a tile, in float32.

    Raises
    ------
    ResultError
        It has another shape.
    """
    with torch.inference_mode():
        result = op.run(source)
    if result.shape != source.shape:
        raise ResultError(f"a tile of shape {tuple(source.shape)} came back as {tuple(result.shape)}")
    return result.float()


def _fade_in(out: Tensor, faded: Tensor, rows: Span, columns: Span) -> None:
    """Add a tile that fades out at its sides."""
    height, width = (min(s.stop, n) - s.start for s, n in zip((rows, columns), out.shape[1:], strict=True))
    out[:, rows.start : rows.start + height, columns.start : columns.start + width] += faded[:, :height, :width]


def _fades(used: list[Span], home: str) -> dict[Span, Tensor]:
    """Return weights of each span of an axis: smooth ramps where it overlaps neighbours, summing to one everywhere."""
    ordered = sorted(set(used), key=lambda s: s.start)
    fades = {span: torch.ones(span.stop - span.start) for span in ordered}
    for before, after in pairwise(ordered):
        overlap = min(before.stop - after.start, len(fades[before]), len(fades[after]))
        t = (torch.arange(overlap) + 0.5) / max(overlap, 1)
        ramp = t * t * (3 - 2 * t)
        fades[after][:overlap] *= ramp
        fades[before][len(fades[before]) - overlap :] *= 1 - ramp
    total = torch.zeros(ordered[-1].stop)
    for span, fade in fades.items():
        total[span.start : span.stop] += fade
    return {span: (fade / total[span.start : span.stop]).to(home) for span, fade in fades.items()}


def tiles(planes: Tensor, *, tile: Size, halo: int = 0) -> Iterator[tuple[Tensor, tuple[slice, slice]]]:
    """Yield every tile with its halo, and where its core lies in it: for statistics folded over a picture."""
    for rows, columns in plan(planes, tile=tile, halo=halo, multiple=1):
        core = tuple(slice(s.first - s.start, s.last - s.start) for s in (rows, columns))
        yield cut(planes, rows, columns), (core[0], core[1])
