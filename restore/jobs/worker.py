"""What is done to one file, wherever it is done: read, restored, written; the journal is kept elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from restore import files, pipeline, weights
from restore.errors import ReadError, WriteError
from restore.files.container import check_pages, target_format
from restore.jobs import side
from restore.jobs.plan import Work
from restore.jobs.reference import score
from restore.jobs.report import Moved, OnEvent, Options
from restore.picture import Image, Meta, Picture, RawImage
from restore.raw.develop import develop
from restore.recipe import Recipe
from restore.result import Result
from restore.runtime import Runtime, Tick


@dataclass(frozen=True)
class Facts:
    """What is known of an input file once it was read."""

    sha256: str = ""
    bytes: int = -1
    modified_ns: int = -1


@dataclass
class Piece:
    """One file on its way; its pictures can be taken once.

    Parameters
    ----------
    started
        Does not count the time between reading and working: it is moved on by that.
    pictures, results
        The pages of a stack, or the one picture; each result takes the place of its picture.
    target
        Where the result goes, once it is known which of the work's targets that is.
    tries
        How often it was begun anew because a worker was lost.
    """

    work: Work
    started: float = field(default_factory=time.perf_counter)
    facts: Facts = field(default_factory=Facts)
    pictures: list[Picture] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    target: Path | None = None
    tries: int = 0


class Hands(Protocol):
    """Whoever works on files: this process, or others."""

    def settle(self) -> None:
        """Get ready; called once in every thread that will restore and write."""

    def read(self, piece: Piece) -> None:
        """Read a file, or leave it to ``restore``; called ahead, in another thread."""

    def restore(self, piece: Piece) -> None:
        """Run the recipe, and set the target."""

    def write(self, piece: Piece) -> dict[str, Any]:
        """Write the result and its side file; return the side file's content."""


@dataclass(frozen=True)
class Worker:
    """Works in this process."""

    recipe: Recipe
    runtime: Runtime
    options: Options
    on_event: OnEvent
    threads: int

    def settle(self) -> None:
        """Take this thread's share of the cores."""
        torch.set_num_threads(self.threads)

    def read(self, piece: Piece) -> None:
        """Read a file.

        Raises
        ------
        ReadError
            It cannot be read, or somebody writes it meanwhile.
        WriteError
            It is a stack, and the format of its result holds one picture.
        """
        source = piece.work.source
        before = _print_of(source)
        pictures = files.read_stack(source, limits=self.options.limits)
        sha256 = _sha256(source)
        if before != _print_of(source):
            raise ReadError(source, "changed while it was read; run again when nothing writes it")
        piece.facts = Facts(sha256, *before)
        target = piece.work.target
        check_pages(target, target_format(target, None, None), len(pictures))
        piece.pictures += pictures

    def restore(self, piece: Piece) -> None:
        """Run the recipe; what it chooses for the first page of a stack is done to every page.

        Where the result may stay a mosaic, the steps are tried on the mosaic alone first.
        """
        pages = len(piece.pictures)
        for _ in range(pages):
            recipe = piece.results[0].recipe if piece.results else self.recipe
            piece.results.append(self._restored(piece, recipe, pages))
        stays = isinstance(piece.results[0].picture, RawImage) and piece.work.mosaic_target is not None
        piece.target = piece.work.mosaic_target if stays else piece.work.target

    def _restored(self, piece: Piece, recipe: Recipe, pages: int) -> Result:
        order, done, work = [step.method for step in recipe.steps], len(piece.results), piece.work

        def moved(tick: Tick) -> None:
            at = order.index(tick.step) if tick.step in order else 0
            self.on_event(Moved(work, tick.step, (done + (at + tick.share) / len(order)) / pages))

        runtime = replace(self.runtime, progress=moved)
        if work.mosaic_target is not None and isinstance(piece.pictures[0], RawImage):
            result = pipeline.run(piece.pictures[0], recipe.model_copy(update={"develop": None}), runtime)
            if result.reports:
                return result
        return pipeline.run(piece.pictures.pop(0), recipe, runtime, with_uncertainty=self.options.uncertainty)

    def write(self, piece: Piece) -> dict[str, Any]:
        """Write the result and its side file.

        Raises
        ------
        WriteError
            One of them cannot be written.
        """
        results, target, source = piece.results, piece.target, piece.work.source
        assert target is not None
        make_folder(target.parent)
        first, *further = [result.picture for result in results]
        preview = develop(first) if isinstance(first, RawImage) else None
        files.write(target, first, *further, bits=self.options.depth, preview=preview)
        errors = [_plain(result.uncertainty) for result in results if result.uncertainty is not None]
        is_known = len(errors) == len(results)
        if is_known:
            files.write(side.sigma_of(target), *errors, format="tiff", bits=32)
        made = side.Made(
            source=source,
            sha256=piece.facts.sha256,
            bytes=piece.facts.bytes,
            target=target,
            target_sha256=_sha256(target),
            format=self.options.format,
            depth=self.options.depth,
            device=str(self.runtime.compute("fp32").device),
            seconds=time.perf_counter() - piece.started,
            uncertainty=side.sigma_of(target).name if is_known else None,
            scores=None if self.options.reference is None else score(target, source, self.options.reference),
        )
        record = side.record(results, made)
        side.write(target, record)
        return record


def _plain(errors: Image) -> Image:
    """Return standard errors without what is known of the picture but its orientation: they are no photo."""
    return Image(errors.pixels, meta=Meta(orientation=errors.meta.orientation))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    WriteError
        That cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, f"the folder cannot be made ({error.strerror}); choose another") from error


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
