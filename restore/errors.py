"""Every error this package raises on purpose.

::

    RestoreError
    ├── FileError              a file cannot be used; ``path`` is on the error
    │   ├── ReadError          damaged, truncated, unreadable or not a picture
    │   ├── UnsupportedError   a picture, but of a kind we cannot handle
    │   ├── TooLargeError      more pixels or bytes than the limit allows
    │   └── WriteError         the result cannot be written there
    ├── ArrayError             an array of a shape, type or content we cannot handle
    ├── RecipeError            unknown method or knob, value out of range, steps in an impossible order
    ├── WeightsError           weights missing, damaged, of another architecture, or not allowed
    ├── ResultError            a method gave a result that must not be written (not finite, wrong size)
    ├── MemoryLimitError       does not fit into memory even in the smallest tiles
    └── Cancelled              the caller asked to stop

Anything else that comes out of this package is a bug. A message says what was wrong, what was found, and what to
do about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path


class RestoreError(Exception):
    """Root of all errors raised on purpose."""


class FileError(RestoreError):
    """A file cannot be used.

    Parameters
    ----------
    path
        The file at fault; the message starts with it.
    problem
        What is wrong and what to do.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type[FileError], tuple[Path, str]]:
        return type(self), (self.path, self.problem)


class ReadError(FileError):
    """Damaged, truncated, unreadable, or not a picture."""


class UnsupportedError(FileError):
    """A picture, but of a kind we cannot handle."""


class TooLargeError(FileError):
    """More pixels or bytes than the limit allows."""


class WriteError(FileError):
    """The result cannot be written there."""


class ArrayError(RestoreError, ValueError):
    """An array of a shape, type or content we cannot handle."""


class RecipeError(RestoreError, ValueError):
    """Unknown method or knob, value out of range, or steps in an impossible order."""


class WeightsError(RestoreError):
    """Weights are missing, damaged, of another architecture, or not allowed."""


class ResultError(RestoreError):
    """A method gave a result that must not be written."""


class MemoryLimitError(RestoreError):
    """The work does not fit into memory even in the smallest tiles."""


class Cancelled(RestoreError):  # noqa: N818 - not a failure: the caller asked for it
    """The caller asked to stop."""


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return text with control characters escaped, so that no file's name or content acts on a terminal.

    >>> printable("tab\t\x1b[31mred.png")
    'tab\\t\\x1b[31mred.png'
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name that looks most like ``name``, or a list of all.

    >>> nearest("wavlet", ["none", "wavelet"])
    " Did you mean 'wavelet'?"
    >>> nearest("zzz", ["none", "wavelet"])
    ' Known: none, wavelet.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(names) or 'nothing'}."
