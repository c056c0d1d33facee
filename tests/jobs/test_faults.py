"""What goes wrong around a folder run costs one file, never an original, and leaves nothing half written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from restore import files, workers
from restore.errors import WriteError
from restore.files import Limits
from restore.files.folder import JOURNAL, find
from restore.jobs.plan import Naming, plan
from restore.jobs.report import Options, Outcome, Report
from restore.jobs.run import run_folder
from restore.methods import none
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(steps=(Step(method="none"),), noise=0.05, tile=32)
NAMES = ("a.png", "b.png", "c.png", "d.png")


def noise_picture(path: Path, side: int = 64, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).random((side, side, 3), np.float32)
    return files.write(path, Image(pixels, meta=Meta(bits=8)))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        noise_picture(tmp_path / "in" / name, seed=seed)
    return tmp_path / "in"


def job(folder: Path, out: Path, on_event=lambda _: None, **options) -> Report:
    works = plan(find([folder], is_recursive=True, output=out), RECIPE, Naming(out))
    return run_folder(works, RECIPE, Runtime(device="cpu"), Options(out, **options), on_event)


def ends(report: Report) -> dict[str, str]:
    return {o.work.source.name: o.kind or o.status.value for o in report.outcomes}


def assert_whole(out: Path, pictures: Path, names: set[str]) -> None:
    """Exactly these results are there, each to its last byte, and no temporary files."""
    found = {path.name for path in out.glob("[!.]*.*") if path.suffix != ".json"}
    assert found == names
    for name in found:
        assert np.array_equal(files.read(out / name).pixels, files.read(pictures / name).pixels)
        assert json.loads((out / f"{name}.restore.json").read_text())["schema_version"] == 1
    assert not [*out.glob(".restore-*.part*")]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="measured on Linux")
@pytest.mark.parametrize("fault", ["os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(1000)", "os._exit(0)"])
def test_a_decoder_that_dies_or_hangs_costs_its_file(pictures: Path, tmp_path: Path, monkeypatch, fault: str) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from restore.files import decoder, raster
real = raster.read_here
def read_here(path, limits, *, is_stack):
    if path.name == "bad.jxl":
        {fault}
    return real(path, limits, is_stack=is_stack)
raster.read_here = read_here
decoder.main()
""")
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-P", str(script)))
    monkeypatch.setattr(workers, "PATIENCE", 1.0 if "sleep" in fault else 100.0)
    workers.POOL.close()
    picture = files.read(pictures / "a.png")
    for name in ("bad.jxl", "good.jxl"):
        files.write(pictures / name, picture)
    report = job(pictures, tmp_path / "out", limits=Limits(max_seconds=3))
    workers.POOL.close()
    good = dict.fromkeys((*NAMES, "good.jxl"), "done")
    assert ends(report) == good | {"bad.jxl": "ReadError"}
    assert report.exit_code == 3
    assert_whole(tmp_path / "out", pictures, {*good})


def test_a_file_that_vanishes_costs_itself(pictures: Path, tmp_path: Path) -> None:
    def remove(event: object) -> None:
        if isinstance(event, Outcome) and event.work.source.name == "a.png":
            (pictures / "d.png").unlink()

    report = job(pictures, tmp_path / "out", remove)
    assert ends(report) == dict.fromkeys(NAMES[:3], "done") | {"d.png": "ReadError"}
    assert report.exit_code == 3
    assert_whole(tmp_path / "out", pictures, {*NAMES[:3]})


def test_memory_that_ends_in_a_tile_and_numbers_that_are_none(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    noise_picture(pictures / "e.png", side=80)
    noise_picture(pictures / "f.png", side=96)
    sizes: list[int] = []

    def prepare(_: none.Identity, scene):
        height = scene.planes.shape[1]

        def run(tile: torch.Tensor) -> torch.Tensor:
            if height == 80:
                sizes.append(max(tile.shape[1:]))
                raise torch.OutOfMemoryError
            return tile * torch.nan if height == 96 else tile

        return none.TileOp(run)

    monkeypatch.setattr(none.Identity, "prepare", prepare)
    report = job(pictures, tmp_path / "out")
    assert ends(report) == dict.fromkeys(NAMES, "done") | {"e.png": "MemoryLimitError", "f.png": "ResultError"}
    assert report.exit_code == 3
    assert sizes[-1] < sizes[0]
    assert_whole(tmp_path / "out", pictures, {*NAMES})


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a small disk."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk")
def test_a_full_disk_costs_what_does_not_fit_and_resume_does_the_rest(pictures: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "out", 48 * 1024) as out:
        report = job(pictures, out)
        done = {name for name, end in ends(report).items() if end == "done"}
        assert set(ends(report).values()) == {"done", "WriteError"}
        assert report.exit_code == 3
        assert_whole(out, pictures, done)
        filler = out / ".filler"
        filler.write_bytes(bytes((os.statvfs(out).f_bavail - 1) * 4096))
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert os.statvfs(out).f_bavail == 0
        blocked = job(pictures, out, is_resumed=True)
        assert {name for name, end in ends(blocked).items() if end == "skipped"} == done
        assert blocked.exit_code == 3
        assert_whole(out, pictures, done)
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", out], check=True)
        last = job(pictures, out, is_resumed=True)
        assert {name for name, end in ends(last).items() if end == "skipped"} == done
        assert last.exit_code == 0
        assert_whole(out, pictures, {*NAMES})
        for line in (out / JOURNAL).read_bytes().splitlines():
            assert not line or line[:1] == b"{"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_folder_is_named_before_anything_is_done(pictures: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "out", {path: path.read_bytes() for path in pictures.iterdir()}
    (out / "sub").mkdir(parents=True)
    noise_picture(pictures / "sub" / "e.png")
    tmp_path.chmod(0o755)
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    out.chmod(0o777)
    (out / "sub").chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        report = job(pictures, out)
        (out / JOURNAL).unlink()
        os.seteuid(me)
        out.chmod(0o555)
        if me == 0:
            os.seteuid(65534)
        with pytest.raises(WriteError, match="cannot write the journal"):
            job(pictures, out)
    finally:
        os.seteuid(me)
        out.chmod(0o755)
        (out / "sub").chmod(0o755)
    assert ends(report) == dict.fromkeys(NAMES, "done") | {"e.png": "WriteError"}
    assert_whole(out, pictures, {*NAMES})
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_resume_does_the_rest(pictures: Path, tmp_path: Path) -> None:
    noise_picture(pictures / "slow.png", side=700)
    out = tmp_path / "out"
    words = [sys.executable, "-m", "restore", "run", pictures, "-o", out, "--set", "wavelet.shifts=8", "--noise", "0.1"]
    process = subprocess.Popen([*words, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not (out / JOURNAL).exists():
        time.sleep(0.01)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"stopping; Ctrl-C again quits at once\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    whole = {path.name for path in out.glob("[!.]*.png")}
    for name in whole:
        assert files.read(out / name).size == files.read(pictures / name).size
    again = subprocess.run([*words, "--json", "--resume"], cwd=ROOT, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    assert json.loads(again.stdout.splitlines()[-1])["exit_code"] == 0
    assert {path.name for path in out.glob("[!.]*.png")} == {*NAMES, "slow.png"}
    assert not [*out.glob(".restore-*.part*")]


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_stays(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = f"""
import os, signal
from pathlib import Path
from restore.files.atomic import replacing
with replacing(Path({str(out)!r}) / "x.png") as part:
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert len([*out.glob(".restore-*.part*")]) == 1
    with files.atomic.replacing(out / "y.png") as part:
        part.write_bytes(b"being written")
        works = plan(find([pictures / "a.png"]), RECIPE, Naming(out, out / "a.png"))
        report = run_folder(works, RECIPE, Runtime(device="cpu"), Options())  # one file, no journal, as on the page
        assert [*out.glob(".restore-*.part*")] == [part]
    assert report.exit_code == 0
    assert {path.name for path in out.iterdir()} == {"a.png", "a.png.restore.json", "y.png"}
