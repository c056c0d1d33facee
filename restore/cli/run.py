"""``restore run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from restore.cli.options import (
    DeviceName,
    Inputs,
    Json,
    Knobs,
    MaxBytes,
    MaxMegapixels,
    MaxSeconds,
    Methods,
    Overwrite,
    Precision,
    RecipeFile,
    Seed,
    Strength,
    Tile,
    WeightFiles,
    app,
    given_limits,
    stoppable,
)


@app.command()
def run(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; for one picture, also a file.")],
    method: Methods = None,
    recipe: RecipeFile = None,
    knobs: Knobs = None,
    weights: WeightFiles = None,
    strength: Strength = None,
    noise: Annotated[str | None, typer.Option(metavar="auto|SIGMA", help="As 0.098 or 25/255 (default: auto).")] = None,
    white: Annotated[
        float | None, typer.Option(help="Value that counts as white, as 4095 for 12 bits stored in 16 (default: all).")
    ] = None,
    device: DeviceName = "auto",
    precision: Precision = None,
    tile: Tile = None,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["keep", "png", "tiff", "jpeg", "webp", "avif", "bmp", "jxl", "dng"] | None,
        typer.Option(help="Format of the results (default: keep)."),
    ] = None,
    depth: Annotated[int | None, typer.Option(metavar="8|16|32", help="Bits a sample (default: the input's).")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into sub-folders.")] = False,
    suffix: Annotated[str, typer.Option(help="Added to the names of results, before .png.")] = "",
    overwrite: Overwrite = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Pass over what has a result.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Files worked on at the same time (default: what pays and fits).")
    ] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Who works: this process, or Ray workers.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster, as HOST:6379 (default: Ray is started here).")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of clean pictures to score against.")
    ] = None,
    uncertainty: Annotated[
        bool | None,
        typer.Option(help="Also write each value's standard error, as NAME.sigma.tiff (default: as the recipe did)."),
    ] = None,
    seed: Seed = None,
    max_megapixels: MaxMegapixels = None,
    max_bytes: MaxBytes = None,
    max_seconds: MaxSeconds = None,
    is_json: Json = False,
) -> None:
    """Restore pictures: files or whole folders, into another folder."""
    if overwrite and skip_existing:
        raise typer.BadParameter("give either --overwrite or --skip-existing")
    if depth not in (None, 8, 16, 32):
        raise typer.BadParameter(f"--depth is 8, 16 or 32, not {depth}")
    if engine == "local" and not dry_run:
        from restore import workers

        workers.POOL.expect()  # it starts while the imports below are made
    from restore.files import Limits
    from restore.jobs import order
    from restore.jobs.request import Request

    request = Request(method, recipe, knobs or (), strength, noise, tile, precision, seed, weights or (), white)
    existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    ordered = order.order(inputs, out, request, format=format, depth=depth, ending=suffix, is_recursive=recursive)
    who = {"jobs": jobs, "engine": engine, "address": address}
    who |= {} if uncertainty is None else {"uncertainty": uncertainty}
    limits = Limits(**given_limits(max_megapixels, max_bytes, max_seconds))
    options = order.options(ordered, existing=existing, is_resumed=resume, reference=reference, limits=limits, **who)
    if dry_run:
        raise typer.Exit(order.show_plan(ordered, options, is_json=is_json))
    with stoppable() as cancelled:
        raise typer.Exit(order.carry_out(ordered, options, device, cancelled, is_json=is_json))
