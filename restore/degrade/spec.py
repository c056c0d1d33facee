"""Degradations by name: a line of text such as "poisson peak=30, jpeg quality=40" applied to a picture."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from restore.colour import Floats
from restore.degrade import scene, simple
from restore.errors import RecipeError, nearest
from restore.picture import Image


def _gaussian(clean: Floats, rng: np.random.Generator, *, sigma: float | None = None) -> Floats:
    return simple.gaussian(clean, rng, sigma=rng.uniform(0, 50 / 255) if sigma is None else sigma)


def _jpeg(clean: Floats, rng: np.random.Generator, *, quality: int | None = None) -> Floats:
    return simple.jpeg(clean, quality=int(rng.integers(10, 91)) if quality is None else quality)


def _quantise(clean: Floats, _: np.random.Generator, *, bits: int = 8) -> Floats:
    return simple.quantise(clean, bits=bits)


KINDS: dict[str, Callable[..., Floats]] = {
    "blur": simple.blur,
    "gaussian": _gaussian,
    "haze": scene.haze,
    "jpeg": _jpeg,
    "low_light": scene.low_light,
    "motion_blur": scene.motion_blur,
    "poisson": simple.poisson,
    "quantise": _quantise,
    "rain": scene.rain,
    "salt_pepper": simple.salt_pepper,
    "speckle": simple.speckle,
}
"""Each takes ``(picture, generator)`` and its parameters by keyword; what is not given is drawn."""

_LIMITS: dict[str, tuple[float, float]] = {
    "airlight": (0, 1),
    "amount": (0, 1),
    "angle": (-90, 90),
    "beta": (0, 10),
    "bits": (1, 16),
    "gamma": (0.1, 10),
    "layers": (1, 8),
    "length": (3, 101),
    "peak": (0.01, 1e6),
    "quality": (1, 100),
    "radius": (0.1, 50),
    "sigma": (0, 1),
    "size": (3, 101),
}


def degrade(image: Image, spec: str, *, seed: int) -> Image:
    """Apply the degradations of ``spec`` in their order; the same seed gives the same bits.

    Parameters
    ----------
    spec
        Kinds separated by commas, each followed by its parameters, as in
        ``"gaussian sigma=25/255, jpeg quality=40"``. Numbers may be
        fractions; a parameter that is left out is drawn from a typical range.
    seed
        At least 0. A step added behind does not change the draws of those before it.

    Raises
    ------
    RecipeError
        Unknown kind or parameter, a value that is not a number or out of range, a negative seed.
    ArrayError
        The picture has values that are too large for a kind.

    Examples
    --------
    >>> grey = Image(np.full((8, 8, 1), 0.5, np.float32))
    >>> degrade(grey, "quantise bits=1", seed=0).pixels.max().item()
    0.0
    """
    if seed < 0:
        raise RecipeError(f"seed must be a whole number from 0 up, got {seed}")
    pixels = image.pixels
    for position, (kind, settings) in enumerate(_parsed(spec)):
        pixels = KINDS[kind](pixels, np.random.default_rng([seed, position]), **settings)
    return replace(image, pixels=pixels)


def _parsed(spec: str) -> list[tuple[str, dict[str, float]]]:
    """Split a spec into kinds and checked settings.

    >>> _parsed("rain, gaussian sigma=51/255")
    [('rain', {}), ('gaussian', {'sigma': 0.2})]
    """
    steps = []
    for part in spec.split(","):
        kind, *words = part.split() or [""]
        kind = kind.replace("-", "_")
        if kind not in KINDS:
            raise RecipeError(f"unknown degradation {kind!r} in {spec!r}.{nearest(kind, KINDS)}")
        settings = dict(_setting(kind, word) for word in words)
        if len(settings) < len(words):
            raise RecipeError(f"degradation {kind!r} is given a parameter twice: {part.strip()!r}")
        steps.append((kind, settings))
    return steps


def _setting(kind: str, word: str) -> tuple[str, float]:
    """Read ``name=number`` for a kind of degradation."""
    name, _, text = word.partition("=")
    known = {p.name: p for p in inspect.signature(KINDS[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY}
    if name not in known:
        raise RecipeError(f"degradation {kind!r} has no parameter {name!r}.{nearest(name, known)}")
    try:
        top, _, bottom = text.partition("/")
        value = float(top) / float(bottom if "/" in text else 1)
    except (ValueError, ZeroDivisionError) as error:
        raise RecipeError(f"{kind} {name}={text!r} is not a number; write 0.098 or 25/255") from error
    low, high = _LIMITS[name]
    if not low <= value <= high:
        raise RecipeError(f"{kind} {name}={text} is out of range; it must lie in {low:g}...{high:g}")
    if not str(known[name].annotation).startswith("int"):
        return name, value
    if not math.floor(value) == value:
        raise RecipeError(f"{kind} {name}={text} must be a whole number")
    return name, int(value)
