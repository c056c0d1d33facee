"""Decode in a process of its own: a decoder that crashes, hangs or eats memory costs one file, not the run.

A worker (`restore.workers`) is a fresh interpreter that runs `restore.files.decoder`; it serves one file after another,
so that its start is paid once. Pixels come back in memory without a name (a file without a name where the system has
none), which is gone with whoever holds it, however that ends.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from restore import errors, workers
from restore.errors import FileError, MemoryLimitError, ReadError, RestoreError
from restore.files import parcel
from restore.files.container import Limits
from restore.picture import Image, RawImage

PICTURE, STACK, SCAN = "picture", "stack", "scan"
"""What a worker is asked for; the last is what is wrong with a JPEG's data."""

_BROKEN = "Corrupt JPEG data: "
_MOST_A_PIXEL = 16
_is_inside = False


def enter() -> None:
    """Say that this process is a worker, where any decoder may run."""
    global _is_inside  # noqa: PLW0603 - a fact about the process
    _is_inside = True


def is_inside() -> bool:
    """Whether this process is a worker."""
    return _is_inside


def may_decode_here() -> bool:
    """Whether risky decoders run in this process: it is a worker, or the system lets nobody start one."""
    if not _is_inside and not workers.IS_POSSIBLE:
        problem = "this system cannot pass open files between processes: raw files and rare formats are decoded"
        warnings.warn(f"{problem} without limits in this process; open only files you trust", RuntimeWarning, 2)
    return _is_inside or not workers.IS_POSSIBLE


def check_scan(path: Path, limits: Limits) -> None:
    """Look whether a JPEG's data are whole: what ends early, libjpeg fills with grey and reports as no error.

    Data that take too long, as a thousand passes over a large picture do, are found here too, under a limit of time.

    Raises
    ------
    ReadError
        They are not.
    UnsupportedError, TooLargeError
        As `restore.files.read`.
    """
    with unnamed() as nothing:
        answer = workers.POOL.ask(path, nothing.fileno(), asdict(limits), SCAN)
    if answer.get("error") not in (None, MemoryLimitError.__name__):
        raise _error(path, answer)
    lines = str(answer.get("tree", "")).splitlines()
    broken = [line for line in lines if line.startswith(_BROKEN) and "extraneous" not in line]
    if broken:
        raise ReadError(path, f"truncated or damaged JPEG ({broken[0].partition(': ')[2]}); get a fresh copy")


def read(path: Path, limits: Limits, *, is_stack: bool = False) -> Any:
    """Read a picture, or a stack of them, in a worker.

    Raises
    ------
    ReadError
        As `restore.files.read`; also where the decoder crashed or took too long.
    UnsupportedError, TooLargeError, MemoryLimitError
        As there; the last also where it wanted more memory than a picture of its size can need.
    """
    with unnamed() as block:
        answer = workers.POOL.ask(path, block.fileno(), asdict(limits), STACK if is_stack else PICTURE)
        if "tree" not in answer:
            raise _error(path, answer)
        try:
            _seal(block.fileno())
            if os.fstat(block.fileno()).st_size > _MOST_A_PIXEL * limits.max_pixels + limits.max_bytes:
                raise ValueError("more than the largest picture")
            found = parcel.unpack(answer["tree"], block.fileno())
            pictures = found if is_stack else [found]
            ready = [_named(picture, path) for picture in pictures]
        except (ValueError, TypeError, LookupError, AttributeError, OSError, RestoreError) as error:
            raise ReadError(path, f"its decoder gave an impossible answer ({error}); do not trust it") from error
    return ready if is_stack else ready[0]


def unnamed() -> Any:
    """Return an open file without a name: in memory where that can be, for temporary folders may be full or missing."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create("restore", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+b", buffering=0)


def _seal(file: int) -> None:
    """Forbid the worker to change what it gave, where the system can: a shorter file would kill this process."""
    with suppress(ImportError, AttributeError):
        import fcntl

        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)


def _named(picture: Image | RawImage, path: Path) -> Image | RawImage:
    if not isinstance(picture, Image | RawImage):
        raise TypeError(f"{type(picture).__name__} in place of a picture")
    return replace(picture, meta=replace(picture.meta, source=path))


def _error(path: Path, answer: dict[str, Any]) -> Exception:
    """Return the error that a worker tells of."""
    kind, problem = getattr(errors, str(answer.get("error")), None), str(answer.get("problem"))
    if isinstance(kind, type) and issubclass(kind, FileError):
        return kind(path, problem)
    if isinstance(kind, type) and issubclass(kind, RestoreError):
        return kind(f"{path}: {problem}")
    return RuntimeError(f"a fault in a decoder's process, at {path}\n{problem}")
