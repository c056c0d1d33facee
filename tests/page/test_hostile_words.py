"""Text inside files and recipes is shown as text: the browser asks nobody else for anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browsing import PATIENCE_MS, in_browser, upload
from PIL import Image as Pillow
from serving import Server

from restore.camera import report
from restore.jobs.adapt import Adapted
from restore.page import adapt, camera, words


@pytest.fixture
def beacon() -> Iterator[tuple[str, list[str]]]:
    """An address elsewhere, and what it was asked for."""
    asked: list[str] = []

    class Heard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - as http.server wants it
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Heard) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}/", asked
        listener.shutdown()


def photo(path: Path, make: str, model: str) -> Path:
    picture = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    exif = Pillow.Exif()
    exif[271], exif[272] = make, model
    picture.save(path, exif=exif)
    return path


@pytest.fixture
def bare(browser: Any, server: Server) -> Iterator[Any]:
    """An open page in a browser that heeds no policy: what is on the page is all that protects it."""
    page = browser.new_page(bypass_csp=True, viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    page.get_by_role("button", name="Restore", exact=True).wait_for()
    yield page
    page.close()


def markup(page: Any, address: str) -> list[str]:
    """Return what on the page leads to an address."""
    found = "a => [...document.querySelectorAll('[src], [href]')].map(e => e.src || e.href).filter(x => x.includes(a))"
    led: list[str] = page.evaluate(found, address.removeprefix("http://"))
    return led


@in_browser
def test_the_name_of_a_camera_is_no_markup(bare: Any, beacon: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = beacon
    made = f"![x]({address}beacon.png) <img src={address}tag.png>"
    upload(bare, photo(tmp_path / "__evil__.jpg", made, f"[click]({address}x) {address}bare"))
    bare.locator("#report").get_by_text("Noise found").wait_for()
    bare.get_by_role("button", name="Restore", exact=True).click()
    bare.locator("#report").get_by_text("Files:").wait_for()
    bare.wait_for_timeout(1000)
    text = bare.locator("#report").inner_text()
    assert made in text and f"[click]({address}x) {address}bare" in text and "__evil__.jpg (" in text
    assert markup(bare, address) == [] and asked == []


@in_browser
@pytest.mark.parametrize("method", ["<img src={}a.png>", "![x]({}a.png) [click]({}b)", "<a href={}b>x</a>"])
def test_the_words_of_a_recipe_are_no_markup(
    bare: Any, beacon: tuple[str, list[str]], tmp_path: Path, method: str
) -> None:
    address, asked = beacon
    method = method.replace("{}", address)
    (tmp_path / "evil.json").write_text(json.dumps({"recipe": {"steps": [{"method": method}]}}))
    upload(bare, photo(tmp_path / "x.jpg", "Make", "Model"))
    bare.locator("#report").get_by_text("Noise found").wait_for()
    bare.get_by_role("button", name="Advanced").first.click()
    given = bare.locator(".block").filter(has_text="Recipe file, in place").last
    given.locator("input[type=file]").set_input_files(str(tmp_path / "evil.json"))
    given.get_by_text("evil.json").wait_for()
    bare.get_by_role("button", name="Restore", exact=True).click()
    bare.get_by_test_id("toast-body").filter(has_text=method).first.wait_for()
    bare.wait_for_timeout(1000)
    assert markup(bare, address) == [] and asked == []


@in_browser
def test_the_browser_is_told_to_load_no_picture_from_elsewhere(
    browser: Any, server: Server, beacon: tuple[str, list[str]]
) -> None:
    assert "img-src 'self' data: blob:" in httpx.get(server.url).headers["content-security-policy"]
    address, asked = beacon
    ended = "a => new Promise(done => Object.assign(new Image(), {onload: done, onerror: done, src: a}))"
    page = browser.new_page()
    page.goto(server.url)
    page.evaluate(ended, f"{address}beacon.png")
    page.close()
    assert asked == []


def test_the_report_of_a_calibration_is_no_markup(tmp_path: Path) -> None:
    lines = ["# Noise of <img src=x> ![x](http://a)", "* [n](http://a)", "| ISO | **x** |", "|---|---|"]
    (tmp_path / report.TEXT).write_text("\n".join([*lines, "![plot](plot.png)"]))
    assert camera._text(tmp_path / report.TEXT).splitlines() == [
        "### Noise of &lt;img src=x&gt; \\!\\[x\\](http\\://a)",
        "* \\[n\\](http\\://a)",
        "| ISO | \\*\\*x\\*\\* |",
        "|---|---|",
    ]


def test_notes_of_a_fit_are_no_markup() -> None:
    made = Adapted(Path("x"), "gaussian", 1.0, 1.0, 2.0, helped=True, curve=(), notes=("<b>![x](http://a)",))
    assert words.literal("<b>![x](http://a)") in adapt._verdict(made)
