"""Degrade the pictures of a folder, so that methods can be tried and scored on what is known."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from restore import files
from restore.degrade import FROZEN, degrade
from restore.errors import FileError, ReadError, RecipeError, RestoreError
from restore.files.atomic import is_same, make_folder
from restore.files.folder import find
from restore.jobs.lines import line, named, say, say_aside
from restore.jobs.plan import Naming, plan
from restore.paths import is_there
from restore.picture import RawImage
from restore.raw.develop import develop
from restore.recipe import Recipe


def spoil(source: Path, targets: Mapping[Path, str], seed: int) -> None:
    """Write degraded copies of one picture, each by its own spec; raw files are developed first.

    Floats far from 0...1 are brought there, where the levels of a spec are meant.

    The draws depend on the seed and on the file's name, so neither other files nor their order change them.

    Raises
    ------
    RecipeError
        The degradation is not known.
    RestoreError
        The picture cannot be read, or the copy not made or written, or it is there already.
    """
    for target in targets:
        if is_there(target):
            raise FileError(target, "is there already; give another folder")
    picture = files.read(source)
    clean = develop(picture) if isinstance(picture, RawImage) else picture.usual()
    for target, spec in targets.items():
        make_folder(target.parent)
        files.write(target, degrade(clean, spec, seed=seed + zlib.crc32(os.fsencode(source.name))))


def spoil_all(
    inputs: Sequence[Path], out: Path, spec: str | None, seed: int, *, is_recursive: bool, is_json: bool
) -> int:
    """Degrade files and folders of files as PNG; return the exit code: 3 where some and 1 where all could not be done.

    Without a ``spec`` the validation set is made: a folder for each task of `FROZEN`. Names are as ``run`` gives them.

    Raises
    ------
    RecipeError
        Copies would lie among the clean pictures, and be taken for some.
    """
    found = find(inputs, is_recursive=is_recursive, output=out)
    if any(is_same(out, item.path.parent) for item in found):
        raise RecipeError(f"{out}: clean pictures lie there, and copies would mix with them; give another folder")
    failed = 0
    for work in plan(found, Recipe(), Naming(out, format="png")):
        name = work.target.relative_to(out)
        targets = (
            {out / name: spec}
            if spec is not None
            else {out / task.replace(" ", "_") / name: s for task, s in FROZEN.items()}
        )
        try:
            if isinstance(work.problem, ReadError):
                raise work.problem
            spoil(work.source, targets, seed)
        except RecipeError:
            raise
        except RestoreError as error:
            failed, text = failed + 1, named(error, work.source)
            say(line("degraded", source=str(work.source), error=text)) if is_json else say_aside(f"error: {text}")
            continue
        for target, done in targets.items():
            if is_json:
                say(line("degraded", source=str(work.source), target=str(target), spec=done, seed=seed))
            else:
                say(f"{work.source} -> {target}")
    if not found:
        raise RestoreError("no picture was found; give picture files, or folders of them (--recursive for sub-folders)")
    return 0 if not failed else 1 if failed == len(found) else 3
