"""The records of a run: what was made, how, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any, Self

import numpy as np

from restore.evidence import Finding
from restore.noise import Noise
from restore.noise.tone import Tone
from restore.picture import Image, Picture
from restore.recipe import Recipe, Step
from restore.tiling import Seams

TONED = "toned black and white: its grey was restored, and its tone kept"
"""What is noted of such pictures."""


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Parameters
    ----------
    noise
        What was known of the noise before the step.
    tile
        Height and width of the tiles used, None for the whole picture at once.
    facts
        What the method reported, as JSON values.
    evidence
        What input and output tell about whether it helped.
    """

    step: Step
    noise: Noise
    seams: Seams
    tile: tuple[int, int] | None
    weights_sha256: str | None
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(replace(self, step=None)) | {"step": self.step.model_dump()}  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Result:
    """A restored picture and how it was made.

    Parameters
    ----------
    picture
        An ``Image``; a ``RawImage`` when the recipe stops before development.
    recipe
        The recipe with everything decided: methods chosen, precision, tiles. It makes the same pixels again.
    uncertainty
        Standard error of each value, where it was asked for and can be known.
    """

    picture: Picture
    recipe: Recipe
    reports: tuple[StepReport, ...]
    seconds: float
    uncertainty: Image | None = None

    def unscaled(self, black: float, white: float, named: float | None = None) -> Self:
        """Return the result in the unit of a picture in which this black and this white were taken for 0 and 1.

        ``named`` is what its owner calls that white.
        """
        assert isinstance(self.picture, Image)
        picture, deviation = self.picture, self.uncertainty
        picture = replace(picture, pixels=picture.pixels * (white - black) + black)
        deviation = deviation and replace(deviation, pixels=deviation.pixels * (white - black))
        said = fractions_of(black, named or white)
        reports = tuple(
            replace(report, facts={**report.facts, "notes": [said, *report.facts.get("notes", [])]})
            for report in self.reports
        )
        return replace(self, picture=picture, uncertainty=deviation, reports=reports)

    def widened(self, channels: int) -> Self:
        """Return the result with so many channels that hold the same, where the picture has one."""
        assert isinstance(self.picture, Image)
        deviation = self.uncertainty and self.uncertainty.widened(channels)
        return replace(self, picture=self.picture.widened(channels), uncertainty=deviation)

    def coloured(self, before: Image, tone: Tone) -> Self:
        """Return the result of a toned picture's grey with its colours."""
        assert isinstance(self.picture, Image)
        grey, deviation = self.picture.pixels, self.uncertainty
        pixels = tone.moved(before.pixels, grey)
        if deviation is not None:
            deviation = replace(deviation, pixels=deviation.pixels * np.abs(np.asarray(tone.slopes, np.float32)))
        reports = tuple(
            replace(report, facts={**report.facts, "notes": [TONED, *report.facts.get("notes", [])]})
            for report in self.reports
        )
        picture = replace(self.picture, pixels=pixels)
        return replace(self, picture=picture, uncertainty=deviation, reports=reports)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What to look at before trusting the result, in sentences."""
        return tuple(found.says for report in self.reports for found in report.evidence if found.is_alarm)


def fractions_of(black: float, white: float) -> str:
    """Say what was taken for black and for white.

    >>> fractions_of(0.0, 4000.0)
    'values from 0 to 4000 were taken for 0 to 1, which all levels are fractions of'
    """
    return f"values from {black:.6g} to {white:.6g} were taken for 0 to 1, which all levels are fractions of"


def noise_left(
    done: Sequence[StepReport], left: Noise, profile: Sequence[tuple[float, float]] | None
) -> dict[str, Any]:
    """Return what a DNG shall say of the noise of a mosaic after some steps, and which share of it was taken at least.

    What was known of the noise before is still there as far as steps kept it.

    Parameters
    ----------
    left
        Noise that was measured after them.
    profile
        Shot gain and read variance of each colour by the file's own tag, if it has one.
    """
    kept, known = prod(1 - report.step.strength for report in done), done[0].noise
    told = profile if profile and known.confidence < 1 else ((known.gain, known.read**2),)
    pairs = tuple((max(left.gain, kept**2 * gain), max(left.read**2, kept**2 * square)) for gain, square in told)
    return {"noise_profile": pairs, "denoised": 1 - kept}
