"""Commands that look: methods, info, eval, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import (
    DeviceName,
    Files,
    Json,
    Knobs,
    MaxBytes,
    MaxMegapixels,
    MaxSeconds,
    Methods,
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


@app.command("methods")
def list_methods(is_json: Json = False) -> None:
    """List the methods with their knobs."""
    from restore.jobs import tables

    tables.show_methods(is_json=is_json)


@app.command()
def info(
    paths: Files,
    max_megapixels: MaxMegapixels = None,
    max_bytes: MaxBytes = None,
    max_seconds: MaxSeconds = None,
    is_json: Json = False,
) -> None:
    """Say what files are: size, bits, camera, ISO, pattern, levels, noise."""
    from restore import workers

    workers.POOL.expect()  # it starts while the imports below are made
    from restore.files import Limits
    from restore.jobs import info as information

    limits = Limits(**given_limits(max_megapixels, max_bytes, max_seconds))
    raise typer.Exit(information.show(paths, limits, is_json=is_json))


@app.command("eval")
def evaluate(
    clean: Annotated[Path, typer.Argument(metavar="CLEAN_DIR", exists=True, help="Folder of clean pictures.")],
    degrade: Annotated[str, typer.Option(help="What is done to them, as 'gaussian sigma=25/255, jpeg quality=40'.")],
    method: Methods = None,
    recipe: RecipeFile = None,
    knobs: Knobs = None,
    weights: WeightFiles = None,
    strength: Strength = None,
    noise: Annotated[str | None, typer.Option(metavar="auto|known|SIGMA", help="What the method is told.")] = None,
    device: DeviceName = "auto",
    precision: Precision = None,
    tile: Tile = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into sub-folders.")] = False,
    seed: Seed = None,
    is_json: Json = False,
) -> None:
    """Degrade clean pictures, restore them, and score both against the truth (8-bit PSNR and SSIM)."""
    from restore.files.folder import find
    from restore.jobs import tables
    from restore.jobs.evaluate import evaluate, known_level
    from restore.jobs.request import Request, recipe_for
    from restore.runtime import Runtime

    level = str(known_level(degrade)) if noise == "known" else noise
    made = recipe_for(Request(method, recipe, knobs or (), strength, level, tile, precision, seed, weights or ()))
    paths = [found.path for found in find([clean], is_recursive=recursive)]
    with stoppable() as cancelled:
        rows = evaluate(paths, degrade, made, Runtime(device=device, cancelled=cancelled))
        raise typer.Exit(tables.show_scores(rows, len(paths), is_json=is_json))


@app.command()
def bench(
    method: Methods = "denoise",
    knobs: Knobs = None,
    size: Annotated[float, typer.Option(min=0.01, max=500, help="Megapixels of the picture.")] = 4.0,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs, after one to warm up.")] = 3,
    device: DeviceName = "auto",
    precision: Precision = None,
    tile: Tile = None,
    is_json: Json = False,
) -> None:
    """Measure how fast a method is on this machine, with well-known denoisers beside it."""
    from restore.jobs import bench as benchmark
    from restore.jobs.request import Request, recipe_for
    from restore.runtime import Runtime

    request = Request(method, None, knobs or (), None, str(benchmark.SIGMA), tile, precision)
    runtime = Runtime(device=device)
    raise typer.Exit(benchmark.show(recipe_for(request), runtime, size, runs=runs, is_json=is_json))
