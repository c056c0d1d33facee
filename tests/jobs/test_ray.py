"""The distributed engine on a real Ray of two local workers; slow, for Ray takes seconds to start."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from restore import files
from restore.errors import RecipeError
from restore.files.folder import JOURNAL, find
from restore.jobs.plan import Naming, plan
from restore.jobs.report import RAY, Moved, Options, Outcome, Report
from restore.jobs.run import run_folder
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

RECIPE = Recipe(steps=(Step(method="denoise"), Step(method="wavelet")), noise=0.05, precision="fp32")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(7):
        pixels = np.random.default_rng(index).random((200, 160 + 8 * index, 3), np.float32)
        files.write(folder / f"p{index}.png", Image(pixels, meta=Meta(bits=8)))
    pages = [Image(np.random.default_rng(index).random((64, 80, 1), np.float32)) for index in range(3)]
    files.write(folder / "stack.tif", *pages)
    (folder / "damaged.png").write_bytes((folder / "p0.png").read_bytes()[:900])
    return folder


def job(folder: Path, out: Path, on_event=lambda _: None, **options) -> Report:
    works = plan(find([folder], output=out), RECIPE, Naming(out))
    return run_folder(works, RECIPE, Runtime(device="cpu"), Options(out, **options), on_event)


def results(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.[pt][ni]?"))}


def ends(folder: Path) -> Counter[tuple[str, str]]:
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    return Counter((Path(line["source"]).name, line["status"]) for line in lines if line["status"] != "started")


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def our_workers(call: bytes) -> list[int]:
    """Return ids of processes below this one that are Ray workers in the middle of a call."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        above = pid
        while above > 1 and above != os.getpid():
            above = parent(above)
        if call in title and above == os.getpid():
            found.append(pid)
    return found


def test_without_ray_it_is_said_what_to_install(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install 'restore\[cluster\]'"):
        job(pictures, tmp_path / "out", engine=RAY)


def test_an_address_needs_ray(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="^--address goes with --engine ray"):
        job(pictures, tmp_path / "out", address="127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_two_workers_make_what_one_process_makes_and_one_may_be_killed(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    local = job(pictures, tmp_path / "local")
    killed: list[int] = []
    outcomes: list[Outcome] = []

    def kill_one() -> None:
        while not killed:
            killed.extend(our_workers(b"ray::_Actor.restore")[:1])
            time.sleep(0.02)
        os.kill(killed[0], signal.SIGKILL)

    def listen(event: Moved | Outcome) -> None:
        if isinstance(event, Outcome):
            outcomes.append(event)
            if len(outcomes) == 2:
                threading.Thread(target=kill_one, daemon=True).start()

    far = job(pictures, tmp_path / "far", listen, engine=RAY, jobs=2)
    assert killed
    assert [(o.work.source, o.status, o.error) for o in far.outcomes] == [
        (o.work.source, o.status, o.error) for o in local.outcomes
    ]
    assert tuple(outcomes) == far.outcomes
    assert far.exit_code == local.exit_code == 3
    assert len(results(tmp_path / "far")) == 8
    assert len(files.read_stack(tmp_path / "far/stack.tif")) == 3
    assert results(tmp_path / "far") == results(tmp_path / "local")
    assert ends(tmp_path / "far") == ends(tmp_path / "local")
    assert set(ends(tmp_path / "far").values()) == {1}
    assert len(far.notes) == 1
    assert "was lost with " in far.notes[0]
    assert not [*(tmp_path / "far").glob(".restore-*.part*")]


@pytest.mark.slow
def test_the_system_stops_a_run_over_workers_in_good_order(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out, knobs = tmp_path / "out", ["--set", "wavelet.shifts=8", "--noise", "0.1"]
    words = [sys.executable, "-m", "restore", "run", pictures, "-o", out, *knobs, "--engine", "ray", "--json"]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = out / JOURNAL
    while process.poll() is None and not (journal.exists() and journal.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    assert json.loads(stdout.splitlines()[-1])["cancelled"] > 0
