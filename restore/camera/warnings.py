"""What speaks against a calibration: reasons to refuse it, and notes in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from restore.camera.gain import Gain
from restore.camera.iso import LONG_S
from restore.camera.stack import Frame, StackNoise
from restore.errors import ArrayError

GOOD_COUNT = 7
"""Frames to learn from, of ten: three are held out."""

_CLIPPED, _NEIGHBOURS, _UNSTEADY, _COARSE, _UNEVEN, _BAD = 0.2, 0.02, 0.25, 0.5, 3, 0.01


def refuse_light(stack: StackNoise, span: float, name: str, *, is_black_told: bool = True) -> list[str]:
    """Refuse a stack that saw light; where files tell no black level, a tenth of white may be black.

    Returns
    -------
    A note, where it may have seen a little.

    Raises
    ------
    ArrayError
        The mean is far above black, or brightness varies over the frame by far more than the noise.
    """
    level = float(np.mean(stack.black_error))
    if level > (0.01 if is_black_told else 0.1) * span and level > 3 * stack.read:
        raise ArrayError(
            f"{name} and the other dark frames of ISO {stack.iso:g} are {level:.0f} DN above black on average: light"
            " came in, or these are not dark frames; put the cap on, cover the viewfinder and shoot again"
            + ("" if is_black_told else f", or white is not at {span:g} DN: say the camera's bits (--bits)")
        )
    rows, columns = (max(1, min(16, side // 64)) for side in stack.shading.shape)
    field = np.where(stack.bad, 0, stack.shading).astype(np.float32)
    uneven = float(np.ptp(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_AREA)))
    seen = f"brighter by {uneven:.0f} DN in one part than in another, with noise of {stack.sigma_px:.1f} DN"
    if uneven > max(10 * stack.sigma_px, 8.0):
        raise ArrayError(
            f"{name} and the other dark frames of ISO {stack.iso:g} are {seen}: light leaks in; shoot them in the dark"
        )
    if uneven <= max(_UNEVEN * stack.sigma_px, 4.0):
        return []
    return [f"dark frames of ISO {stack.iso:g} are {seen}: the sensor glows, or a little light leaks in"]


def of_exposures(frames: Sequence[Frame], short: Sequence[Frame], long: Sequence[Frame]) -> list[str]:
    """Say which frames of an ISO are not used, as their exposure is none of the others'."""
    rest = sorted({f.exposure_s for f in frames} - {f.exposure_s for f in (*short, *long)})
    if not rest:
        return []
    listed = ", ".join(f"{exposure:g}" for exposure in rest)
    return [
        f"dark frames of ISO {frames[0].iso:g} of {listed} s are left out beside those of {short[0].exposure_s:g} s:"
        " calibrate each long exposure by itself"
    ]


def refuse_wrong_isos(stacks: Sequence[StackNoise], branches: Sequence[Sequence[float]]) -> None:
    """Refuse ISO tags under which the noise goes down more than once.

    Raises
    ------
    ArrayError
        It does: a camera switches its analog gain once.
    """
    if len(branches) > 2:
        listed = ", ".join(f"{stack.sigma_px:.2f} at ISO {stack.iso:g}" for stack in stacks)
        raise ArrayError(
            f"the noise should grow with ISO, or fall once where the camera switches its gain, but it is {listed} DN;"
            " some ISO tags are wrong, or frames of several settings were mixed"
        )


def notes(stacks: Sequence[StackNoise], gains: Sequence[Gain], branches: Sequence[Sequence[float]]) -> tuple[str, ...]:
    """Say in plain words what a user should know or do better."""
    found = [note for stack in stacks for note in _of_one(stack)]
    rough = [(stack.iso, gain) for stack, gain in zip(stacks, gains, strict=True) if gain.error > 0.02]
    found += [
        f"K, the gain, is known at ISO {iso:g} to {gain.error:.0%} only; shoot more pairs of flat frames"
        for iso, gain in rough
        if gain.is_measured
    ]
    sources = {gain.source for _, gain in rough if not gain.is_measured}
    found += [
        f"K, the gain, comes from {source}; shoot pairs of flat frames to measure it" for source in sorted(sources)
    ]
    for before, after in zip(branches, branches[1:], strict=False):
        found.append(
            f"the noise falls from ISO {before[-1]:g} to ISO {after[0]:g}: taken for a switch of the camera's gain;"
            " if it has none, the ISO tags are wrong"
        )
    return tuple(found)


def _of_one(stack: StackNoise) -> list[str]:
    at, found = f"ISO {stack.iso:g}", []
    if stack.frames < GOOD_COUNT:
        found.append(
            f"need more frames at {at}: {stack.frames} were used to learn; ten or more to choose from are good"
        )
    if stack.sigma_px < 1:
        found.append(
            f"the noise at {at} is {stack.sigma_px:.2f} DN, less than one step of the converter: the shape of its"
            " distribution cannot be seen" + (", and its size may be far off" if stack.sigma_px < _COARSE else "")
        )
    if stack.sigma_bias > _UNSTEADY * stack.sigma_px:
        found.append(
            f"the black level at {at} differs from frame to frame by {stack.sigma_bias:.2f} DN: the sensor grew warmer,"
            " or light came in"
        )
    if (share := float(stack.bad.mean())) > _BAD:
        found.append(
            f"{share:.0%} of the pixels at {at} are hot or stuck, and will be made of their neighbours: the sensor was"
            " warm, or the frames are long"
        )
    if stack.clipped > _CLIPPED:
        found.append(
            f"{stack.clipped:.0%} of the pixels at {at} lie on the lowest value: the camera cuts noise off below black,"
            " and the profile is too small"
        )
    if abs(stack.neighbours) > _NEIGHBOURS:
        found.append(
            f"neighbouring pixels at {at} have correlated noise ({stack.neighbours:+.3f}): the camera treats its raw"
            " files, which independent noise cannot copy"
        )
    if stack.exposure_s[1] > LONG_S:
        found.append(
            f"dark frames at {at} are up to {stack.exposure_s[1]:g} s long; for normal use shoot 1/10 s or less"
        )
    return found
