"""What is written for people and for programs, line by line."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from restore.errors import RestoreError, printable

SCHEMA = 1
"""Version of the side file and of ``--json`` lines; raised when a field changes its meaning."""


def line(kind: str, /, **fields: Any) -> str:
    """Return one line of JSON that says what it is.

    >>> line("summary", done=3)
    '{"schema_version": 1, "type": "summary", "done": 3}'
    """
    return json.dumps(plain({"schema_version": SCHEMA, "type": kind, **fields}), allow_nan=False)


def plain(value: Any) -> Any:
    """Return JSON values for records of numbers; numbers that are not finite become None, as JSON has none.

    >>> plain({"psnr": float("inf"), "tile": np.int64(3), "levels": (1.0, 2.0)})
    {'psnr': None, 'tile': 3, 'levels': [1.0, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def named(error: RestoreError, source: Path) -> str:
    """Say an error with the file it is about."""
    text = str(error)
    return text if text.startswith(str(source)) else f"{source}: {text}"


def say(text: str) -> None:
    """Write a line to the standard output at once."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def say_aside(text: str) -> None:
    """Write a line to the error output at once; where nobody can read it any more, the work goes on without."""
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except OSError:
        _mute(sys.stderr)


def say_if_heard(text: str) -> None:
    """Write a line as `say`; where that fails (a closed pipe, a full disk), say so aside once and go on without."""
    try:
        say(text)
    except OSError as error:
        _mute(sys.stdout)
        say_aside(f"the standard output cannot be written ({error.strerror}); the work goes on without it")


def _mute(stream: TextIO) -> None:
    """Have what is written to a stream from now on vanish, also what it still holds."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - as it is called
        os.dup2(nothing.fileno(), stream.fileno())
