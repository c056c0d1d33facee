"""Write a file so that its final name never holds half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restore.errors import WriteError


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
        handle, name = tempfile.mkstemp(prefix=".restore-", suffix=".part" + path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise WriteError(path, f"cannot write into this folder ({error.strerror})") from error
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(path, f"cannot write ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
