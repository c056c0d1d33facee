"""Degrade clean pictures, restore them, and score both against the truth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from restore import files, noise, pipeline
from restore.degrade import degrade
from restore.errors import Cancelled, RecipeError, RestoreError
from restore.metrics import Scores, compare
from restore.picture import Image, RawImage
from restore.raw.develop import develop
from restore.recipe import Recipe
from restore.runtime import Runtime


@dataclass(frozen=True)
class Row:
    """Scores of one picture before and after, or ``error``."""

    path: Path
    before: Scores | None = None
    after: Scores | None = None
    methods: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""

    def as_fields(self) -> dict[str, Any]:
        """Return the row as the fields of a JSON line."""
        return asdict(self) | {"path": str(self.path), "error": self.error or None}


def known_level(spec: str) -> float:
    """Return the noise level of a degradation that is white Gaussian noise and nothing else.

    >>> known_level("gaussian sigma=51/255")
    0.2

    Raises
    ------
    RecipeError
        It is something else, so that no single level is known.
    """
    match = re.fullmatch(r"\s*gaussian\s+sigma=(\S+)\s*", spec)
    level = noise.parse_level(match[1]) if match else None
    if level is None:
        raise RecipeError(f"--noise known needs a degradation of the form 'gaussian sigma=25/255', not {spec!r}")
    return level


def evaluate(paths: Sequence[Path], spec: str, recipe: Recipe, runtime: Runtime) -> Iterator[Row]:
    """Score a recipe on clean pictures, each degraded with the recipe's seed; scores are of 8-bit results.

    Raises
    ------
    RecipeError
        The degradation or the recipe is not known.
    Cancelled
        Somebody asked to stop.
    """
    for path in paths:
        try:
            clean = files.read(path)
            clean = develop(clean) if isinstance(clean, RawImage) else clean.usual()
            spoilt = degrade(clean, spec, seed=recipe.seed)
            result = pipeline.run(spoilt, recipe, runtime)
            assert isinstance(result.picture, Image)
            before, after = (compare(x.pixels, clean.pixels, quantise=True) for x in (spoilt, result.picture))
            names = tuple(step.method for step in result.recipe.steps)
            yield Row(path, before, after, names, result.seconds)
        except (Cancelled, RecipeError):
            raise
        except RestoreError as error:
            yield Row(path, error=str(error))


def means(rows: Sequence[Row]) -> tuple[Scores, Scores] | None:
    """Return the mean scores before and after, over the pictures that have them; None where there are none."""
    scored = [row for row in rows if row.before is not None and row.after is not None]
    if not scored:
        return None
    return _mean([row.before for row in scored if row.before]), _mean([row.after for row in scored if row.after])


def _mean(scores: Sequence[Scores]) -> Scores:
    """Mean of each score over the pictures that are large enough for it.

    >>> _mean([Scores(30.0, 0.8, float("nan")), Scores(32.0, 0.9, 0.95)]).ms_ssim
    0.95
    """
    columns = {f.name: [getattr(s, f.name) for s in scores] for f in fields(Scores)}
    valid = {name: [value for value in column if not math.isnan(value)] for name, column in columns.items()}
    return Scores(**{name: fmean(column) if column else math.nan for name, column in valid.items()})
