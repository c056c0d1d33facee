"""Every kind of field gets its control, and what is chosen is what the command would be told."""

from typing import Literal

import pytest
from pydantic import ValidationError

from restore import methods
from restore.jobs.request import Request, recipe_for
from restore.method import Method, Settings, knob
from restore.page.knobs import Kind, chosen, knobs
from restore.picture import Domain


class Every(Settings):
    number: float = knob(1.0, "a number", low=0.5, high=4)
    count: int = knob(3, "a count", low=0, high=9)
    free: float = knob(1.0, "without a range")
    maybe: float | None = knob(None, "may be left out")
    way: Literal["one", "two"] = knob("one", "a choice")
    yes: bool = knob(True, "a flag")
    name: str = knob("x", "a text")
    given: str = knob("", "made elsewhere", names="file")
    where: str = knob("", "with many files", names="folder")


EVERY = Method("every", "Every", "", Domain.SRGB, Every, lambda *_: None)


def test_kinds() -> None:
    found = {k.name: k for k in knobs(EVERY)}
    kinds = [Kind.SLIDER, Kind.SLIDER, Kind.NUMBER, Kind.NUMBER, Kind.CHOICE, Kind.CHECK, Kind.TEXT]
    kinds += [Kind.FILE, Kind.FOLDER]
    assert [k.kind for k in found.values()] == kinds
    assert (found["number"].low, found["number"].high, found["count"].step) == (0.5, 4, 1)
    assert found["way"].choices == ("one", "two") and found["way"].help == "a choice"


@pytest.mark.parametrize("name", sorted(methods.registry()))
def test_controls_keep_what_the_settings_allow(name: str) -> None:
    method = methods.get(name)
    for k in knobs(method):
        values = k.choices or ((k.low, k.high) if k.kind is Kind.SLIDER else (k.default,))
        for value in values:
            method.settings(**{k.name: value})
        if k.kind is Kind.SLIDER:
            with pytest.raises(ValidationError):
                method.settings(**{k.name: k.high + k.step})


def test_what_is_chosen_reaches_the_recipe() -> None:
    assert chosen(EVERY, {"every_number": 2.0, "every_way": "two", "every_yes": False, "every_given": None}) == (
        "every.number=2.0",
        'every.way="two"',
        "every.yes=false",
    )
    texts = chosen(methods.get("wavelet"), {"wavelet_wavelet": "sym4", "wavelet_shifts": 5})
    assert recipe_for(Request("wavelet", settings=texts)).steps[0].settings == {"wavelet": "sym4", "shifts": 5}


def test_files_and_folders_are_never_taken_as_text() -> None:
    kinds = {k.key: k.kind for method in methods.registry().values() for k in knobs(method)}
    assert {key for key, kind in kinds.items() if kind is Kind.TEXT} == {"scoredvi_region"}
    assert kinds["pnnp_profile"] is Kind.FILE and kinds["rampp_dino"] is Kind.FOLDER
