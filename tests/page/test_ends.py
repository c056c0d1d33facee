"""What ends with the server, and with a picture that is taken away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import in_browser, start_slowly
from gradio_client import Client, handle_file
from serving import ROOT, Server

from restore.page import sessions


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGHUP])
def test_uploads_and_results_go_with_the_server(tmp_path: Path, way: signal.Signals, big: Path) -> None:
    before = signal.signal(way, signal.SIG_DFL)  # a suite that is started by nohup hands on that it is ignored
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    signal.signal(way, before)
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout is not None
        url = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
        httpx.post(f"{url}gradio_api/upload", files={"files": ("secret.png", big.read_bytes())})
        client = Client(url, verbose=False)
        slow = {"method": "wavelet", "wavelet_shifts": 16, "tile": "64", "noise": "20/255"}
        client.submit(picture=handle_file(str(big)), api_name="/restore", **slow)
        (folder,) = tmp_path.glob(f"{sessions.PREFIX}*")
        patience = time.monotonic() + 20
        while not list(folder.glob("work/*")) and time.monotonic() < patience:
            time.sleep(0.1)
        assert list(folder.rglob("secret.png"))
        process.send_signal(way)
        assert process.wait(10) == -way
    assert not folder.exists()


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    kept = signal.getsignal(signal.SIGTERM)
    try:
        sessions.remove_at_end(tmp_path / "x")
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, kept)


@in_browser
def test_a_picture_that_is_taken_away_is_computed_no_longer(
    tab: Any, server: Server, big: Path, pictures: dict
) -> None:
    start_slowly(tab, big)
    tab.get_by_role("button", name="Clear").first.click()
    tab.locator("#report").get_by_text("Drop a picture").wait_for()
    picture = handle_file(str(pictures["photo.jpg"]))
    client = Client(server.url, verbose=False)
    client.submit(picture=picture, method="none", api_name="/restore").result(timeout=10)
    tab.wait_for_timeout(1000)
    assert tab.locator("#report").inner_text().startswith("Drop a picture")
    assert tab.locator(".view img").filter(visible=True).count() == 0
