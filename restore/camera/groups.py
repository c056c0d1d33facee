"""Which dark and flat frames belong together, and which are not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from restore.camera.frames import above_black
from restore.camera.iso import LONG_S
from restore.camera.stack import Frame, StackNoise
from restore.errors import ArrayError
from restore.picture import RawImage

PUSHED = 0.05
"""Share of unused values from which the camera has multiplied those of another ISO."""

ALIKE = 1.25
"""Ratio of brightness up to which two flats are a pair."""

_FEW = 100
"""Pixels with the commonest value below which gaps tell nothing."""


def grouped(frames: Sequence[Frame]) -> dict[float, list[Frame]]:
    """Sort frames by ISO, ascending; within one by exposure."""
    isos = sorted({frame.iso for frame in frames})
    return {iso: sorted((f for f in frames if f.iso == iso), key=lambda f: f.exposure_s) for iso in isos}


def by_exposure(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Part short from long exposures, which only say where black lies in long exposures, where there are two at least.

    Without two short ones, those count as short that most have about the exposure of: what the dark current adds to
    each pixel grows with exposure, and would pass for noise. All others are in neither.
    """
    short = [frame for frame in frames if frame.exposure_s <= LONG_S]
    long = [frame for frame in frames if frame.exposure_s > LONG_S]
    if len(short) >= 2:
        return short, long if len(long) >= 2 else []
    alike = ([f for f in frames if 1 / 1.5 <= f.exposure_s / one.exposure_s <= 1.5] for one in long)
    return max(alike, key=len, default=list(frames)), []


def split_held_out(frames: Sequence[Frame], held_out: int | None) -> tuple[list[Frame], list[Frame]]:
    """Keep some frames, spread evenly, apart; the others are for learning."""
    count = (3 if len(frames) >= 10 else 1 if len(frames) >= 5 else 0) if held_out is None else held_out
    chosen = {int(place) for place in np.linspace(0, len(frames) - 1, count + 2)[1:-1]} if count else set()
    learn = [frame for index, frame in enumerate(frames) if index not in chosen]
    return learn, [frame for index, frame in enumerate(frames) if index in chosen]


def without_pushed(groups: Mapping[float, list[Frame]]) -> tuple[dict[float, list[Frame]], tuple[str, ...]]:
    """Leave out ISOs whose values the camera made from another's, and say so; all stay where all are like that."""
    shares = {iso: unused_share(frames[0].load()) for iso, frames in groups.items()}
    pushed = {iso: share for iso, share in shares.items() if share > PUSHED}
    if len(pushed) == len(groups):
        return dict(groups), ()
    notes = (
        f"ISO {iso:g} is left out: {share:.0%} of the values around black never occur, as the camera multiplies those"
        " of another ISO; what is said of it follows from the other ISOs"
        for iso, share in pushed.items()
    )
    return {iso: frames for iso, frames in groups.items() if iso not in pushed}, tuple(notes)


def unused_share(dark: RawImage) -> float:
    """Return the share of values that no pixel has, of those between used ones within 1.5 sigma of the middle.

    A factor f leaves 1 - 1 / f of the values unused.
    """
    values = np.rint(above_black(dark)).astype(np.int64)
    low, middle, high = np.percentile(values, (15.8655, 50, 84.1345)).round().astype(int)
    reach = max(2, int(0.75 * (high - low)))
    around = np.bincount((values - middle + reach).clip(-1, 2 * reach + 1).ravel() + 1, minlength=2 * reach + 3)[1:-1]
    if around.max() < _FEW:
        return 0.0  # noise over so many values that some are unused by chance
    used = np.flatnonzero(around > min(5e-4 * values.size, around.max() / 10))  # more than a few hot pixels
    return float(1 - len(used) / (used[-1] - used[0] + 1))


def paired(frames: Sequence[Frame]) -> list[tuple[Frame, Frame]]:
    """Pair flats of the same exposure and brightness, whatever order their names are in; others are left over.

    Raises
    ------
    ArrayError
        No two frames are alike.
    """
    pairs: list[tuple[Frame, Frame]] = []
    for exposure in sorted({frame.exposure_s for frame in frames}):
        levels = [(_level(frame), frame) for frame in frames if frame.exposure_s == exposure]
        levels.sort(key=lambda found: found[0])
        last: tuple[float, Frame] | None = None
        for level, frame in levels:
            if last is not None and level <= ALIKE * max(last[0], 1.0):
                pairs.append((last[1], frame))
                last = None
            else:
                last = level, frame
    if not pairs:
        raise ArrayError(
            f"{frames[0].name}: no second flat frame of this ISO, exposure and brightness; shoot flats in pairs"
        )
    return pairs


def _level(frame: Frame) -> float:
    """Mean of a frame above black, in DN."""
    return float(above_black(frame.load()).mean(dtype=np.float64))


_DROP, _BEND = 0.9, 0.8
"""The pixel noise falls below these shares of that of the ISO before, or of what is expected, at a gain switch."""


def is_switched(branch: Sequence[StackNoise], stack: StackNoise) -> bool:
    """Tell whether the analog gain is another one than at the lower ISOs of a branch (ascending).

    The pixel noise falls there. Where ISOs lie far apart it may still be larger than before, but by less than a
    branch allows: its variance is that before the amplifier, which grows with the square of ISO, and that after it.
    """
    last = branch[-1]
    if stack.sigma_px < _DROP * last.sigma_px:
        return True
    if len(branch) < 2:
        return False
    low, high = branch[-2].sigma_px ** 2, last.sigma_px**2
    span = last.iso**2 - branch[-2].iso ** 2
    slope = (high - low - 0.06 * np.hypot(low, high)) / span  # variances are known to 2 %; three of that
    return bool(stack.sigma_px**2 < _BEND**2 * (high + max(slope, 0.0) * (stack.iso**2 - last.iso**2)))
