"""What ``auto`` does: look at a picture, hear the methods' offers, and take the best of each role."""

from __future__ import annotations

import math

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


def look(picture: Picture, level: Noise) -> Look:
    """Return what methods may know of a picture before they offer."""
    if isinstance(picture, RawImage):
        return Look(Domain.MOSAIC, level, float(np.clip(picture.mosaic, 0, 1).mean()), 4)
    return Look(Domain.SRGB, level, float(luma(picture.pixels).mean()), picture.pixels.shape[2])


def step(picture: Picture, level: Noise, role: Role, strength: float = 1.0) -> Step | None:
    """Return the step with the highest offer to do this to the picture as it stands, or None."""
    if role is Role.LIGHT and isinstance(picture, Image) and picture.are_counts:
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


def nothing(level: Noise, hint: str) -> Step:
    """Return the step that leaves a picture alone, with the reason, and a hint."""
    reason = f"no visible noise ({level.sigma * 255:.1f}/255 measured): nothing to do"
    return Step(method="none", reason="; ".join(filter(None, (reason, hint))))


def unit(picture: Image, recipe: Recipe) -> tuple[float, float] | None:
    """Return what is black and what is white in a picture that must be brought to 0...1 for some step, else None."""
    if recipe.white is not None:
        return picture.unit(recipe.white)
    names = [step.method for step in recipe.steps]
    is_needed = any(name == AUTO or not methods.get(name).takes_any_unit for name in names if name != "none")
    return picture.unit() if is_needed else None


def exposure(raw: RawImage) -> float:
    """Return the stops by which a dark mosaic should be brightened in linear light without blowing it out."""
    values = raw.mosaic[::4, ::4] if min(raw.size) >= 64 else raw.mosaic
    mean, high = float(np.clip(values, 0, 1).mean()), float(np.quantile(values, 0.995))
    if mean <= 0 or high <= 0:
        return 0.0
    return round(min(MOST_STOPS, max(0.0, min(math.log2(MIDDLE_GREY / mean), -math.log2(high)))), 2)
