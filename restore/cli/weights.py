"""``restore weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import Json, Overwrite, app
from restore.errors import RecipeError

weights_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at the weights of methods, check them, bring others in."
)
app.add_typer(weights_app, name="weights")


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
    licence: Annotated[
        str, typer.Option(metavar="TERMS", help="Terms of the weights, kept in the file and shown before use.")
    ] = "not stated",
    planes: Annotated[
        str, typer.Option(help="Order of the planes a raw network was trained on: rgbg (SID, ELD, PNNP) or rggb.")
    ] = "rgbg",
    overwrite: Overwrite = False,
) -> None:
    """Convert a PyTorch checkpoint to safetensors."""
    from restore import weights
    from restore.files.atomic import check_target, replacing
    from restore.jobs.lines import say
    from restore.weight_import import converted

    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"--out must end in .safetensors, not {out.name!r}")
    if weights.is_safetensors(source):
        raise RecipeError(f"{source}: is safetensors already; use it with --weights METHOD={source}")
    check_target(out, [source], overwrite=overwrite)
    content = converted(source, may_unpickle=allow_pickle, licence=licence, planes=planes)
    with replacing(out) as part:
        part.write_bytes(content)
    told = weights.metadata(out)
    known = f"{told['architecture']}, " if "architecture" in told else ""
    say(
        f"{source} -> {out}  {known}{len(content)} bytes, licence {told['licence']}; use it with --weights METHOD={out}"
    )
