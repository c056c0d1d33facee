"""A running page, the command to compare it with, and small pictures of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from restore import files
from restore.cli import app as command
from restore.picture import RawImage

ROOT = Path(__file__).parents[2]
MAX_PIXELS, MAX_BYTES, QUEUE = 2_500_000, 12_000_000, 40
SERVE = """
import sys
log, pixels, size, queue = sys.argv[1], *map(int, sys.argv[2:])
def outward(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1", "0.0.0.0"):
        open(log, "a").write(f"{event} {args[1]}\\n")
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost", b"127.0.0.1", b"localhost"):
        open(log, "a").write(f"{event} {args[0]}\\n")
sys.addaudithook(outward)
import app
app.main(port=0, limits=app.Limits(pixels, size), queue=queue)
"""


@dataclass(frozen=True)
class Server:
    """A page in a process of its own; ``cpu_s`` is what it computed until it answered."""

    url: str
    process: subprocess.Popen[str]
    started_s: float
    cpu_s: float
    outward: Path
    log: Path

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    def is_alive(self) -> bool:
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            return self.process.poll() is None and answer.status == 200


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    log, outward = folder / "log", folder / "outward"
    arguments = [str(outward), str(MAX_PIXELS), str(MAX_BYTES), str(QUEUE)]
    start = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "not-this"), "TMPDIR": str(folder)},
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "http://" in line), "")
        assert line, log.read_text()
        url = next(word for word in line.split() if word.startswith("http://"))
        urllib.request.urlopen(url, timeout=20).read()
        yield Server(url, process, time.monotonic() - start, _cpu_seconds(process.pid), outward, log)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def _cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat")
    if not stat.is_file():
        return 0.0
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A noisy JPEG, a 16-bit PNG and a raw file, one scene."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:600, 0:800] / 100
    clean = np.stack([0.5 + 0.3 * np.sin(x + k) * np.cos(y - k) for k in range(3)], -1)
    noisy = np.clip(clean + rng.normal(0, 0.05, clean.shape), 0, 1)
    Pillow.fromarray(np.uint8(noisy * 255)).save(folder / "photo.jpg", quality=92)
    cv2.imwrite(str(folder / "scan.png"), np.uint16(noisy[..., ::-1] * 65535))
    mosaic = np.float32(0.3 + 0.1 * clean[:160, :240, 1] + rng.normal(0, 0.01, (160, 240)))
    raw = RawImage(mosaic, ((0, 1), (1, 2)), ((512.0,) * 2,) * 2, 16383.0)
    files.write(folder / "raw.dng", raw)
    (folder / "text.png").write_text("not a picture at all")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that takes long with many cycle spins."""
    path = tmp_path_factory.mktemp("big") / "big.png"
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (1400, 1400, 3), dtype=np.uint8)).save(path)
    return path


def by_command(out: Path, *arguments: str | Path) -> dict[str, bytes]:
    """Run the command; return what it wrote, by name."""
    done = CliRunner().invoke(command, ["run", *map(str, arguments), "-o", str(out)])
    assert done.exit_code in (0, 3), done.output
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def without_times(side: bytes | str) -> dict[str, object]:
    """Return a side file's content but for what differs from run to run."""
    content = json.loads(side)
    del content["seconds"]
    for report in content["reports"]:
        del report["seconds"]
    return content
