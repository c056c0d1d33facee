"""The application that commands register with, and the options that they share."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from restore.errors import RecipeError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Restore photographs, raw and developed: denoise, enlighten, repair.",
)
Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Picture files, and folders of them.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Picture files.")]
Methods = Annotated[
    str | None, typer.Option("--method", "-m", metavar="M[,M2]", help="Methods in order (default: auto).")
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="A recipe file, the side file of a result, or a preset: night.")
]
Knobs = Annotated[list[str] | None, typer.Option("--set", metavar="METHOD.KNOB=VALUE", help="Set a knob.")]
WeightFiles = Annotated[
    list[str] | None, typer.Option("--weights", metavar="[M=]FILE", help="Weights in place of the shipped ones.")
]
Strength = Annotated[float | None, typer.Option(min=0, max=1, help="How much of the change is kept (default: 1).")]
DeviceName = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where networks compute.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"] | None, typer.Option(help="Arithmetic (default: auto).")
]
Tile = Annotated[str | None, typer.Option(metavar="auto|N|off", help="Side of tiles (default: auto).")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of every random choice (default: 0).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there; never an input.")]
MaxMegapixels = Annotated[
    float | None, typer.Option("--max-megapixels", min=0.000001, help="Larger pictures are refused, by their header.")
]
MaxBytes = Annotated[int | None, typer.Option("--max-bytes", min=1, help="Larger files are refused.")]
MaxSeconds = Annotated[
    float | None, typer.Option("--max-seconds", min=0.1, help="Processor time to decode a raw file or a rare format.")
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")]


def given_limits(megapixels: float | None, size: int | None, seconds: float | None) -> dict[str, Any]:
    """Return the fields of `restore.files.Limits` that were asked for.

    >>> given_limits(1.5, None, None)
    {'max_pixels': 1500000}

    Raises
    ------
    RecipeError
        A number is not finite.
    """
    for name, value in (("--max-megapixels", megapixels), ("--max-seconds", seconds)):
        if value is not None and not math.isfinite(value):
            raise RecipeError(f"{name} is a limit, as 400, not {value}; give a large number where there shall be none")
    pixels = None if megapixels is None else round(megapixels * 1e6)
    fields = {"max_pixels": pixels, "max_bytes": size, "max_seconds": seconds}
    return {name: value for name, value in fields.items() if value is not None}


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets; the second one ends the process at once.

    So do the signals that schedulers, containers and closed terminals send, unless they are ignored, as under nohup.
    """
    cancelled = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        if cancelled.is_set():
            os._exit(130)
        cancelled.set()
        with suppress(OSError):  # nobody need hear it
            os.write(2, b"stopping; Ctrl-C again quits at once\n")

    named = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heard = [signal.SIGINT, *(number for number in named if signal.getsignal(number) == signal.SIG_DFL)]
    before = [(number, signal.signal(number, stop)) for number in heard]
    try:
        yield cancelled
    finally:
        for number, handler in before:
            signal.signal(number, handler)
