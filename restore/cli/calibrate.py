"""``restore calibrate``: a noise profile from dark frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import Overwrite, app, stoppable


@app.command()
def calibrate(
    darks: Annotated[list[Path], typer.Argument(metavar="DARKS...", help="Dark frames (raw), and folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CAMERA.noise", help="The profile to write.")],
    flats: Annotated[
        list[Path] | None,
        typer.Option("--flats", metavar="FLATS", help="Flat frames in pairs, or a folder; repeatable."),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for plots and a table.")] = None,
    iso: Annotated[float | None, typer.Option(min=1, help="ISO or gain setting of grey frames (PNG, TIFF).")] = None,
    bits: Annotated[int | None, typer.Option(min=8, max=16, help="Bits of grey frames (default: the fewest).")] = None,
    darktable: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A darktable noiseprofiles.json to take the gain from.")
    ] = None,
    model_only: Annotated[
        bool, typer.Option("--model-only", help="Leave the maps of this body out: a profile to share.")
    ] = False,
    steps: Annotated[int, typer.Option(min=0, help="Training steps of each gain branch's proxy; 0 for none.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Learn the noise of a camera from dark frames: ten or more for each ISO, cap on, 1/10 s or less.

    Two or more longer ones of an ISO beside them say where black lies in long exposures.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from restore.camera.calibration import Plan
    from restore.errors import Cancelled
    from restore.jobs.calibrate import calibrate as learn
    from restore.jobs.lines import say

    columns = TextColumn("{task.percentage:3.0f} %"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with stoppable() as cancelled, Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=1.0)

        def progress(share: float, text: str) -> None:
            if cancelled.is_set() and share < 1:
                raise Cancelled("calibration was stopped; nothing was written")
            bar.update(task, completed=share, description=text)

        plan, told = Plan(steps=steps, seed=seed), list[str]()
        learn(
            darks,
            flats=flats or (),
            out=out,
            report_to=report,
            iso=iso,
            bits=bits,
            darktable=darktable,
            model_only=model_only,
            overwrite=overwrite,
            plan=plan,
            progress=progress,
            tell=told.append,
        )
    for row in [*told[0].strip().splitlines(), "", f"written: {out}" + (f"  report: {report}" if report else "")]:
        say(row)
