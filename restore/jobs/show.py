"""Tell how a job goes: results on the standard output, progress with the time left on the error output."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from restore.errors import printable
from restore.jobs import lines
from restore.jobs.lines import say_aside, say_if_heard
from restore.jobs.plan import Work
from restore.jobs.report import Moved, Outcome, Report, Status

PAUSE = 2.0
"""Seconds between two lines of progress where there is no terminal."""


_RECORDED = ("input", "output", "dropped", "pages", "recipe", "reports", "scores")


class Screen:
    """Hears the events of a job and tells people, or programs by JSON lines.

    Parameters
    ----------
    count
        Number of files.
    is_json
        Whether the standard output gets JSON lines.
    """

    def __init__(self, count: int, *, is_json: bool = False) -> None:
        self._count = max(count, 1)
        self._is_json = is_json
        self._shares: dict[Work, float] = {}
        self._ended = 0
        self._lock = threading.Lock()
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
            self._task = self._bar.add_task("starting", total=float(self._count))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            with suppress(OSError):  # of a terminal that is gone
                self._bar.stop()

    def hear(self, event: Moved | Outcome) -> None:
        """Show an event; safe to call from several threads."""
        with self._lock:
            if isinstance(event, Outcome):
                self._shares.pop(event.work, None)
                self._ended += 1
                self._show_outcome(event)
                if event.status is not Status.CANCELLED:
                    self._show_progress(event.work.source.name)
            else:
                share = max(self._shares.get(event.work, 0.0), event.share)
                self._shares[event.work] = share
                self._show_progress(f"{event.work.source.name}: {event.step} {share:.0%}")

    def _show_progress(self, what: str) -> None:
        done = self._ended + sum(self._shares.values())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=printable(what))
            return
        now = time.monotonic()
        if now - self._last < PAUSE or not done:
            return
        self._last = now
        left = timedelta(seconds=round((now - self._start) * (self._count - done) / done))
        say_aside(f"{done / self._count:4.0%}  {self._ended} of {self._count} files  ETA {left}  {what}")

    def _show_outcome(self, outcome: Outcome) -> None:
        if self._is_json:
            say_if_heard(lines.line("file", **outcome_fields(outcome)))
        elif outcome.status in (Status.DONE, Status.SKIPPED):
            say_if_heard(in_words(outcome))
        for row in outcome.trace.splitlines():
            say_aside(row)
        if outcome.status is Status.FAILED:
            say_aside(f"failed  {outcome.error}")


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the fields of a JSON line."""
    return {
        "source": str(outcome.work.source),
        "target": None if outcome.target is None else str(outcome.target),
        "status": outcome.status.value,
        "error": outcome.error or None,
        "error_type": outcome.kind or None,
        "seconds": round(outcome.seconds, 3),
        **{name: outcome.record.get(name) for name in _RECORDED},
    }


def in_words(outcome: Outcome) -> str:
    """Say in a line what was made of a file."""
    if outcome.status is not Status.DONE:
        return f"{outcome.work.source}: skipped, {outcome.error}"
    made = outcome.record["recipe"]["steps"]
    steps = [step["method"] + (f" ({step['reason']})" if step["reason"] else "") for step in made]
    scores = outcome.record["scores"] or {}
    numbers = [f"{name.upper()} {value:.4g}" for name, value in scores.items() if isinstance(value, float)]
    pages = [of_pages(outcome.record["pages"])] if outcome.record["pages"] else []
    more = "".join(f"; {text}" for text in [*numbers, *pages, *notes(outcome.record)])
    return (
        f"{outcome.work.source} -> {outcome.target}  {', '.join(steps) or 'unchanged'}{more}  {outcome.seconds:.1f} s"
    )


def notes(record: dict[str, Any]) -> list[str]:
    """Say what is to be known of a result: what was not kept, what methods tell, its noise, and what looks wrong."""
    said = [f"not kept: {what}" for what in record["dropped"]]
    notes = [(r["step"]["method"], note) for r in record["reports"] for note in r["facts"].get("notes", ())]
    said += [f"{method}: {note}" if len(record["reports"]) > 1 else note for method, note in notes]
    scores = record["scores"] or {}
    said += [scores["problem"]] if "problem" in scores else []
    found = [seen for report in record["reports"] for seen in report["evidence"]]
    said += [seen["says"] for seen in found if seen["name"] == "noise"]
    return said + [f"CHECK: {seen['says']} ({seen['weight']} evidence)" for seen in found if seen["is_alarm"]]


def of_pages(pages: dict[str, Any]) -> str:
    """Say how the pages of a stack came out.

    >>> of_pages({"count": 9, "reported": 3, "alarms": [3, 7], "noise": [0.01, 0.02]})
    '9 pages, noise 2.6 to 5.1/255, alarms on 2 of them; what follows is of page 3'
    """
    low, high = (255 * side(pages["noise"], default=0.0) for side in (min, max))
    alarms = f", alarms on {len(pages['alarms'])} of them" if pages["alarms"] else ""
    said = f"{pages['count']} pages, noise {low:.1f} to {high:.1f}/255{alarms}"
    return f"{said}; what follows is of page {pages['reported']}"


def summary(report: Report, *, is_json: bool) -> str:
    """Say how a job ended."""
    counts = {status.value: report.count(status) for status in Status}
    if is_json:
        ended = {"seconds": round(report.seconds, 3), "exit_code": report.exit_code, "notes": report.notes}
        return lines.line("summary", **counts, **ended)
    parts = [f"{count} {name}" for name, count in counts.items() if count or name == "done"]
    return "; ".join([f"{', '.join(parts)} in {report.seconds:.1f} s", *report.notes])


def planned(outcome: Outcome, *, is_json: bool) -> str:
    """Say what would be made of a file."""
    work, status, error = outcome.work, outcome.status, outcome.error
    if is_json:
        targets = [str(target) for target in work.targets]
        skipped, failed = (error if status is wanted else None for wanted in (Status.SKIPPED, Status.FAILED))
        return lines.line("plan", source=str(work.source), targets=targets, error=failed, skipped=skipped)
    if status is Status.DONE:
        return f"{work.source} -> {' or '.join(map(str, dict.fromkeys(work.targets)))}"
    return in_words(outcome) if status is Status.SKIPPED else f"failed  {error}"
