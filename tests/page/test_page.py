"""The running page as programs see it: the command's bytes, readable refusals, nothing served that is not its own."""

from __future__ import annotations

import ast
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import tifffile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image as Pillow
from serving import MAX_BYTES, ROOT, Server, by_command, without_times

from restore import methods


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def call(client: Client, path: Path, **fields: object) -> tuple[Path, Path, str]:
    result = client.predict(picture=handle_file(str(path)), api_name="/restore", **fields)
    return Path(result[0]), Path(result[1]), str(result[2])


def test_is_usable_within_ten_seconds(server: Server) -> None:
    assert 0 < server.cpu_s < 10, f"{server.cpu_s:.1f} s of computing, {server.started_s:.1f} s by the clock"


@pytest.mark.parametrize("command", [["-m", "restore", "ui"], ["app.py"]], ids=" ".join)
def test_a_port_in_use_is_one_line(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [sys.executable, *command, "--port", port]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: port {port} of 127.0.0.1 is in use")
    assert "Traceback" not in done.stderr


def test_no_method_is_known_by_name() -> None:
    names = set(methods.registry()) - {"none"}
    for path in [ROOT / "app.py", *(ROOT / "restore" / "page").glob("*.py")]:
        tree = ast.parse(path.read_text())
        told = {n for node in ast.walk(tree) if isinstance(node, ast.Expr) for n in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
                assert node.value not in names, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("name", ["photo.jpg", "scan.png", "raw.dng"])
@pytest.mark.parametrize("method", ["auto", "wavelet"])
def test_same_bytes_as_the_command(
    client: Client, pictures: dict[str, Path], tmp_path: Path, name: str, method: str
) -> None:
    expected = by_command(tmp_path / "out", pictures[name], "--method", method)
    result, side, report = call(client, pictures[name], method=method)
    assert result.read_bytes() == expected[result.name]
    assert without_times(side.read_text()) == without_times(expected[result.name + ".restore.json"])
    assert "Noise found" in report


def test_of_a_stack_every_page_is_restored_and_the_first_is_shown(client: Client, tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 65535, (4, 60, 80)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    looked = client.predict(picture=handle_file(str(tmp_path / "stack.tif")), api_name="/look")
    assert "the first of **4 pages** is shown" in looked[2]
    result, _, report = call(client, tmp_path / "stack.tif", method="wavelet")
    assert tifffile.imread(result).shape == (4, 60, 80)
    assert "the first of **4 pages** is shown" in report
    assert "**All pages:** 4 pages, noise" in report
    with pytest.raises(AppError, match="stack of 4 pages, and one picture is wanted"):
        client.predict(picture=handle_file(str(tmp_path / "stack.tif")), methods=["auto"], api_name="/compare")
    _, _, rows = client.predict(pictures=[handle_file(str(tmp_path / "stack.tif"))], api_name="/restore_all")[1:]
    assert rows[0][1] == "done" and rows[0][3].startswith("4 pages: ")


def test_knobs_are_parameters(client: Client, pictures: dict[str, Path], tmp_path: Path) -> None:
    options = ["--set", "wavelet.threshold=2.5", "--strength", "0.5", "--noise", "12/255", "--tile", "256"]
    options += ["--white", "240"]
    expected = by_command(tmp_path / "out", pictures["photo.jpg"], *options, "--format", "png", "--depth", "16")
    fields = {"method": "wavelet", "wavelet_threshold": 2.5, "strength": 0.5, "noise": "12/255", "tile": "256"}
    fields["white"] = 240
    result, side, _ = call(client, pictures["photo.jpg"], **fields, format="png", depth=16)
    assert result.read_bytes() == expected["photo.png"]
    assert without_times(side.read_text()) == without_times(expected["photo.png.restore.json"])
    again, _, _ = call(client, pictures["photo.jpg"], recipe=handle_file(str(side)))
    assert again.read_bytes() == result.read_bytes()


def test_every_event_has_a_name_and_every_parameter_too(client: Client) -> None:
    api = client.view_api(return_format="dict")
    assert isinstance(api, dict)
    assert not api["unnamed_endpoints"]
    assert {"/restore", "/restore_all", "/compare", "/look", "/stop", "/stop_all", "/calibrate"} <= set(
        api["named_endpoints"]
    )
    fields = api["named_endpoints"]["/restore"]["parameters"]
    assert not [field for field in fields if re.match(r"param_\d", field["parameter_name"])]
    config = httpx.get(client.src + "config").json()
    assert config["analytics_enabled"] is False
    unnamed = [d["id"] for d in config["dependencies"] if d["api_name"] is None and d["targets"][0][1] != "unload"]
    assert not unnamed


def bomb(path: Path) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(2_000_000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "text.png: is not a picture"),
        ("bomb", "bomb.png: 30000 x 30000 is 900 megapixels"),
        ("raw", "cut.dng: "),
        ("recipe", "cannot be read as a recipe"),
        ("noise", "noise level 'loud'"),
        ("missing", "Choose a picture"),
        ("depth", "jpeg has no depth of 16 bits"),
    ],
)
def test_refusals_are_readable(
    client: Client, server: Server, pictures: dict[str, Path], tmp_path: Path, kind: str, said: str
) -> None:
    cut = tmp_path / "cut.dng"
    cut.write_bytes(pictures["raw.dng"].read_bytes()[:20_000])
    chosen = {"text": pictures["text.png"], "bomb": bomb(tmp_path / "bomb.png"), "raw": cut}
    path = chosen.get(kind, pictures["photo.jpg"])
    fields: dict[str, object] = {"method": "wavelet"}
    fields |= {"format": "jpeg", "depth": 16} if kind == "depth" else {}
    fields |= {"noise": "loud"} if kind == "noise" else {}
    fields |= {"recipe": handle_file(str(pictures["text.png"]))} if kind == "recipe" else {}
    picture = None if kind == "missing" else handle_file(str(path))
    with pytest.raises(AppError) as caught:
        client.predict(picture=picture, api_name="/restore", **fields)
    text = str(caught.value)
    assert said in text
    assert "Traceback" not in text
    assert "/tmp" not in text and "served" not in text and str(tmp_path) not in text
    assert server.is_alive()


def test_too_large_an_upload_is_refused(server: Server) -> None:
    files = {"files": ("large.png", bytes(MAX_BYTES + 100_000))}
    answer = httpx.post(server.url + "gradio_api/upload", files=files, timeout=30)
    assert answer.status_code == 413
    assert server.is_alive()


def raw_call(client: Client, server: Server, picture: object) -> str:
    """Call the page without the client's own handling of files; return what the server says."""
    api = client.view_api(return_format="dict")
    assert isinstance(api, dict)
    fields = api["named_endpoints"]["/restore"]["parameters"]
    data = [picture if f["parameter_name"] == "picture" else f["parameter_default"] for f in fields]
    event = httpx.post(f"{server.url}gradio_api/call/restore", json={"data": data}).json()["event_id"]
    return httpx.get(f"{server.url}gradio_api/call/restore/{event}", timeout=60).text


SECRET = "nobody shall read this"


def test_nothing_else_is_served(client: Client, server: Server, pictures: dict[str, Path], tmp_path: Path) -> None:
    """Thirty ways to other files than the page's own."""
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    upload = {"files": ("../../../up.png", pictures["photo.jpg"].read_bytes())}
    stored = Path(httpx.post(server.url + "gradio_api/upload", files=upload).json()[0])
    served = next(parent for parent in stored.parents if parent.name == "served")
    assert stored.resolve().is_relative_to(served)
    call(client, pictures["photo.jpg"], method="none")
    (served / "link.txt").symlink_to(secret)
    (served.parent / "secret.txt").write_text(SECRET)
    walked = os.walk(served.parent / "work")  # which, unlike glob, bears that folders vanish while it looks
    inside = [Path(folder) / name for folder, _, names in walked for name in names]
    assert inside
    tried = [
        secret, "/etc/passwd", "/proc/self/environ", ROOT / "app.py", "app.py", "weights/manifest.toml",
        served.parent / "secret.txt", f"{served}/../secret.txt", f"{served}/./../secret.txt", "../secret.txt",
        f"{served}/link.txt", served, served.parent, f"{served}/%2e%2e/secret.txt", f"{served}/..%2fsecret.txt",
        f"file://{secret}", f"//{secret}", f"/./{secret}", f"~/{secret.name}", f"{secret}%00.png", *inside[:3],
        f"{served}-x/../{secret}", "C:\\Windows\\win.ini", "\\\\host\\share\\x",
        "http://127.0.0.1:1/x", "https://example.org/x", f"{stored}/../../../secret.txt",
    ]  # fmt: skip
    found = []
    for path in tried:
        for text in {str(path), quote(str(path), safe="/%")}:
            answer = httpx.get(f"{server.url}gradio_api/file={text}", timeout=20)
            if answer.status_code == 200 or SECRET in answer.text:
                found.append(text)
    for route in ("proxy=https://example.org/x", "proxy=http://127.0.0.1:1/x", f"stream/{secret}", f"static/{secret}"):
        if httpx.get(f"{server.url}gradio_api/{route}", timeout=20).status_code == 200:
            found.append(route)
    assert found == []
    assert len(tried) >= 28
    sent = [secret, "/etc/passwd", *inside[:1], served.parent / "secret.txt", "http://127.0.0.1:1/x.png"]
    for path in sent:
        said = raw_call(client, server, {"path": str(path), "meta": {"_type": "gradio.FileData"}})
        assert "event: error" in said, said
        assert SECRET not in said
    assert server.is_alive()


def tiny(path: Path, value: int) -> Path:
    pixels = np.full((24, 32, 3), (value % 256, value // 2, 255 - value), np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


@pytest.mark.slow
def test_twenty_clients_and_two_hundred_jobs(server: Server, tmp_path: Path) -> None:
    """Everybody gets the own picture or is told that the queue is full; memory stays flat."""
    clients = [Client(server.url, verbose=False, httpx_kwargs={"timeout": 60}) for _ in range(20)]
    answers: Counter[str] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        value = number
        path = tiny(tmp_path / f"{number}.png", value)
        try:
            try:
                result = call(clients[number % 20], path, method="none")[0]
            except CancelledError:  # Gradio's client may close the stream its jobs share as one of them ends: ask again
                lost.append(number)
                result = call(clients[number % 20], path, method="none")[0]
            with Pillow.open(result) as image:
                right = image.getpixel((3, 3)) == (value % 256, value // 2, 255 - value)
            said = "right" if right and result.name == path.name else "wrong"
        except QueueError:
            said = "full"
        with lock:
            answers[said] += 1

    memory: list[float] = []
    lost: list[int] = []
    for half in (range(100), range(100, 200)):
        with ThreadPoolExecutor(60) as pool:
            list(pool.map(work, half))
        memory.append(server.rss_mb())
    assert set(answers) <= {"right", "full"}, answers
    assert sum(answers.values()) == 200
    assert answers["right"] >= 80
    assert len(lost) <= 5, "the server loses answers"
    assert memory[1] - memory[0] < 30, memory
    assert server.is_alive()


def test_stop_is_for_the_own_session_only(client: Client, server: Server, big: Path) -> None:
    other = Client(server.url, verbose=False)
    fields = {"method": "wavelet", "wavelet_shifts": 16, "tile": "64", "noise": "20/255"}
    job = client.submit(picture=handle_file(str(big)), api_name="/restore", **fields)
    time.sleep(3)
    other.predict(api_name="/stop")
    time.sleep(1)
    assert not job.done()
    start = time.monotonic()
    client.predict(api_name="/stop")
    with pytest.raises(AppError, match=r"[Ss]topped"):
        job.result(timeout=30)
    assert time.monotonic() - start < 10


def test_nothing_is_sent_anywhere(server: Server, client: Client) -> None:
    assert not server.outward.exists(), server.outward.read_text()
