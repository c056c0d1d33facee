"""The tab that fits a network to a visitor's own noisy pictures, with a live curve."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gradio as gr
import pandas as pd  # type: ignore[import-untyped]  # what Gradio plots from

from restore import pipeline
from restore.errors import RestoreError
from restore.files import Limits, read_stack
from restore.jobs import adapt as job
from restore.jobs.fitting import Moment
from restore.page import controls, shown, words
from restore.page.sessions import Run, Sessions
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

TAB = "adapt"
_AXES = ("seconds", "SURE PSNR, dB")
_HINT = (
    "Give **noisy pictures of one kind** (one is enough, more is better); no clean picture is needed. A copy of the"
    " network learns their noise, and a part that it does not see judges whether that helped."
)


@dataclass(frozen=True)
class Adapt:
    """What the tab's events share."""

    sessions: Sessions
    runtime: Runtime
    limits: Limits

    def adapt(
        self,
        request: gr.Request,
        pictures: list[str] | None,
        minutes: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio hands one in
    ) -> Iterator[tuple[Any, ...]]:
        """Fit the network; yield the model (in the end), a report, the curve so far, and before and after."""
        paths = [Path(path) for path in pictures or ()]
        with controls.told(), self.sessions.running(request.session_hash, TAB) as run:
            if not paths:
                raise RestoreError("Choose some noisy pictures first.")
            curve: list[Moment] = []
            model = run.folder / "model.safetensors"
            for heard in _moments(paths, model, minutes, self.limits, run):
                if isinstance(heard, Moment):
                    curve.append(heard)
                    share = heard.seconds / max(heard.seconds + heard.eta_s, 1e-3)
                    progress(share, desc=f"SURE {heard.sure_psnr:.2f} dB, {words.left(share, heard.seconds)}")
                    yield None, _HINT, _table(curve), None
                else:
                    yield str(model), _verdict(heard), _table(curve), self._pair(run.folder, paths[0], model)

    def _pair(self, folder: Path, source: Path, model: Path) -> tuple[str, str]:
        """Restore the first picture, or the first page of a stack, with the model, and draw both as PNG."""
        picture = read_stack(source, limits=self.limits)[0]
        recipe = Recipe(steps=(Step(method=job.METHOD, weights=str(model)),))
        result = pipeline.run(picture, recipe, self.runtime).picture
        drawn = []
        for name, side in (("before", picture), ("after", result)):
            small, _ = shown.reduced(shown.screen(side, like=picture))
            drawn.append(str(shown.write_png(folder / f"{name}.png", small)))
        return drawn[0], drawn[1]

    def stop(self, request: gr.Request) -> tuple[Any, ...]:
        """End this visitor's fit and keep what it learnt; that another one is to leave the queue, a time says."""
        if self.sessions.cancel(request.session_hash, TAB):
            return "Ending; what was learnt is kept.", gr.skip()
        return "No fit was running; one that waited has left the queue.", time.time()


def _moments(
    paths: list[Path], model: Path, minutes: float, limits: Limits, run: Run
) -> Iterator[Moment | job.Adapted]:
    """Fit in a thread of its own; yield every look at the held-out parts, and what came of it."""
    heard: SimpleQueue[Moment | None] = SimpleQueue()
    with ThreadPoolExecutor(1, "adapt") as pool:
        fitting = pool.submit(
            job.adapt, paths, model, minutes=minutes, limits=limits, on_moment=heard.put, cancelled=run.cancelled
        )
        fitting.add_done_callback(lambda _: heard.put(None))
        try:
            while (moment := heard.get()) is not None:
                yield moment
            yield fitting.result()
        finally:
            run.cancelled.set()


def _table(curve: list[Moment]) -> pd.DataFrame:
    return pd.DataFrame([(m.seconds, m.sure_psnr) for m in curve], columns=list(_AXES))


def _verdict(made: job.Adapted) -> str:
    gained = made.after - made.before
    says = [
        f"**Fitting helped: {gained:+.2f} dB** on parts it did not see ({made.before:.2f} to {made.after:.2f} dB)."
        if made.helped
        else "**Fitting did not help**: the model holds the weights it started from.",
        f"Noise found: {made.kind}, level {made.level:.4g}.",
        *map(words.literal, made.notes),
        f"Use it on a folder: `restore run -m {job.METHOD} --weights model.safetensors IN -o OUT`.",
    ]
    return "\n\n".join(says)


def draw(adapt: Adapt) -> None:
    """Draw the tab and wire its events."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            pictures = controls.upload("Noisy pictures of one kind", file_count="multiple", height=200)
            minutes = gr.Slider(0.2, 30, 5, step=0.1, label="Minutes at most")
            with gr.Row():
                start = gr.Button("Fit to these", variant="primary", min_width=140)
                stop = gr.Button("End now", min_width=100)
        with gr.Column(scale=9, min_width=320):
            says = gr.Markdown(_HINT, elem_classes="report", elem_id="adapt-report")
            curve = gr.LinePlot(
                None, x=_AXES[0], y=_AXES[1], title="Estimated quality of the held-out parts", height=240,
                label="SURE curve",
            )  # fmt: skip
            pair = gr.ImageSlider(
                label="First picture, before | after", format="png", type="filepath", max_height=520,
                interactive=False, buttons=["fullscreen"], elem_classes="view",
            )  # fmt: skip
            model = gr.DownloadButton("Download the model", variant="primary", interactive=False)
    running = start.click(
        adapt.adapt, [pictures, minutes], [model, says, curve, pair], show_progress_on=[says],
        concurrency_id="compute", api_name="adapt",
        api_description="Fit a network to noisy pictures; the first result is, in the end, the weight file.",
    )  # fmt: skip
    controls.switch(pictures.change, [model], is_on=False, name="model_not_ready")
    controls.switch(running.success, [model], is_on=True, name="model_ready")
    left = gr.Number(0, visible="hidden", label="When a waiting fit left the queue")
    stop.click(
        adapt.stop, None, [says, left], queue=False, api_name="stop_fit",
        api_description="End this session's fit early.",
    )  # fmt: skip
    left.change(None, cancels=[running], api_name="leave_queue", api_description="Only for the page itself.")
