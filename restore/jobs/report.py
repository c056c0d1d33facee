"""How a job is to be done, what is heard while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from restore.files import Limits
from restore.jobs.plan import KEEP, Existing, Work


@dataclass(frozen=True)
class Options:
    """How a job treats files; nothing here changes pixels but ``format`` and ``depth``.

    Parameters
    ----------
    folder
        Where the journal is kept; None keeps none.
    is_resumed
        Whether to pass over what the journal says is done.
    format, depth
        What to write; ``"keep"`` and None keep the input's own.
    jobs
        Files worked on at the same time.
    reference
        Folder of clean pictures of the same names, to score against.
    limits
        How large an input may be.
    """

    folder: Path | None = None
    existing: Existing = Existing.REFUSE
    is_resumed: bool = False
    format: str = KEEP
    depth: int | None = None
    jobs: int = 1
    reference: Path | None = None
    limits: Limits = Limits()


class Status(StrEnum):
    """How work on a file ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Outcome:
    """How work on one file ended.

    Parameters
    ----------
    target
        The file written.
    error
        What went wrong, or why it was skipped.
    kind
        Name of the error's type; ``"internal error"`` is a bug of ours, whose traceback is in ``trace``.
    record
        Content of the side file.
    """

    work: Work
    status: Status
    target: Path | None = None
    error: str = ""
    kind: str = ""
    trace: str = ""
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Moved:
    """Where work on one file stands: the share of the file that is done, 0...1."""

    work: Work
    step: str
    share: float


OnEvent = Callable[[Moved | Outcome], None]
"""Hears of every move, from several threads, and of every outcome, in the order of the works."""


@dataclass(frozen=True)
class Report:
    """How a job ended; ``is_cancelled`` when somebody stopped it."""

    outcomes: tuple[Outcome, ...]
    is_cancelled: bool
    seconds: float

    def count(self, status: Status) -> int:
        """Return how many files ended so."""
        return sum(outcome.status is status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 nothing done, 3 some failed, 130 stopped."""
        if self.is_cancelled:
            return 130
        if not self.count(Status.DONE) + self.count(Status.SKIPPED):
            return 1
        return 3 if self.count(Status.FAILED) else 0
