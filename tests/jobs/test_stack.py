"""A stack is restored page by page: as one series, by one recipe, with nothing lost in silence."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import restore
from restore import files, pipeline
from restore.cli import app
from restore.errors import UnsupportedError
from restore.files import Limits
from restore.files.folder import find
from restore.jobs import info
from restore.jobs.plan import Naming, plan
from restore.jobs.report import Moved, Options, Outcome, Report
from restore.jobs.run import run_folder
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

NOISY = (0.1, 0.05, 0.001, 0.1)
WAVELET = Recipe(steps=(Step(method="wavelet"),))


def pages(sigmas: tuple[float, ...] = NOISY) -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.2, 0.8, 80)
    clean = np.add.outer(ramp, ramp[:64]) / 2
    noisy = [clean + rng.normal(0, sigma, clean.shape) for sigma in sigmas]
    return np.rint(np.clip(noisy, 0, 1) * 65535).astype(np.uint16)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """An ImageJ hyperstack of two times and two channels."""
    path = tmp_path / "in" / "stack.tif"
    path.parent.mkdir()
    shown = {"axes": "TCYX", "unit": "um"}
    tifffile.imwrite(path, pages().reshape(2, 2, 80, 64), imagej=True, resolution=(5, 5), metadata=shown)
    return path


def job(source: Path, out: Path, recipe: Recipe = WAVELET, on_event=lambda _: None, **options) -> Report:
    form = options.pop("form", "keep")
    works = plan(find([source]), recipe, Naming(out, format=form))
    runtime = options.pop("runtime", Runtime(device="cpu"))
    return run_folder(works, recipe, runtime, Options(out, format=form, **options), on_event)


def test_every_page_is_restored_into_the_same_series(stack: Path, tmp_path: Path) -> None:
    assert job(stack, tmp_path / "out").exit_code == 0
    with tifffile.TiffFile(stack) as old, tifffile.TiffFile(tmp_path / "out/stack.tif") as new:
        assert [(s.axes, s.shape, s.kind, s.dtype) for s in new.series] == [
            (s.axes, s.shape, s.kind, s.dtype) for s in old.series
        ]
        assert new.imagej_metadata == old.imagej_metadata
    for before, after in zip(files.read_stack(stack), files.read_stack(tmp_path / "out/stack.tif"), strict=True):
        alone = pipeline.run(before, WAVELET, Runtime(device="cpu")).picture
        np.testing.assert_allclose(after.pixels, alone.pixels.clip(0, 1), atol=0.51 / 65535)


def test_what_the_first_page_asks_for_is_done_to_all_and_its_record_makes_the_same_bytes(
    tmp_path: Path, stack: Path
) -> None:
    report = job(stack, tmp_path / "out", Recipe())
    (step,) = report.outcomes[0].record["recipe"]["steps"]
    assert step["reason"]
    again = Recipe.load(tmp_path / "out/stack.tif.restore.json")
    assert [made.method for made in again.steps] == [step["method"]]
    job(stack, tmp_path / "again", again)
    assert (tmp_path / "again/stack.tif").read_bytes() == (tmp_path / "out/stack.tif").read_bytes()
    quiet = files.read_stack(stack)[2]
    expected = pipeline.run(quiet, again, Runtime(device="cpu")).picture
    found = files.read_stack(tmp_path / "out/stack.tif")[2]
    np.testing.assert_allclose(found.pixels, expected.pixels.clip(0, 1), atol=0.51 / 65535)


def test_noise_is_measured_page_by_page_and_alarms_name_the_page(stack: Path, tmp_path: Path, capsys) -> None:
    record = job(stack, tmp_path / "out").outcomes[0].record
    np.testing.assert_allclose(record["pages"]["noise"], NOISY, rtol=0.3, atol=0.004)
    assert record["pages"] | {"noise": None} == {"count": 4, "reported": 1, "alarms": [], "noise": None}
    assert record == json.loads((tmp_path / "out/stack.tif.restore.json").read_text())
    with pytest.raises(SystemExit):
        app(["run", str(stack), "-o", str(tmp_path / "told"), "-m", "wavelet", "--noise", "0.1"])
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "told/stack.tif.restore.json").read_text())
    assert record["pages"] == {"count": 4, "reported": 2, "alarms": [2, 3], "noise": [0.1] * 4}
    assert len(record["reports"]) == 1
    assert "4 pages, noise 25.5 to 25.5/255, alarms on 2 of them; what follows is of page 2" in said
    assert "CHECK: " in said


def test_what_all_pages_lose_is_said_once(tmp_path: Path) -> None:
    values = np.float32([[[0, 2]] * 2, [[-1, -2]] * 2, [[0.2, 0.3]] * 2])
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    (outcome,) = job(tmp_path / "a.tif", tmp_path / "out", Recipe(steps=(Step(method="none"),)), depth=16).outcomes
    assert [words.partition(",")[0] for words in outcome.record["dropped"]] == ["values beyond 0 to 1"]


def test_progress_goes_over_all_pages_and_stopping_between_them_writes_nothing(stack: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    job(stack, tmp_path / "out", on_event=lambda event: isinstance(event, Moved) and shares.append(event.share))
    assert shares == sorted(shares)
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(shares)
    runtime = Runtime(device="cpu", cancelled=threading.Event())

    def stop(event: Moved | Outcome) -> None:
        if isinstance(event, Moved) and event.share >= 0.5:
            runtime.cancelled.set()

    report = job(stack, tmp_path / "none", on_event=stop, runtime=runtime)
    assert [outcome.status.value for outcome in report.outcomes] == ["cancelled"]
    assert not list((tmp_path / "none").glob("stack*"))


def test_a_format_of_one_picture_is_refused_before_anything_is_computed(stack: Path, tmp_path: Path) -> None:
    events: list[Moved | Outcome] = []
    report = job(stack, tmp_path / "out", on_event=events.append, form="png")
    assert report.exit_code == 1
    assert "png holds one picture, and this is a stack of 4 pages" in report.outcomes[0].error
    assert "--format tiff" in report.outcomes[0].error
    assert not [event for event in events if isinstance(event, Moved)]


def test_pages_of_different_kinds_are_restored_each(tmp_path: Path) -> None:
    grey, colour = pages()[0], np.dstack([page[:50, :40] for page in pages()[:3]])
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey[::4, ::4], subfiletype=1, contiguous=False)
        file.write(grey, photometric="minisblack", contiguous=False)
        file.write(colour, photometric="rgb", contiguous=False)
    assert job(tmp_path / "a.tif", tmp_path / "out").exit_code == 0
    before, after = files.read_stack(tmp_path / "a.tif"), files.read_stack(tmp_path / "out/a.tif")
    assert [image.pixels.shape for image in after] == [(80, 64, 1), (50, 40, 3)]
    assert [image.pixels.shape for image in before] == [(80, 64, 1), (50, 40, 3)]
    for old, new in zip(before, after, strict=True):
        assert np.diff(new.pixels, axis=1).std() < np.diff(old.pixels, axis=1).std() / 2


def test_standard_errors_of_a_stack_are_a_stack(stack: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pages((0.1, 0.02, 0.1)), photometric="minisblack")
    record = job(tmp_path / "a.tif", tmp_path / "out", uncertainty=True).outcomes[0].record
    errors = tifffile.imread(tmp_path / "out" / record["output"]["uncertainty"])
    assert errors.shape == (3, 80, 64)
    assert errors[1].mean() < errors[0].mean() / 2
    record = job(stack, tmp_path / "out", uncertainty=True).outcomes[0].record
    assert record["output"]["uncertainty"] is None
    assert record["pages"]["reported"] == 3
    assert record["reports"][0]["facts"]["notes"] == ["its standard errors are not known"]


def test_a_stack_is_told_of_and_never_taken_for_one_picture(stack: Path) -> None:
    facts = info.describe(stack, Limits())
    assert facts["pages"] == 4
    assert "4 pages" in info.sentences(facts)
    for door in (restore.run, restore.read, restore.estimate_noise):
        with pytest.raises(UnsupportedError, match=r"stack of 4 pages.*restore.files.read_stack"):
            door(str(stack))


PEAK = """
import re, sys
from pathlib import Path
from restore.cli import app
try:
    app(["run", sys.argv[1], "-o", sys.argv[2], "-m", "none"])
except SystemExit as end:
    assert end.code == 0
print("peak", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path) -> None:
    page, found = np.random.default_rng(0).integers(0, 65535, (600, 600)).astype(np.uint16), []
    for count in (3, 90):
        path = tmp_path / f"{count}.tif"
        with tifffile.TiffWriter(path) as file:
            for _ in range(count):
                file.write(page, photometric="minisblack", contiguous=False)
        words = [sys.executable, "-c", PEAK, path, tmp_path / "out"]
        said = subprocess.run(words, check=True, timeout=120, capture_output=True, text=True).stdout
        found.append(int(said.split()[-1]) * 1024)
        assert len(files.read_stack(tmp_path / "out" / path.name)) == count
    assert found[1] - found[0] < 87 * page.size * 4 / 4  # the pages as floats would take four times that


def test_a_page_that_fails_late_leaves_nothing_behind(tmp_path: Path) -> None:
    body = pages((0.1,) * 3)
    tifffile.imwrite(tmp_path / "a.tif", body.astype(np.float32) / 65535, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[2].dataoffsets[0]
    with (tmp_path / "a.tif").open("r+b") as file:
        file.seek(at)
        file.write(np.float32(np.nan).tobytes())
    (outcome,) = job(tmp_path / "a.tif", tmp_path / "out").outcomes
    assert outcome.status.value == "failed"
    assert "page 3 of 3: " in outcome.error
    assert "NaN" in outcome.error
    assert [path.name for path in (tmp_path / "out").iterdir() if "restore-" not in path.name] == []


def test_a_stack_that_changes_meanwhile_is_refused(stack: Path, tmp_path: Path) -> None:
    def change(event: Moved | Outcome) -> None:
        if isinstance(event, Moved) and event.share == 0.5:
            with stack.open("ab") as file:
                file.write(b"more")

    (outcome,) = job(stack, tmp_path / "out", on_event=change).outcomes
    assert "changed while it was read" in outcome.error
    assert not list((tmp_path / "out").glob("stack*"))


@pytest.mark.parametrize(("limit", "is_big"), [(25_000, True), (60_000, False)])
def test_that_a_stack_needs_64_bits_is_known_before_its_pages_are(stack, tmp_path, monkeypatch, limit, is_big) -> None:
    monkeypatch.setattr("restore.files.tiff_writer._CLASSIC_LIMIT", limit)  # 4 pages of 10,240 bytes
    assert job(stack, tmp_path / "out").exit_code == 0
    with tifffile.TiffFile(tmp_path / "out/stack.tif") as file:
        assert file.is_bigtiff is is_big
        assert len(file.pages) == 4
