"""The page on a phone: edges of crops can be reached, numbers do not break."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import IN_BROWSER, give, restore
from PIL import Image as Pillow

from restore.jobs.noise_files import Shoot, simulate

pytestmark = IN_BROWSER
COLOURS = RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


@pytest.fixture
def phone(tab: Any) -> Iterator[Any]:
    tab.set_viewport_size({"width": 390, "height": 844})
    return tab


def seen(tab: Any, view: str) -> np.ndarray:
    """Return what a person sees of a picture in its box."""
    picture = tab.locator(f"{view} img").first
    picture.scroll_into_view_if_needed()
    tab.wait_for_timeout(1000)
    return np.asarray(Pillow.open(io.BytesIO(picture.screenshot())).convert("RGB"))


def test_the_edges_of_a_crop_can_be_seen(phone: Any, tmp_path: Path) -> None:
    pixels = np.full((600, 800, 3), 128, np.uint8)
    pixels[:, :9], pixels[:, -9:] = RED, GREEN
    pixels[:9, 9:-9], pixels[-9:, 9:-9] = BLUE, YELLOW
    Pillow.fromarray(pixels).save(tmp_path / "edged.png")
    restore(phone, tmp_path / "edged.png", "No change")
    sliders = [phone.get_by_role("slider", name=f"Crop, {way}") for way in ("left to right", "top to bottom")]
    for key, place, (left, right, top, bottom) in (
        ("Home", "-0-0", (True, False, True, False)),
        ("End", "-100-100", (False, True, False, True)),
    ):
        for slider in sliders:
            slider.focus()
            slider.press(key)
        phone.wait_for_function(f"() => document.querySelector('.crop img').src.includes('{place}')")
        box = seen(phone, ".crop")
        assert box.shape[1] < 480
        low = box.shape[0] * 2 // 3
        edges = [box[low, 4], box[low, -4], box[4, 30], box[-4, 30]]
        colours = [np.abs(edge.astype(int) - colour).max() < 8 for edge, colour in zip(edges, COLOURS, strict=True)]
        assert colours[0:2] == [left, right] and colours[3] == bottom
        assert top or not colours[2]


def test_in_a_wide_box_a_crop_stays_in_the_middle(tab: Any, tmp_path: Path) -> None:
    Pillow.fromarray(np.full((600, 800, 3), 40, np.uint8)).save(tmp_path / "plain.png")
    restore(tab, tmp_path / "plain.png", "No change")
    slider = tab.get_by_role("slider", name="Crop, left to right")
    slider.focus()
    slider.press("Home")
    tab.wait_for_function("() => document.querySelector('.crop img').src.includes('-0-50')")
    box = seen(tab, ".crop")
    inside = np.flatnonzero((np.abs(box[box.shape[0] * 2 // 3].astype(int) - 40) < 3).all(-1))
    assert box.shape[1] > 600
    assert abs(inside[0] + inside[-1] - box.shape[1]) < 8 and 470 < inside[-1] - inside[0] < 490


def test_numbers_of_a_calibration_do_not_break(phone: Any, tmp_path: Path) -> None:
    _, frames = simulate(Shoot(size=(64, 96), isos=(400.0, 800.0), darks=6, flats=4), tmp_path)
    phone.locator(".overflow-menu > button").click()
    phone.locator(".overflow-dropdown button").filter(has_text="Camera").click()
    panel = phone.get_by_role("tabpanel").filter(has=phone.get_by_role("button", name="Learn the noise"))
    give(panel, 0, *(path for path in frames if path.parent.name == "darks"))
    panel.get_by_label("Learn the exact shape").uncheck()
    panel.get_by_role("button", name="Learn the noise").click()
    phone.locator("#camera-report td").first.wait_for()
    rows = """() => [...document.querySelectorAll('#camera-report td')].filter(e => e.checkVisibility()).map(e => {
        const r = document.createRange(); r.selectNodeContents(e); return r.getClientRects().length })"""
    lines = phone.evaluate(rows)
    assert len(lines) == 22 and set(lines) == {1}
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
