"""The side file beside every result, which says how it was made and makes it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch

import restore
from restore import methods, weights
from restore.errors import RecipeError
from restore.files.atomic import replacing
from restore.files.container import SUFFIXES
from restore.files.folder import SIDE_SUFFIX, SIGMA_SUFFIX
from restore.jobs.lines import SCHEMA, plain
from restore.jobs.plan import KEEP
from restore.method import no_offer
from restore.paths import is_file, is_folder
from restore.recipe import AUTO, Recipe, Step
from restore.result import Result


@dataclass(frozen=True)
class Made:
    """What a run knows of one result beside the pipeline's own report.

    Parameters
    ----------
    source, sha256, bytes
        The input.
    target, target_sha256
        The result.
    format, depth
        As asked for, None for the input's own.
    lost
        What of the input was not kept, in phrases.
    uncertainty
        Name of the file of standard errors.
    """

    source: Path
    sha256: str
    bytes: int
    target: Path
    target_sha256: str
    format: str
    depth: int | None
    device: str
    seconds: float
    lost: tuple[str, ...] = ()
    uncertainty: str | None = None
    scores: dict[str, Any] | None = None


def path_of(target: Path) -> Path:
    """Return the path of a result's side file.

    >>> path_of(Path("out/photo.png")).name
    'photo.png.restore.json'
    """
    return target.with_name(target.name + SIDE_SUFFIX)


def sigma_of(target: Path) -> Path:
    """Return the path of a result's standard errors.

    >>> sigma_of(Path("out/photo.png")).name
    'photo.png.sigma.tiff'
    """
    return target.with_name(target.name + SIGMA_SUFFIX)


def beside(target: Path, *, with_errors: bool) -> tuple[Path, ...]:
    """Return the paths of what is written beside a result: its side file, and its standard errors."""
    return (path_of(target), sigma_of(target)) if with_errors else (path_of(target),)


def record(results: Sequence[Result], made: Made) -> dict[str, Any]:
    """Return the side file's content as JSON values, for the results of all pages.

    Of a stack, the reports are those of the page with most alarms, else most notes, else of the first. Of pictures,
    and of weights given by an absolute path, it tells the names alone. Settings stand as given, paths too.
    """
    told = max(results, key=_told)
    recipe = results[0].recipe.model_dump(mode="json")
    reports = [report.as_json() for report in told.reports]
    for step in [*recipe["steps"], *(report["step"] for report in reports)]:
        if step["weights"] and PurePath(step["weights"]).is_absolute():
            step["weights"] = PurePath(step["weights"]).name
    content: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA,
            "input": {"name": made.source.name, "sha256": made.sha256, "bytes": made.bytes},
            "output": {
                "name": made.target.name,
                "sha256": made.target_sha256,
                "format": made.format,
                "depth": made.depth,
                "uncertainty": made.uncertainty,
            },
            "dropped": list(dict.fromkeys(made.lost)),
            "pages": _pages(results, results.index(told)) if len(results) > 1 else None,
            "recipe": recipe,
            "reports": reports,
            "versions": {
                "restore": restore.__version__,
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
            },
            "device": made.device,
            "threads": torch.get_num_threads(),
            "tile": recipe["tile"],
            "seconds": round(made.seconds, 3),
            "scores": made.scores,
        }
    )
    return content


def _told(result: Result) -> tuple[int, int]:
    """Return how many alarms and notes a result has."""
    return len(result.alarms), sum(len(report.facts.get("notes", ())) for report in result.reports)


def _pages(results: Sequence[Result], told: int) -> dict[str, Any]:
    """Return how many pages a stack has, which one is reported (from 1), which have alarms, and each one's noise."""
    return {
        "count": len(results),
        "reported": told + 1,
        "alarms": [page for page, result in enumerate(results, 1) if result.alarms],
        "noise": [result.reports[0].noise.sigma for result in results if result.reports],
    }


def write(target: Path, content: dict[str, Any]) -> None:
    """Write the side file of a result, atomically.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    with replacing(path_of(target)) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


class Output(NamedTuple):
    """How a result was made.

    Parameters
    ----------
    format, depth
        As it was written; None where a recipe does not say.
    with_errors
        Whether standard errors were written, too.
    hashes
        SHA-256 of the files that each method used, by method and by knob; those of its ``"weights"``.
    """

    format: str | None = None
    depth: int | None = None
    with_errors: bool = False
    hashes: Mapping[str, Mapping[str, str]] = {}


def output_options(path: Path) -> Output:
    """Return what a side file says beside the recipe.

    Raises
    ------
    RecipeError
        The side file is damaged.
    """
    if path.suffix != ".json":
        return Output()
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
        output = table.get("output", {})
        made_as, bits = output.get("format"), output.get("depth")
        if made_as not in (None, KEEP, *SUFFIXES) or bits not in (None, 8, 16, 32):
            raise ValueError(f"no result has the format {made_as!r} with {bits!r} bits")
        hashes = {report.get("step", {}).get("method"): _hashes(report) for report in table.get("reports", [])}
        return Output(made_as, bits, bool(output.get("uncertainty")), hashes)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe ({error})") from error


def _hashes(report: dict[str, Any]) -> dict[str, str]:
    facts = {"weights_sha256": report.get("weights_sha256"), **report.get("facts", {})}
    return {name.removesuffix("_sha256"): facts[name] for name in facts if name.endswith("_sha256")}


def replaced(recipe: Recipe, made: Output) -> list[Path]:
    """Return the files that a recipe's methods use now and that hold something else than when the result was made."""
    found = []
    for step in recipe.steps:
        for knob, sha256 in made.hashes.get(step.method, {}).items():
            is_weights = knob == "weights"
            given = step.weights or methods.get(step.method).weights if is_weights else step.settings.get(knob)
            path = weights.path_of(str(given)) if is_weights else Path(str(given))
            if given and _contents(str(path)) not in ([], [sha256]):
                found.append(path)
    return found


def same_result(recipe: Recipe, format: str, depth: int | None) -> str:  # noqa: A002 - the option's name
    """Return text that is equal when two runs make the same of an input; files the recipe names count by content."""
    contents = [_contents(word) for step in recipe.steps for word in _words(step)]
    return json.dumps([recipe.model_dump(mode="json"), contents, format, depth], sort_keys=True)


def _words(step: Step) -> list[str]:
    """Return what of a step may name files: its weights, those of all that ``auto`` may choose, and texts."""
    known = methods.registry()
    used = [m for m in known.values() if m.offer is not no_offer] if step.method == AUTO else [known[step.method]]
    keys = [step.weights or method.weights for method in used]
    knobs = {} if step.method == AUTO else known[step.method].settings.model_fields
    texts = [str(step.settings[name]) for name in step.settings if knobs[name].annotation is str]
    return [*(str(weights.path_of(key)) for key in keys if key), *filter(None, texts)]


def _contents(word: str) -> list[str]:
    """Return the SHA-256 of a file, or of each file in a folder; none where there is nothing to read."""
    path = Path(word)
    with suppress(OSError):
        return [weights.sha256(p) for p in (sorted(path.iterdir()) if is_folder(path) else [path]) if is_file(p)]
    return []
