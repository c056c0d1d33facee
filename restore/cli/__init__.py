"""The ``restore`` command: options to a recipe and a folder job; everything heavy is imported when it is needed.

Every module of this package registers its commands with ``options.app``; ``run`` comes first in the help.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pkgutil import iter_modules

from restore.cli.options import app
from restore.errors import Cancelled, RecipeError, RestoreError, printable

__all__ = ["app", "main"]

for _name in sorted((module.name for module in iter_modules(__path__)), key=lambda name: (name != "run", name)):
    import_module(f"{__name__}.{_name}")


def main() -> None:
    """Run the command; what a user did wrong ends it with one line and exit code 2."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us; else the next file would take its place
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        app()
    except RestoreError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        sys.exit(2 if isinstance(error, RecipeError) else 130 if isinstance(error, Cancelled) else 1)
