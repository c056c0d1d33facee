"""Processes that decode: started ahead, asked one file after another, ended with their owner.

Kept apart from `restore.files`, whose import takes a while: a command starts a worker first and imports meanwhile.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from restore.errors import FileError, MemoryLimitError, ReadError, RestoreError

COMMAND = (sys.executable, "-P", "-m", "restore.files.decoder")
"""What a worker is started by; the number of its end of the channel is added."""
PATIENCE = 4.0
"""Wall seconds given for each processor second, for machines that do more than this."""
IS_POSSIBLE = hasattr(socket, "send_fds")
"""Whether the system can pass open files between processes."""

_START_S, _END_S = 120.0, 30.0
_KEPT, _LIFE = 2, 500
_LONGEST_ANSWER = 1 << 26


@contextmanager
def _startable(channel: socket.socket) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        channel.close()
        problem = f"the decoder's process cannot be started ({error.strerror}); close other programs"
        raise RestoreError(problem) from error


def _too_slow(path: Path, seconds: float) -> FileError:
    problem = f"decoding takes more than {seconds:g} s; it is damaged, or raise --max-seconds"
    return ReadError(path, problem)


class Worker:
    """One process that decodes; whoever holds it has it alone. It starts while nobody waits for it."""

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
        self._served, self.is_spent, self._is_ready, self.was_killed = 0, False, False, False

    def _await(self) -> None:
        """Wait until it has started.

        Raises
        ------
        RestoreError
            It does not.
        """
        with suppress(OSError):
            self._is_ready = self._is_ready or self._line(_START_S) is not None
        if not self._is_ready:
            self.end()
            code = self._process.returncode
            raise RestoreError(f"the decoder's process does not start (it ended with {code}); try {' '.join(COMMAND)}")

    def ask(self, path: Path, block: int, limits: Mapping[str, Any], task: str) -> dict[str, Any]:
        """Have a file read into an open file; return a tree, or what went wrong.

        Raises
        ------
        ReadError
            It crashed or took more than ``max_seconds`` of the limits.
        RestoreError
            It cannot be started.
        """
        self._served += 1
        self.is_spent = True
        self._await()
        order = {**limits, "path": os.path.abspath(path), "task": task}  # noqa: PTH100 - keeps links
        line: bytes | None = None
        try:
            socket.send_fds(self._channel, [json.dumps(order).encode("ascii") + b"\n"], [block])
            line = self._line(PATIENCE * limits["max_seconds"])
        except TimeoutError:
            self._process.kill()
            raise _too_slow(path, limits["max_seconds"]) from None
        except OSError:  # its end is closed
            pass
        if line is None:
            raise self._failure(path, limits["max_seconds"])
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

    def _failure(self, path: Path, seconds: float) -> FileError:
        """Say how the process was lost."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.poll()
        if code == -getattr(signal, "SIGXCPU", 0):
            return _too_slow(path, seconds)
        self.was_killed = code == -getattr(signal, "SIGKILL", 0)
        if self.was_killed:
            reason = "its decoder was killed, as by a system that runs out of memory"
            return ReadError(path, f"{reason}; close other programs and run again")
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


class Pool:
    """Workers that wait for the next file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []

    def expect(self) -> None:
        """Start a worker, for whoever will soon want one."""
        if IS_POSSIBLE:
            with self._lock, suppress(RestoreError):  # whoever wants one is told
                self._idle.append(Worker())

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Give a worker; one that failed is not kept."""
        worker = self._waiting() or Worker()
        try:
            yield worker
        finally:
            with self._lock:
                is_kept = not worker.is_spent and len(self._idle) < _KEPT
                if is_kept:
                    self._idle.append(worker)
            if not is_kept:
                worker.end()

    def ask(self, path: Path, block: int, limits: Mapping[str, Any], task: str) -> dict[str, Any]:
        """Ask a worker, as `Worker.ask`; where it is killed from outside, another one."""
        with self.worker() as worker:
            try:
                return worker.ask(path, block, limits, task)
            except ReadError:
                if not worker.was_killed:
                    raise
        with self.worker() as worker:
            return worker.ask(path, block, limits, task)

    def _waiting(self) -> Worker | None:
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


POOL = Pool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
