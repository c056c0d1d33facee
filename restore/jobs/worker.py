"""What is done to one file, wherever it is done: read, restored, written; the journal is kept elsewhere."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from restore import files, pipeline, weights
from restore.errors import ReadError
from restore.files.atomic import make_folder
from restore.files.container import check_pages, target_format
from restore.files.stack import Stack
from restore.jobs import side
from restore.jobs.plan import Work
from restore.jobs.reference import score
from restore.jobs.report import Moved, OnEvent, Options
from restore.picture import Image, Meta, Picture, RawImage
from restore.raw.develop import develop
from restore.recipe import Recipe
from restore.result import Result
from restore.runtime import Runtime, Tick

_CHANGED = "changed while it was read; run again when nothing writes it"
_NUMBERS = re.compile(r"[+-]?\d+")
_NOTHING = Image(np.zeros((1, 1, 1), np.float32))
"""In the place of pages that are written."""


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
    pictures
        The pages of a stack, or the one picture until it is restored.
    pixels
        Of all that must be in memory together.
    results
        Of the pages restored so far; those of a stack lose their pixels when they are written.
    lost
        What was not kept of the pages that are written, in phrases.
    target
        Where the result goes, once it is known which of the work's targets that is.
    tries
        How often it was begun anew because a worker was lost.
    """

    work: Work
    started: float = field(default_factory=time.perf_counter)
    facts: Facts = field(default_factory=Facts)
    pictures: Sequence[Picture] = ()
    pixels: int = 0
    results: list[Result] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
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
            raise ReadError(source, _CHANGED)
        piece.facts = Facts(sha256, *before)
        target = piece.work.target
        check_pages(target, target_format(target, None, None), len(pictures))
        piece.pictures, sizes = pictures, _sizes(pictures)
        piece.pixels = max(sizes) if isinstance(pictures, Stack) else sum(sizes)

    def restore(self, piece: Piece) -> None:
        """Run the recipe; of a stack on the first page, the others follow when it is written.

        Where the result may stay a mosaic, the steps are tried on the mosaic alone first.
        """
        piece.results.append(self._restored(piece, self.recipe))
        stays = isinstance(piece.results[0].picture, RawImage) and piece.work.mosaic_target is not None
        piece.target = piece.work.mosaic_target if stays else piece.work.target

    def _restored(self, piece: Piece, recipe: Recipe) -> Result:
        """Run the recipe on the next page."""
        order, done, work, pages = [s.method for s in recipe.steps], len(piece.results), piece.work, len(piece.pictures)

        def moved(tick: Tick) -> None:
            at = order.index(tick.step) if tick.step in order else 0
            self.on_event(Moved(work, tick.step, (done + (at + tick.share) / len(order)) / pages))

        runtime = replace(self.runtime, progress=moved)
        picture = piece.pictures[done]
        if pages == 1:
            piece.pictures = ()
        if work.mosaic_target is not None and isinstance(picture, RawImage):
            on_mosaic = recipe.model_copy(update={"develop": None})
            result = pipeline.run(picture, on_mosaic, runtime, with_uncertainty=self.options.uncertainty)
            if result.reports:
                return result
        return pipeline.run(picture, recipe, runtime, with_uncertainty=self.options.uncertainty)

    def _pages(self, piece: Piece, errors: list[Image]) -> Iterator[Image]:
        """Give the restored pages of a stack, by what was chosen for the first, and collect their standard errors."""
        assert piece.target is not None
        for number in range(len(piece.pictures)):
            if number:
                piece.results.append(self._restored(piece, piece.results[0].recipe))
            result = piece.results[number]
            assert isinstance(result.picture, Image)
            yield result.picture
            errors += [] if result.uncertainty is None else [_plain(result.uncertainty)]
            known = {_NUMBERS.sub("", words) for words in piece.lost}  # of pages alike, the first one's numbers
            lost = files.not_kept(piece.target, result.picture, self.options.depth)
            piece.lost += [words for words in lost if _NUMBERS.sub("", words) not in known]
            piece.results[number] = replace(result, picture=_NOTHING, uncertainty=None)
        if _print_of(piece.work.source) != (piece.facts.bytes, piece.facts.modified_ns):
            raise ReadError(piece.work.source, _CHANGED)

    def write(self, piece: Piece) -> dict[str, Any]:
        """Write the result and its side file; restore the further pages of a stack, one at a time.

        Raises
        ------
        WriteError
            One of them cannot be written.
        RestoreError
            A further page cannot be read or restored.
        """
        target, source = piece.target, piece.work.source
        assert target is not None
        make_folder(target.parent)
        errors, first, count = list[Image](), piece.results[0], max(1, len(piece.pictures))
        reference = self.options.reference
        if count == 1:
            preview = develop(first.picture) if isinstance(first.picture, RawImage) else None
            files.write(target, first.picture, bits=self.options.depth, preview=preview)
            errors += [] if first.uncertainty is None else [_plain(first.uncertainty)]
            piece.lost += files.not_kept(target, first.picture, self.options.depth)
        else:
            pixels = sum(_sizes(piece.pictures))
            files.write_stack(target, self._pages(piece, errors), pixels, bits=self.options.depth)
        is_known = len(errors) == count
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
            lost=tuple(piece.lost),
            uncertainty=side.sigma_of(target).name if is_known else None,
            scores=None if reference is None else score(target, source, reference, self.recipe.white),
        )
        record = side.record(piece.results, made)
        side.write(target, record)
        return record


def _sizes(pictures: Sequence[Picture]) -> list[int]:
    """Return the pixels of each page; of a `Stack`, without reading them."""
    sizes = pictures.sizes if isinstance(pictures, Stack) else [picture.size for picture in pictures]
    return [math.prod(size) for size in sizes]


def _plain(errors: Image) -> Image:
    """Return standard errors without what is known of the picture but its orientation: they are no photo."""
    return Image(errors.pixels, meta=Meta(orientation=errors.meta.orientation))


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
