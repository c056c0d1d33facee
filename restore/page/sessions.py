"""Where the page keeps files while it works, and how a run of one visitor is stopped."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "restore-page-"
AGE_S = 6 * 3600.0
"""Age at which the files of a visitor who left without a word are removed."""


def make_root() -> Path:
    """Make this process's own folder, readable by its user alone, and remove those of processes that are gone."""
    with suppress(OSError):
        for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            number = old.name.removeprefix(PREFIX).split("-")[0]
            if number.isdecimal() and not _is_running(int(number)):
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def remove_at_end(root: Path) -> None:
    """Remove a folder when the process ends, also by the signals that services and closed terminals send."""
    atexit.register(shutil.rmtree, root, ignore_errors=True)

    def end(number: int, _: object) -> None:
        shutil.rmtree(root, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:  # what is ignored, as under nohup, stays so
            with suppress(ValueError):  # not the main thread, which alone hears signals
                signal.signal(number, end)


def without_folders(text: str) -> str:
    """Name files of visitors, and what is made of them, without the folders that this machine keeps them in.

    >>> without_folders(f"{tempfile.gettempdir()}/restore-page-7-x/in/t_k-n/out/a b.jpg: 1/2 is damaged")
    'a b.jpg: 1/2 is damaged'
    """
    bases = {re.escape(base) for base in (tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir()))}
    return re.sub(rf"(?:{'|'.join(bases)})[/\\]{PREFIX}[^\s/\\]*[/\\](?:[^\s/\\]+[/\\])*", "", text)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True)
class Run:
    """One run of one visitor: a folder of its own with a name that cannot be guessed, and how to stop it.

    ``cancelled`` is also set once the run has ended.
    """

    folder: Path
    cancelled: threading.Event = field(default_factory=threading.Event)


class Sessions:
    """The runs of all visitors; the folders lie below ``root`` and are never served themselves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str], Run] = {}

    @contextmanager
    def running(self, visitor: str | None, tab: str) -> Iterator[Run]:
        """Hold a run in place of the visitor's last one in this tab, which is stopped.

        The last one's files are what the tab shows: they are removed once there are others, and stay where the new run
        fails.
        """
        self.sweep(AGE_S)
        token = secrets.token_urlsafe(18)
        run, key = Run(self.root / token), (visitor or token, tab)
        run.folder.mkdir(mode=0o700, parents=True)
        with self._lock:
            before = self._runs.get(key)
            self._runs[key] = run
        if before:
            before.cancelled.set()
        useless = [run, before]
        try:
            yield run
            useless = [before]
        finally:
            run.cancelled.set()
            with self._lock:
                if run in useless and self._runs.get(key) is run:
                    self._runs.pop(key)
                    if before:
                        self._runs[key] = before
                        useless = [run]
            for old in useless:
                _discard(old)

    def cancel(self, visitor: str | None, tab: str) -> bool:
        """Ask the visitor's run in this tab to stop; return whether there was one that had not ended."""
        with self._lock:
            run = self._runs.get((visitor or "", tab))
        if run is None or run.cancelled.is_set():
            return False
        run.cancelled.set()
        return True

    def end(self, visitor: str | None) -> None:
        """Stop and forget everything of a visitor who has left."""
        with self._lock:
            gone = [self._runs.pop(key) for key in list(self._runs) if key[0] == visitor]
        for run in gone:
            _discard(run)

    def sweep(self, age: float) -> int:
        """Remove runs that have ended and began more than ``age`` seconds ago; return how many."""
        limit = time.time() - age
        with self._lock:
            ended = [(key, run) for key, run in self._runs.items() if run.cancelled.is_set()]
            old = [key for key, run in ended if _made(run.folder) < limit]
            gone = [self._runs.pop(key) for key in old]
        for run in gone:
            _discard(run)
        return len(gone)


def _made(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _discard(run: Run | None) -> None:
    if run is not None:
        run.cancelled.set()
        shutil.rmtree(run.folder, ignore_errors=True)
