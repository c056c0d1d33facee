"""Run a recipe on many files: one that fails never stops the others, and nothing is left half written."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from restore import files, pipeline, weights
from restore.errors import Cancelled, MemoryLimitError, ReadError, RestoreError, WriteError
from restore.jobs import engine, side
from restore.jobs.journal import DONE, FAILED, STARTED, Journal, Line
from restore.jobs.plan import Existing, Work
from restore.jobs.reference import score
from restore.jobs.report import Moved, OnEvent, Options, Outcome, Report, Status
from restore.picture import Picture, RawImage
from restore.pipeline import Result
from restore.raw.develop import develop
from restore.recipe import Recipe
from restore.runtime import Runtime, Tick


def run_folder(
    works: Sequence[Work],
    recipe: Recipe,
    runtime: Runtime,
    options: Options = Options(),  # noqa: B008 - frozen
    on_event: OnEvent = lambda _: None,
) -> Report:
    """Read, restore and write every file, reading the next ones while working.

    Set ``runtime.cancelled`` to stop: what is being written is finished or left as it was.

    Raises
    ------
    WriteError
        The journal cannot be written, so that nothing was begun.
    """
    start = time.perf_counter()
    outcomes = []
    with ExitStack() as stack:
        journal = None
        if options.folder is not None:
            _make_folder(options.folder)
            journal = stack.enter_context(Journal(options.folder))
            if options.is_resumed:
                _sweep(works)
        job = _Job(recipe, runtime, options, journal, on_event)
        cores = torch.get_num_threads()
        stack.callback(torch.set_num_threads, cores)
        for outcome in engine.threads(
            works,
            job.read,
            job.finish,
            jobs=options.jobs,
            on_thread=lambda: torch.set_num_threads(max(1, cores // options.jobs)),
        ):
            outcomes.append(outcome)
            on_event(outcome)
    return Report(tuple(outcomes), runtime.cancelled.is_set(), time.perf_counter() - start)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"the folder cannot be made ({error.strerror}); choose another") from error


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _print_of(path: Path) -> tuple[int, int]:
    """Return size and time of change, which tell whether somebody else writes a file."""
    try:
        status = path.stat()
    except OSError as error:
        raise ReadError(path, f"cannot be read ({error.strerror}); check the path and your permission") from error
    return status.st_size, status.st_mtime_ns


def _sha256(path: Path) -> str:
    try:
        return weights.sha256(path)
    except OSError as error:
        raise ReadError(path, f"cannot be read ({error.strerror})") from error


def _sweep(works: Sequence[Work]) -> None:
    """Remove temporary files that a killed run left; the journal's lock says that it is not running."""
    for folder in {target.parent for work in works for target in work.targets}:
        for part in folder.glob(".restore-*.part*"):
            with suppress(OSError):
                part.unlink()


@dataclass
class _Loaded:
    """A file that is read, or the outcome where there is nothing more to do; its picture can be taken once.

    ``started`` does not count the time between reading and working: it is moved on by that.
    """

    work: Work
    started: float
    outcome: Outcome | None = None
    pictures: list[Picture] = field(default_factory=list)
    line: Line = field(default_factory=lambda: Line("", "", ""))


@dataclass(frozen=True)
class _Job:
    recipe: Recipe
    runtime: Runtime
    options: Options
    journal: Journal | None
    on_event: OnEvent

    def read(self, work: Work) -> _Loaded:
        """Read a file, unless it is to be skipped."""
        loaded = _Loaded(work, time.perf_counter(), line=self._line(work))
        loaded.outcome = self._guarded(loaded, self._read)
        loaded.started -= time.perf_counter()
        return loaded

    def finish(self, loaded: _Loaded) -> Outcome:
        """Restore and write a file that was read."""
        loaded.started += time.perf_counter()
        outcome = loaded.outcome or self._guarded(loaded, self._finish)
        assert outcome is not None
        return replace(outcome, seconds=time.perf_counter() - loaded.started)

    def _guarded(self, loaded: _Loaded, action: Callable[[_Loaded], Outcome | None]) -> Outcome | None:
        """Run an action; turn whatever goes wrong into this file's outcome."""
        try:
            if self.runtime.cancelled.is_set():
                return Outcome(loaded.work, Status.CANCELLED)
            return action(loaded)
        except Cancelled:
            return Outcome(loaded.work, Status.CANCELLED)
        except _RefusedError as refusal:
            return Outcome(loaded.work, Status.FAILED, error=str(refusal), kind="WriteError")
        except (RestoreError, MemoryError) as error:
            error = error if isinstance(error, RestoreError) else MemoryLimitError(f"{loaded.work.source}: {_NO_ROOM}")
            outcome = Outcome(loaded.work, Status.FAILED, error=_named(error, loaded.work), kind=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug in one file's work must not cost the others; it is shown
            text = f"{loaded.work.source}: internal error, please report it ({type(error).__name__}: {error})"
            trace = traceback.format_exc()
            outcome = Outcome(loaded.work, Status.FAILED, error=text, kind="internal error", trace=trace)
        with suppress(WriteError):
            self._note(replace(loaded.line, status=FAILED, error=outcome.error))
        return outcome

    def _read(self, loaded: _Loaded) -> Outcome | None:
        work = loaded.work
        if work.problem is not None:
            raise work.problem
        if self.journal and self.options.is_resumed and self.journal.is_done(work.source, loaded.line.recipe):
            return Outcome(work, Status.SKIPPED, error="done before")
        if self.options.existing is Existing.SKIP and any(_is_there(target) for target in work.targets):
            return Outcome(work, Status.SKIPPED, error="exists")
        if work.mosaic_target is None:
            self._check_free(work.target)
        before = _print_of(work.source)
        picture = files.read(work.source, limits=self.options.limits)
        sha256 = _sha256(work.source)
        if before != _print_of(work.source):
            raise ReadError(work.source, "changed while it was read; run again when nothing writes it")
        loaded.line = replace(loaded.line, sha256=sha256, bytes=before[0], modified_ns=before[1])
        loaded.pictures.append(picture)
        return None

    def _check_free(self, target: Path) -> None:
        """Refuse to replace what is there, unless that was asked for or it is our own of an earlier run."""
        if self.options.existing is Existing.OVERWRITE or not _is_there(target):
            return
        if not (self.options.is_resumed and self.journal and self.journal.is_ours(target)):
            raise _RefusedError(target, "exists already; use --overwrite, --skip-existing or another folder")

    def _finish(self, loaded: _Loaded) -> Outcome:
        work = loaded.work
        result = self._restored(work, loaded.pictures)
        is_mosaic = isinstance(result.picture, RawImage)
        target = work.mosaic_target if is_mosaic and work.mosaic_target is not None else work.target
        self._check_free(target)
        _make_folder(target.parent)
        self._note(replace(loaded.line, status=STARTED, target=self._name(target)))
        preview = develop(result.picture) if isinstance(result.picture, RawImage) else None
        files.write(target, result.picture, bits=self.options.depth, preview=preview)
        sha256 = _sha256(target)
        seconds = time.perf_counter() - loaded.started
        made = side.Made(
            source=work.source,
            sha256=loaded.line.sha256,
            bytes=loaded.line.bytes,
            target=target,
            target_sha256=sha256,
            format=self.options.format,
            depth=self.options.depth,
            device=str(self.runtime.compute("fp32").device),
            seconds=seconds,
            scores=None if self.options.reference is None else score(target, work.source, self.options.reference),
        )
        record = side.record(result, made)
        side.write(target, record)
        done = replace(loaded.line, status=DONE, target=self._name(target), target_sha256=sha256, seconds=seconds)
        self._note(done)
        return Outcome(work, Status.DONE, target=target, record=record)

    def _restored(self, work: Work, pictures: list[Picture]) -> Result:
        """Run the recipe; where the result may stay a mosaic, try the steps on the mosaic alone first."""
        order = [step.method for step in self.recipe.steps]

        def moved(tick: Tick) -> None:
            at = order.index(tick.step) if tick.step in order else 0
            self.on_event(Moved(work, tick.step, (at + tick.share) / len(order)))

        runtime = replace(self.runtime, progress=moved)
        if work.mosaic_target is not None and isinstance(pictures[0], RawImage):
            result = pipeline.run(pictures[0], self.recipe.model_copy(update={"develop": None}), runtime)
            if result.reports:
                return result
        return pipeline.run(pictures.pop(), self.recipe, runtime)

    def _line(self, work: Work) -> Line:
        key = side.same_result(self.recipe, self.options.format, self.options.depth)
        return Line(self._name(work.source), "", hashlib.sha256(key.encode()).hexdigest())

    def _name(self, path: Path) -> str:
        return self.journal.name(path) if self.journal else ""

    def _note(self, line: Line) -> None:
        if self.journal:
            self.journal.write(line)


class _RefusedError(WriteError):
    """A result would replace a file: nothing happened, so the journal must not forget what it knows."""


_NO_ROOM = "does not fit into memory; use a smaller picture, or --jobs 1"


def _named(error: RestoreError, work: Work) -> str:
    """Say an error with the file it is about."""
    text = str(error)
    return text if text.startswith(str(work.source)) else f"{work.source}: {text}"
