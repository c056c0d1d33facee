"""How a job is to be done, what is heard while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from restore.files import Limits
from restore.jobs.plan import KEEP, Existing, Work

LOCAL, RAY = "local", "ray"


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
        Files worked on at the same time; None means up to four here, by files and cores (one on a GPU), and on Ray as
        many as the cluster holds. Here never more than fit into memory beside each other.
    reference
        Folder of clean pictures of the same names, to score against.
    engine, address
        Who works: this process, or Ray, on the cluster at an address or started on this machine for the run.
    limits
        How large an input may be.
    uncertainty
        Whether to write the standard error of each value beside the result.
    """

    folder: Path | None = None
    existing: Existing = Existing.REFUSE
    is_resumed: bool = False
    format: str = KEEP
    depth: int | None = None
    jobs: int | None = None
    reference: Path | None = None
    engine: str = LOCAL
    address: str | None = None
    limits: Limits = Limits()
    uncertainty: bool = False


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
    """How a job ended; ``is_cancelled`` when somebody stopped it, ``notes`` tell what happened to workers."""

    outcomes: tuple[Outcome, ...]
    is_cancelled: bool
    seconds: float
    notes: tuple[str, ...] = ()

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
