"""Run a recipe on many files: one that fails never stops the others, and nothing is left half written."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from restore import methods, weights
from restore.errors import Cancelled, FileError, MemoryLimitError, RecipeError, RestoreError, WriteError
from restore.files.atomic import make_folder, sweep
from restore.files.folder import JOURNAL
from restore.jobs import engine, side
from restore.jobs.journal import DONE, FAILED, STARTED, Journal, Line
from restore.jobs.lines import named
from restore.jobs.plan import Existing, Work
from restore.jobs.report import LOCAL, RAY, OnEvent, Options, Outcome, Report, Status
from restore.jobs.room import Room, automatic
from restore.jobs.worker import Hands, Piece, Worker
from restore.memory import free_memory
from restore.paths import is_file, is_there
from restore.recipe import AUTO, Recipe
from restore.runtime import Runtime


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
    RecipeError
        The engine asked for is not there.
    """
    if options.engine not in (LOCAL, RAY):
        raise RecipeError(f"--engine is {LOCAL} or {RAY}, not {options.engine!r}")
    if options.address is not None and options.engine != RAY:
        raise RecipeError(f"--address goes with --engine {RAY}; give both, or leave it out")
    start = time.perf_counter()
    outcomes = []
    notes: list[str] = []
    with ExitStack() as stack:
        journal = None
        if options.folder is not None:
            make_folder(options.folder)
            journal = stack.enter_context(Journal(options.folder))
        _sweep(works)
        hands, jobs, room = _hands(works, recipe, runtime, options, on_event, notes, stack)
        job = _Job(_rules(recipe, options, journal), runtime, hands, room)
        for outcome in engine.threads(works, job.read, job.finish, jobs=jobs, on_thread=hands.settle):
            outcomes.append(outcome)
            on_event(outcome)
        if notes:
            _sweep(works)
    return Report(tuple(outcomes), runtime.cancelled.is_set(), time.perf_counter() - start, tuple(notes))


def _hands(
    works: Sequence[Work],
    recipe: Recipe,
    runtime: Runtime,
    options: Options,
    on_event: OnEvent,
    notes: list[str],
    stack: ExitStack,
) -> tuple[Hands, int, Room | None]:
    """Return who works on the files, on how many at the same time, and what room they share; ``stack`` ends it."""
    if options.engine == RAY:
        from restore.jobs.ray_engine import RayWorkers

        workers = stack.enter_context(RayWorkers(recipe, runtime, options, on_event, notes.append, len(works)))
        return workers, workers.count, None
    cores = torch.get_num_threads()
    is_one = _is_heavy(recipe, options) or runtime.compute("fp32").device.type == "mps"
    jobs = options.jobs or (1 if is_one else automatic(len(works), cores))
    stack.callback(torch.set_num_threads, cores)
    worker = Worker(recipe, runtime, options, on_event, max(1, cores // jobs))
    return worker, jobs, Room(jobs, cores, 2 / 3 * free_memory(torch.device("cpu")))


def _is_heavy(recipe: Recipe, options: Options) -> bool:
    """Return whether a picture may take all the memory there is: with networks from elsewhere, and standard errors."""
    is_fitted = any(methods.get(step.method).fits_per_image for step in recipe.steps if step.method != AUTO)
    return options.uncertainty or is_fitted or any(step.weights for step in recipe.steps)


def foreseen(works: Sequence[Work], recipe: Recipe, options: Options) -> Report:
    """Tell how `run_folder` would end, as far as that is known before a file is read; nothing is written.

    Raises
    ------
    WriteError
        Another run holds the journal.
    """
    with ExitStack() as stack:
        has_journal = options.folder is not None and is_file(options.folder / JOURNAL)
        journal = stack.enter_context(Journal(options.folder)) if options.folder and has_journal else None
        rules = _rules(recipe, options, journal)
        return Report(tuple(map(rules.foreseen, works)), is_cancelled=False, seconds=0.0)


def _rules(recipe: Recipe, options: Options, journal: Journal | None) -> _Rules:
    """Return the rules of a job; for the hash of all that decides its results, weights and profiles are read."""
    key = side.same_result(recipe, options.format, options.depth) if journal else ""
    key += " with standard errors" if options.uncertainty else ""
    return _Rules(hashlib.sha256(key.encode()).hexdigest(), options, journal)


def _sweep(works: Sequence[Work]) -> None:
    """Remove what writers that were killed have left beside the results."""
    for folder in {target.parent for work in works for target in work.targets}:
        sweep(folder)


@dataclass(frozen=True)
class _Rules:
    """Which files may be worked on, by what is there and what was done before."""

    recipe_key: str
    options: Options
    journal: Journal | None

    def skipped(self, work: Work) -> Outcome | None:
        """Return the outcome of a file that is passed over, None where it is to be read; or refuse it."""
        if work.problem is not None:
            raise work.problem
        key = self.recipe_key
        if self.journal and self.options.is_resumed and self.journal.is_done(work.source, key, work.targets):
            return Outcome(work, Status.SKIPPED, error="done before")
        if self.options.existing is Existing.SKIP and any(is_there(target) for target in work.targets):
            return Outcome(work, Status.SKIPPED, error="exists")
        if len({*work.targets}) == 1:
            self.check_free(work.target)
        return None

    def check_free(self, target: Path) -> None:
        """Refuse to replace what is there, unless that was asked for or it is our own of an earlier run."""
        if self.options.existing is Existing.OVERWRITE:
            return
        if is_there(target) and not (self.options.is_resumed and self.journal and self.journal.is_ours(target)):
            found = "exists, and not as a run of this job left it" if self.options.is_resumed else "exists already"
            raise _RefusedError(target, f"{found}; use --overwrite, --skip-existing or another folder")
        for path in side.beside(target, with_errors=self.options.uncertainty):
            if is_there(path) and not (self.journal and self.journal.is_ours(path)):
                raise _RefusedError(
                    path, "exists, and not as a run of this job left it; use --overwrite or another folder"
                )

    def foreseen(self, work: Work) -> Outcome:
        """Return how a file would end; done counts as what would be tried."""
        try:
            return self.skipped(work) or Outcome(work, Status.DONE)
        except FileError as error:
            return Outcome(work, Status.FAILED, error=str(error))


@dataclass
class _Loaded:
    """A file on its way, or the outcome where there is nothing more to do."""

    piece: Piece
    outcome: Outcome | None = None


@dataclass(frozen=True)
class _Job:
    """Keeps to the rules, and keeps the journal; others do the work."""

    rules: _Rules
    runtime: Runtime
    hands: Hands
    room: Room | None

    def read(self, work: Work) -> _Loaded:
        """Read a file, unless it is to be skipped."""
        loaded = _Loaded(Piece(work))
        loaded.outcome = self._guarded(loaded.piece, self._read)
        loaded.piece.started -= time.perf_counter()
        return loaded

    def finish(self, loaded: _Loaded) -> Outcome:
        """Restore and write a file that was read."""
        loaded.piece.started += time.perf_counter()
        outcome = loaded.outcome or self._guarded(loaded.piece, self._finish)
        assert outcome is not None
        return replace(outcome, seconds=time.perf_counter() - loaded.piece.started)

    def _guarded(self, piece: Piece, action: Callable[[Piece], Outcome | None]) -> Outcome | None:
        """Run an action; turn whatever goes wrong into this file's outcome."""
        work = piece.work
        try:
            if self.runtime.cancelled.is_set():
                return Outcome(work, Status.CANCELLED)
            return action(piece)
        except Cancelled:
            return Outcome(work, Status.CANCELLED)
        except _RefusedError as refusal:
            return Outcome(work, Status.FAILED, error=str(refusal), kind="WriteError")
        except (RestoreError, MemoryError) as error:
            error = error if isinstance(error, RestoreError) else MemoryLimitError(f"{work.source}: {_NO_ROOM}")
            outcome = Outcome(work, Status.FAILED, error=named(error, work.source), kind=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug in one file's work must not cost the others; it is shown
            text = f"{work.source}: internal error, please report it ({type(error).__name__}: {error})"
            trace = traceback.format_exc()
            outcome = Outcome(work, Status.FAILED, error=text, kind="internal error", trace=trace)
        with suppress(WriteError):
            self._note(piece, FAILED, error=outcome.error)
        return outcome

    def _read(self, piece: Piece) -> Outcome | None:
        outcome = self.rules.skipped(piece.work)
        if outcome is None:
            self.hands.read(piece)
        return outcome

    def _finish(self, piece: Piece) -> Outcome:
        if self.room is None:
            return self._made(piece)
        with self.room.entered(piece.pixels) as threads:
            torch.set_num_threads(threads)
            return self._made(piece)

    def _made(self, piece: Piece) -> Outcome:
        self.hands.restore(piece)
        assert piece.target is not None
        self.rules.check_free(piece.target)
        self._note(piece, STARTED)
        record = self.hands.write(piece)
        seconds = time.perf_counter() - piece.started
        output = record["output"]
        beside = side.beside(piece.target, with_errors=output["uncertainty"] is not None)
        self._note(piece, DONE, target_sha256=output["sha256"], beside=beside, seconds=seconds)
        return Outcome(piece.work, Status.DONE, target=piece.target, record=record)

    def _note(self, piece: Piece, status: str, beside: Sequence[Path] = (), **more: str | float) -> None:
        if journal := self.rules.journal:
            name = journal.name
            target = "" if piece.target is None else name(piece.target)
            hashes = {name(path): weights.sha256(path) for path in beside if is_file(path)}
            known = {"target": target, **asdict(piece.facts), **more}
            journal.write(Line(name(piece.work.source), status, self.rules.recipe_key, beside=hashes, **known))


class _RefusedError(WriteError):
    """A result would replace a file: nothing happened, so the journal must not forget what it knows."""


_NO_ROOM = "does not fit into memory; use a smaller picture, or --jobs 1"
