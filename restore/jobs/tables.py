"""Methods, weights and scores as tables for people, or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from restore import methods, weights
from restore.errors import Cancelled, WeightsError, printable
from restore.jobs import lines
from restore.jobs.evaluate import Row, means
from restore.jobs.lines import say, say_aside
from restore.metrics import Scores


def show_methods(*, is_json: bool) -> None:
    """List every method with its knobs."""
    for name, method in methods.registry().items():
        schema = method.settings.model_json_schema()
        knobs: dict[str, dict[str, Any]] = schema.get("properties", {})
        if is_json:
            role = method.role.value if method.role else None
            facts = {
                "title": method.title,
                "summary": method.summary,
                "domain": method.domain.value if method.domain else "any",
                "role": role,
            }
            facts |= {"weights": method.weights, "paper": method.paper, "licence": method.licence}
            say(lines.line("method", name=name, **facts, fits_per_image=method.fits_per_image, knobs=knobs))
            continue
        say(f"{name}: {method.summary}")
        for knob, field in knobs.items():
            bounds = f", {field['minimum']}...{field['maximum']}" if {"minimum", "maximum"} <= field.keys() else ""
            say(f"    {name}.{knob} = {field.get('default')}{bounds}: {field.get('description', '')}")


def show_weights(*, is_json: bool) -> None:
    """List what the manifest says of every weight file."""
    for key, entry in weights.manifest().items():
        if is_json:
            say(lines.line("weights", key=key, **entry.model_dump()))
        else:
            scores = ", ".join(f"{name} {value:g}" for name, value in entry.scores.items())
            say(f"{key}: {entry.bytes} bytes, {entry.licence}; {entry.data}; {entry.command}; {scores}")


def verify_weights(*, is_json: bool) -> int:
    """Check every weight file; return 0 where all are as promised, 3 where some are not, 1 where none is."""
    problems: dict[str, str | None] = {}
    for key in weights.manifest():
        try:
            weights.verify(key)
            problems[key] = None
        except WeightsError as error:
            problems[key] = str(error)
    for key, problem in problems.items():
        say(lines.line("weights", key=key, error=problem) if is_json else f"{key}: {problem or 'as promised'}")
    failed = sum(problem is not None for problem in problems.values())
    return 0 if not failed else 1 if failed == len(problems) else 3


def show_scores(rows: Iterator[Row], count: int, *, is_json: bool) -> int:
    """Show the scores of every picture as they come, then the mean; return the exit code."""
    heads = [f"{name} {when}" for name in ("PSNR", "SSIM") for when in ("before", "after")]
    table = Table("picture", "methods", *heads)
    seen: list[Row] = []
    try:
        for row in rows:
            seen.append(row)
            say_aside(f"{len(seen)} of {count}  {row.path.name}  {row.error or f'{row.seconds:.1f} s'}")
            if is_json:
                say(lines.line("score", **row.as_fields()))
            elif row.before and row.after:
                table.add_row(Text(printable(row.path.name)), ", ".join(row.methods), *_cells(row.before, row.after))
    except Cancelled:
        return 130
    mean = means(seen)
    failed = [row for row in seen if row.error]
    if is_json:
        before, after = (None, None) if mean is None else map(asdict, mean)
        say(lines.line("mean", count=len(seen) - len(failed), failed=len(failed), before=before, after=after))
    elif mean is not None:
        table.add_section()
        table.add_row("mean", "", *_cells(*mean))
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    if mean is None:
        say_aside("no picture could be scored")
        return 1
    return 3 if failed else 0


def _cells(before: Scores, after: Scores) -> list[str]:
    return [f"{before.psnr:.2f}", f"{after.psnr:.2f}", f"{before.ssim:.4f}", f"{after.ssim:.4f}"]
