"""What ``auto`` does: look at a picture, hear the methods' offers, and take the best of each role."""

from __future__ import annotations

import math

import numpy as np

from restore import methods
from restore.colour import luma
from restore.method import Look, Offer, Role
from restore.noise import Noise
from restore.picture import Domain, Image, Picture, RawImage
from restore.recipe import Step

MIDDLE_GREY = 0.18
"""Where the mean of a well exposed scene lies, in linear light."""

MOST_STOPS = 5.0
"""Brightening beyond this shows nothing but noise."""


def look(picture: Picture, level: Noise) -> Look:
    """Return what methods may know of a picture before they offer."""
    if isinstance(picture, RawImage):
        return Look(Domain.MOSAIC, level, float(np.clip(picture.mosaic, 0, 1).mean()), 4)
    return Look(Domain.SRGB, level, float(luma(picture.pixels).mean()), picture.pixels.shape[2])


def steps(picture: Picture, level: Noise, strength: float, taken: frozenset[Role]) -> list[tuple[Role, Step]]:
    """Return the steps for a picture as it stands: of each role not yet taken, the highest offer."""
    seen = look(picture, level)
    best: dict[Role, tuple[Offer, str]] = {}
    is_exotic = isinstance(picture, RawImage) and not picture.is_bayer
    for name, method in methods.registry().items():
        if method.role is None or method.role in taken or method.domain is not seen.domain or is_exotic:
            continue
        offer = method.offer(seen)
        if offer is not None and (method.role not in best or offer.score > best[method.role][0].score):
            best[method.role] = offer, name
    return [
        (role, Step(method=name, settings=dict(offer.settings), strength=strength, reason=offer.reason))
        for role, (offer, name) in sorted(best.items(), key=lambda item: list(Role).index(item[0]))
    ]


def wants_light(image: Image, level: Noise) -> bool:
    """Whether a method would light this picture."""
    return any(role is Role.LIGHT for role, _ in steps(image, level, 1.0, frozenset()))


def exposure(raw: RawImage) -> float:
    """Return the stops by which a dark mosaic should be brightened in linear light without blowing it out."""
    values = raw.mosaic[::4, ::4] if min(raw.size) >= 64 else raw.mosaic
    mean, high = float(np.clip(values, 0, 1).mean()), float(np.quantile(values, 0.995))
    if mean <= 0 or high <= 0:
        return 0.0
    return round(min(MOST_STOPS, max(0.0, min(math.log2(MIDDLE_GREY / mean), -math.log2(high)))), 2)
