"""Decode in a process of its own: a decoder that crashes, hangs or eats memory costs one file, not the run.

A worker is a fresh interpreter that runs `restore.files.decoder`; it serves one file after another, so that its start
is paid once. Pixels come back in memory without a name (a file without a name where the system has none), which is
gone with whoever holds it, however that ends.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from restore import errors
from restore.errors import FileError, MemoryLimitError, ReadError, RestoreError
from restore.files import parcel
from restore.files.container import Limits
from restore.picture import Image, RawImage

COMMAND = (sys.executable, "-P", "-m", "restore.files.decoder")
"""What a worker is started by; the number of its end of the channel is added."""
PATIENCE = 4.0
"""Wall seconds given for each processor second, for machines that do more than this."""

PICTURE, STACK, SCAN = "picture", "stack", "scan"
"""What a worker is asked for; the last is what is wrong with a JPEG's data."""

_BROKEN = "Corrupt JPEG data: "
_START_S, _END_S = 120.0, 30.0
_KEPT, _LIFE = 2, 500
_LONGEST_ANSWER = 1 << 26
_MOST_A_PIXEL = 16
IS_POSSIBLE = hasattr(socket, "send_fds")
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
    if not _is_inside and not IS_POSSIBLE:
        problem = "this system cannot pass open files between processes: raw files and rare formats are decoded"
        warnings.warn(f"{problem} without limits in this process; open only files you trust", RuntimeWarning, 2)
    return _is_inside or not IS_POSSIBLE


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
    with tempfile.TemporaryFile() as nothing, _POOL.worker() as worker:
        answer = worker.ask(path, nothing.fileno(), limits, SCAN)
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
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else _memory() as block:
        with _POOL.worker() as worker:
            answer = worker.ask(path, block.fileno(), limits, STACK if is_stack else PICTURE)
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


def _memory() -> Any:
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


@contextmanager
def _startable(channel: socket.socket) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        channel.close()
        problem = f"the decoder's process cannot be started ({error.strerror}); close other programs"
        raise RestoreError(problem) from error


def _too_slow(path: Path, limits: Limits) -> FileError:
    problem = f"decoding takes more than {limits.max_seconds:g} s; it is damaged, or raise --max-seconds"
    return ReadError(path, problem)


class _Worker:
    """One process that decodes; whoever holds it has it alone."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        seen = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - as it is now
        with theirs, _startable(self._channel):
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run
                env=os.environ | {"PYTHONPATH": seen, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._served, self.is_spent = 0, False
        with suppress(OSError):
            if self._line(_START_S) is not None:
                return
        self.end()
        code = self._process.returncode
        raise RestoreError(f"the decoder's process does not start (it ended with {code}); try {' '.join(COMMAND)}")

    def ask(self, path: Path, block: int, limits: Limits, task: str) -> dict[str, Any]:
        """Have a file read into an open file; return a tree, or what went wrong."""
        self._served += 1
        self.is_spent = True
        order = asdict(limits) | {"path": os.path.abspath(path), "task": task}  # noqa: PTH100 - keeps links
        line: bytes | None = None
        try:
            socket.send_fds(self._channel, [json.dumps(order).encode("ascii") + b"\n"], [block])
            line = self._line(PATIENCE * limits.max_seconds)
        except TimeoutError:
            self._process.kill()
            raise _too_slow(path, limits) from None
        except OSError:  # its end is closed
            pass
        if line is None:
            raise self._failure(path, limits)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ReadError(path, "its decoder gave an answer that cannot be read; do not trust it")
        has_room = answer.get("error") != MemoryLimitError.__name__
        self.is_spent = self._served >= _LIFE or not has_room or not ("tree" in answer or "error" in answer)
        return answer

    def _line(self, seconds: float) -> bytes | None:
        """Return the next line of the channel; None if its other end is lost.

        Raises
        ------
        TimeoutError
            It does not come.
        """
        deadline, found = time.monotonic() + seconds, bytearray()
        while len(found) < _LONGEST_ANSWER:
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._channel.recv(1 << 20)
            found += part
            if part.endswith(b"\n"):
                return bytes(found)
            if not part:
                break
        return None

    def _failure(self, path: Path, limits: Limits) -> FileError:
        """Say how the process was lost."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.poll()
        if code == -getattr(signal, "SIGXCPU", 0):
            return _too_slow(path, limits)
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        return ReadError(path, f"its decoder crashed ({how}); it is damaged or hostile: get a fresh copy")

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process at once."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


class _Pool:
    """Workers that wait for the next file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    @contextmanager
    def worker(self) -> Iterator[_Worker]:
        """Give a worker; one that failed is not kept."""
        worker = self._waiting() or _Worker()
        try:
            yield worker
        finally:
            with self._lock:
                is_kept = not worker.is_spent and len(self._idle) < _KEPT
                if is_kept:
                    self._idle.append(worker)
            if not is_kept:
                worker.end()

    def _waiting(self) -> _Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.end()
        return None

    def close(self) -> None:
        """End all that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()

    def forget(self) -> None:
        """Leave the workers to the process that this one was forked from."""
        self._lock, self._idle = threading.Lock(), []


_POOL = _Pool()
close = _POOL.close
atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)
