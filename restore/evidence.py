"""Did a step help? What its input and its output tell about that, in numbers and in words, with alarms.

No clean picture is needed. What a denoiser removed should look like noise: as strong as the noise that was measured,
without the detail of the result, without structure, and without changing the level of any channel. Large pictures are
looked at through windows spread over them, so that it costs next to nothing. Limits were set on free photos with noise
of many kinds (see ``tests/benchmarks/evidence.py``), so that honest results stay clear of them. Where a picture is too
small or too noisy for a fault to stand out, the finding says so, and its evidence is weak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import hypot, pi, sqrt
from typing import Literal

import cv2
import numpy as np

from restore import seams
from restore.noise import CORRELATED, Noise
from restore.picture import Domain, Floats
from restore.threads import together

SIDE, WINDOWS, LEAST = 256, 8, 48
"""Side and number of the windows through which large pictures are looked at; below the side ``LEAST`` only levels and
clipping are."""

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

STAYS, PLAIN_NOISE = 0.6, 12 / 255
"""Share of the noise that a step at full strength must take at the least, where there was at least so much of it."""

OUTLIER = 6.0
"""So many times the noise is more than noise ever is."""

NEWLY_CLIPPED = 0.02
"""Share of values that a step may clip."""

PLAIN_STEP = 0.02
"""Where a step of this much of white surely trips the alarm, seams are strong evidence."""


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
    before: Floats,
    after: Floats,
    noise: Noise,
    measure: Callable[[], Noise] | None,
    promise: Promise,
    domain: Domain = Domain.SRGB,
) -> tuple[Finding, ...]:
    """Compare the input and the output of a step.

    Parameters
    ----------
    before, after
        Planes ``(C, H, W)``, nominal 0...1.
    noise
        Noise that was known before the step.
    measure
        Measures the noise of the output; called where that tells something.
    """
    found = [_clipped(before, after, domain)]
    promised = promise.level
    if promised is None or promise.strength == 0:
        return (*found, _changed(before, after))
    if min(before.shape[1:]) < LEAST:
        return (*found, _level(before, after, noise, promised))
    level, left, *sides = together(
        lambda: _level(before, after, noise, promised),
        lambda: measure() if measure else None,
        lambda: seams.along(before, after, "column"),
        lambda: seams.along(before, after, "row"),
    )
    found.append(level)
    windows = [(b, b + (a - b) / promise.strength) for b, a in _windows(before, after)]
    removed = float(np.sqrt(np.mean([np.mean(_power(b, a, noise, domain)) for b, a in windows])))
    found += _removed(removed, noise, left, promise.strength)
    if removed > 0.2 / 255:
        pairs = [(np.mean(b, 0), np.mean(a, 0)) for b, a in windows]
        found += [*_detail(pairs, promise.edges, noise, len(before)), _residual(pairs, noise)]
    found.append(_seams(sides))
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
        few = planes[:, :: max(1, planes.shape[1] // 512), :: max(1, planes.shape[2] // 512)]
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
    rows = [(np.mean(b, 1), np.mean(a, 1)) for b, a in zip(before, after, strict=True)]  # of float32: quick, and close
    moved = [float(a.mean(dtype=np.float64) - b.mean(dtype=np.float64)) for b, a in rows]
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


def _power(before: Floats, after: Floats, noise: Noise, domain: Domain) -> Floats:
    """Square what was removed; hot pixels of a mosaic, which are no noise, count as `OUTLIER` times the noise there."""
    power = (before - after) ** 2
    if domain is Domain.MOSAIC:
        np.minimum(power, OUTLIER**2 * (noise.gain * np.maximum(after, 0) + noise.read**2), out=power)
    return power


def _removed(removed: float, noise: Noise, left: Noise | None, strength: float) -> Iterator[Finding]:
    """Compare what was removed, and what is left, with the noise that was there."""
    weight: Literal["strong", "weak"] = "strong" if noise.confidence >= 0.5 else "weak"
    if left is not None:
        limit, sure = (1 - STAYS * strength) * noise.sigma, "weak" if left.confidence < 0.5 else weight
        is_alarm = left.sigma > limit and noise.sigma >= PLAIN_NOISE and sure == "strong"
        says = f"noise: {noise.sigma * 255:.1f}/255 before, about {left.sigma * 255:.1f}/255 after"
        says += ": much of it is still there; try another method" if is_alarm else ""
        yield Finding("noise", left.sigma, limit, is_alarm, sure, says)
    if not noise.is_visible:
        return
    share, (low, high) = removed / noise.sigma, REMOVED
    if noise.sigma >= PLAIN_NOISE and noise.correlation <= CORRELATED and weight == "strong":
        low = STAYS  # `left` looks where it is flat: what stays in brighter parts alone would pass
    what = (
        ": some of it stays, or there was less"
        if share < low
        else ": more than noise was removed"
        if share > high
        else ""
    )
    what = ": next to nothing was done" if share < REMOVED[0] else what
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


def _seams(sides: list[seams.Straight]) -> Finding:
    """Tell of the larger one of the steps along columns and along rows."""
    worst, told = max(sides, key=lambda side: abs(side.step)), max(side.told for side in sides)
    weight: Literal["strong", "weak"] = "strong" if told <= PLAIN_STEP else "weak"
    if worst.step:
        says = f"a step of {worst.step:+.2%} of white runs along {worst.place}: a seam"
        return Finding("seams", abs(worst.step), seams.STEP, True, weight, says)
    says = f"no seam found; one of {told:.2%} of white would have been"
    return Finding("seams", 0.0, seams.STEP, False, weight, says)
