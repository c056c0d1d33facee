"""The controls of a run, generated from the registry and the recipe: no method is known by name here."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from restore import methods, weights
from restore.errors import Cancelled, RecipeError, RestoreError, WeightsError
from restore.files.container import SUFFIXES
from restore.jobs.plan import KEEP
from restore.jobs.request import Request
from restore.method import Method
from restore.page import words
from restore.page.knobs import Kind, Knob, chosen, knobs
from restore.page.sessions import without_folders
from restore.recipe import AUTO, Precision, Recipe, presets
from restore.runtime import Device

SAME = "as the input"
_AUTO_SAYS = "Looks at the picture, measures its noise and light, and takes what fits."
_PRESET = "preset:"
_PRESET_SAYS = "A recipe that comes with the package."
_DEPTHS = [(SAME, 0), ("8 bit", 8), ("16 bit", 16), ("32 bit float", 32)]
_TILES = ["auto", "off", "256", "512", "1024", "2048"]


def upload(label: str, *, height: int = 140, file_count: str = "single") -> gr.File:
    """Draw a place for files of the visitor's machine; unlike Gradio's own it never fetches one from an address."""
    made = gr.File(label=label, height=height, file_count=file_count)
    take = made.async_move_resource_to_block_cache

    async def take_uploaded(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gr.Error("Upload the file itself; addresses are not fetched.", print_exception=False)
        moved: str | None = await take(path)
        return moved

    made.async_move_resource_to_block_cache = take_uploaded
    return made


@cache
def problem(method: Method) -> str:
    """Return why a method cannot be used here, or nothing."""
    try:
        if method.weights is not None:
            weights.verify(method.weights)
    except WeightsError as error:
        return plain(error)
    return ""


def usable() -> dict[str, Method]:
    """Return the methods that can run here, by name."""
    return {name: method for name, method in methods.registry().items() if not problem(method)}


def draw(tab: str) -> dict[str, Any]:
    """Draw the method, its strength, its knobs, and the rest of a recipe; return them by the parameter each fills."""
    ready = usable()
    choices = [("Auto", AUTO), *((method.title, name) for name, method in ready.items())]
    choices += [(f"Preset: {name}", f"{_PRESET}{name}") for name in presets()]
    inputs: dict[str, Any] = {"method": gr.Radio(choices, value=AUTO, label="Method", info=_AUTO_SAYS)}
    inputs["strength"] = gr.Slider(
        0, 1, value=1, step=0.01, label="Strength", info="How much of the change is kept: 0 nothing, 1 all of it"
    )
    groups = []
    with gr.Accordion("Advanced", open=False):
        for method in ready.values():
            drawn = [knob for knob in knobs(method) if knob.kind not in (Kind.FILE, Kind.FOLDER)]
            with gr.Group(visible=False) as group:
                inputs |= {knob.key: _control(knob) for knob in drawn}
            groups.append((method.name, group if drawn else None))
        inputs |= _recipe_controls()
        files = [
            knob.help.split(",")[0] for method in ready.values() for knob in knobs(method) if knob.kind is Kind.FILE
        ]
        inputs["file"] = upload("; ".join(files))

    shown = [group for _, group in groups if group is not None]

    def pick(name: str) -> list[Any]:
        says = ready[name].summary if name in ready else _AUTO_SAYS if name == AUTO else _PRESET_SAYS
        return [gr.update(info=says), *(gr.update(visible=own == name) for own, group in groups if group is not None)]

    inputs["method"].change(
        pick,
        inputs["method"],
        [inputs["method"], *shown],
        queue=False,
        show_progress="hidden",
        api_name=f"describe_for_{tab}",
        api_description="What a method does.",
    )
    return inputs


def _control(knob: Knob) -> Any:
    common = {"value": knob.default, "label": knob.label, "info": knob.help}
    match knob.kind:
        case Kind.SLIDER:
            return gr.Slider(knob.low, knob.high, step=knob.step, **common)
        case Kind.NUMBER:
            return gr.Number(step=knob.step or 1, minimum=knob.low, maximum=knob.high, **common)
        case Kind.CHOICE:
            kind = gr.Radio if len(knob.choices) <= 4 else gr.Dropdown
            return kind([(str(c), c) for c in knob.choices], **common)
        case Kind.CHECK:
            return gr.Checkbox(**common)
        case _:
            return gr.Textbox(**common)


def _recipe_controls() -> dict[str, Any]:
    """Draw what is the same for all methods."""
    with gr.Row():
        noise = gr.Textbox("auto", label="Noise level", info="auto, or as 10/255", min_width=140)
        white = gr.Number(0, label="White", info="4095 for 12 bits", minimum=0, min_width=140)
    with gr.Row():
        seed = gr.Number(0, label="Seed", minimum=0, precision=0, min_width=140)
        device = gr.Dropdown(list(get_args(Device)), value="auto", label="Device", min_width=140)
    with gr.Row():
        precision = gr.Dropdown(list(get_args(Precision)), value="auto", label="Precision", min_width=140)
        tile = gr.Dropdown(_TILES, value="auto", label="Side of tiles", allow_custom_value=True, min_width=140)
    with gr.Row():
        format_ = gr.Dropdown([(SAME, KEEP), *SUFFIXES], value=KEEP, label="Format of the result", min_width=140)
        depth = gr.Dropdown(_DEPTHS, value=0, label="Depth", min_width=140)
    recipe = upload("Recipe file, in place of the method above")
    names = {"noise": noise, "white": white, "seed": seed, "device": device, "precision": precision, "tile": tile}
    return {**names, "format": format_, "depth": depth, "recipe": recipe}


@dataclass(frozen=True)
class Wish:
    """What a visitor asked for."""

    request: Request
    format: str | None
    depth: int | None
    device: Device


def wish(values: Mapping[str, Any]) -> Wish:
    """Read the values of the controls, as the command reads its options.

    Raises
    ------
    RecipeError
        No such method, or a recipe that cannot be followed here.
    """
    method = str(values.get("method") or AUTO)
    given = Path(values["recipe"]) if values.get("recipe") else None
    if given is None and method.startswith(_PRESET):
        given = presets().get(method.removeprefix(_PRESET), Path(method))
    settings = _files(given, values) if given else () if method == AUTO else chosen(methods.get(method), values)
    if values.get("file") and not any(json.dumps(values["file"]) in text for text in settings):
        raise RecipeError(
            "this run has no use for the file that was given; choose the method it is for, or take it out"
        )
    request = Request(
        method=None if given else method,
        recipe=given,
        settings=settings,
        strength=None if given and values["strength"] == 1 else values["strength"],
        noise=None if given and values["noise"] == "auto" else values["noise"],
        tile=None if given and values["tile"] == "auto" else str(values["tile"]),
        precision=None if given and values["precision"] == "auto" else values["precision"],
        seed=None if given and not values["seed"] else int(values["seed"] or 0),
        white=values["white"] or None,
    )
    chosen_format = None if values["format"] == KEEP else values["format"]
    return Wish(request, chosen_format, values["depth"] or None, values["device"])


def _files(given: Path, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files that the steps of a recipe want, as the visitor gave them: its own names mean nothing here.

    Raises
    ------
    RecipeError
        They were not given.
    """
    found = []
    for step in Recipe.load(given).steps:
        if step.weights and step.weights not in weights.manifest():
            raise RecipeError(f"{given}: this page takes no weights but those it came with, and not {step.weights!r}")
        for knob in knobs(methods.get(step.method)) if step.settings else ():
            if knob.kind in (Kind.FILE, Kind.FOLDER) and step.settings.get(knob.name):
                if knob.kind is Kind.FOLDER or not values.get("file"):
                    named = f"names a {knob.kind} of another machine ({step.method}.{knob.name})"
                    ask = "give that file beside it" if knob.kind is Kind.FILE else "this page takes none"
                    raise RecipeError(f"{given}: {named}; {ask}")
                found.append(f"{step.method}.{knob.name}={json.dumps(values['file'])}")
    return tuple(found)


def plain(error: RestoreError | str) -> str:
    """Return words without the folders of this machine."""
    return without_folders(str(error)).replace(f"{weights.folder()}{os.sep}", "")


def noted(notes: Sequence[str]) -> list[str]:
    """Return what an order is to be told first, in Markdown."""
    return [f"**Note:** {words.literal(plain(note))}" for note in notes]


@contextmanager
def told() -> Iterator[None]:
    """Tell the visitor what went wrong, in words, without this machine's paths.

    Raises
    ------
    gradio.Error
        In place of every error that is raised on purpose.
    """
    try:
        yield
    except Cancelled as error:
        raise gr.Error("Stopped on request.", title="Stopped", duration=None, print_exception=False) from error
    except RestoreError as error:
        if "internal error" in str(error):
            logging.getLogger("restore.page").error("%s", error)
        said = escape(plain(error), quote=False)  # the page takes it for HTML
        raise gr.Error(said, title="This did not work", duration=None, print_exception=False) from error


def switch(listen: Any, buttons: list[Any], *, is_on: bool, name: str) -> None:
    """Let buttons be pressed, or not, when something happens; results of events stay plain values for programs."""
    change = gr.update(interactive=is_on)
    listen(
        lambda: change if len(buttons) == 1 else (change,) * len(buttons),
        None,
        buttons,
        queue=False,
        show_progress="hidden",
        api_name=name,
        api_description="Only for the page itself.",
    )
