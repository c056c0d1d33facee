"""Straight steps along rows and columns that a result has and its input has not: what tiles would leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats

STEP = 0.0025
"""Smallest step between two halves of a picture, in fractions of white, that counts as a seam."""

SPREAD = 512
"""Columns that tell what differences of neighbours are usual."""


class Straight(NamedTuple):
    """The largest step along one direction (0: none), where it is, and which one would surely have been found."""

    step: float
    place: str
    told: float


def along(before: Floats, after: Floats, direction: Literal["column", "row"]) -> Straight:
    """Look for steps along columns or rows of planes ``(C, H, W)``: over their whole length, and over parts of it."""
    axes = (0, 1, 2) if direction == "column" else (0, 2, 1)
    old, new = before.transpose(axes), after.transpose(axes)
    worst, told, place = 0.0, 0.0, ""
    for number, rows in enumerate(_parts(new.shape[1])):
        step, at, least = _step(old[:, rows], new[:, rows])
        told = least if number == 0 else told
        if abs(step) > abs(worst):
            worst, place = step, f"{direction} {at}"
    return Straight(worst, place, told)


def _parts(length: int) -> Iterator[slice]:
    """Give the whole length, then its parts of at least 128; each with a stride that leaves at most 512 samples."""
    count = max(1, min(8, length // 128))
    for parts in sorted({1, count}):
        for first, last in zip(np.arange(parts), np.arange(1, parts + 1), strict=True):
            start, stop = length * int(first) // parts, length * int(last) // parts
            yield slice(start, stop, max(1, (stop - start) // 512))


def _step(before: Floats, after: Floats, reach: int = 8) -> tuple[float, int, float]:
    """Return the largest step of ``(C, n, W)`` that only ``after`` has (or 0), its column, and what is surely found.

    A seam moves every row by the same amount, so it is the median over rows of the difference of two columns; it
    stands out of the differences around it; and what was removed steps by as much, the other way, in each third of the
    rows, while an edge of the scene is not in what was removed. Medians cost most: they are taken where what was
    removed steps, and at columns spread over the picture, for what is usual.
    """
    sums = np.cumsum(np.pad(_profile(before) - _profile(after), (1, 0)))
    means = (sums[reach:] - sums[:-reach]) / reach
    steps = means[reach:] - means[:-reach]  # at columns reach...W - reach
    noise = 1.5 * float(np.median(np.abs(steps - np.median(steps))))
    apart = max(1, after.shape[2] // SPREAD)
    jumps = _medians(after[:, :, 1::apart], after[:, :, :-1:apart])
    usual = 1.5 * float(np.median(np.abs(jumps - np.median(jumps))))
    told = max(STEP + 6 * usual, 12 * noise)  # from there each third holds 0.4 of it, by four standard deviations
    columns = reach + np.flatnonzero(np.abs(steps) > 6 * noise)
    jump = {by: _medians(after[:, :, columns + by], after[:, :, columns + by - 1]) for by in (-1, 0, 1)}
    sharp = jump[0] - (jump[-1] + jump[1]) / 2
    is_seam = np.abs(sharp) > STEP + 4 * usual
    is_seam &= np.abs(sharp + steps[columns - reach]) < 0.5 * np.abs(sharp)
    for at in sorted(np.flatnonzero(is_seam), key=lambda at: -abs(sharp[at])):
        near = np.s_[:, :, columns[at] - reach : columns[at] + reach]
        rest = (before[near] - after[near]).mean(0)
        thirds = np.array_split(rest[:, reach:].mean(1) - rest[:, :reach].mean(1), 3)
        if all(-np.sign(sharp[at]) * third.mean() > 0.4 * abs(sharp[at]) for third in thirds):
            return float(sharp[at]), int(columns[at]), told
    return 0.0, 0, told


def _profile(planes: Floats) -> NDArray[np.float64]:
    """Return the mean of each column of ``(C, n, W)``; numpy's ``mean`` takes twice the time across rows."""
    return np.asarray(np.einsum("cnw->w", planes) / np.float64(planes.shape[0] * planes.shape[1]), np.float64)


def _medians(here: Floats, beside: Floats) -> Floats:
    """Return the median over rows of the difference of columns ``(C, n, k)``."""
    ordered = np.sort(_mean(here) - _mean(beside), axis=0)  # a fifth of np.median's time
    return np.asarray(ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1].mean(0), np.float32)


def _mean(planes: Floats) -> Floats:
    """Return the mean of planes: a third of the time of ``planes.mean(0)``."""
    total = planes[0]
    for plane in planes[1:]:
        total = total + plane
    return np.asarray(total / np.float32(len(planes)), np.float32)
