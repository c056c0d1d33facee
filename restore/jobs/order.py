"""A folder job as it is ordered: what to make of which files, shown or carried out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore import weights
from restore.errors import RecipeError
from restore.files import container
from restore.files.folder import FOREIGN, SUFFIXES, find
from restore.files.prepare import depths
from restore.jobs import lines, show, side
from restore.jobs.plan import KEEP, Existing, Naming, Work, plan
from restore.jobs.report import LOCAL, Options
from restore.jobs.request import Request, recipe_for
from restore.jobs.run import foreseen, run_folder
from restore.paths import is_file, is_folder
from restore.recipe import Recipe
from restore.runtime import Device, Runtime


@dataclass(frozen=True)
class Order:
    """What to make of which files; ``folder`` is None where the result is one named file.

    ``with_errors`` tells whether the recipe's side file says that standard errors were written, too; ``notes`` what
    is to be said first.
    """

    works: tuple[Work, ...]
    recipe: Recipe
    folder: Path | None
    format: str
    depth: int | None
    with_errors: bool = False
    notes: tuple[str, ...] = ()


def order(
    inputs: Sequence[Path],
    out: Path,
    request: Request,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    depth: int | None = None,
    ending: str = "",
    is_recursive: bool = False,
) -> Order:
    """Decide everything before anything is computed.

    Parameters
    ----------
    out
        A folder; or, for a single input file, a path with a picture's suffix, which says the format.
    format, depth
        None takes what the recipe's side file says, else what the input has.

    Raises
    ------
    RecipeError
        The request cannot be understood.
    """
    if {"/", "\\"}.intersection(ending):
        raise RecipeError(f"--suffix {ending!r} must not lead to another folder; leave out its slashes")
    recipe = recipe_for(request)
    noted = side.Output() if request.recipe is None else side.output_options(request.recipe)
    is_file = _is_file(out, inputs)
    if is_file and format not in (None, KEEP, container.target_format(out, None, None)):
        raise RecipeError(f"{out} does not fit --format {format}; leave one of them out")
    # a name counts more than a side file, and the next side file is to say what it said
    format = container.target_format(out, None, None) if is_file else format or noted.format or KEEP  # noqa: A001
    possible = (8, 16, 32) if format == KEEP else depths(format)
    if depth is not None and depth not in possible:
        others = " or ".join(map(str, possible))
        raise RecipeError(f"{format} has no depth of {depth} bits; give {others}, or another format")
    depth = depth or (noted.depth if noted.depth in possible else None)
    _check_weights(recipe)
    folder = out.parent if is_file else out
    unread: set[Path] = set()
    found = find(inputs, is_recursive=is_recursive, output=None if is_file else out, unread=unread)
    naming = Naming(folder, out if is_file else None, ending, format)
    works = plan(found, recipe, naming)
    changed = side.replaced(recipe, noted)
    notes = tuple(
        f"{file}: is not the file that {request.recipe} was made with: results will differ" for file in changed
    )
    notes += _unread(unread)
    return Order(works, recipe, None if is_file else out, format, depth, noted.with_errors, notes)


def _check_weights(recipe: Recipe) -> None:
    """Refuse weights that are not there before any file is read."""
    for step in recipe.steps:
        if step.weights and not is_file(weights.path_of(step.weights)):
            raise RecipeError(f"--weights {step.method}={step.weights}: there is no such file; check the path")


def _unread(left_out: set[Path]) -> tuple[str, ...]:
    """Tell of files in the folders whose kind is not read, by the suffixes that most of them have."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in left_out)
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    return (f"left out because their kind is not read: {len(left_out)} ({named})",) if left_out else ()


def _is_file(out: Path, inputs: Sequence[Path]) -> bool:
    """Whether an output path means one file.

    Raises
    ------
    RecipeError
        It does, by its name, and files of that name cannot be written.
    """
    if len(inputs) != 1 or is_folder(inputs[0]) or is_folder(out):
        return False
    end, writable = out.suffix.lower(), {end for group in container.SUFFIXES.values() for end in group}
    if end in (SUFFIXES | FOREIGN) - writable:
        raise RecipeError(f"{out}: cannot write files named {end!r}; name it .png, or give a folder that is there")
    return end in writable


def options(order: Order, *, existing: str, is_resumed: bool, **more: Any) -> Options:
    """Return how files are treated in carrying out an order; ``more`` are fields of :class:`Options`.

    Raises
    ------
    RecipeError
        To be resumed is what has no journal.
    """
    if is_resumed and order.folder is None:
        raise RecipeError("--resume goes with a folder of results; for one file, give --overwrite or --skip-existing")
    fields = {"uncertainty": order.with_errors} | more
    return Options(order.folder, Existing(existing), is_resumed, order.format, order.depth, **fields)


def _say_notes(order: Order) -> None:
    """Say what is to be said first."""
    for note in order.notes:
        lines.say_aside(note)
    if not order.works:
        lines.say_aside("no pictures found; name files, or folders that hold some (--recursive goes into sub-folders)")


def show_plan(order: Order, options: Options, *, is_json: bool) -> int:
    """Say what would be done, and return the exit code that is to be expected."""
    _say_notes(order)
    report = foreseen(order.works, order.recipe, options)
    for outcome in report.outcomes:
        lines.say(show.planned(outcome, is_json=is_json))
    if not is_json:
        steps = ", ".join(step.method for step in order.recipe.steps)
        lines.say(f"{len(order.works)} files, steps: {steps}, format: {order.format}")
    return report.exit_code


def carry_out(order: Order, options: Options, device: Device, cancelled: threading.Event, *, is_json: bool) -> int:
    """Do what was ordered, show how it goes, and return the exit code."""
    _say_notes(order)
    runtime = Runtime(device=device, cancelled=cancelled, told=lines.say_aside)
    if options.engine == LOCAL:
        runtime.compute(order.recipe.precision)
    with show.Screen(len(order.works), is_json=is_json) as screen:
        report = run_folder(order.works, order.recipe, runtime, options, screen.hear)
    lines.say_if_heard(show.summary(report, is_json=is_json))
    return report.exit_code
