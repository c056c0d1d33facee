"""Runs that are killed or stopped, as real processes."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore import files
from restore.jobs.journal import DONE
from restore.picture import Image, Meta

ROOT = Path(__file__).parents[2]
COUNT = 20
OPTIONS = ["--set", "wavelet.shifts=8", "--noise", "0.1", "--tile", "128", "--json"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "restore", "run", *map(str, words)]


def started(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def journal(out: Path) -> list[dict[str, str]]:
    path = out / ".restore-journal.jsonl"
    rows = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(row) for row in rows if row.endswith(b"}")]


def wait_for(condition, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "in"
    folder.mkdir()
    for index in range(COUNT):
        pixels = np.random.default_rng(index).random((160, 200, 3), np.float32)
        files.write(folder / f"{index:02}.png", Image(pixels, meta=Meta(bits=8)))
    return folder


@pytest.fixture(scope="module")
def expected(pictures: Path) -> dict[str, bytes]:
    """What an undisturbed run makes."""
    out = pictures.parent / "undisturbed"
    subprocess.run(command(pictures, "-o", out, *OPTIONS), cwd=ROOT, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def whole_pictures(out: Path, expected: dict[str, bytes]) -> set[str]:
    """Return the names of results, each of which must be there to its last byte."""
    found = [path for path in out.glob("*.png") if not path.name.startswith(".")]
    for path in found:
        assert path.read_bytes() == expected[path.name], path.name
    for side in out.glob("[!.]*.json"):
        assert json.loads(side.read_text())["schema_version"] == 1
    return {path.name for path in found}


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(pictures: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    out, chance = tmp_path / "out", random.Random(5)
    for attempt in range(3):
        before = len(journal(out))
        process = started(pictures, "-o", out, *OPTIONS, "--resume")
        wait_for(lambda before=before: len(journal(out)) > before, process)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"run {attempt} was over before it could be killed"
        whole_pictures(out, expected)
    done = {row["target"] for row in journal(out) if row["status"] == DONE}
    times = {name: (out / name).stat().st_mtime_ns for name in done}
    last = subprocess.run(
        command(pictures, "-o", out, *OPTIONS, "--resume"), cwd=ROOT, check=False, capture_output=True
    )
    *lines, summary = (json.loads(line) for line in last.stdout.splitlines())
    assert last.returncode == 0, last.stderr.decode()
    assert {Path(line["source"]).name for line in lines if line["status"] == "skipped"} == done
    assert summary["done"] == COUNT - len(done)
    assert 0 < len(done) < COUNT
    assert {name: (out / name).stat().st_mtime_ns for name in done} == times
    assert whole_pictures(out, expected) == expected.keys()
    assert len([*out.glob("*.restore.json")]) == COUNT
    assert not [*out.glob(".restore-*.part*")]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_the_keyboard_or_the_system(
    pictures: Path, expected: dict[str, bytes], tmp_path: Path, sign
) -> None:
    out = tmp_path / "out"
    process = started(pictures, "-o", out, *OPTIONS, "--jobs", 2)
    wait_for(lambda: any(row["status"] == DONE for row in journal(out)), process)
    assert process.stderr is not None
    if sign == signal.SIGHUP:
        process.stderr.close()  # as the terminal
        process.stderr = None
    process.send_signal(sign)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in (stderr or b"")
    summary = json.loads(stdout.splitlines()[-1])
    assert summary["cancelled"] > 0
    assert summary["exit_code"] == 130
    assert len(whole_pictures(out, expected)) == summary["done"] < COUNT
    assert not [*out.glob(".restore-*.part*")]


@pytest.mark.slow
def test_a_large_picture_within_memory_with_time_left_shown_and_stopped(tmp_path: Path) -> None:
    height, width = 3000, 4000
    pixels = np.random.default_rng(0).integers(0, 65535, (height, width, 3), np.uint16)
    tifffile.imwrite(tmp_path / "large.tif", pixels, photometric="rgb")
    words = [tmp_path / "large.tif", "-o", tmp_path / "out", "--set", "wavelet.shifts=1", "--noise", "0.05"]
    measured = "import resource, sys; sys.argv[1:] = sys.argv[2:]; from restore.cli import main\n"
    measured += "try: main()\nfinally: sys.stderr.write(f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}')"
    idle = "import resource, restore.jobs.order; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    imports = int(subprocess.run([sys.executable, "-c", idle], cwd=ROOT, capture_output=True, check=True).stdout)
    done = subprocess.run(
        [sys.executable, "-c", measured, "-", "run", *map(str, words)], cwd=ROOT, capture_output=True, check=True
    )
    text = done.stderr.decode()
    peak = int(re.search(r"peak (\d+)", text)[1]) * 1024
    assert peak - imports * 1024 < 6 * height * width * 3 * 4
    assert re.search(r"\d+%  0 of 1 files  ETA \d+:\d\d:\d\d  large.tif: wavelet \d+%", text), text
    process = started(*words, "--overwrite")
    assert process.stderr is not None
    result = (tmp_path / "out" / "large.tif").read_bytes()
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "out" / "large.tif").read_bytes() == result
    assert not [*(tmp_path / "out").glob(".restore-*.part*")]
