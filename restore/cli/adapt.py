"""``restore adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from restore.cli.options import Files, Json, Overwrite, app, stoppable


@app.command()
def adapt(
    method: Annotated[Literal["noise2score"], typer.Argument(help="The method whose network is fitted.")],
    noisy: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="At most; it ends earlier when nothing is gained.")] = 5,
    objective: Annotated[
        Literal["gr2r", "ardae", "sure"], typer.Option(help="How to learn without clean pictures.")
    ] = "gr2r",
    kind: Annotated[Literal["auto", "gaussian", "poisson", "gamma"], typer.Option(help="Law of the noise.")] = "auto",
    level: Annotated[
        float,
        typer.Option(
            min=0, help="Sigma or brightness of one count, where white is 1 (floats: as is), or looks; 0: measured."
        ),
    ] = 0,
    start: Annotated[str, typer.Option(help="Weights to start from.")] = "noise2score",
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    overwrite: Overwrite = False,
    is_json: Json = False,
) -> None:
    """Fit a method's network to your own noisy pictures; no clean picture is needed.

    Then: restore run --weights MODEL -m noise2score IN... -o OUT
    """
    from restore.files.folder import find
    from restore.jobs import adapt as job
    from restore.jobs.fitting import Moment
    from restore.jobs.lines import line, say, say_aside, say_if_heard

    def show(moment: Moment) -> None:
        if is_json:
            say_if_heard(line("moment", **vars(moment)))
        else:
            left = f"{moment.eta_s / 60:.1f} min to go at most"
            say_aside(f"{moment.seconds:6.1f} s  step {moment.steps:5}  SURE {moment.sure_psnr:.3f} dB  {left}")

    del method
    paths = [found.path for found in find(noisy, is_recursive=False)]
    with stoppable() as cancelled:
        made = job.adapt(
            paths,
            out,
            minutes=minutes,
            objective=objective,
            kind=kind,
            level=level,
            start=start,
            seed=seed,
            overwrite=overwrite,
            on_moment=show,
            cancelled=cancelled,
        )
    if is_json:
        say(line("adapted", **{k: v for k, v in vars(made).items() if k != "curve"}))
        return
    for note in made.notes:
        say(note)
    verdict = f"gained {made.after - made.before:+.2f} dB" if made.helped else "did not help"
    say(f"{out}  {made.kind} noise, level {made.level:.4g}; {verdict} (SURE {made.before:.2f} -> {made.after:.2f} dB)")
