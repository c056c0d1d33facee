"""Did a step help? What its input and its output tell about that, in numbers and in words, with alarms.

No clean picture is needed. What a denoiser removed should look like noise: as strong as the noise that was measured,
no stronger at edges than in flat parts, without structure, and without changing the level of any channel. Large
pictures are looked at through windows spread over them, so that it costs next to nothing. Limits were set on free
photos with noise of many kinds (see ``tests/benchmarks/evidence.py``), so that honest results stay clear of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.noise import Noise
from restore.picture import Domain, Floats

SIDE, WINDOWS = 256, 8
"""Side and number of the windows through which large pictures are looked at."""

LEAST = 48
"""Below this side only levels and clipping are looked at."""

CORRELATED = 0.15
"""Correlation of neighbouring pixels' noise from which it counts as camera noise."""

CAMERA_SHIFT = 0.35
"""Share of sigma by which camera noise itself can move levels: a tone curve bends it, so its mean is not zero."""

CLIPPED_SHIFT = 0.1
"""The same where noise was clipped at black or white, times the share of values there."""

SURE = 0.005
"""A level that is known at least this well, in fractions of white, is strong evidence."""

REMOVED = (0.15, 1.35)
"""What may be removed, as a multiple of the noise that was measured."""

STRUCTURE = 0.25
"""Correlation of neighbours above which what was removed is not white noise."""

NEWLY_CLIPPED = 0.02
"""Share of values that a step may clip."""

STEP = 0.0025
"""Smallest step between two halves of a picture, in fractions of white, that counts as a seam."""


@dataclass(frozen=True)
class Finding:
    """One observation.

    Parameters
    ----------
    name
        ``changed``, ``level``, ``clipped``, ``removed``, ``detail``, ``residual``, ``seams`` or ``noise``.
    value, limit
        What was measured, and from where on it is an alarm (None: never).
    weight
        Whether to take it as strong or as weak evidence.
    says
        The same in a sentence.
    """

    name: str
    value: float
    limit: float | None
    is_alarm: bool
    weight: Literal["strong", "weak"]
    says: str


@dataclass(frozen=True)
class Promise:
    """What a step promised.

    Parameters
    ----------
    level
        By how much it may move the mean of a channel, in fractions of white; None: it is meant to.
    edges
        How much stronger than in flat parts the removed may be at edges; None: not known.
    strength
        0...1, how much of its change was kept.
    """

    level: float | None = None
    edges: float | None = None
    strength: float = 1.0


def findings(
    before: Floats, after: Floats, noise: Noise, left: Noise | None, promise: Promise, domain: Domain = Domain.SRGB
) -> tuple[Finding, ...]:
    """Compare the input and the output of a step.

    Parameters
    ----------
    before, after
        Planes ``(C, H, W)``, nominal 0...1.
    noise, left
        Noise that was known before the step, and measured after it.
    """
    found = [_clipped(before, after, domain)]
    if promise.level is None or promise.strength == 0:
        return (*found, _changed(before, after))
    found.append(_level(before, after, noise, promise.level))
    if min(before.shape[1:]) < LEAST:
        return tuple(found)
    pairs = [(np.mean(b, 0), np.mean(a, 0)) for b, a in _windows(before, after)]
    removed = float(np.sqrt(np.mean([np.mean((b - a) ** 2) for b, a in _windows(before, after)]))) / promise.strength
    found += _removed(removed, noise, left)
    if removed > 0.2 / 255:
        found += [*_detail(pairs, promise.edges, noise, removed), _residual(pairs, noise)]
    found += _seams(before, after)
    return tuple(found)


def _windows(before: Floats, after: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Give the same parts of both pictures, ``(C, h, w)``, spread evenly; all of a small picture."""
    height, width = before.shape[1:]
    if height * width <= WINDOWS * SIDE * SIDE:
        yield before, after
        return
    down = max(1, round(sqrt(WINDOWS * height / width)))
    across = max(1, WINDOWS // down)
    for top in np.linspace(0, max(0, height - SIDE), down).astype(int):
        for left in np.linspace(0, max(0, width - SIDE), across).astype(int):
            part = np.s_[:, top : top + SIDE, left : left + SIDE]
            yield before[part], after[part]


def _clipped(before: Floats, after: Floats, domain: Domain) -> Finding:
    """Compare how many values lie at or beyond white, and in developed pictures black."""

    def share(planes: Floats) -> float:
        few = planes[:, :: max(1, planes.shape[1] // 1024), :: max(1, planes.shape[2] // 1024)]
        beyond = few >= 1 if domain is Domain.MOSAIC else (few >= 1) | (few <= 0)
        return float(beyond.mean())

    old, new = share(before), share(after)
    is_alarm = new - old > NEWLY_CLIPPED
    says = f"clipped values: {old:.2%} before, {new:.2%} after"
    says += ": highlights or shadows were lost" if is_alarm else ""
    return Finding("clipped", new - old, NEWLY_CLIPPED, is_alarm, "strong", says)


def _changed(before: Floats, after: Floats) -> Finding:
    """Measure how far a step that promises nothing moved the picture."""
    rms = sqrt(float(np.mean([np.mean((a - b) ** 2, dtype=np.float64) for b, a in zip(before, after, strict=True)])))
    says = f"changed by {rms * 255:.1f}/255 (root mean square)" if rms else "nothing was changed"
    return Finding("changed", rms, None, False, "strong", says)


def _level(before: Floats, after: Floats, noise: Noise, promised: float) -> Finding:
    """Compare the mean of every channel, allowing for the chance and the bias of the noise itself."""
    moved = [float(a.mean(dtype=np.float64) - b.mean(dtype=np.float64)) for b, a in zip(before, after, strict=True)]
    worst = max(moved, key=abs)
    sigma = max(noise.channels, default=0.0)
    few = before[:, ::3, ::3]
    clipped = float(((few <= 0) | (few >= 1)).mean())
    share = CAMERA_SHIFT if noise.correlation > CORRELATED else CLIPPED_SHIFT * clipped
    chance = 3 * sigma / sqrt(before[0].size)
    limit = promised + chance + share * sigma
    is_alarm = abs(worst) > limit
    weight: Literal["strong", "weak"] = "strong" if limit <= SURE else "weak"
    says = f"levels moved by {worst:+.2%} of white at most ({limit:.2%} is allowed)"
    says += ": brightness or colour changed" if is_alarm else ": brightness and colour kept"
    return Finding("level", abs(worst), limit, is_alarm, weight, says)


def _removed(removed: float, noise: Noise, left: Noise | None) -> Iterator[Finding]:
    """Compare what was removed with the noise that was there."""
    weight: Literal["strong", "weak"] = "strong" if noise.confidence >= 0.5 else "weak"
    if left is not None:
        says = f"noise: {noise.sigma * 255:.1f}/255 before, about {left.sigma * 255:.1f}/255 after"
        yield Finding("noise", left.sigma, None, False, "weak" if left.confidence < 0.5 else weight, says)
    if not noise.is_visible:
        return
    share, (low, high) = removed / noise.sigma, REMOVED
    says = f"removed: {share:.2f} times the noise that was measured"
    if share < low:
        yield Finding("removed", share, low, True, weight, f"{says}: next to nothing was done")
    else:
        too_much = ": more than noise was removed" if share > high else ""
        yield Finding("removed", share, high, share > high, weight, says + too_much)


def _detail(
    pairs: list[tuple[Floats, Floats]], promised: float | None, noise: Noise, removed: float
) -> Iterator[Finding]:
    """Compare the strength of the removed at edges and in flat parts of the same brightness.

    Noise is as strong at an edge as beside it, and a good denoiser rather leaves some at edges: the ratio is below 1.
    Where edges were smoothed, their detail is in what was removed. Cameras smooth flat parts and leave the noise of
    edges, so of their noise the ratio proves nothing unless more was removed than there was.
    """
    light, slope, power = (np.concatenate(parts) for parts in zip(*(_local(b, a) for b, a in pairs), strict=True))
    flat, edge = np.quantile(slope[::7], [0.5, 0.97])
    if edge < 3 * max(flat, 1e-4):
        return  # no edges
    borders = np.quantile(light[::7], np.linspace(0, 1, 7))
    ratios, counts = [], []
    for low, high in zip(borders[:-1], borders[1:], strict=True):
        inside = (light >= low) & (light <= high)
        calm, steep = inside & (slope <= flat), inside & (slope >= edge)
        if calm.sum() >= 200 and steep.sum() >= 50:
            ratios.append(power[steep].mean() / max(power[calm].mean(), 1e-10))
            counts.append(int(steep.sum()))
    if not counts:
        return
    ratio = float(np.sqrt(np.average(ratios, weights=counts)))
    is_camera = noise.correlation > CORRELATED
    is_alarm = promised is not None and ratio > promised and not (is_camera and removed < noise.sigma)
    says = f"at edges {ratio:.2f} times as much was removed as in flat parts"
    if is_alarm:
        says += ": detail was removed; try less strength"
    else:
        says += ": some detail went with the noise" if ratio > 1.15 else ": no detail was removed"
    weight: Literal["strong", "weak"] = "strong" if sum(counts) > 1000 and not is_camera else "weak"
    yield Finding("detail", ratio, promised, is_alarm, weight, says)


def _local(before: Floats, after: Floats) -> tuple[Floats, Floats, Floats]:
    """Return for each pixel the brightness around, the slope of the result, and the power of what was removed."""
    rest = before - after
    rest = rest - cv2.GaussianBlur(rest, (0, 0), 4)
    across, down = (cv2.Sobel(after, -1, *axes, ksize=3) for axes in ((1, 0), (0, 1)))
    slope = np.hypot(*(cv2.GaussianBlur(np.abs(change), (0, 0), 1) for change in (across, down)))
    light, steep = np.asarray(cv2.GaussianBlur(after, (0, 0), 3), np.float32), np.asarray(slope, np.float32)
    return light.ravel(), steep.ravel(), np.asarray(rest * rest, np.float32).ravel()


def _residual(pairs: list[tuple[Floats, Floats]], noise: Noise) -> Finding:
    """Measure how much neighbouring pixels of what was removed are alike."""
    same = power = 0.0
    for before, after in pairs:
        rest = before - after
        same += float((rest[:, 1:] * rest[:, :-1]).mean() + (rest[1:] * rest[:-1]).mean()) / 2
        power += float((rest * rest).mean())
    found = same / max(power, 1e-20)
    says = f"neighbouring pixels of what was removed correlate by {found:.2f}"
    if noise.correlation > CORRELATED:
        return Finding("residual", found, None, False, "weak", f"{says}, the noise by {noise.correlation:.2f}")
    is_alarm = found > STRUCTURE
    says += ": it has structure that noise has not" if is_alarm else ": it looks like noise"
    return Finding("residual", found, STRUCTURE, is_alarm, "strong" if noise.confidence >= 0.5 else "weak", says)


def _seams(before: Floats, after: Floats) -> Iterator[Finding]:
    """Look for straight steps that the result has and the input has not, along rows and columns."""
    worst, place = 0.0, ""
    for name, axes in (("column", (0, 1, 2)), ("row", (0, 2, 1))):
        old, new = before.transpose(axes), after.transpose(axes)
        for rows in _parts(new.shape[1]):
            step, at = _step(old[:, rows].mean(0), new[:, rows].mean(0))
            if abs(step) > abs(worst):
                worst, place = step, f"{name} {at}"
    if worst:
        says = f"a step of {worst:+.2%} of white runs along {place}: a seam"
        yield Finding("seams", abs(worst), STEP, True, "strong", says)
    else:
        yield Finding("seams", 0.0, STEP, False, "strong", "no seam found")


def _parts(length: int) -> Iterator[slice]:
    """Give the whole length, and its parts of at least 128; each with a stride that leaves at most 512 samples."""
    count = max(1, min(8, length // 128))
    for parts in {1, count}:
        for first, last in zip(np.arange(parts), np.arange(1, parts + 1), strict=True):
            start, stop = length * int(first) // parts, length * int(last) // parts
            yield slice(start, stop, max(1, (stop - start) // 512))


def _step(before: Floats, after: Floats, reach: int = 8) -> tuple[float, int]:
    """Return the largest step between two columns of ``(n, W)`` that only ``after`` has, and its column; 0 for none.

    A seam moves every row by the same amount, so it is the median over rows of the difference of two columns; it
    stands out of the differences around it; and what was removed steps by as much, the other way, while an edge of
    the scene is not in what was removed.
    """
    jumps = np.median(np.diff(after, axis=1), axis=0)
    usual = 1.5 * float(np.median(np.abs(jumps - np.median(jumps))))
    beside = (np.roll(jumps, 1) + np.roll(jumps, -1)) / 2
    sums = np.cumsum(np.pad((before - after).mean(0, dtype=np.float64), (1, 0)))
    means = (sums[reach:] - sums[:-reach]) / reach
    steps = means[reach:] - means[:-reach]  # at columns reach...W - reach
    noise = 1.5 * float(np.median(np.abs(steps - np.median(steps))))
    sharp: NDArray[np.floating] = (jumps - beside)[reach - 1 : len(jumps) - reach + 1]
    is_seam = (np.abs(sharp) > STEP + 6 * usual) & (np.abs(steps) > 4 * noise)
    is_seam &= np.abs(sharp + steps) < 0.5 * np.abs(sharp)
    if not is_seam.any():
        return 0.0, 0
    at = int(np.argmax(np.where(is_seam, np.abs(sharp), 0)))
    return float(sharp[at]), at + reach
