"""The ``restore`` command: options to a recipe and a folder job; everything heavy is imported when it is needed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from restore.errors import RecipeError, RestoreError, nearest

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Restore photographs, raw and developed: denoise, enlighten, repair.",
)
weights_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at the weights of methods, check them, bring others in."
)
app.add_typer(weights_app, name="weights")

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Picture files, and folders of them.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Picture files.")]
Methods = Annotated[
    str | None, typer.Option("--method", "-m", metavar="M[,M2]", help="Methods in order (default: auto).")
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="A recipe file, the side file of a result, or a preset: night.")
]
Knobs = Annotated[list[str] | None, typer.Option("--set", metavar="METHOD.KNOB=VALUE", help="Set a knob.")]
Strength = Annotated[float | None, typer.Option(min=0, max=1, help="How much of the change is kept (default: 1).")]
DeviceName = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where networks compute.")]
Precision = Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Arithmetic (default: auto).")]
Tile = Annotated[str | None, typer.Option(metavar="auto|N|off", help="Side of tiles (default: auto).")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of every random choice (default: 0).")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")]


def main() -> None:
    """Run the command; what a user did wrong ends it with one line and exit code 2."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except RestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, RecipeError) else 1)


@app.command()
def run(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; for one picture, also a file.")],
    method: Methods = None,
    recipe: RecipeFile = None,
    knobs: Knobs = None,
    strength: Strength = None,
    noise: Annotated[str | None, typer.Option(metavar="auto|SIGMA", help="As 0.098 or 25/255 (default: auto).")] = None,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there; never an input.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Pass over what has a result.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files worked on at the same time.")] = 1,
    reference: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of clean pictures to score against.")
    ] = None,
    seed: Seed = None,
    is_json: Json = False,
) -> None:
    """Restore pictures: files or whole folders, into another folder."""
    if overwrite and skip_existing:
        raise typer.BadParameter("give either --overwrite or --skip-existing")
    if depth not in (None, 8, 16, 32):
        raise typer.BadParameter(f"--depth is 8, 16 or 32, not {depth}")
    from restore.jobs import order
    from restore.jobs.request import Request

    request = Request(method, recipe, knobs or (), strength, noise, tile, precision, seed)
    existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    ordered = order.order(inputs, out, request, format=format, depth=depth, ending=suffix, is_recursive=recursive)
    if dry_run:
        order.show_plan(ordered, is_json=is_json)
        return
    options = order.options(ordered, existing=existing, is_resumed=resume, jobs=jobs, reference=reference)
    with _stoppable() as cancelled:
        raise typer.Exit(order.carry_out(ordered, options, device, cancelled, is_json=is_json))


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets; the second one ends the process at once."""
    cancelled = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        if cancelled.is_set():
            os._exit(130)
        cancelled.set()
        os.write(2, b"stopping; Ctrl-C again quits at once\n")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancelled
    finally:
        signal.signal(signal.SIGINT, before)


@app.command("methods")
def list_methods(is_json: Json = False) -> None:
    """List the methods with their knobs."""
    from restore.jobs import tables

    tables.show_methods(is_json=is_json)


@app.command()
def info(paths: Files, is_json: Json = False) -> None:
    """Say what files are: size, bits, camera, ISO, pattern, levels, noise."""
    from restore.jobs import info as information

    raise typer.Exit(information.show(paths, is_json=is_json))


@app.command("eval")
def evaluate(
    clean: Annotated[Path, typer.Argument(metavar="CLEAN_DIR", exists=True, help="Folder of clean pictures.")],
    degrade: Annotated[str, typer.Option(help="What is done to them, as 'gaussian sigma=25/255, jpeg quality=40'.")],
    method: Methods = None,
    recipe: RecipeFile = None,
    knobs: Knobs = None,
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
    made = recipe_for(Request(method, recipe, knobs or (), strength, level, tile, precision, seed))
    paths = [found.path for found in find([clean], is_recursive=recursive)]
    with _stoppable() as cancelled:
        rows = evaluate(paths, degrade, made, Runtime(device=device, cancelled=cancelled))
        raise typer.Exit(tables.show_scores(rows, len(paths), is_json=is_json))


@weights_app.command("list")
def weights_list(is_json: Json = False) -> None:
    """List the weights that came with the package."""
    from restore.jobs import tables

    tables.show_weights(is_json=is_json)


@weights_app.command("verify")
def weights_verify(is_json: Json = False) -> None:
    """Check size and sha256 of every weight file."""
    from restore.jobs import tables

    raise typer.Exit(tables.verify_weights(is_json=is_json))


@weights_app.command("import")
def weights_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A .pth or .pt file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Yes, read this pickle.")] = False,
) -> None:
    """Convert a PyTorch checkpoint to safetensors."""
    from restore.files.atomic import replacing
    from restore.jobs.lines import say
    from restore.weight_import import converted

    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"--out must end in .safetensors, not {out.name!r}")
    content = converted(source, may_unpickle=allow_pickle)
    with replacing(out) as part:
        part.write_bytes(content)
    say(f"{source} -> {out}  {len(content)} bytes")


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
) -> None:
    """Open the page, on this machine only."""
    beside = Path(__file__).parents[1] / "app.py"
    if Path(__file__).with_name("_page.py").is_file():
        page: Any = import_module("restore._page")
    elif beside.is_file():
        spec = spec_from_file_location("restore_page", beside)
        assert spec is not None
        assert spec.loader is not None
        page = module_from_spec(spec)
        spec.loader.exec_module(page)
    else:
        raise RestoreError("the page is not part of this installation; install the package again")
    page.main(host=host, port=port)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def train(
    context: typer.Context,
    method: Annotated[str | None, typer.Argument(help="What to train; without it, what there is is listed.")] = None,
) -> None:
    """Train a method: restore train METHOD [its own options; --help lists them]."""
    folder = Path(__file__).with_name("train")
    known = sorted(path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))
    if method in (None, "--help"):
        sys.stdout.write("\n".join(["usage: restore train METHOD [options]; methods:", *known]) + "\n")
        return
    if method not in known:
        raise RecipeError(f"there is no training for {method!r}.{nearest(str(method), known)}")
    sys.argv[0] = f"restore train {method}"
    import_module(f"restore.train.{method}").main(context.args)
