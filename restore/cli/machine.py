"""Commands that start other programs of the package: the page, training."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any

import typer

from restore.cli.options import MaxBytes, MaxMegapixels, MaxSeconds, app, given_limits, stoppable
from restore.errors import RecipeError, RestoreError, nearest


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 7860,
    max_megapixels: MaxMegapixels = None,
    max_bytes: MaxBytes = None,
    max_seconds: MaxSeconds = None,
) -> None:
    """Open the page, on this machine only."""
    beside = Path(__file__).parents[2] / "app.py"
    if Path(__file__).parents[1].joinpath("_page.py").is_file():
        page: Any = import_module("restore._page")
    elif beside.is_file():
        spec = spec_from_file_location("restore_page", beside)
        assert spec is not None
        assert spec.loader is not None
        page = module_from_spec(spec)
        spec.loader.exec_module(page)
    else:
        raise RestoreError("the page is not part of this installation; install the package again")
    given = given_limits(max_megapixels, max_bytes, max_seconds)
    page.main(host=host, port=port, **({"limits": replace(page.LIMITS, **given)} if given else {}))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def train(
    context: typer.Context,
    method: Annotated[str | None, typer.Argument(help="What to train; without it, what there is is listed.")] = None,
) -> None:
    """Train a method: restore train METHOD [its own options; --help lists them]."""
    folder = Path(__file__).parents[1] / "train"
    known = sorted(path.stem for path in folder.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))
    if method in (None, "--help"):
        sys.stdout.write("\n".join(["usage: restore train METHOD [options]; methods:", *known]) + "\n")
        return
    if method not in known:
        raise RecipeError(f"there is no training for {method!r}.{nearest(str(method), known)}")
    loop: Any = import_module("restore.train.loop")
    sys.argv[0] = f"restore train {method}"
    with stoppable() as loop.stop:
        import_module(f"restore.train.{method}").main(context.args)
