"""The tab that sets several methods side by side on one picture: crops at 100 %, what each took away, and figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from restore import files, metrics, noise, pipeline
from restore.errors import Cancelled, RestoreError
from restore.files import Limits
from restore.jobs.request import Request, recipe_for
from restore.page import controls, look, shown, words
from restore.page.sessions import Sessions
from restore.picture import Domain, Image
from restore.recipe import AUTO
from restore.runtime import Runtime, Tick

TAB = "compare"
_HEADS = ["Method", "Time", "Noise / 255", "PSNR, dB", "SSIM"]
_HINT = "Several methods in turn on one picture, at the same places."
_GONE = "The pictures have been cleared away; compare again."


@dataclass(frozen=True)
class Compare:
    """What the tab's events share."""

    sessions: Sessions
    runtime: Runtime
    limits: Limits

    def restore(
        self,
        request: gr.Request,
        picture: str | None,
        methods: Sequence[str],
        reference: str | None = None,
        across: float = 50,
        down: float = 50,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio hands one in
    ) -> tuple[Any, ...]:
        """Run several methods on one picture; a run that was stopped leaves what is shown as it is."""
        try:
            return self._compared(request.session_hash, picture, methods, reference, (across, down), progress)
        except gr.Error as error:
            if isinstance(error.__cause__, Cancelled):
                return (gr.skip(),) * 7
            raise

    def _compared(
        self,
        visitor: str | None,
        picture: str | None,
        methods: Sequence[str],
        reference: str | None,
        place: tuple[float, float],
        progress: gr.Progress,
    ) -> tuple[Any, ...]:
        with controls.told(), self.sessions.running(visitor, TAB) as run:
            if not picture or not methods:
                raise RestoreError("Choose a picture and at least one method first.")
            read = files.read(picture, limits=self.limits)
            clean = shown.seen(files.read(reference, limits=self.limits), like=read) if reference else None
            rows = [self._row("Input", shown.seen(read), 0.0, run.folder, 0, clean)]
            start = time.monotonic()
            for index, name in enumerate(methods):

                def moved(tick: Tick, index: int = index, name: str = name) -> None:
                    share = (index + tick.share) / len(methods)
                    progress(share, desc=f"{_title(name)}, {words.left(share, time.monotonic() - start)}")

                runtime = replace(self.runtime, progress=moved, cancelled=run.cancelled)
                result = pipeline.run(read, recipe_for(Request(method=name)), runtime)
                title = _title(name) if name != AUTO else f"Auto: {_steps(result)}"
                image = shown.seen(result.picture, like=read)
                rows.append(self._row(title, image, result.seconds, run.folder, index + 1, clean))
            titles = [str(row[0]) for row in rows]
            return (
                words.table(_HEADS, rows),
                rows,
                *_cut(str(run.folder), titles, *place),
                str(run.folder),
                titles,
                words.facts(read),
            )

    def _row(
        self, title: str, image: Image, seconds: float, folder: Path, index: int, clean: Image | None
    ) -> list[str]:
        """Keep a picture for crops and return its line of the table."""
        shown.keep(folder, str(index), shown.screen(image))
        row = [title, words.duration(seconds) if index else "", f"{noise.relative(image).sigma * 255:.1f}"]
        if clean is None:
            return [*row, "", ""]
        scores = metrics.compare(image.pixels, clean.pixels)
        return [*row, f"{scores.psnr:.2f}", f"{scores.ssim:.4f}"]

    def crops(self, folder: str, titles: Sequence[str], across: float, down: float) -> tuple[Any, Any, Any]:
        """Cut all results at the same place, and what each took away; where they are gone, return words instead."""
        try:
            return *(_cut(folder, titles, across, down) if folder else ([], [])), gr.skip()
        except OSError:
            return gr.skip(), gr.skip(), _GONE

    def stop(self, request: gr.Request) -> Any:
        """Stop this visitor's comparison before its next tile."""
        return "Stopped." if self.sessions.cancel(request.session_hash, TAB) else gr.skip()


def _cut(
    folder: str, titles: Sequence[str], across: float, down: float
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Write all results cut at the same place, and what each took away.

    Raises
    ------
    OSError
        They are not there any more.
    """
    cuts = [shown.crop(shown.kept(Path(folder), str(index)), across, down) for index in range(len(titles))]
    at = f"{across:g}-{down:g}"
    results = [_written(folder, f"{index}-{at}", cut) for index, cut in enumerate(cuts)]
    taken = [_written(folder, f"{i}-{at}-taken", shown.difference(cuts[0], cut)) for i, cut in enumerate(cuts) if i]
    return list(zip(results, titles, strict=True)), list(zip(taken, titles[1:], strict=True))


def _title(name: str) -> str:
    found = controls.usable().get(name)
    return found.title if found else "Auto"


def _steps(result: pipeline.Result) -> str:
    return ", ".join(_title(step.method) for step in result.recipe.steps) or "nothing to do"


def _written(folder: str, name: str, picture: shown.Screen) -> str:
    return str(shown.write_png(Path(folder) / f"crop-{name}.png", picture))


def draw(compare: Compare) -> None:
    """Draw the tab and wire its events."""
    ready = controls.usable()
    choices = [("Auto", AUTO), *((method.title, name) for name, method in ready.items())]
    useful = [AUTO, *(name for name, method in ready.items() if method.role and method.domain is not Domain.MOSAIC)]
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            picture = controls.upload("Picture or raw file")
            reference = controls.upload("Clean reference, if there is one")
            chosen = gr.CheckboxGroup(choices, value=useful, label="Methods")
            with gr.Row():
                start = gr.Button("Compare", variant="primary", min_width=140)
                stop = gr.Button("Stop", min_width=100)
        with gr.Column(scale=9, min_width=320):
            says = gr.Markdown(_HINT, elem_classes="report", elem_id="compare-report")
            table = gr.HTML()
            data = gr.JSON(visible=False, label="Figures: noise of 255, PSNR in dB")
            with gr.Row():
                across = gr.Slider(0, 100, 50, step=1, label="Crops, left to right", min_width=140)
                down = gr.Slider(0, 100, 50, step=1, label="Crops, top to bottom", min_width=140)
            gallery, taken = (
                gr.Gallery(
                    label=label, format="png", columns=2, height="auto", object_fit="none", interactive=False,
                    buttons=["fullscreen"], elem_classes="crops",
                )
                for label in ("Crops at 100 %", f"What each took away, × {shown.AMPLIFIED}")
            )  # fmt: skip
    folder, titles = gr.State(""), gr.State([])
    running = start.click(
        compare.restore, None, [table, data, gallery, taken, folder, titles, says],
        inputs_kwargs={"picture": picture, "methods": chosen, "reference": reference, "across": across, "down": down},
        show_progress_on=[gallery],
        concurrency_id="compute", api_name="compare", api_description="Several methods on one picture.",
    )  # fmt: skip
    stop.click(
        compare.stop, None, says, cancels=[running], queue=False, api_name="stop_comparing",
        api_description="Stop this session's comparison.",
    )  # fmt: skip
    for mover in (across, down):
        mover.change(
            compare.crops, [folder, titles, across, down], [gallery, taken, says], queue=False, show_progress="hidden",
            trigger_mode="always_last", js=look.follow("crops"),
            api_name=f"compare_crop_{'across' if mover is across else 'down'}",
            api_description="Move the crops at 100 %.",
        )  # fmt: skip
