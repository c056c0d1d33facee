"""From what a user typed to a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore import methods, noise, weights
from restore.errors import RecipeError, nearest
from restore.paths import is_file, is_there
from restore.recipe import AUTO, Recipe, Step


@dataclass(frozen=True)
class Request:
    """What a user asked for, as text; None and ``()`` leave it to the recipe file, or to the defaults.

    Parameters
    ----------
    method
        Names, joined by commas.
    recipe
        A recipe file, or the side file of a result.
    settings
        ``"method.knob=value"``.
    weights
        A weight file for the only step or, without one, for the method it names; or ``"method=FILE"``.
    white
        As in `Recipe`.
    noise, tile
        As they are typed: ``"auto"``, ``"25/255"``; ``"auto"``, ``"off"``, ``"512"``.
    """

    method: str | None = None
    recipe: Path | None = None
    settings: Sequence[str] = ()
    strength: float | None = None
    noise: str | None = None
    tile: str | None = None
    precision: str | None = None
    seed: int | None = None
    weights: Sequence[str] = ()
    white: float | None = None


def recipe_for(request: Request) -> Recipe:
    """Return the recipe for a request.

    Raises
    ------
    RecipeError
        Something unknown, out of range, or contradictory.
    """
    knobs = _knobs(request.settings)
    if request.recipe is not None and request.method is not None:
        raise RecipeError("give either --method or --recipe: a recipe names its methods itself")
    base = Recipe() if request.recipe is None else Recipe.load(request.recipe)
    fields: dict[str, Any] = {name: getattr(base, name) for name in Recipe.model_fields}
    if request.recipe is None:
        named = request.method or ",".join(knobs) or AUTO
        fields["steps"] = tuple(Step(method=name.strip()) for name in named.split(","))
    fields["steps"] = tuple(_with_knobs(fields["steps"], knobs, request.strength))
    fields["steps"] = tuple(_with_weights(fields["steps"], request.weights))
    if request.noise is not None:
        fields["noise"] = noise.parse_level(request.noise)
    if request.tile is not None:
        fields["tile"] = int(request.tile) if request.tile.isdecimal() else request.tile
    given = {"precision": request.precision, "seed": request.seed, "white": request.white}
    return Recipe(**fields | {name: value for name, value in given.items() if value is not None})


def _knobs(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read ``method.knob=value`` texts into knobs by method.

    >>> _knobs(["wavelet.shifts=4", "wavelet.wavelet=db2"])
    {'wavelet': {'shifts': 4, 'wavelet': 'db2'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        method, dot, knob = path.strip().partition(".")
        if not (equals and dot and method and knob):
            raise RecipeError(f"--set {text!r} is not of the form method.knob=value, as in wavelet.threshold=1.3")
        try:
            found.setdefault(method, {})[knob] = json.loads(value)
        except (ValueError, RecursionError):
            found.setdefault(method, {})[knob] = value.strip()
    return found


def _with_knobs(steps: Sequence[Step], knobs: dict[str, dict[str, Any]], strength: float | None) -> list[Step]:
    """Return the steps with knobs and strength set; every method with knobs must be one of them."""
    names = [step.method for step in steps]
    for method in knobs:
        if method not in names:
            methods.get(method)
            raise RecipeError(f"--set {method}: this run has no such step.{nearest(method, names)}")
    return [
        Step(
            **step.model_dump(exclude={"settings", "strength"}),
            settings={**step.settings, **knobs.get(step.method, {})},
            strength=step.strength if strength is None else strength,
        )
        for step in steps
    ]


def _with_weights(steps: Sequence[Step], texts: Sequence[str]) -> list[Step]:
    """Return the steps with weight files set; ``auto`` becomes the method whose weights are given."""
    names = [step.method for step in steps]
    files: dict[str, str] = {}
    for text in texts:
        method, equals, path = text.partition("=")
        if not equals or (method not in names and is_there(text)):
            method, path = _owner(text, names), text
        if names == [AUTO]:
            names = [methods.get(method).name]
            steps = [steps[0].model_copy(update={"method": method})]
        if method not in names:
            raise RecipeError(f"--weights {text}: this run has no step {method!r}.{nearest(method, names)}")
        files[method] = path
    return [step.model_copy(update={"weights": files.get(step.method, step.weights)}) for step in steps]


def _owner(path: str, names: Sequence[str]) -> str:
    """Return whose weights a file holds: those of the only step, else of the method that it names itself."""
    if len(names) == 1 and names[0] != AUTO:
        return names[0]
    said = weights.metadata(Path(path)).get("method") if is_file(path) else None
    if said is None:
        raise RecipeError(f"--weights {path}: say whose weights they are: --method M, or --weights M={path}")
    return said
