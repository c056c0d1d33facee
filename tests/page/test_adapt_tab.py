"""The Adapt tab: noisy pictures in, a model out that the command takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from browsing import give, in_browser
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image as Pillow
from serving import Server, by_command


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def test_a_model_and_a_curve_come_out(client: Client, pictures: dict[str, Path], tmp_path: Path) -> None:
    job = client.submit(pictures=[handle_file(str(pictures["photo.jpg"]))], minutes=0.2, api_name="/adapt")
    model, says, curve, pair = job.result(timeout=300)
    assert len(job.outputs()) >= 2  # the curve grew while it learnt
    assert "Noise found" in says
    assert len(curve["data"]) >= 1
    before, after = (np.asarray(Pillow.open(path), np.float32) for path in pair)
    assert before.shape == after.shape
    assert np.abs(before - after).mean() > 0.5
    method = says.split("restore run -m ")[1].split()[0]
    target = tmp_path / "model.safetensors"
    target.write_bytes(Path(model).read_bytes())
    done = by_command(tmp_path / "out", pictures["photo.jpg"], "--method", method, "--weights", str(target))
    assert "photo.jpg" in done


def test_of_a_stack_beyond_the_limit_some_pages_are_learnt_from_and_the_first_is_shown(
    client: Client, tmp_path: Path
) -> None:
    page = np.random.default_rng(0).integers(0, 256, (1000, 1000), np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([page] * 3), photometric="minisblack")
    given = [handle_file(str(tmp_path / "stack.tif"))]
    _, says, _, pair = client.predict(pictures=given, minutes=0.2, api_name="/adapt")
    assert "stack.tif is large: 2 of its 3 pages were learnt from" in says
    assert all(Path(path).exists() for path in pair)


@in_browser
def test_a_fit_that_waits_leaves_the_queue(
    tab: Any, server: Server, client: Client, pictures: dict[str, Path], big: Path
) -> None:
    slow = {"method": "wavelet", "wavelet_shifts": 16, "tile": "64", "noise": "20/255"}
    first = client.submit(picture=handle_file(str(big)), api_name="/restore", **slow)
    tab.get_by_role("tab", name="Adapt").click()
    panel = tab.get_by_role("tabpanel").filter(has=tab.get_by_role("button", name="End now"))
    give(panel, 0, pictures["photo.jpg"])
    panel.get_by_role("button", name="Fit to these").click()
    panel.get_by_text("queue").first.wait_for()
    panel.get_by_role("button", name="End now").click()
    tab.locator("#adapt-report").get_by_text("has left the queue").wait_for()
    tab.wait_for_timeout(1000)
    assert not first.done()
    client.predict(api_name="/stop")
    with pytest.raises(AppError, match=r"[Ss]topped"):
        first.result(timeout=30)
    small = Client(server.url, verbose=False)  # the fit would take the machine before it
    picture = handle_file(str(pictures["photo.jpg"]))
    small.submit(picture=picture, method="none", api_name="/restore").result(timeout=8)
    assert "SURE" not in tab.locator("#adapt-report").inner_text()


def test_refusals_are_readable(client: Client, pictures: dict[str, Path]) -> None:
    with pytest.raises(AppError, match=r"text\.png"):
        client.predict(pictures=[handle_file(str(pictures["text.png"]))], minutes=0.2, api_name="/adapt")
    with pytest.raises(AppError, match="noisy pictures"):
        client.predict(pictures=[], minutes=0.2, api_name="/adapt")
