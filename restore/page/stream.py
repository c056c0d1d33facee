"""A folder job as a stream of what happens, so that a page can show it while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from restore.errors import Cancelled, RestoreError
from restore.files import Limits
from restore.jobs import side
from restore.jobs.order import Order
from restore.jobs.report import Moved, Options, Outcome, Status
from restore.jobs.run import run_folder
from restore.page.sessions import without_folders
from restore.page.words import left
from restore.runtime import Runtime


def events(order: Order, runtime: Runtime, limits: Limits) -> Iterator[Moved | Outcome]:
    """Carry an order out in a thread of its own and yield what happens; leaving the loop stops the job.

    Raises
    ------
    RestoreError
        Nothing could be begun.
    """
    options = Options(format=order.format, depth=order.depth, limits=limits, uncertainty=order.with_errors)
    heard: SimpleQueue[Moved | Outcome | None] = SimpleQueue()
    with ThreadPoolExecutor(1, "job") as pool:
        job = pool.submit(run_folder, order.works, order.recipe, runtime, options, heard.put)
        job.add_done_callback(lambda _: heard.put(None))
        try:
            while (event := heard.get()) is not None:
                if isinstance(event, Outcome) and event.status is Status.DONE and event.target is not None:
                    _without_folders(side.path_of(event.target))
                yield event
            job.result()
        finally:
            runtime.cancelled.set()


def _without_folders(side_file: Path) -> None:
    """Let a side file, which tells settings as they were given, name visitors' files without the folders here."""
    text = side_file.read_text(encoding="utf-8")
    if (told := without_folders(text)) != text:
        side_file.write_text(told, encoding="utf-8")


class Clock:
    """How far a job of several files is, and how long it will still take."""

    def __init__(self, count: int) -> None:
        self._count = max(count, 1)
        self._start = time.monotonic()
        self._ended = 0
        self.share = 0.0

    def hear(self, event: Moved | Outcome) -> tuple[float, str]:
        """Take an event; return the share done and a line that says where the job stands."""
        if isinstance(event, Outcome):
            self._ended += 1
            now = self._ended / self._count
        else:
            now = (self._ended + event.share) / self._count
        self.share = max(self.share, min(now, 1.0))
        name = event.work.source.name
        which = f"{min(self._ended + 1, self._count)} of {self._count}: {name}" if self._count > 1 else name
        return self.share, f"{which}, {left(self.share, time.monotonic() - self._start)}"


def one(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of a job on one file.

    Raises
    ------
    Cancelled, RestoreError
        It was stopped, or went wrong.
    """
    outcome = outcomes[0]
    if outcome.status is Status.CANCELLED:
        raise Cancelled("stopped on request")
    if outcome.status is not Status.DONE:
        raise RestoreError(outcome.error)
    return outcome
