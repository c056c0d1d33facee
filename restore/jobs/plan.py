"""What a folder job will do: every input with its own place for the result, decided before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from restore import methods
from restore.errors import FileError, WriteError
from restore.files import container
from restore.files.folder import SIDE_SUFFIX, SIGMA_SUFFIX, Found
from restore.picture import Domain
from restore.recipe import AUTO, Recipe

KEEP = "keep"
"""The format option that writes what was read."""

LONGEST_NAME = 255
"""Bytes of the longest file name that usual file systems hold."""


class Existing(StrEnum):
    """What to do where a result would replace a file."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    SKIP = "skip"


@dataclass(frozen=True)
class Work:
    """One input and the file to make of it.

    Parameters
    ----------
    target
        Where the result goes.
    mosaic_target
        Where it goes instead if all steps turn out to work on the raw mosaic; None where that cannot be.
    problem
        Why this input cannot be worked on at all.
    """

    source: Path
    target: Path
    mosaic_target: Path | None = None
    problem: FileError | None = None

    @property
    def targets(self) -> tuple[Path, ...]:
        """All files that may be written."""
        return (self.target,) if self.mosaic_target is None else (self.target, self.mosaic_target)


@dataclass(frozen=True)
class Naming:
    """How results are called.

    Parameters
    ----------
    folder
        Below which they go, in the sub-folders of their inputs.
    file
        The one result's path, in place of ``folder``.
    ending
        Added to the name, before the suffix.
    format
        ``"keep"`` or the name of a format.
    """

    folder: Path
    file: Path | None = None
    ending: str = ""
    format: str = KEEP


def plan(found: Sequence[Found], recipe: Recipe, naming: Naming) -> tuple[Work, ...]:
    """Give every input a target of its own.

    Of inputs that would share a target, the one whose name is kept unchanged keeps it, else the first; the others
    are called by their whole name: with ``--format png``, ``a.png`` and ``a.jpg`` become ``a.png`` and ``a.jpg.png``.

    Returns
    -------
    tuple of Work
        In the order of ``found``. An input whose target is an input itself, or has too long a name, has a
        ``WriteError`` as its problem.
    """
    inputs = {_identity(item.path) for item in found} - {None}
    kinds = [_kind(item) for item in found]
    ends = [_ends(item, kind, recipe, naming) for item, kind in zip(found, kinds, strict=True)]
    first_those_that_keep_their_name = sorted(range(len(found)), key=lambda i: ends[i][0] != found[i].path.suffix)
    taken: set[str] = set()
    works: dict[int, Work] = {}
    for index in first_those_that_keep_their_name:
        item, kind = found[index], kinds[index]
        targets = _free(item, ends[index], naming, taken)
        taken.update(map(_key, targets))
        problem = item.problem or (None if isinstance(kind, str) else kind)
        for target in targets:
            for path in (target.with_name(target.name + end) for end in ("", SIDE_SUFFIX, SIGMA_SUFFIX)):
                if _identity(path) in inputs:
                    problem = WriteError(path, "is an input itself; choose another output folder, or use --suffix")
            excess = len(os.fsencode(target.name + SIDE_SUFFIX)) - LONGEST_NAME
            if excess > 0:
                words = f"the name is {excess} bytes too long for a record NAME{SIDE_SUFFIX} beside it; shorten it"
                problem = WriteError(target, words)
        works[index] = Work(item.path, targets[0], targets[1] if len(targets) > 1 else None, problem)
    return tuple(works[index] for index in range(len(found)))


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells one file from another whatever it is called, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key(path: Path) -> str:
    """Return what two paths share that name the same file, as far as names tell."""
    return os.path.normcase(os.path.realpath(path.parent) + os.sep + path.name)


def _kind(item: Found) -> str | FileError:
    """Return the format of an input, or what is wrong with it."""
    try:
        return container.kind(item.path)
    except FileError as error:
        return error


def _ends(item: Found, kind: str | FileError, recipe: Recipe, naming: Naming) -> tuple[str, ...]:
    """Return the suffix of the result; a second one where it may stay a mosaic."""
    domains = {methods.get(step.method).domain for step in recipe.steps if step.method != AUTO}
    can_stay_mosaic = kind == "raw" and Domain.SRGB not in domains
    end = naming.file.suffix if naming.file is not None else ""
    if not end and naming.format != KEEP:
        end = container.suffix(naming.format)
    if end:
        return (end, end) if can_stay_mosaic and end == ".dng" else (end,)
    if not isinstance(kind, str):
        return (item.path.suffix,)
    if kind == "raw" and recipe.develop is None:
        return (".dng",)
    if can_stay_mosaic:
        return (".png", ".dng")
    is_honest = item.path.suffix.lower() in container.SUFFIXES.get(kind, ())
    return (item.path.suffix if is_honest else container.suffix(kind),)


def _free(item: Found, ends: tuple[str, ...], naming: Naming, taken: set[str]) -> list[Path]:
    """Return paths with these suffixes that no other input has."""
    if naming.file is not None:
        return [naming.file] * len(ends)
    folder = naming.folder / item.relative.parent
    names = [item.relative.stem + naming.ending, item.relative.name + naming.ending]
    tried = 1
    while True:
        for name in names:
            targets = [folder / (name + end) for end in ends]
            if not any(_key(target) in taken for target in targets):
                return targets
        tried += 1
        names = [f"{item.relative.name}{naming.ending}-{tried}"]
