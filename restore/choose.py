"""What ``auto`` does: look at a picture, hear the methods' offers, and take the best of each role."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from restore import methods
from restore.colour import luma
from restore.method import Look, Offer, Role
from restore.noise import Noise
from restore.picture import Domain, Image, Picture, RawImage
from restore.recipe import AUTO, Recipe, Step

MIDDLE_GREY = 0.18
"""Where the mean of a well exposed scene lies, in linear light."""

MOST_STOPS = 5.0
"""Brightening beyond this shows nothing but noise."""


OPEN = (4 / 255, 1 - 4 / 255)
"""Values between which noise shows; beyond, black and white cut it off."""

DRAWN, UNSURE = 0.6, 0.25
"""Share of neighbours that are the very same from which a picture looks drawn, unless its noise is this sure: photos in
heavy JPEG compression have flat blocks, too."""


def look(picture: Picture, level: Noise) -> Look:
    """Return what methods may know of a picture before they offer."""
    if isinstance(picture, RawImage):
        return Look(Domain.MOSAIC, level, float(np.clip(picture.mosaic, 0, 1).mean()), 4)
    lights = float(np.quantile(picture.pixels[::2, ::2].max(2), 0.999))
    return Look(Domain.SRGB, level, float(luma(picture.pixels).mean()), picture.pixels.shape[2], lights)


def step(picture: Picture, level: Noise, role: Role, strength: float = 1.0) -> Step | None:
    """Return the step with the highest offer to do this to the picture as it stands, or None."""
    is_counted = isinstance(picture, Image) and picture.are_counts
    if (role is Role.LIGHT and is_counted) or _is_drawn(picture, level):
        return None
    seen = look(picture, level)
    best: tuple[Offer, str] | None = None
    for name, method in methods.registry().items():
        is_exotic = isinstance(picture, RawImage) and not picture.is_bayer
        if method.role is not role or method.domain is not seen.domain or is_exotic:
            continue
        offer = method.offer(seen)
        if offer is not None and (best is None or offer.score > best[0].score):
            best = offer, name
    if best is None:
        return None
    offer, name = best
    return Step(method=name, settings=dict(offer.settings), strength=strength, reason=offer.reason)


def only_denoises(steps: Iterable[Step]) -> bool:
    """Tell whether steps take noise from developed pictures, or may choose to, and nothing else."""
    names = {step.method for step in steps} - {"none"}
    rest = [methods.get(name) for name in names - {AUTO}]
    return bool(names) and all(method.role is Role.DENOISE and method.domain is Domain.SRGB for method in rest)


def nothing(level: Noise, hint: str) -> Step:
    """Return the step that leaves a picture alone, with the reason, and a hint."""
    reason = f"no visible noise ({level.sigma * 255:.1f}/255 measured): nothing to do"
    if level.is_visible:
        reason = "drawn, not photographed: most neighbouring pixels are the very same, so nothing is noise"
    return Step(method="none", reason="; ".join(filter(None, (reason, hint))))


def unit(picture: Image, recipe: Recipe) -> tuple[float, float] | None:
    """Return what is black and what is white in a picture that must be brought to 0...1 for some step, else None."""
    if recipe.white is not None:
        return picture.unit(recipe.white)
    names = [step.method for step in recipe.steps]
    is_needed = any(name == AUTO or not methods.get(name).takes_any_unit for name in names if name != "none")
    return picture.unit() if is_needed else None


def _is_drawn(picture: Picture, level: Noise) -> bool:
    """Tell whether a picture is a screenshot or drawing: noise would make neighbours differ, but at black and white."""
    if isinstance(picture, RawImage) or picture.are_counts or level.confidence >= UNSURE or picture.pixels.shape[1] < 2:
        return False
    rows = picture.pixels[:: max(1, len(picture.pixels) // 512)]
    before, after = rows[:, :-1], rows[:, 1:]
    is_open = (after.max(2) > OPEN[0]) & (after.min(2) < OPEN[1])
    is_same = (before == after).all(2)
    return float(is_same[is_open].mean() if is_open.any() else is_same.mean()) >= DRAWN


def exposure(raw: RawImage) -> float:
    """Return the stops by which a dark mosaic should be brightened in linear light without blowing it out."""
    values = raw.mosaic[::4, ::4] if min(raw.size) >= 64 else raw.mosaic
    mean, high = float(np.clip(values, 0, 1).mean()), float(np.quantile(values, 0.995))
    if mean <= 0 or high <= 0:
        return 0.0
    return round(min(MOST_STOPS, max(0.0, min(math.log2(MIDDLE_GREY / mean), -math.log2(high)))), 2)
