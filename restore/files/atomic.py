"""Write a file so that its final name never holds half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore.errors import WriteError
from restore.paths import is_folder, is_there

_UMASK = os.umask(0o022)  # it can only be read by setting it, for all threads: once, before there are several
os.umask(_UMASK)

_PREFIX, _PART = ".restore-", ".part"


def check_target(path: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write over an input or a folder, and over whatever else is there unless that was asked for.

    Raises
    ------
    WriteError
        ``path`` is one of the ``inputs`` by any name, or is there and ``overwrite`` is not set.
    """
    if any(is_same(path, found) for found in inputs):
        raise WriteError(path, "is an input itself; choose another name")
    if not overwrite and is_there(path):
        raise WriteError(path, "exists already; use --overwrite, or choose another name")
    if is_folder(path):
        raise WriteError(path, "is a folder; give the name of a file")
    above = next(folder for folder in path.absolute().parents if is_there(folder))
    if not is_folder(above):
        raise WriteError(path, f"cannot be written: {above} is no folder")


def is_same(path: Path, other: Path) -> bool:
    """Whether both are there, and one and the same."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    WriteError
        That cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"the folder cannot be made ({error.strerror}); choose another") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; on success flush it to disk and rename it to ``path``.

    On any error the temporary file is removed and whatever was at ``path`` stays as it was.

    Raises
    ------
    WriteError
        The folder is missing or read-only, or the disk is full.
    """
    try:
        handle, part = _begun(path)
    except OSError as error:
        raise WriteError(path, f"cannot write into this folder ({error.strerror})") from error
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # file systems without rights
            part.chmod(0o666 & ~_UMASK)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise WriteError(path, f"cannot write ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # of a folder that was closed meanwhile; `sweep` tries again
            part.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _begun(path: Path) -> tuple[int | None, Path]:
    """Make a temporary file beside ``path`` and lock it where the system can, so that `sweep` sees it is in use."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_PART + path.suffix, dir=path.parent)
        if not _lock(handle, may_wait=True):
            os.close(handle)
            return None, Path(name)
        if is_there(name):
            return handle, Path(name)
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; those still being written are locked and stay."""
    for part in folder.glob(f"{_PREFIX}*{_PART}*"):
        with suppress(OSError), part.open("rb") as file:
            if _lock(file.fileno(), may_wait=False):
                part.unlink()


def _lock(handle: int, *, may_wait: bool) -> bool:
    """Lock a file until it is closed, however its process ends; return False where that cannot be."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if may_wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Let names made in a folder outlive a power loss, where it may be opened and its file system can do that."""
    if os.name == "posix":
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
