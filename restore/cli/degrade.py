"""``restore degrade``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import Inputs, Json, app
from restore.errors import RecipeError


@app.command()
def degrade(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the degraded pictures (PNG).")],
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", metavar="SPEC", help="As 'rain, haze', or 'gaussian sigma=25/255'.")
    ] = None,
    is_validation: Annotated[
        bool, typer.Option("--validation", help="Make the frozen validation set: a folder for each of its tasks.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into sub-folders.")] = False,
    is_json: Json = False,
) -> None:
    """Degrade clean pictures by noise, blur, rain, haze, darkness or JPEG, the same way for the same seed."""
    from restore.jobs.spoil import spoil_all

    if (kind is None) is not is_validation:
        raise RecipeError("say what shall be done: --kind SPEC, or --validation, and not both")
    raise typer.Exit(spoil_all(inputs, out, kind, seed, is_recursive=recursive, is_json=is_json))
