"""``restore degrade``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import Inputs, Json, app


@app.command()
def degrade(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the degraded pictures (PNG).")],
    kind: Annotated[
        str, typer.Option("--kind", "-k", metavar="SPEC", help="As 'rain, haze', or 'gaussian sigma=25/255'.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into sub-folders.")] = False,
    is_json: Json = False,
) -> None:
    """Degrade clean pictures by noise, blur, rain, haze, darkness or JPEG, the same way for the same seed."""
    from restore.jobs.spoil import spoil_all

    raise typer.Exit(spoil_all(inputs, out, kind, seed, is_recursive=recursive, is_json=is_json))
