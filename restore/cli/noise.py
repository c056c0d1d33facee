"""``restore noise``: simulated cameras, and the noise of a profiled one over clean raw files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from restore.cli.options import Overwrite, app
from restore.errors import RecipeError

noise_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Simulate cameras and their noise.")
app.add_typer(noise_app, name="noise")


@noise_app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder; gets darks/ and flats/.")],
    family: Annotated[
        Literal["gaussian", "tukey", "student", "outliers", "telegraph"], typer.Option(help="Kind of pixel noise.")
    ] = "outliers",
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels.")] = "768x512",
    pattern: Annotated[str, typer.Option(help="Bayer phase.")] = "RGGB",
    iso: Annotated[str, typer.Option(metavar="N,N,...", help="ISO speeds.")] = "100,400,1600,3200,12800",
    darks: Annotated[int, typer.Option(min=1, help="Dark frames of each ISO.")] = 13,
    flats: Annotated[int, typer.Option(min=0, help="Pairs of flats of each ISO.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the sensor and its frames.")] = 0,
) -> None:
    """Write dark frames and flats of a sensor whose noise is known, to check restore calibrate."""
    from restore.jobs.lines import say
    from restore.jobs.noise_files import Shoot
    from restore.jobs.noise_files import simulate as shoot

    try:
        width, height = (int(side) for side in size.lower().split("x"))
        isos = tuple(sorted({float(speed) for speed in iso.split(",")}))
    except ValueError as error:
        raise RecipeError(f"--size {size!r} or --iso {iso!r} is not like 768x512 and 100,200,400") from error
    if min(width, height) < 64 or not all(0 < speed < math.inf for speed in isos):
        raise RecipeError("a simulated sensor has 64x64 pixels or more, and ISO speeds above 0")
    sensor, paths = shoot(Shoot(family, (height, width), pattern, isos, darks, flats, seed), out)
    say(f"{len(paths)} files in {out}")
    for speed in isos:
        sigma = sensor.sigma(speed)
        bands = f"row {sigma * sensor.bands[0]:.3f}  column {sigma * sensor.bands[1]:.3f}"
        say(f"truth at ISO {speed:g}: K {sensor.K(speed):.4f}  pixel {sigma:.3f}  {bands} DN")


@noise_app.command()
def add(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A clean raw file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.dng", help="The noisy DNG to write.")],
    profile: Annotated[Path, typer.Option(metavar="CAMERA.noise", help="Whose noise.")],
    iso: Annotated[float, typer.Option(min=1, help="ISO speed.")],
    ratio: Annotated[float, typer.Option(min=0.01, help="How much less light it gets, made bright again.")] = 1.0,
    model: Annotated[
        Literal["gaussian", "poisson-gaussian", "eld", "sfrn", "pnnp"], typer.Option(help="Model of the noise.")
    ] = "pnnp",
    darks: Annotated[
        list[Path] | None, typer.Option("--dark", metavar="FILE", help="Dark frames at that ISO, for sfrn; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Add a camera's noise to a clean raw file."""
    from restore.jobs import noise_files
    from restore.jobs.lines import say

    noise_files.add(
        path, out, profile, iso=iso, ratio=ratio, backend=model, seed=seed, darks=darks or (), overwrite=overwrite
    )
    say(f"{path} -> {out}")
