"""The tab for many pictures: what became of each, and all results in one archive."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from restore.errors import RestoreError
from restore.files import Limits
from restore.jobs import order, show, side
from restore.jobs.report import Moved, Outcome, Status
from restore.page import controls, stream, words
from restore.page.sessions import Sessions
from restore.runtime import Runtime

TAB = "batch"
_HEADS = ["File", "Status", "Time", "What happened"]


@dataclass(frozen=True)
class Batch:
    """What the tab's events share."""

    sessions: Sessions
    runtime: Runtime
    limits: Limits

    def restore(
        self,
        request: gr.Request,
        pictures: list[str] | None,
        recipe: str | None = None,
        file: str | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio hands one in
        **values: Any,
    ) -> Iterator[tuple[Any, ...]]:
        """Restore many pictures as one folder job, telling how each ended as soon as it has."""
        paths = [Path(picture) for picture in pictures or ()]
        visitor = request.session_hash
        with controls.told(), self.sessions.running(visitor, TAB) as run:
            if not paths:
                raise RestoreError("Choose some pictures first.")
            wanted = controls.wish(values | {"recipe": recipe, "file": file})
            out = run.folder / "out"
            made = order.order(paths, out, wanted.request, format=wanted.format, depth=wanted.depth)
            runtime = replace(self.runtime, device=wanted.device, cancelled=run.cancelled)
            rows = [[work.source.name, "waiting", "", ""] for work in made.works]
            at = {work: index for index, work in enumerate(made.works)}
            clock = stream.Clock(len(made.works))
            outcomes: list[Outcome] = []
            notes = controls.noted(made.notes)
            yield None, *_told(outcomes, rows, notes)
            for event in stream.events(made, runtime, self.limits):
                share, line = clock.hear(event)
                progress(share, desc=line)
                row = rows[at[event.work]]
                is_new = isinstance(event, Outcome) or row[1] != "working"
                row[:] = _row(event, row)
                outcomes += [event] if isinstance(event, Outcome) else []
                if is_new:
                    yield None, *_told(outcomes, rows, notes)
            archive = _archive(run.folder / "restored.zip", out, outcomes)
            yield archive and str(archive), *_told(outcomes, rows, notes)

    def stop(self, request: gr.Request) -> Any:
        """Stop this visitor's job before its next tile."""
        return "Stopped." if self.sessions.cancel(request.session_hash, TAB) else gr.skip()


def _row(event: Moved | Outcome, row: list[str]) -> list[str]:
    if isinstance(event, Moved):
        return [row[0], "working", "", event.step]
    if event.status is Status.DONE:
        pages = event.record["pages"]
        says = f"{pages['count']} pages: " if pages else ""
        steps = [words.step(made) for made in event.record["reports"]] or ["developed"]
        target = "" if event.target is None else event.target.name
        renamed = [f"written as {target}"] if target != event.work.source.name else []
        says += "; ".join([*steps, *show.notes(event.record), *renamed])
    else:
        says = controls.plain(event.error)
    return [row[0], event.status.value, words.duration(event.seconds), says]


def _told(outcomes: list[Outcome], rows: list[list[str]], notes: list[str]) -> tuple[str, str, list[list[str]]]:
    """Return a summary, and the table for people and for programs."""
    counts = {status.value: sum(o.status is status for o in outcomes) for status in Status}
    ended = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    summary = f"**{len(outcomes)} of {len(rows)}** files{': ' if ended else ''}{ended}"
    doubtful = sum(any(seen["is_alarm"] for seen in _evidence(outcome)) for outcome in outcomes)
    summary += f" · **{doubtful} to check**" if doubtful else ""
    return "\n\n".join([*notes, summary]), words.table(_HEADS, rows), rows


def _evidence(outcome: Outcome) -> list[dict[str, Any]]:
    return [seen for made in outcome.record.get("reports", ()) for seen in made["evidence"]]


def _archive(path: Path, folder: Path, outcomes: list[Outcome]) -> Path | None:
    """Put results and side files into one archive, as they are."""
    done = [(outcome.target, outcome.record) for outcome in outcomes if outcome.target is not None]
    if not done:
        return None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for target, record in done:
            for file in (target, *side.beside(target, with_errors=bool(record["output"]["uncertainty"]))):
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def draw(batch: Batch) -> None:
    """Draw the tab and wire its events."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            pictures = controls.upload("Pictures and raw files", file_count="multiple", height=200)
            drawn = controls.draw(TAB)
            with gr.Row():
                start = gr.Button("Restore all", variant="primary", min_width=140)
                stop = gr.Button("Stop", min_width=100)
        with gr.Column(scale=9, min_width=320):
            says = gr.Markdown("One bad file never stops the others.", elem_classes="report", elem_id="batch-report")
            table = gr.HTML(elem_classes="stacked")
            archive = gr.DownloadButton("Download all results", variant="primary", interactive=False)
        data = gr.JSON(visible=False, label="Table")
    running = start.click(
        batch.restore, None, [archive, says, table, data], inputs_kwargs={"pictures": pictures, **drawn},
        show_progress_on=[table], concurrency_id="compute", api_name="restore_all",
        api_description="Restore many pictures; the first result is, in the end, an archive of all files and recipes.",
    )  # fmt: skip
    controls.switch(pictures.change, [archive], is_on=False, name="archive_not_ready")
    controls.switch(running.success, [archive], is_on=True, name="archive_ready")
    stop.click(
        batch.stop, None, says, cancels=[running], queue=False, api_name="stop_all",
        api_description="Stop this session's folder job.",
    )  # fmt: skip
