"""The tab for one picture: before and after, a crop at 100 %, what was done, and the real file to take away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from restore import files, metrics, noise
from restore.errors import RestoreError
from restore.files import Limits
from restore.jobs import order, side
from restore.jobs.report import Outcome
from restore.page import controls, look, shown, stream, words
from restore.page.sessions import Sessions
from restore.picture import Image, Picture
from restore.recipe import Develop
from restore.runtime import Runtime

TAB = "single"
_HINT = "Drop a picture or a raw file on the left, then press **Restore**. Nothing leaves this machine."
_VIEWS = {"Both": 50, "Before": 100, "After": 0}
"""Where the divider stands."""
_GONE = "The picture has been cleared away; load it again."


@dataclass(frozen=True)
class Single:
    """What the tab's events share; one runtime for all visitors keeps networks loaded."""

    sessions: Sessions
    runtime: Runtime
    limits: Limits

    def look(self, request: gr.Request, picture: str | None, across: float = 50, down: float = 50) -> tuple[Any, ...]:
        """Show a picture as it came, with what is known of it."""
        if not picture:
            self.sessions.cancel(request.session_hash, TAB)
            return None, None, _HINT, None, None, "", None
        with self.sessions.running(request.session_hash, TAB) as run:
            return self._looked(run.folder, Path(picture), across, down)

    def _looked(self, folder: Path, picture: Path, across: float, down: float) -> tuple[Any, ...]:
        try:
            pages = files.read_stack(picture, limits=self.limits)
            read = pages[0]
            before = shown.screen(read)
        except RestoreError as error:
            problem = controls.plain(error)
            gr.Warning(escape(problem, quote=False), title="This file cannot be used", duration=None)
            return None, None, f"**This file cannot be used.** {words.literal(problem)}", None, None, "", None
        shown.keep(folder, "before", before)
        shown.keep(folder, "after", before)
        png = str(shown.write_png(folder / "before.png", shown.reduced(before)[0]))
        says = words.looked(read, noise.relative(read), len(pages))
        return None, None, says, (png, png), _cut(str(folder), across, down), str(folder), None

    def crop(self, folder: str, across: float, down: float) -> tuple[Any, Any]:
        """Cut both pictures at the same place; where they are gone, return words in place of the crop."""
        try:
            return (_cut(folder, across, down) if folder else None), gr.skip()
        except OSError:
            return gr.skip(), _GONE

    def restore(
        self,
        request: gr.Request,
        picture: str | None,
        reference: str | None = None,
        recipe: str | None = None,
        file: str | None = None,
        across: float = 50,
        down: float = 50,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio hands one in
        **values: Any,
    ) -> tuple[Any, ...]:
        """Restore a picture as the command would, and show the very file that can be downloaded."""
        visitor = request.session_hash
        with controls.told(), self.sessions.running(visitor, TAB) as run:
            if not picture:
                raise RestoreError("Choose a picture first.")
            wanted = controls.wish(values | {"recipe": recipe, "file": file})
            clean = files.read(reference, limits=self.limits) if reference else None
            made = order.order(
                [Path(picture)], run.folder / "out", wanted.request, format=wanted.format, depth=wanted.depth
            )
            runtime = replace(self.runtime, device=wanted.device, cancelled=run.cancelled)
            clock = stream.Clock(1)
            outcomes = []
            progress(0, desc="reading")
            for event in stream.events(made, runtime, self.limits):
                share, line = clock.hear(event)
                progress(share, desc=line)
                outcomes += [event] if isinstance(event, Outcome) else []
            outcome = stream.one(outcomes)
            progress(1.0, desc="drawing")
            notes = controls.noted(made.notes)
            return self._drawn(run.folder, outcome, clean, (across, down), notes)

    def _drawn(
        self, folder: Path, outcome: Outcome, clean: Picture | None, place: tuple[float, float], notes: list[str]
    ) -> tuple[Any, ...]:
        """Draw a result from its file."""
        target = outcome.target
        assert target is not None
        recipe = outcome.record["recipe"]
        develop, white = Develop(**(recipe["develop"] or {})), recipe["white"]
        pages = files.read_stack(target, limits=self.limits)
        result, source = pages[0], files.read_stack(outcome.work.source, limits=self.limits)[0]
        pair, factor, sides = [], 1, []
        for name, picture in (("before", source), ("after", result)):
            image = shown.seen(picture, develop, source, white)
            screen = shown.screen(image)
            shown.keep(folder, name, screen)
            small, factor = shown.reduced(screen)
            pair.append(str(shown.write_png(folder / f"{name}.png", small)))
            sides += [image] if clean else []
        says = [*notes, words.facts(result, len(pages)), words.report(outcome.record, outcome.seconds)]
        if factor > 1:
            says.append(f"The slider is reduced by {factor}; the crop below shows every pixel.")
        if clean:
            says.append(_scored(sides, shown.seen(clean, like=source, white=white)))
        beside = side.beside(target, with_errors=bool(outcome.record["output"]["uncertainty"]))
        sizes = (f"{words.literal(path.name)} ({words.size(path.stat().st_size)})" for path in (target, *beside))
        says.append(f"**Files:** {', '.join(sizes)}")
        main, made, errors = (*map(str, (target, *beside)), None)[:3]
        return main, made, "\n\n".join(says), tuple(pair), _cut(str(folder), *place), str(folder), errors

    def stop(self, request: gr.Request) -> Any:
        """Stop this visitor's run before its next tile."""
        return "Stopped; nothing was written." if self.sessions.cancel(request.session_hash, TAB) else gr.skip()


def _cut(folder: str, across: float, down: float) -> tuple[str, str]:
    """Write both pictures cut at the same place.

    Raises
    ------
    OSError
        They are not there any more.
    """
    before, after = (shown.kept(Path(folder), name) for name in ("before", "after"))
    paths = [Path(folder) / f"crop-{name}-{across:g}-{down:g}.png" for name in ("before", "after")]
    cuts = [shown.crop(picture, across, down) for picture in (before, after)]
    first, second = (str(shown.write_png(path, cut)) for path, cut in zip(paths, cuts, strict=True))
    return first, second


def _scored(sides: list[Image], clean: Image) -> str:
    """Say how what was before and after compares with the reference, in full depth."""
    try:
        return words.scores(*(metrics.compare(side.pixels, clean.pixels) for side in sides))
    except RestoreError as error:
        return f"**Against the reference:** not compared: {words.literal(error)}"


def draw(single: Single, samples: list[Path]) -> None:
    """Draw the tab and wire its events."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            picture = controls.upload("Picture or raw file")
            if samples:
                labels = [path.name for path in samples]
                gr.Examples(
                    [[str(path)] for path in samples],
                    picture,
                    label="Samples",
                    example_labels=labels,
                    api_name="sample",
                )
            drawn = controls.draw(TAB)
            with gr.Accordion("Compare with a clean picture", open=False):
                reference = controls.upload("Clean reference of the same size")
            with gr.Row():
                start = gr.Button("Restore", variant="primary", min_width=140)
                stop = gr.Button("Stop", min_width=100)
        with gr.Column(scale=9, min_width=320):
            slider = gr.ImageSlider(
                label="Before | after", format="png", type="filepath", max_height=640, interactive=False,
                buttons=["fullscreen"], elem_classes="view",
            )  # fmt: skip
            view = gr.Radio(list(_VIEWS), value="Both", label="Show", container=False, elem_id="show")
            report = gr.Markdown(_HINT, elem_classes="report", elem_id="report")
            with gr.Row():
                result = gr.DownloadButton("Download the result", variant="primary", interactive=False, min_width=150)
                side_file = gr.DownloadButton("Its recipe", interactive=False, min_width=150)
                errors = gr.DownloadButton("Standard errors", visible=False, min_width=150)
            crop = gr.ImageSlider(
                label="Crop at 100 %, before | after", format="png", type="filepath", max_height=shown.CROP,
                interactive=False, buttons=[], elem_classes="crop",
            )  # fmt: skip
            with gr.Row():
                across = gr.Slider(0, 100, 50, step=1, label="Crop, left to right", min_width=140)
                down = gr.Slider(0, 100, 50, step=1, label="Crop, top to bottom", min_width=140)
    folder = gr.State("")
    outputs = [result, side_file, report, slider, crop, folder, errors]
    buttons = [result, side_file]
    looking = picture.change(
        single.look, [picture, across, down], outputs, concurrency_limit=2, show_progress="minimal",
        show_progress_on=[slider], api_name="look", api_description="Say what a picture is and how noisy.",
    )  # fmt: skip
    wires = {"picture": picture, "reference": reference, "across": across, "down": down, **drawn}
    running = start.click(
        single.restore, None, outputs, inputs_kwargs=wires, show_progress_on=[slider], concurrency_id="compute",
        api_name="restore", api_description="Restore one picture; the first two results are the file and its recipe.",
    )  # fmt: skip
    controls.switch(looking.success, buttons, is_on=False, name="not_ready")
    controls.switch(running.success, buttons, is_on=True, name="ready")
    for ended, name in ((looking, "no_errors"), (running, "errors_ready")):
        ended.success(
            lambda path: gr.update(visible=bool(path)), errors, errors, queue=False, show_progress="hidden",
            api_name=name, api_description="Only for the page itself.",
        )  # fmt: skip
    stop.click(
        single.stop, None, report, cancels=[running], queue=False,
        api_name="stop", api_description="Stop this session's run.",
    )  # fmt: skip
    picture.clear(None, cancels=[running])
    view.change(
        lambda name: gr.update(slider_position=_VIEWS[name]), view, slider, queue=False, show_progress="hidden",
        api_name="show", api_description="Move the divider.",
    )  # fmt: skip
    for mover in (across, down):
        mover.change(
            single.crop, [folder, across, down], [crop, report], queue=False, show_progress="hidden",
            trigger_mode="always_last", js=look.follow("crop"),
            api_name=f"crop_{'across' if mover is across else 'down'}",
            api_description="Move the crop at 100 %.",
        )  # fmt: skip
