"""A recipe: everything that decides the pixels of a result, checked, and stored beside it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from restore.errors import RecipeError, nearest
from restore.method import Settings
from restore.paths import is_there

AUTO = "auto"
"""The method name that lets the pipeline choose by what the picture is."""

Tile = int | Literal["auto", "off"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # where types are checked, each record's own fields are

        def __init__(self, /, **fields: Any) -> None:
            """Build the record, with :class:`RecipeError` in place of pydantic's error."""
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise RecipeError(_plain(error)) from error


class Step(_Frozen):
    """One method with its settings.

    Parameters
    ----------
    method
        Its name, or ``"auto"``.
    settings
        Its knobs; those left out keep their defaults.
    strength
        0...1: how much of the change is kept; ``input + strength * (output - input)``.
    weights
        Path of a weight file to use in place of the shipped one.
    reason
        Why ``auto`` chose it.

    Raises
    ------
    RecipeError
        Unknown method or knob, or a value out of range.
    """

    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    strength: float = Field(1.0, ge=0, le=1)
    weights: str | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.method != AUTO:
            known = self.checked()
            self.settings.update((name, getattr(known, name)) for name in self.settings)  # not a number of numpy's
        elif self.settings:
            raise ValueError("method 'auto' has no knobs of its own; name a method to set its knobs")
        return self

    def checked(self) -> Settings:
        """Return the settings as the method's own record.

        Raises
        ------
        RecipeError
            Unknown method or knob, or a value out of range.
        """
        from restore import methods

        model = methods.get(self.method).settings
        unknown = sorted(set(self.settings) - set(model.model_fields))
        if unknown:
            hint = nearest(unknown[0], model.model_fields)
            raise RecipeError(f"method {self.method!r} has no knob {unknown[0]!r}.{hint}")
        try:
            return model(**self.settings)
        except ValidationError as error:
            raise RecipeError(f"method {self.method!r}: {_plain(error)}") from error


class Develop(_Frozen):
    """How a raw mosaic becomes a picture; see ``restore.raw.develop``."""

    exposure_ev: float = Field(0.0, ge=-10, le=10, description="Exposure correction in stops")
    white_balance: Literal["camera", "auto", "none"] = Field("camera", description="Source of the colour gains")


class Recipe(_Frozen):
    """Steps and everything else that decides the result.

    Parameters
    ----------
    steps
        Methods in order; those that work on the mosaic first.
    develop
        How a raw file is developed; None keeps it a mosaic.
    noise
        Noise level as a fraction of white; None estimates it.
    white
        Value that counts as white, as it stands in the file or the array, where that is not the largest its integers
        hold: 4095 for 12 bits stored in 16. Of floats, in place of what is found where they lie far from 0...1.
    tile
        Side of tiles; ``"auto"`` or ``"off"``.
    precision
        Arithmetic of networks; ``"int8"`` is that of the networks that stand it, where there is a CPU.
    seed
        Of every random choice.

    Raises
    ------
    RecipeError
        A value is out of range, or something that is no field.
    """

    steps: tuple[Step, ...] = (Step(method=AUTO),)
    develop: Develop | None = Develop()
    noise: float | None = Field(None, ge=0, le=1)
    white: float | None = Field(None, gt=0, allow_inf_nan=False)
    tile: Tile = "auto"
    precision: Precision = "auto"
    seed: int = Field(0, ge=0)

    @field_validator("tile")
    @classmethod
    def _sane_tile(cls, tile: int | str) -> int | str:
        if isinstance(tile, int) and tile < 16:
            raise ValueError("a tile must have at least 16 pixels")
        return tile

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a recipe from TOML or JSON, or out of the side file that a run left beside its result.

        The name of a preset (see :func:`presets`) stands for its file.

        Raises
        ------
        RecipeError
            The file cannot be read, names no steps, or says something that no method knows.
        """
        path = presets().get(str(path), Path(path))
        try:
            text = path.read_text(encoding="utf-8-sig")
            table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            hint = "" if path.suffix or is_there(path) else "." + nearest(str(path), presets())
            raise RecipeError(f"{path}: cannot be read as a recipe ({error}){hint}") from error
        table = table.get("recipe", table) if isinstance(table, dict) else table
        if not isinstance(table, dict):
            raise RecipeError(f"{path}: a recipe is a table, found {type(table).__name__}")
        if "steps" not in table:
            raise RecipeError(f'{path}: names no steps; give some, as [{{"method": "auto"}}]')
        try:
            return cls(**table)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from error


def presets() -> dict[str, Path]:
    """Return the recipes that come with the package, by name.

    >>> sorted(presets())
    ['night']
    """
    return {path.stem: path for path in (Path(__file__).parent / "presets").glob("*.toml")}


def _plain(error: ValidationError) -> str:
    """Say a pydantic error in a line for people."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        what = str(item["msg"]).removeprefix("Value error, ")
        parts.append(f"{where}: {what}" if where else what)
    return "; ".join(parts)
