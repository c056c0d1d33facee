"""A browser that looks at the running page, and what people do in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from serving import Server

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason="needs chromium (apt-get install chromium)"),
]
"""Marks of every test in a browser; `in_browser` gives them to one."""
PATIENCE_MS = 40_000
"""Patience in milliseconds: others may be computing on this machine."""


def in_browser(test: Any) -> Any:
    for mark in IN_BROWSER:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'restore[dev]')")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Any, server: Server) -> Iterator[Any]:
    """An open page that may talk to its server only, and must not report errors."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    page.get_by_role("button", name="Restore", exact=True).wait_for()
    yield page
    page.close()
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert broken == []


def upload(tab: Any, *paths: Path, within: str = "Restore") -> None:
    panel = tab.get_by_role("tabpanel").filter(has=tab.get_by_role("button", name=within, exact=True))
    place = panel.locator("input[type=file]").first
    place.wait_for(state="attached")
    tab.wait_for_timeout(500)  # a tab that was just opened may draw its fields once more
    place.set_input_files([str(path) for path in paths])


def give(panel: Any, index: int, *paths: Path) -> None:
    """Upload into a field of a tab that was just opened, again where the field was drawn anew meanwhile."""
    from playwright.sync_api import TimeoutError as TooLate

    for _ in range(8):
        panel.locator("input[type=file]").nth(index).set_input_files([str(path) for path in paths])
        try:
            panel.locator("tr.file").filter(has_text=paths[-1].stem).first.wait_for(timeout=10_000)
        except TooLate:
            continue
        return
    raise AssertionError(f"{paths[-1].name} was not taken")


def restore(tab: Any, path: Path, method: str) -> None:
    upload(tab, path)
    tab.locator("#report").get_by_text("Noise found").wait_for()
    tab.get_by_role("radio", name=method).first.check()
    tab.get_by_role("button", name="Restore", exact=True).click()
    tab.locator("#report").get_by_text("Files:").wait_for()


def start_slowly(tab: Any, path: Path) -> None:
    """Begin a run that takes long, and wait until it says how long."""
    upload(tab, path)
    tab.locator("#report").get_by_text("Noise found").wait_for()
    tab.get_by_role("radio", name="Wavelet shrinkage").first.check()
    tab.get_by_role("button", name="Advanced").first.click()
    tab.get_by_label("Shifts").first.fill("16")
    tab.get_by_label("Noise level").first.fill("20/255")
    tab.get_by_label("Side of tiles").first.fill("64")
    tab.get_by_label("Side of tiles").first.press("Enter")
    tab.get_by_role("button", name="Restore", exact=True).click()
    tab.get_by_text("left").filter(has_text="about").first.wait_for()


def download(tab: Any, name: str) -> tuple[str, bytes]:
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name=name).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def received(tab: Any, view: str) -> list[np.ndarray]:
    """Return the pixels that the browser got for both sides of a slider."""
    pictures = tab.locator(f"{view} img")
    found = [tab.request.get(pictures.nth(i).get_attribute("src")) for i in range(2)]
    assert [answer.headers["content-type"] for answer in found] == ["image/png"] * 2
    return [np.asarray(Pillow.open(io.BytesIO(answer.body()))) for answer in found]
