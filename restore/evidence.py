"""Did a step help? What its input and its output tell about that, in numbers and in words, with alarms.

No clean picture is needed. What a denoiser removed should look like noise: as strong as the noise that was measured,
without the detail of the result, without structure, and without changing the level of any channel. Large pictures are
looked at through windows spread over them, so that it costs next to nothing. Limits were set on free photos with noise
of many kinds (see ``tests/benchmarks/evidence.py``), so that honest results stay clear of them. Where a picture is too
small or too noisy for a fault to stand out, the finding says so, and its evidence is weak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, pi, sqrt
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.noise import Noise
from restore.picture import Domain, Floats

SIDE, WINDOWS, LEAST = 256, 8, 48
"""Side and number of the windows through which large pictures are looked at; below the side ``LEAST`` only levels and
clipping are."""

CORRELATED = 0.15
"""Correlation of neighbouring pixels' noise from which it counts as camera noise."""

CAMERA_SHIFT, CLIPPED_SHIFT = 0.35, 0.02
"""Share of sigma by which camera noise itself can move levels (a tone curve bends it, so its mean is not zero), and
noise that was clipped at black or white, times the share of values there."""

SURE = 0.005
"""Where a shift of this much of white surely trips the alarm, levels are strong evidence."""

FINEST, RICHEST, FEWEST, LEAST_DETAIL = 1.0, 0.01, 500, 1e-4
"""Sigma of the Gaussian that fine detail is the difference to; the share of pixels, those with most of it, that is
looked at, and how many tell something; and the RMS in fractions of white below which there is none."""

NOISE_KEPT, SURE_DETAIL = 0.35, 2.5
"""How the limit for detail grows with the power of the noise against that of the detail, and up to which limit a blur
of 1.2 pixels surely passes it."""

REMOVED, STRUCTURE = (0.15, 1.35), 0.25
"""What may be removed, as a multiple of the noise that was measured; and the correlation of its neighbours above which
it is not white noise."""

NEWLY_CLIPPED = 0.02
"""Share of values that a step may clip."""

STEP, PLAIN_STEP = 0.0025, 0.02
"""Smallest step between two halves of a picture, in fractions of white, that counts as a seam; where one of
``PLAIN_STEP`` surely trips the alarm, seams are strong evidence."""


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
        How much of the finest detail it may remove, as a multiple of what it leaves, where noise plays no part; None:
        not known.
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
    windows = [(b, b + (a - b) / promise.strength) for b, a in _windows(before, after)]
    removed = float(np.sqrt(np.mean([np.mean((b - a) ** 2) for b, a in windows])))
    found += _removed(removed, noise, left)
    if removed > 0.2 / 255:
        pairs = [(np.mean(b, 0), np.mean(a, 0)) for b, a in windows]
        found += [*_detail(pairs, promise.edges, noise, len(before)), _residual(pairs, noise)]
    found.append(_seams(before, after))
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
    clipped = float(((few == 0) | (few == 1)).mean())
    share = CAMERA_SHIFT if noise.correlation > CORRELATED else CLIPPED_SHIFT * clipped
    limit = hypot(promised, 3 * sigma / sqrt(before[0].size), share * sigma)
    is_alarm, told = abs(worst) > limit, 2 * limit  # an honest result may have moved by the limit the other way
    weight: Literal["strong", "weak"] = "strong" if told <= SURE else "weak"
    kept = "kept" if weight == "strong" else f"kept, as far as can be told: less than {told:.2%} may be missed"
    what = "brightness or colour changed" if is_alarm else f"brightness and colour {kept}"
    says = f"levels moved by {worst:+.2%} of white at most ({limit:.2%} is allowed): {what}"
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
    what = ": next to nothing was done" if share < low else ": more than noise was removed" if share > high else ""
    says = f"removed: {share:.2f} times the noise that was measured{what}"
    yield Finding("removed", share, low if share < low else high, bool(what), weight, says)


def _detail(
    pairs: list[tuple[Floats, Floats]], promised: float | None, noise: Noise, channels: int
) -> Iterator[Finding]:
    """Measure how much of the finest detail of the result is in what was removed, where there is most of it.

    A result that was smoothed lost of each detail some multiple of what it kept: a Gaussian of 1.2 pixels takes twice
    as much as it leaves. Noise that the result kept is in what was removed as well; that grows with the power of the
    noise against that of the detail, and is allowed for. How much a camera's noise is like detail nobody knows.
    """
    fine, lost, power = (np.concatenate(parts) for parts in zip(*(_local(b, a) for b, a in pairs), strict=True))
    most = power >= np.quantile(power[::7], 1 - RICHEST)
    detail = float((fine[most] ** 2).mean(dtype=np.float64))
    if detail < LEAST_DETAIL**2:
        return
    ratio = float((fine[most] * lost[most]).mean(dtype=np.float64)) / detail
    of_noise = (1 - 1 / (2 * pi * FINEST**2)) * sum(s * s for s in noise.channels) / channels**2 / detail
    limit = None if promised is None else promised * (1 + of_noise) ** NOISE_KEPT
    is_plain = noise.correlation <= CORRELATED
    can_tell = is_plain and limit is not None and limit <= SURE_DETAIL and most.sum() > FEWEST
    is_alarm = can_tell and limit is not None and ratio > limit
    what = "some went with the noise" if ratio > 0.5 else "it was kept"
    what = "it was smoothed away; try less strength" if is_alarm else what
    if limit is not None and not can_tell:
        what = "it does not stand out of this noise enough to tell whether it was smoothed away"
    says = f"of the finest detail, {max(ratio, 0):.2f} times as much was removed as is left: {what}"
    yield Finding("detail", ratio, limit, is_alarm, "strong" if can_tell else "weak", says)


def _local(before: Floats, after: Floats) -> tuple[Floats, Floats, Floats]:
    """Return for each pixel the finest detail of the result, what was removed, and the power of detail around."""
    rest = before - after
    rest = rest - cv2.GaussianBlur(rest, (0, 0), 4)
    fine = after - cv2.GaussianBlur(after, (0, 0), FINEST)
    power = np.asarray(cv2.GaussianBlur(fine * fine, (0, 0), 1.5), np.float32)
    return fine.ravel(), rest.ravel(), power.ravel()


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


def _seams(before: Floats, after: Floats) -> Finding:
    """Look for straight steps that the result has and the input has not, along rows and columns."""
    worst, told, place = 0.0, 0.0, ""
    for name, axes in (("column", (0, 1, 2)), ("row", (0, 2, 1))):
        old, new = before.transpose(axes), after.transpose(axes)
        for number, rows in enumerate(_parts(new.shape[1])):
            step, at, least = _step(old[:, rows].mean(0), new[:, rows].mean(0))
            told = max(told, least) if number == 0 else told
            if abs(step) > abs(worst):
                worst, place = step, f"{name} {at}"
    weight: Literal["strong", "weak"] = "strong" if told <= PLAIN_STEP else "weak"
    if worst:
        says = f"a step of {worst:+.2%} of white runs along {place}: a seam"
        return Finding("seams", abs(worst), STEP, True, weight, says)
    return Finding("seams", 0.0, STEP, False, weight, f"no seam found; one of {told:.2%} of white would have been")


def _parts(length: int) -> Iterator[slice]:
    """Give the whole length, then its parts of at least 128; each with a stride that leaves at most 512 samples."""
    count = max(1, min(8, length // 128))
    for parts in sorted({1, count}):
        for first, last in zip(np.arange(parts), np.arange(1, parts + 1), strict=True):
            start, stop = length * int(first) // parts, length * int(last) // parts
            yield slice(start, stop, max(1, (stop - start) // 512))


def _step(before: Floats, after: Floats, reach: int = 8) -> tuple[float, int, float]:
    """Return the largest step of ``(n, W)`` that only ``after`` has (or 0), its column, and what is surely found.

    A seam moves every row by the same amount, so it is the median over rows of the difference of two columns; it
    stands out of the differences around it; and what was removed steps by as much, the other way, in each third of the
    rows, while an edge of the scene is not in what was removed.
    """
    ordered = np.sort(np.diff(after, axis=1), axis=0)  # a fifth of np.median's time
    jumps = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1].mean(0)
    usual = 1.5 * float(np.median(np.abs(jumps - np.median(jumps))))
    beside = (np.roll(jumps, 1) + np.roll(jumps, -1)) / 2
    sums = np.cumsum(np.pad((before - after).mean(0, dtype=np.float64), (1, 0)))
    means = (sums[reach:] - sums[:-reach]) / reach
    steps = means[reach:] - means[:-reach]  # at columns reach...W - reach
    noise = 1.5 * float(np.median(np.abs(steps - np.median(steps))))
    sharp: NDArray[np.floating] = (jumps - beside)[reach - 1 : len(jumps) - reach + 1]
    told = max(STEP + 6 * usual, 12 * noise)  # from there each third holds 0.4 of it, by four standard deviations
    is_seam = (np.abs(sharp) > STEP + 4 * usual) & (np.abs(steps) > 6 * noise)
    is_seam &= np.abs(sharp + steps) < 0.5 * np.abs(sharp)
    for at in sorted(np.flatnonzero(is_seam), key=lambda at: -abs(sharp[at])):
        rest = (before - after)[:, at : at + 2 * reach]
        thirds = np.array_split(rest[:, reach:].mean(1) - rest[:, :reach].mean(1), 3)
        if all(-np.sign(sharp[at]) * third.mean() > 0.4 * abs(sharp[at]) for third in thirds):
            return float(sharp[at]), int(at) + reach, told
    return 0.0, 0, told
