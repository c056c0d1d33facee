"""Decoders in a process of their own: the same pictures, and nothing that a decoder does costs more than its file."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made import HEIGHT, ICC, WIDTH, XMP, exif_block, heic, picture

from restore import workers
from restore.errors import MemoryLimitError, ReadError, TooLargeError
from restore.files import Limits, isolated, raster, read, read_stack, write
from restore.picture import Image, RawImage

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="measured on Linux")
ROOT = Path(__file__).parents[2]
LIMITS = Limits()
FAKE = """
import json, os, signal, sys, time
sys.path.insert(0, {root!r})
from restore.files import decoder, raster
real, answer = raster.read_here, decoder._answer

def read_here(path, limits, *, is_stack):
    if path.stem == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "killed" or (path.stem == "once" and not os.path.exists(f"{{path}}.seen")):
        open(f"{{path}}.seen", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if path.stem == "sleep":
        time.sleep(1000)
    while path.stem == "spin":
        pass
    if path.stem == "eat":
        limits.check(path, 100, 100)
        held = [bytearray(1 << 24) for _ in range(10_000)]
    if path.stem == "bug":
        raise AssertionError("a fault of ours")
    return real(path, limits, is_stack=is_stack)

def lying(order, block):
    if order["path"].endswith("lie.jxl"):
        os.write(block, bytes(64))
        return {{"tree": json.loads(os.environ["LIE"])}}
    return answer(order, block)

raster.read_here, decoder._answer = read_here, lying
decoder.main()
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Workers whose decoder does what a file's name says."""
    script = tmp_path / "faulty.py"
    script.write_text(FAKE.format(root=str(ROOT)))
    workers.POOL.close()
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-P", str(script)))
    yield
    workers.POOL.close()


def body(path: Path) -> Path:
    return write(path, picture(256, 3, has_alpha=False))


@pytest.fixture
def risky(tmp_path: Path) -> list[Path]:
    image = picture(256, 3, has_alpha=True, orientation=6, icc=ICC, exif=exif_block(), xmp=XMP)
    paths = [write(tmp_path / "a.avif", image)]
    paths.append(write(tmp_path / "a.jxl", replace(image, meta=replace(image.meta, icc=None))))
    heic(tmp_path / "a.heic", exif=exif_block())
    samples = np.rint(image.pixels * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", compression="lzw")
    return [*paths, tmp_path / "a.heic", tmp_path / "a.tif", ROOT / "samples" / "nikon-crop.dng"]


def test_pictures_are_the_same_wherever_they_are_decoded(risky: list[Path]) -> None:
    for path in risky:
        far, here = read(path), _here(path)
        assert type(far) is type(here)
        assert repr(far.meta) == repr(here.meta)
        assert (far.meta.exif, far.meta.icc, far.meta.xmp) == (here.meta.exif, here.meta.icc, here.meta.xmp)
        if isinstance(far, Image):
            np.testing.assert_array_equal(far.pixels, here.pixels)
            assert (far.alpha is None) == (here.alpha is None)
            assert far.alpha is None or np.array_equal(far.alpha, here.alpha)
            assert not far.pixels.flags.writeable
        else:
            np.testing.assert_array_equal(far.mosaic, here.mosaic)
            np.testing.assert_array_equal(far.camera_to_srgb, here.camera_to_srgb)
            one, other = (vars(raw.meta.extra["sensor"]) for raw in (far, here))
            np.testing.assert_array_equal(one["values"], other["values"])
            assert {**one, "values": 0} == {**other, "values": 0}
            assert not far.mosaic.flags.writeable


def _here(path: Path):
    """Read in another interpreter's main process, and in this one as a worker would."""
    before = isolated._is_inside
    isolated.enter()
    try:
        found = raster.read_here(path, LIMITS, is_stack=False)
        if isinstance(found, RawImage):
            found = replace(found, mosaic=found.meta.extra["sensor"].mosaic())
        return found
    finally:
        isolated._is_inside = before


def test_stacks_too(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", compression="lzw")
    stack = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal([np.rint(page.pixels * 255) for page in stack], pages)
    assert {page.meta.source for page in stack} == {tmp_path / "a.tif"}


def test_no_risky_decoder_is_loaded_here_and_none_outlives_a_killed_run() -> None:
    sample = ROOT / "samples" / "nikon-crop.dng"
    code = f"""
import os, signal, sys
from restore import workers
workers.POOL.expect()
expected = workers.POOL._idle[0]._process.pid
from restore.files import read
read({str(sample)!r})
assert "rawpy" not in sys.modules
assert workers.POOL._idle[0]._process.pid == expected  # started while this process was importing
worker = workers.POOL._idle[0]._process.pid
read({str(sample)!r})
assert [w._process.pid for w in workers.POOL._idle] == [worker]  # its start is paid once
print(worker, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    stat = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(1000):
        if not stat.exists() or ") Z " in stat.read_text():
            return
        time.sleep(0.01)
    pytest.fail("the decoder's process outlived its run")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("crash", ReadError, r"crash\.jxl: its decoder crashed \(SIGSEGV\)"),
        ("killed", ReadError, r"killed\.jxl: its decoder was killed, as by a system that runs out of memory"),
        ("spin", ReadError, r"spin\.jxl: decoding takes more than 1 s"),
        ("sleep", ReadError, r"sleep\.jxl: decoding takes more than 1 s"),
        ("eat", MemoryLimitError, r"eat\.jxl: decoding it wants more memory"),
        ("bug", RuntimeError, r"(?s)a fault in a decoder's process, at .*bug\.jxl.*AssertionError: a fault of ours"),
    ],
)
def test_what_a_decoder_does_costs_its_file_alone(faulty, tmp_path: Path, monkeypatch, name, error, says) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 1.0)
    limits = Limits(max_seconds=1) if "takes" in says else LIMITS
    good, bad = body(tmp_path / "good.jxl"), body(tmp_path / f"{name}.jxl")
    read(good)
    with pytest.raises(error, match=says):
        read(bad, limits=limits)
    assert read(good).size == (HEIGHT, WIDTH)


def test_where_a_decoder_is_killed_another_one_tries(faulty, tmp_path: Path) -> None:
    assert read(body(tmp_path / "once.jxl")).size == (HEIGHT, WIDTH)
    assert (tmp_path / "once.jxl.seen").exists()


@pytest.mark.parametrize(
    "lie",
    [
        '{"Popen": {"args": "true"}}',
        '{"array": ["<f4", [1, 1, 3], 1000000]}',
        '{"array": ["|O", [1], 0]}',
        '{"array": ["<f4", [-1, 3], 0]}',
        '{"Image": {"pixels": {"array": ["<f4", [2, 2], 0]}, "meta": {"Meta": {}}}}',
        '{"Image": {"pixels": [], "meta": 7}}',
        '{"RawImage": {"meta": {"Meta": {}}}}',
        '{"Meta": {}}',
        "7",
        "[]",
    ],
)
def test_a_decoder_that_was_taken_over_is_not_believed(faulty, tmp_path: Path, monkeypatch, lie: str) -> None:
    monkeypatch.setenv("LIE", lie)
    body(tmp_path / "lie.jxl")
    with pytest.raises(ReadError, match="impossible answer"):
        read(tmp_path / "lie.jxl")


def test_nothing_is_left_open(risky: list[Path]) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    for path in risky:
        read(path)
    before = opened()
    for path in risky * 3:
        read(path)
        with pytest.raises(TooLargeError):
            read(path, limits=Limits(max_pixels=10))
    assert opened() == before


def test_no_temporary_folder_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body(tmp_path / "a.jpg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert read(tmp_path / "a.jpg").size == (HEIGHT, WIDTH)
