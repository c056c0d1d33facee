"""The ``restore`` command: options to a recipe and a folder job; everything heavy is imported when it is needed."""

from __future__ import annotations

import sys

from restore.cli import calibrate, degrade, look, machine, noise, run, weights
from restore.cli.options import app
from restore.errors import RecipeError, RestoreError

__all__ = ["app", "calibrate", "degrade", "look", "machine", "main", "noise", "run", "weights"]


def main() -> None:
    """Run the command; what a user did wrong ends it with one line and exit code 2."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except RestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, RecipeError) else 1)
