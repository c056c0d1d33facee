"""What a folder job has done so far, kept in the output folder so that a run that was killed can go on."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Self

from restore import weights
from restore.errors import WriteError
from restore.files.atomic import sync_folder
from restore.files.folder import JOURNAL, SIDE_SUFFIX, SIGMA_SUFFIX

STARTED, DONE, FAILED = "started", "done", "failed"


@dataclass(frozen=True)
class Line:
    """One event of a job; paths are relative to the journal's folder.

    Parameters
    ----------
    source
        The input.
    status
        ``"started"`` before the result is written, then ``"done"``; or ``"failed"``, with a target where that was
        written or may be.
    recipe
        SHA-256 of all that decides the result.
    sha256, bytes, modified_ns
        Of the input; what can be known of one that cannot be read.
    target, target_sha256
        The result, once it is written.
    beside
        SHA-256 of the files beside it, by their paths.
    """

    source: str
    status: str
    recipe: str
    sha256: str = ""
    bytes: int = -1
    modified_ns: int = -1
    target: str = ""
    target_sha256: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


class Journal:
    """An append-only file of lines, each on the disk before the next is begun; one run at a time may hold it.

    Raises
    ------
    WriteError
        It cannot be written, or another run holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._lock = threading.Lock()
        try:
            self._file = self.path.open("a+b", buffering=0)
            sync_folder(folder)
        except OSError as error:
            raise WriteError(self.path, f"cannot write the journal ({error.strerror})") from error
        try:
            _hold(self._file, self.path)
        except WriteError:
            self._file.close()
            raise
        self.last, self._made = self._read()

    def _read(self) -> tuple[Mapping[str, Line], Mapping[str, str]]:
        """Return the last line of every input, and the SHA-256 of every file that was written last.

        Lines that are torn or of another version are passed over.
        """
        self._file.seek(0)
        text = self._file.read()
        self._is_torn = bool(text) and not text.endswith(b"\n")
        lines: dict[str, Line] = {}
        made: dict[str, str] = {}
        for row in text.splitlines():
            with suppress(ValueError, TypeError, RecursionError):
                line = Line(**json.loads(row))
                lines[line.source] = line
                if line.status == DONE:
                    made |= {line.target: line.target_sha256, **line.beside}
        self._begun = {line.target for line in lines.values() if line.status != DONE} - {""}
        return lines, made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # every line is on the disk, or said to be not
            self._file.close()

    def name(self, path: Path) -> str:
        """Return a path as the journal calls it."""
        return Path(os.path.relpath(path, self.path.parent)).as_posix()

    def write(self, line: Line) -> None:
        """Append a line and flush it to the disk.

        Raises
        ------
        WriteError
            The disk is full.
        """
        try:
            with self._lock:
                row = b"\n" * self._is_torn + json.dumps(asdict(line)).encode("ascii") + b"\n"
                self._is_torn = True
                while row:
                    row = row[self._file.write(row) :]
                os.fsync(self._file.fileno())
                self._is_torn = False
        except OSError as error:
            raise WriteError(self.path, f"cannot write the journal ({error.strerror})") from error

    def is_done(self, source: Path, recipe: str, targets: Sequence[Path]) -> bool:
        """Whether an input is done by this recipe into one of the targets, and neither file has changed since."""
        line = self.last.get(self.name(source))
        if line is None or line.status != DONE or line.recipe != recipe or line.target not in map(self.name, targets):
            return False
        try:
            now = source.stat()
            if (now.st_size, now.st_mtime_ns) != (line.bytes, line.modified_ns):
                return False
            hashes = weights.sha256(source), weights.sha256(self.path.parent / line.target)
            return hashes == (line.sha256, line.target_sha256)
        except OSError:
            return False

    def is_ours(self, target: Path) -> bool:
        """Whether a file was left by an earlier run of this job and nobody changed it since."""
        name = self.name(target)
        if self._begun & {name, name.removesuffix(SIDE_SUFFIX), name.removesuffix(SIGMA_SUFFIX)}:
            return True
        try:
            return name in self._made and weights.sha256(target) == self._made[name]
        except OSError:
            return False


def _hold(file: IO[bytes], path: Path) -> None:
    """Lock the journal where the system can; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WriteError(path, "another run is writing into this folder; wait for it or choose another") from error
    except OSError:
        return
