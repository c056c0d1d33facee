"""Work on files in Ray actors, on this machine or a cluster; only the process that started the job keeps the journal.

Every actor holds the loaded weights. The threads of the job each own one actor and talk to it; an actor that is lost
(its process was killed, its machine went away) is replaced, and its file is done from the start. All machines must
see the files under the same paths, and have this package and its ``cluster`` extra installed.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from restore.errors import RecipeError, RestoreError
from restore.jobs.plan import Work
from restore.jobs.report import Moved, OnEvent, Options
from restore.jobs.worker import Facts, Piece, Worker
from restore.recipe import Recipe
from restore.runtime import Device, Runtime, precision_of

TRIES = 3
"""How often a file is begun before it counts as the reason why workers are lost."""

THREADS = 4
"""Cores of a worker on a CPU, where nobody says how many workers there shall be."""

PAUSE = 1.0
"""Seconds between two looks at how a worker gets on."""

STORE = 100 * 2**20
"""Bytes of Ray's own store: pixels never pass through it."""


class Share(NamedTuple):
    """How many workers there are, and what each may use."""

    workers: int
    cpus: int
    gpus: float


def shares(nodes: Sequence[Mapping[str, float]], jobs: int | None, device: Device) -> Share:
    """Divide a cluster's machines, given as tables of ``"CPU"`` and ``"GPU"``, among workers.

    >>> shares([{"CPU": 2}], 2, "auto")
    Share(workers=2, cpus=1, gpus=0)
    >>> shares([{"CPU": 16}, {"CPU": 8}], None, "cpu")
    Share(workers=6, cpus=4, gpus=0)
    >>> shares([{"CPU": 16, "GPU": 2}, {"CPU": 8}], None, "auto")
    Share(workers=2, cpus=1, gpus=1)
    """
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus and device in ("auto", "cuda"):
        return Share(min(jobs or gpus, gpus), 1, 1)
    cores = [int(node.get("CPU", 0)) for node in nodes]
    cpus = max(1, min(max(cores, default=1), sum(cores) // jobs if jobs else THREADS))
    most = max(1, sum(count // cpus for count in cores))
    return Share(min(jobs or most, most), cpus, 0)


@dataclass(frozen=True)
class _Failure:
    """An error that was raised in an actor, and where."""

    error: Exception
    trace: str


class _FarError(Exception):
    """Shows where in an actor an error was raised."""

    def __str__(self) -> str:
        return f"in a worker\n{self.args[0]}"


class _Actor:
    """Lives in a Ray process, with the weights it has loaded; works on one file at a time."""

    def __init__(self, device: Device, options: Options, folder: str, threads: int) -> None:
        os.chdir(folder)
        self._runtime = Runtime(device=device)
        self._options, self._threads = options, threads
        self._moved: Moved | None = None
        self._piece: Piece | None = None
        self._worker: Worker | None = None

    def precision(self) -> str | _Failure:
        """Return the arithmetic that suits this machine."""
        try:
            compute = self._runtime.compute("auto")
        except RestoreError as error:
            return _Failure(error, traceback.format_exc())
        return precision_of(compute, compute.is_int8)

    def restore(self, work: Work, recipe: Recipe) -> tuple[Facts, Path] | _Failure:
        """Read a file and run the recipe; return what is known of the input, and where its result is to go."""
        self._worker = Worker(recipe, self._runtime, self._options, self._hear, self._threads)
        self._piece = piece = Piece(work)
        try:
            self._worker.settle()
            self._worker.read(piece)
            self._worker.restore(piece)
        except Exception as error:  # noqa: BLE001 - it is raised again where the journal is
            return _Failure(error, traceback.format_exc())
        assert piece.target is not None
        return piece.facts, piece.target

    def write(self) -> dict[str, Any] | _Failure:
        """Write the result of ``restore``; return the side file's content."""
        assert self._worker is not None
        assert self._piece is not None
        try:
            return self._worker.write(self._piece)
        except Exception as error:  # noqa: BLE001 - as above
            return _Failure(error, traceback.format_exc())
        finally:
            self._piece = None

    def look(self, is_cancelled: bool) -> Moved | None:
        """Say how far the file is, and hear whether to stop; runs beside the other calls."""
        if is_cancelled:
            self._runtime.cancelled.set()
        return self._moved

    def _hear(self, event: Any) -> None:
        self._moved = event


class RayWorkers:
    """Starts Ray or joins a cluster, and has actors do the work; a context.

    Parameters
    ----------
    note
        Hears in a sentence of every worker that was lost.
    files
        How many there are: more workers than files are of no use.

    Raises
    ------
    RecipeError
        Ray is not installed, or there is no cluster at that address.
    """

    def __init__(
        self,
        recipe: Recipe,
        runtime: Runtime,
        options: Options,
        on_event: OnEvent,
        note: Callable[[str], None],
        files: int,
    ) -> None:
        self._recipe, self._runtime, self._options = recipe, runtime, options
        self._hear, self._note = on_event, note
        self._own, self._lock = threading.local(), threading.Lock()
        self._made = 0
        self._ray = _imported()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            heard = signal.getsignal(signal.SIGTERM)
            _start(self._ray, options)
            with suppress(ValueError):  # not the main thread, in which alone Ray takes the signal for itself
                signal.signal(signal.SIGTERM, heard)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._share = shares(nodes, options.jobs, runtime.device)
        self.count = max(1, min(self._share.workers, files))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            self._ray.shutdown()

    def settle(self) -> None:
        """Start this thread's own actor."""
        with self._lock:
            self._made += 1
            self._own.name = f"worker {self._made}"
        wanted = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "max_concurrency": 2}
        device: Device = self._runtime.device if self._share.gpus or self._runtime.device != "auto" else "cpu"
        actor = self._ray.remote(_Actor).options(**wanted)
        self._own.actor = actor.remote(device, self._options, str(Path.cwd()), self._share.cpus)

    def read(self, piece: Piece) -> None:
        """Do nothing: whoever restores a file reads it."""

    def restore(self, piece: Piece) -> None:
        """Have the file read and restored.

        Raises
        ------
        RestoreError
            As in this process; and where the file cost several workers their lives.
        """
        while True:
            try:
                piece.facts, piece.target = self._call(piece, "restore", piece.work, self._pinned(piece))
            except self._ray.exceptions.RayError as error:
                self._replace(piece, error)
            else:
                return

    def write(self, piece: Piece) -> dict[str, Any]:
        """Have the result written; a worker that is lost meanwhile costs all that was done on the file.

        Raises
        ------
        RestoreError
            As ``restore``.
        """
        while True:
            try:
                record: dict[str, Any] = self._call(piece, "write")
            except self._ray.exceptions.RayError as error:
                self._replace(piece, error)
                self.restore(piece)
            else:
                return record

    def _pinned(self, piece: Piece) -> Recipe:
        """Return the recipe with the arithmetic that the first worker chose, so that all compute alike."""
        with self._lock:
            if self._recipe.precision == "auto":
                chosen = self._call(piece, "precision")
                self._recipe = self._recipe.model_copy(update={"precision": chosen})
        return self._recipe

    def _call(self, piece: Piece, method: str, *arguments: Any) -> Any:
        """Call this thread's actor, passing on how it gets on and that it shall stop."""
        actor, errors = self._own.actor, self._ray.exceptions
        coming = getattr(actor, method).remote(*arguments)
        while not self._ray.wait([coming], timeout=PAUSE)[0]:
            with suppress(errors.RayError):
                moved = self._ray.get(actor.look.remote(self._runtime.cancelled.is_set()), timeout=PAUSE)
                if moved is not None and moved.work == piece.work:
                    self._hear(moved)
        result = self._ray.get(coming)
        if isinstance(result, _Failure):
            raise result.error from _FarError(result.trace)
        return result

    def _replace(self, piece: Piece, error: Exception) -> None:
        piece.tries += 1
        lost, name = self._own.name, piece.work.source.name
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._own.actor)
        self.settle()
        if piece.tries >= TRIES:
            self._note(f"{lost} was lost with {name}, which was given up")
            reason = str(error).strip().splitlines()[0]
            raise RestoreError(f"lost {TRIES} workers, the last one so: {reason}; try --engine local") from error
        self._note(f"{lost} was lost with {name}, which {self._own.name} did from the start")


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise RecipeError("--engine ray needs Ray: pip install 'restore[cluster]', or leave --engine out") from error
    return ray


def _start(ray: Any, options: Options) -> None:
    address, cores = options.address, max(os.cpu_count() or 1, options.jobs or 1)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        alone = {"include_dashboard": False, "object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
        ray.init(address="local", num_cpus=cores, **alone, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RecipeError(
            f"no Ray cluster answers at {address!r} ({error}); start one with 'ray start --head'"
        ) from error
