"""The running page as people see it, in Chromium: slider, crop, downloads, stop, many files, phone width."""

from __future__ import annotations

import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browsing import IN_BROWSER, PATIENCE_MS, download, give, received, restore, start_slowly, upload
from serving import Server, by_command, without_times

from restore.files import read
from restore.raw.develop import develop

pytestmark = IN_BROWSER


def shown(path: Path) -> np.ndarray:
    """Return what a file looks like on a screen, 8 bits."""
    picture = read(path)
    image = picture if hasattr(picture, "pixels") else develop(picture)
    return np.uint8(np.rint(np.clip(image.pixels, 0, 1) * 255))


@pytest.mark.parametrize("method", ["Auto", "Wavelet shrinkage"])
@pytest.mark.parametrize("name", ["photo.jpg", "scan.png", "raw.dng"])
def test_file_and_slider(tab: Any, pictures: dict[str, Path], tmp_path: Path, name: str, method: str) -> None:
    """The file is the command's, and the slider has exactly its pixels."""
    expected = by_command(tmp_path / "out", pictures[name], "-m", "auto" if method == "Auto" else "wavelet")
    restore(tab, pictures[name], method)
    target, content = download(tab, "Download the result")
    assert content == expected[target]
    side_name, side = download(tab, "Its recipe")
    assert without_times(side) == without_times(expected[side_name])
    before, after = received(tab, ".view")
    np.testing.assert_array_equal(before, shown(pictures[name]))
    np.testing.assert_array_equal(after, shown(tmp_path / "out" / target))
    assert (before != after).any()


def test_divider_and_crop_move(tab: Any, pictures: dict[str, Path]) -> None:
    restore(tab, pictures["photo.jpg"], "Wavelet shrinkage")
    handle = tab.locator(".view [data-testid=slider] .inner")
    handle.scroll_into_view_if_needed()  # the list of methods above grows
    start = handle.bounding_box()
    tab.mouse.move(start["x"] + 1, start["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(start["x"] - 150, start["y"] + 40, steps=4)
    tab.mouse.up()
    assert handle.bounding_box()["x"] < start["x"] - 100
    before, after = received(tab, ".view")
    middle = (slice(60, 540), slice(160, 640))
    np.testing.assert_array_equal(received(tab, ".crop")[1], after[middle])
    left = tab.get_by_role("slider", name="Crop, left to right")
    left.focus()
    left.press("Home")
    tab.wait_for_function("() => document.querySelector('.crop img').src.includes('-0-50')")
    cut = received(tab, ".crop")
    np.testing.assert_array_equal(cut[0], before[60:540, :480])
    np.testing.assert_array_equal(cut[1], after[60:540, :480])
    size = tab.locator(".crop img").first.evaluate("e => [e.naturalHeight, e.getBoundingClientRect().height]")
    assert size[0] == 480 and size[1] >= 480


def test_a_long_run_is_stopped(tab: Any, big: Path) -> None:
    start_slowly(tab, big)
    start = time.monotonic()
    tab.get_by_role("button", name="Stop", exact=True).click()
    tab.locator("#report").get_by_text("Stopped").wait_for()
    assert time.monotonic() - start < 5
    assert tab.get_by_role("button", name="Download the result").is_disabled()
    tab.get_by_role("button", name="Restore", exact=True).wait_for()


def test_many_files_and_one_is_broken(tab: Any, pictures: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "second.jpg"
    copy.write_bytes(pictures["photo.jpg"].read_bytes())
    paths = [*pictures.values(), copy]
    expected = by_command(tmp_path / "out", *paths, "-m", "wavelet")
    tab.get_by_role("tab", name="Batch").click()
    upload(tab, *paths, within="Restore all")
    tab.locator(".file-preview tr.file").nth(4).wait_for(state="attached")
    tab.get_by_role("radio", name="Wavelet shrinkage").first.check()
    tab.get_by_role("button", name="Restore all").click()
    tab.locator("#batch-report").get_by_text("5 of 5").wait_for()
    assert "4 done, 1 failed" in tab.locator("#batch-report").inner_text()
    row = tab.locator(".figures tr").filter(has_text="text.png").first.inner_text()
    assert "failed" in row and "is not a picture" in row and "/tmp" not in row
    with zipfile.ZipFile(io.BytesIO(download(tab, "Download all results")[1])) as archive:
        assert set(archive.namelist()) == set(expected)
        for name in archive.namelist():
            if name.endswith(".json"):
                assert without_times(archive.read(name)) == without_times(expected[name])
            else:
                assert archive.read(name) == expected[name]


def test_a_bad_file_is_told(tab: Any, server: Server, pictures: dict[str, Path]) -> None:
    upload(tab, pictures["text.png"])
    tab.locator("#report").get_by_text("is not a picture").wait_for()
    tab.get_by_role("button", name="Restore", exact=True).click()
    tab.get_by_test_id("toast-body").filter(has_text="is not a picture").first.wait_for()
    assert "Traceback" not in tab.content()
    assert server.is_alive()


def test_methods_are_compared(tab: Any, pictures: dict[str, Path], tmp_path: Path) -> None:
    clean = tmp_path / "clean.png"
    cv2.imwrite(str(clean), np.full((600, 800, 3), 127, np.uint8))
    tab.get_by_role("tab", name="Compare").click()
    panel = tab.get_by_role("tabpanel").filter(has=tab.get_by_role("button", name="Compare", exact=True))
    give(panel, 1, clean)
    give(panel, 0, pictures["photo.jpg"])
    tab.get_by_role("button", name="Compare", exact=True).click()
    rows = panel.locator(".figures tbody tr")
    rows.nth(3).wait_for(timeout=150_000)  # every method in turn
    noise, psnr = (float(rows.first.locator("td").nth(i).inner_text()) for i in (2, 3))
    assert 8 < noise < 20
    expected = 10 * np.log10(1 / np.mean((shown(pictures["photo.jpg"]) / 255 - 127 / 255) ** 2))
    assert abs(psnr - expected) < 0.006


def test_working_files_go_with_the_tab(browser: Any, server: Server, pictures: dict[str, Path]) -> None:
    def folders() -> set[Path]:
        walked = os.walk(server.log.parent)  # which, unlike glob, bears that folders vanish while it looks
        return {Path(folder) for folder, _, names in walked if "before.npy" in names}

    before = folders()
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    upload(page, pictures["photo.jpg"])
    page.locator("#report").get_by_text("Noise found").wait_for()
    own = folders() - before
    assert len(own) == 1
    page.close()
    patience = time.monotonic() + 30
    while own & folders() and time.monotonic() < patience:
        time.sleep(0.2)
    assert not own & folders()


UNLABELLED = """() => [...document.querySelectorAll('input, textarea, select, button')]
  .filter(e => e.checkVisibility() && e.type !== 'file')
  .filter(e => !(e.ariaLabel || e.labels?.length || e.innerText?.trim() || e.title
                 || e.getAttribute('aria-labelledby') || e.closest('label')))
  .map(e => e.outerHTML.slice(0, 160))"""


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_cut_off_or_unlabelled(tab: Any, pictures: dict[str, Path], width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 844})
    restore(tab, pictures["photo.jpg"], "Wavelet shrinkage")
    tab.get_by_role("button", name="Advanced").first.click()
    for name in ("Single", "Batch", "Compare", "Adapt", "Camera", "Models", "About"):
        if not tab.get_by_role("tab", name=name).is_visible():
            tab.locator(".overflow-menu > button").click()
            tab.locator(".overflow-dropdown button").filter(has_text=name).click()
        else:
            tab.get_by_role("tab", name=name).click()
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        wide = "() => [...document.querySelectorAll('button, label, p, td, th')].filter(e => e.checkVisibility()"
        wide += " && !e.closest('.visually-hidden, [aria-hidden=true]'))"  # where Gradio measures its tabs
        cut = f"{wide}.filter(e => e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 160))"
        assert tab.evaluate(cut) == [], name
        assert tab.evaluate(UNLABELLED) == [], name


def test_the_keyboard_reaches_the_main_controls(tab: Any, pictures: dict[str, Path]) -> None:
    upload(tab, pictures["photo.jpg"])
    tab.locator("#report").get_by_text("Noise found").wait_for()
    tab.locator("body").click(position={"x": 2, "y": 2})
    seen = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        seen.add(tab.evaluate("(document.activeElement.innerText || document.activeElement.ariaLabel || '').trim()"))
        kind = tab.evaluate("document.activeElement.type || ''")
        seen.add(kind)
    assert {"Restore", "Stop", "radio", "range", "Single"} <= seen
