"""The tab that learns a camera's noise from dark frames: a profile, and a report that shows it is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from restore.camera import report as reports
from restore.camera.calibration import Plan
from restore.errors import Cancelled, RestoreError
from restore.files import Limits
from restore.jobs.calibrate import calibrate
from restore.page import controls, words
from restore.page.sessions import Sessions

TAB = "camera"
_HINT = (
    "Shoot **ten or more dark frames for each ISO** (cap on, 1/10 s or less, raw), and for the gain some **pairs of an"
    " evenly lit wall** at several brightnesses; without those it is looked up. Raw files of"
    " this camera are then denoised with the profile."
)


@dataclass(frozen=True)
class Camera:
    """What the tab's events share."""

    sessions: Sessions
    limits: Limits

    def calibrate(
        self,
        request: gr.Request,
        darks: list[str] | None,
        flats: list[str] | None,
        iso: float | None,
        bits: int | None,
        exact: bool,
        share: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio hands one in
    ) -> tuple[str, str, list[tuple[str, str]]]:
        """Learn a profile; return its file, the report in Markdown, and the plots with their names."""
        frames, lit = ([Path(path) for path in paths or ()] for paths in (darks, flats))
        with controls.told(), self.sessions.running(request.session_hash, TAB) as run:
            if not frames:
                raise RestoreError("Choose some dark frames first.")

            def heard(done: float, text: str) -> None:
                if run.cancelled.is_set():
                    raise Cancelled("stopped on request")
                progress(done, desc=text)

            folder, plan = run.folder / "report", Plan() if exact else Plan(steps=0)
            profile = calibrate(
                frames,
                flats=lit,
                iso=iso or None,
                bits=bits or None,
                report_to=folder,
                plan=plan,
                limits=self.limits,
                progress=heard,
            )
            target = run.folder / f"{_name(profile.camera)}.noise"
            (profile.model_only() if share else profile).save(target)
            plots = [(str(path), path.stem.replace("_", " ")) for path in sorted(folder.glob("*.png"))]
            return str(target), _text(folder / reports.TEXT), plots

    def stop(self, request: gr.Request) -> Any:
        """Stop this visitor's calibration."""
        return "Stopped; nothing was written." if self.sessions.cancel(request.session_hash, TAB) else gr.skip()


def _name(camera: str) -> str:
    """Return a file name for a camera.

    >>> _name("Canon EOS 6D"), _name("../x")
    ('Canon_EOS_6D', 'x')
    """
    kept = "".join(c if c.isalnum() else "_" for c in camera).strip("_")
    return kept or "camera"


def _text(path: Path) -> str:
    """Return the report without the pictures, which the page shows beside it, and without markup of the files'."""
    rows = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(_safe(row) for row in rows if not row.startswith("![")).replace("# ", "### ", 1)


def _safe(row: str) -> str:
    """Keep what makes a row of the report a heading, a point or part of a table, and nothing else."""
    if row.startswith("|"):
        return "|".join(words.literal(cell) for cell in row.split("|"))
    mark = next((mark for mark in ("# ", "* ") if row.startswith(mark)), "")
    return mark + words.literal(row.removeprefix(mark))


def draw(camera: Camera) -> None:
    """Draw the tab and wire its events."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            darks = controls.upload("Dark frames", file_count="multiple", height=180)
            flats = controls.upload("Flat frames, in pairs", file_count="multiple", height=180)
            iso = gr.Number(0, label="ISO or gain setting of grey PNG or TIFF frames (0: raw files say it)", minimum=0)
            bits = gr.Number(
                0, label="Bits of such frames (0: the fewest that hold all values)", minimum=0, precision=0
            )
            exact = gr.Checkbox(True, label="Learn the exact shape of the pixel noise too (minutes)")
            share = gr.Checkbox(False, label="Leave this body's own maps out, to share the profile")
            with gr.Row():
                start = gr.Button("Learn the noise", variant="primary", min_width=140)
                stop = gr.Button("Stop", min_width=100)
        with gr.Column(scale=9, min_width=320):
            says = gr.Markdown(_HINT, elem_classes="report", elem_id="camera-report")
            profile = gr.DownloadButton("Download the profile", variant="primary", interactive=False)
            plots = gr.Gallery(label="Plots", format="png", columns=2, object_fit="contain", interactive=False)
    running = start.click(
        camera.calibrate, [darks, flats, iso, bits, exact, share], [profile, says, plots], show_progress_on=[says],
        concurrency_id="compute", api_name="calibrate",
        api_description="Learn a camera's noise from dark frames; the first result is the profile.",
    )  # fmt: skip
    controls.switch(darks.change, [profile], is_on=False, name="profile_not_ready")
    controls.switch(running.success, [profile], is_on=True, name="profile_ready")
    stop.click(
        camera.stop, None, says, cancels=[running], queue=False, api_name="stop_calibration",
        api_description="Stop this session's calibration.",
    )  # fmt: skip
