"""A file's bytes, read as they are asked for."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import IO

from restore.errors import ReadError

Whole = bytes | mmap.mmap
"""All bytes of a file."""

LARGE = 256 << 20
"""Bytes of a file that is mapped after all: what its header promises was not checked yet."""


class Pieces:
    """Gives slices of an open file.

    A map of it would be simpler, but where its bytes cannot be read (a bad sector, a share that went away, a file that
    is cut meanwhile), the system ends whoever looks at a map; here it is an error.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self._size = path, file, os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """Return some of the bytes.

        Raises
        ------
        ReadError
            They cannot be read, or are not there any more.
        """
        start, stop, _ = part.indices(self._size)
        try:
            self._file.seek(start)
            found = self._file.read(max(0, stop - start))
        except OSError as error:
            raise ReadError(self._path, f"cannot be read ({error.strerror}); copy it again from its source") from error
        if len(found) < stop - start:
            raise ReadError(self._path, "became shorter while it was read; run again when nothing writes it")
        return found

    def whole(self) -> Whole:
        """Return all bytes; those of a large file as a map.

        Raises
        ------
        ReadError
            They cannot be read.
        """
        if self._size > LARGE:
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self[:]
