"""Crops on the page: they stay where they were put, and show what there is after a run that failed or was stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from browsing import IN_BROWSER, give, received, upload
from gradio_client import Client, handle_file
from serving import Server

pytestmark = IN_BROWSER


def put(tab: Any, name: str, key: str, view: str, place: str) -> None:
    """Move a crop to an edge by the keyboard and wait until it is there."""
    slider = tab.get_by_role("slider", name=name)
    slider.focus()
    slider.press(key)
    tab.wait_for_function(f"() => document.querySelector('{view} img').src.includes('{place}')")


def test_a_crop_stays_where_it_is_and_moves_after_a_failed_run(tab: Any, pictures: dict[str, Path]) -> None:
    upload(tab, pictures["photo.jpg"])
    tab.locator("#report").get_by_text("Noise found").wait_for()
    put(tab, "Crop, left to right", "Home", ".crop", "-0-50")
    tab.get_by_role("radio", name="Wavelet shrinkage").first.check()
    tab.get_by_role("button", name="Restore", exact=True).click()
    tab.locator("#report").get_by_text("Files:").wait_for()
    assert "-0-50" in tab.locator(".crop img").first.get_attribute("src")
    before, after = received(tab, ".view")
    np.testing.assert_array_equal(received(tab, ".crop")[1], after[60:540, :480])
    tab.get_by_role("button", name="Advanced").first.click()
    tab.wait_for_timeout(1500)  # fields that were just opened may be drawn once more
    tab.get_by_label("Noise level").first.fill("loud")
    tab.get_by_label("Noise level").first.press("Tab")
    tab.wait_for_timeout(500)
    tab.get_by_role("button", name="Restore", exact=True).click()
    tab.get_by_test_id("toast-body").filter(has_text="loud").first.wait_for()
    put(tab, "Crop, left to right", "End", ".crop", "-100-50")
    np.testing.assert_array_equal(received(tab, ".crop")[0], before[60:540, 320:])
    np.testing.assert_array_equal(received(tab, ".crop")[1], after[60:540, 320:])


def test_a_stopped_comparison_says_so_and_leaves_the_last_one(tab: Any, pictures: dict[str, Path], big: Path) -> None:
    tab.get_by_role("tab", name="Compare").click()
    panel = tab.get_by_role("tabpanel").filter(has=tab.get_by_role("button", name="Compare", exact=True))
    give(panel, 0, pictures["photo.jpg"])
    for box in panel.get_by_role("checkbox").all():
        box.uncheck()
    panel.get_by_role("checkbox", name="Wavelet shrinkage").check()
    panel.get_by_role("button", name="Compare", exact=True).click()
    panel.locator(".figures tbody tr").nth(1).wait_for()
    panel.get_by_role("button", name="Clear").first.click()
    give(panel, 0, big)
    for box in panel.get_by_role("checkbox").all():
        box.check()
    panel.get_by_role("button", name="Compare", exact=True).click()
    panel.get_by_text("left").filter(has_text="about").first.wait_for()
    panel.get_by_role("button", name="Stop", exact=True).click()
    tab.locator("#compare-report").get_by_text("Stopped.").wait_for()
    tab.wait_for_timeout(1500)
    assert panel.locator(".error").filter(visible=True).count() == 0
    put(panel.page, "Crops, left to right", "Home", ".crops", "-0-50")
    assert panel.locator(".crops img").filter(visible=True).count() >= 2


def test_crops_that_were_cleared_away_are_told(server: Server, pictures: dict[str, Path]) -> None:
    client = Client(server.url, verbose=False)
    client.predict(picture=handle_file(str(pictures["photo.jpg"])), api_name="/look")
    for work in server.log.parent.rglob("work"):
        shutil.rmtree(work)
        work.mkdir()
    crop, says = client.predict(across=10, down=50, api_name="/crop_across")
    assert "cleared away" in says
    client.predict(picture=handle_file(str(pictures["photo.jpg"])), api_name="/look")
    crop, says = client.predict(across=10, down=50, api_name="/crop_across")
    assert all(Path(path).is_file() for path in crop)
