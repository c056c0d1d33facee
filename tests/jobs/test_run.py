import hashlib
import json
import os
import resource
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from restore import files, metrics, pipeline, weights
from restore.errors import WriteError
from restore.files.folder import JOURNAL, find
from restore.jobs.plan import Existing, Naming, plan
from restore.jobs.report import Moved, Options, Outcome, Report
from restore.jobs.run import run_folder
from restore.jobs.side import same_result
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

NONE = Recipe(steps=(Step(method="none"),), noise=0.05)
WAVELET = Recipe(steps=(Step(method="wavelet"),), noise=0.05)


def noise_picture(path: Path, side: int = 24, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).random((side, side + 8, 3), np.float32)
    files.write(path, Image(pixels, meta=Meta(bits=8)))
    return path


def job(
    folder: Path, out: Path, recipe: Recipe = NONE, options: Options | None = None, on_event=lambda _: None
) -> Report:
    works = plan(find([folder], is_recursive=True, output=out), recipe, Naming(out))
    return run_folder(works, recipe, Runtime(device="cpu"), options or Options(out), on_event)


def hashes(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def statuses(report: Report) -> list[str]:
    return [outcome.status.value for outcome in report.outcomes]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index, name in enumerate(("a.png", "b ü.png", "sub/c.tif")):
        noise_picture(tmp_path / "in" / name, seed=index)
    return tmp_path / "in"


def test_every_picture_gets_a_result_and_a_side_file(pictures: Path, tmp_path: Path) -> None:
    before, out = hashes(pictures), tmp_path / "out"
    report = job(pictures, out)
    assert statuses(report) == ["done"] * 3
    assert report.exit_code == 0
    assert hashes(pictures) == before
    for name in ("a.png", "b ü.png", "sub/c.tif"):
        assert np.array_equal(files.read(out / name).pixels, files.read(pictures / name).pixels)
        side = json.loads((out / f"{name}.restore.json").read_text())
        assert side["schema_version"] == 1
        assert side["input"] == {
            "name": Path(name).name,
            "sha256": before[name],
            "bytes": (pictures / name).stat().st_size,
        }
        assert side["output"]["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert side["recipe"]["steps"][0]["method"] == "none"
        assert set(side["versions"]) == {"restore", "python", "torch", "numpy"}
        assert str(tmp_path) not in json.dumps(side)


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_neither_order_nor_bytes(pictures: Path, tmp_path: Path, jobs: int) -> None:
    for index in range(8):
        noise_picture(pictures / f"n{index}.png", side=16 + 24 * (index % 3), seed=index)
    events: list[Moved | Outcome] = []
    report = job(pictures, tmp_path / f"out{jobs}", WAVELET, Options(jobs=jobs), events.append)
    outcomes = [event for event in events if isinstance(event, Outcome)]
    assert tuple(outcomes) == report.outcomes
    assert [o.work.source for o in outcomes] == [item.path for item in find([pictures], is_recursive=True)]
    assert {event.work for event in events if isinstance(event, Moved)} == {o.work for o in outcomes}
    for outcome in outcomes:
        assert outcome.target is not None
        alone = pipeline.run(files.read(outcome.work.source), WAVELET, Runtime(device="cpu"))
        files.write(tmp_path / ("alone" + outcome.target.suffix), alone.picture)
        assert outcome.target.read_bytes() == (tmp_path / ("alone" + outcome.target.suffix)).read_bytes()


def test_what_is_there_is_kept_unless_asked(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"the user's own")
    report = job(pictures, out)
    assert statuses(report) == ["failed", "done", "done"]
    assert report.exit_code == 3
    assert "exists already; use --overwrite" in report.outcomes[0].error
    assert statuses(job(pictures, out, options=Options(out, Existing.SKIP))) == ["skipped"] * 3
    assert (out / "a.png").read_bytes() == b"the user's own"
    assert statuses(job(pictures, out, options=Options(out, Existing.OVERWRITE))) == ["done"] * 3
    assert np.array_equal(files.read(out / "a.png").pixels, files.read(pictures / "a.png").pixels)


def test_what_appears_during_a_run_is_kept(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def intrude(event: Moved | Outcome) -> None:
        if isinstance(event, Moved) and event.work.source.name == "a.png":
            (out / "a.png").write_bytes(b"somebody else's")

    report = job(pictures, out, on_event=intrude)
    assert statuses(report) == ["failed", "done", "done"]
    assert (out / "a.png").read_bytes() == b"somebody else's"


def test_the_users_files_beside_a_result_are_kept_unless_asked(pictures: Path, tmp_path: Path) -> None:
    """A side file and standard errors count as existing results, unless an earlier run into the folder left them."""
    recipe = Recipe(steps=(Step(method="denoise"),), noise=0.05)
    out = tmp_path / "out"
    job(pictures, out, recipe, Options(out, uncertainty=True))
    again = job(pictures, out, WAVELET, Options(out, is_resumed=True, uncertainty=True))
    assert statuses(again) == ["done"] * 3, "our own of an earlier run are replaced"
    for name in ("a.png", "b ü.png"):
        (out / name).unlink()
    (out / "a.png.sigma.tiff").write_bytes(b"the user's own")
    (out / "b ü.png.restore.json").write_bytes(b"the user's own")
    refused = job(pictures, out, recipe, Options(out, is_resumed=True, uncertainty=True))
    assert statuses(refused) == ["failed", "failed", "done"]
    for name, outcome in zip(("a.png.sigma.tiff", "b ü.png.restore.json"), refused.outcomes, strict=False):
        assert f"{name}: exists, and not as a run of this job left it; use --overwrite" in outcome.error
        assert (out / name).read_bytes() == b"the user's own"
    (out / "a.png.sigma.tiff").write_bytes(b"the user's own")
    assert statuses(job(pictures, out, recipe, Options(out, Existing.OVERWRITE, uncertainty=True))) == ["done"] * 3
    assert files.read(out / "a.png.sigma.tiff").meta.is_float


def test_a_developed_picture_becomes_a_linear_dng(pictures: Path, tmp_path: Path) -> None:
    works = plan(find([pictures]), NONE, Naming(tmp_path / "out", format="dng"))
    report = run_folder(works, NONE, Runtime(device="cpu"), Options(tmp_path / "out"))
    assert {outcome.target.suffix for outcome in report.outcomes} == {".dng"}
    for outcome in report.outcomes:
        before, after = files.read(outcome.work.source), files.read(outcome.target)
        assert np.abs(before.pixels - after.pixels).max() < 0.02


def test_a_raw_stays_a_mosaic_or_is_developed(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "raw" / "nikon_dsc1339_rggb_crop.dng"

    def made(recipe: Recipe, folder: str, **naming: str) -> Path:
        (work,) = plan(find([source]), recipe, Naming(tmp_path / folder, **naming))
        report = run_folder([work], recipe, Runtime(device="cpu"), Options(tmp_path / folder))
        return report.outcomes[0].target

    for naming in ({}, {"format": "dng"}):
        kept = made(NONE, f"kept{len(naming)}", **naming)
        assert kept.suffix == ".dng"
        assert np.array_equal(files.read(kept).mosaic, files.read(source).mosaic)
    wavelet = Recipe(steps=(Step(method="wavelet"),), noise=0.01)
    developed = made(wavelet, "developed")
    assert developed.suffix == ".png"
    assert files.read(developed).meta.bits == 16
    linear = made(wavelet, "linear", format="dng")
    assert files.read(linear).pixels.shape[2] == 3


def test_a_refused_file_does_not_make_the_journal_forget(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(pictures, out)
    assert job(pictures, out).exit_code == 1
    assert statuses(job(pictures, out, options=Options(out, is_resumed=True))) == ["skipped"] * 3


def test_resume_does_what_is_missing_or_changed(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(pictures, out)
    (out / "b ü.png").unlink()
    noise_picture(pictures / "a.png", seed=9)
    noise_picture(pictures / "new.png", seed=10)
    report = job(pictures, out, options=Options(out, is_resumed=True))
    assert statuses(report) == ["done", "done", "done", "skipped"]
    assert np.array_equal(files.read(out / "a.png").pixels, files.read(pictures / "a.png").pixels)
    again = job(pictures, out, WAVELET, Options(out, is_resumed=True))
    assert statuses(again) == ["done"] * 4, "another recipe does all again, over our own results"
    (out / "a.png").write_bytes(b"edited by the user")
    last = job(pictures, out, NONE, Options(out, is_resumed=True))
    assert statuses(last) == ["failed", "done", "done", "done"]
    assert (out / "a.png").read_bytes() == b"edited by the user"


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(100_000)])
def test_resume_neither_passes_over_nor_replaces_a_result_that_was_altered(
    pictures: Path, tmp_path: Path, content: bytes
) -> None:
    out = tmp_path / "out"
    job(pictures, out)
    (out / "a.png").write_bytes(content)
    report = job(pictures, out, options=Options(out, is_resumed=True))
    assert statuses(report) == ["failed", "skipped", "skipped"]
    assert "not as a run of this job left it; use --overwrite, --skip-existing" in report.outcomes[0].error
    assert (out / "a.png").read_bytes() == content
    kept = job(pictures, out, options=Options(out, Existing.SKIP, is_resumed=True))
    assert statuses(kept) == ["skipped"] * 3
    made = job(pictures, out, options=Options(out, Existing.OVERWRITE, is_resumed=True))
    assert statuses(made) == ["done", "skipped", "skipped"]


def test_a_result_is_replaced_though_its_input_was_damaged_meanwhile(pictures: Path, tmp_path: Path) -> None:
    out, resumed = tmp_path / "out", Options(tmp_path / "out", is_resumed=True)
    job(pictures, out)
    whole = noise_picture(pictures / "a.png", seed=9).read_bytes()
    (pictures / "a.png").write_bytes(whole[: len(whole) // 2])
    assert statuses(job(pictures, out, options=resumed)) == ["failed", "skipped", "skipped"]
    (pictures / "a.png").write_bytes(whole)
    assert statuses(job(pictures, out, options=resumed)) == ["done", "skipped", "skipped"]


def test_resume_sees_other_content_at_the_path_of_weights(pictures: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "m.safetensors"
    state = dict(weights.load("denoise")[0])
    save_file(state, file)
    recipe = Recipe(steps=(Step(method="denoise", weights=str(file)),), noise=0.05)
    resumed = Options(out, is_resumed=True)
    assert statuses(job(pictures, out, recipe, resumed)) == ["done"] * 3
    assert statuses(job(pictures, out, recipe, resumed)) == ["skipped"] * 3
    save_file(state | {"tail.weight": state["tail.weight"] * 0.5}, file)
    assert statuses(job(pictures, out, recipe, resumed)) == ["done"] * 3


@pytest.mark.parametrize("knob", ["pnnp.profile", "rampp.dino"])
def test_files_that_settings_name_count_by_their_content(tmp_path: Path, knob: str) -> None:
    method, name = knob.split(".")
    recipe = Recipe(steps=(Step(method=method, settings={name: str(tmp_path)}),))
    before = same_result(recipe, "keep", None)
    (tmp_path / "content").write_bytes(b"one")
    given = same_result(recipe, "keep", None)
    (tmp_path / "content").write_bytes(b"two")
    assert len({before, given, same_result(recipe, "keep", None)}) == 3


@pytest.mark.parametrize(
    "step", [Step(method="none"), Step(method="pnnp", settings={"profile": ""}), Step(method="auto")]
)
def test_files_that_nothing_names_do_not_count(tmp_path: Path, monkeypatch, step: Step) -> None:
    monkeypatch.chdir(tmp_path)
    before = same_result(Recipe(steps=(step,)), "keep", None)
    (tmp_path / "a.png").write_bytes(b"an input, or a result, in the folder where the command runs")
    assert same_result(Recipe(steps=(step,)), "keep", None) == before


@pytest.mark.parametrize(("method", "key"), [("noiser", "noiser"), ("scoredvi", "blind"), ("auto", "pnnp")])
def test_other_shipped_weights_make_another_result(tmp_path: Path, monkeypatch, method: str, key: str) -> None:
    recipe = Recipe(steps=(Step(method=method),))
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    (tmp_path / f"{key}.safetensors").write_bytes(b"those of today")
    before = same_result(recipe, "keep", None)
    (tmp_path / f"{key}.safetensors").write_bytes(b"those of tomorrow")
    assert same_result(recipe, "keep", None) != before


def test_resume_sweeps_what_a_killed_run_left(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(pictures, out)
    (out / ".restore-dead.part.png").write_bytes(b"half")
    job(pictures, out, options=Options(out, is_resumed=True))
    assert not [*out.rglob(".restore-*.part*")]


def test_a_bug_in_one_file_shows_its_traceback_and_spares_the_others(
    pictures: Path, tmp_path: Path, monkeypatch
) -> None:
    def buggy(picture, recipe, runtime, **more):
        if picture.meta.source.name == "a.png":
            raise ZeroDivisionError("a bug")
        return pipeline_run(picture, recipe, runtime, **more)

    pipeline_run = pipeline.run
    monkeypatch.setattr(pipeline, "run", buggy)
    report = job(pictures, tmp_path / "out")
    assert statuses(report) == ["failed", "done", "done"]
    assert report.exit_code == 3
    assert report.outcomes[0].kind == "internal error"
    assert "in buggy" in report.outcomes[0].trace


def test_running_out_of_memory_is_said_and_survived(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    def greedy(path, **_):
        raise MemoryError

    monkeypatch.setattr(files, "read_stack", greedy)
    report = job(pictures, tmp_path / "out")
    assert [(o.kind, "does not fit into memory" in o.error) for o in report.outcomes] == [
        ("MemoryLimitError", True)
    ] * 3


def test_a_file_that_changes_while_it_is_read_is_refused(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    read = files.read_stack

    def slow(path, **options):
        picture = read(path, **options)
        with Path(path).open("ab") as file:
            file.write(b"more")
        return picture

    monkeypatch.setattr(files, "read_stack", slow)
    report = job(pictures, tmp_path / "out")
    assert all("changed while it was read" in outcome.error for outcome in report.outcomes)


def test_cancelling_ends_between_tiles(tmp_path: Path) -> None:
    noise_picture(tmp_path / "in" / "a.png", side=96)
    noise_picture(tmp_path / "in" / "b.png", side=96)
    out, runtime = tmp_path / "out", Runtime(device="cpu", cancelled=threading.Event())
    recipe = NONE.model_copy(update={"tile": 16})
    works = plan(find([tmp_path / "in"]), recipe, Naming(out))
    shares: list[float] = []

    def listen(event: Moved | Outcome) -> None:
        if isinstance(event, Moved):
            shares.append(event.share)
            if event.share > 0.3:
                runtime.cancelled.set()

    report = run_folder(works, recipe, runtime, Options(out), listen)
    assert statuses(report) == ["cancelled", "cancelled"]
    assert report.exit_code == 130
    assert max(shares) < 0.5
    assert not [*out.glob("*.png*")]
    assert not [*out.glob(".restore-*.part*")]


def test_a_file_in_place_of_the_output_folder(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(WriteError, match="the folder cannot be made"):
        job(pictures, tmp_path / "out")
    out = tmp_path / "out2"
    out.mkdir()
    (out / "sub").write_bytes(b"in the way")
    report = job(pictures, out)
    assert statuses(report) == ["done", "done", "failed"]
    assert "the folder cannot be made" in report.outcomes[2].error


def check_full_disk(pictures: Path, out: Path) -> None:
    noise_picture(pictures / "big.png", side=160)
    report = job(pictures, out)
    assert statuses(report) == ["done", "done", "failed", "done"]
    assert report.outcomes[2].kind == "WriteError"
    assert "cannot write" in report.outcomes[2].error
    assert not [*out.rglob(".restore-*.part*")]
    assert not (out / "big.png").exists()
    for outcome in report.outcomes:
        if outcome.target is not None:
            assert np.array_equal(files.read(outcome.target).pixels, files.read(outcome.work.source).pixels)


def test_a_limit_on_file_size(pictures: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise_picture(pictures / "big.png", side=160)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        report = job(pictures, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert statuses(report) == ["done", "done", "failed", "done"]
    assert "File too large" in report.outcomes[2].error
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "b ü.png"]


def test_a_result_whose_side_file_did_not_fit_is_made_again(tmp_path: Path) -> None:
    pixels, out = np.zeros((2, 2, 3), np.float32), tmp_path / "out"
    (tmp_path / "in").mkdir()
    files.write(tmp_path / "in" / "a.png", Image(pixels, meta=Meta(bits=8)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1200, hard))
    try:
        failed = job(tmp_path / "in", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "a.png.restore.json: cannot write (File too large)" in failed.outcomes[0].error
    assert {path.name for path in out.iterdir()} == {"a.png", JOURNAL}
    assert statuses(job(tmp_path / "in", out, options=Options(out, is_resumed=True))) == ["done"]
    assert {path.name for path in out.iterdir()} == {"a.png", "a.png.restore.json", JOURNAL}


def test_a_full_disk(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        check_full_disk(pictures, out)
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


def test_scores_against_a_folder_of_clean_pictures(pictures: Path, tmp_path: Path) -> None:
    clean = noise_picture(tmp_path / "clean" / "a.tif", seed=77)
    noise_picture(tmp_path / "clean" / "c.tif", side=12)
    report = job(pictures, tmp_path / "out", options=Options(reference=tmp_path / "clean"))
    first, second, third = (outcome.record["scores"] for outcome in report.outcomes)
    expected = metrics.psnr(files.read(pictures / "a.png").pixels, files.read(clean).pixels)
    assert first["psnr"] == pytest.approx(expected, abs=1e-9)
    assert "no reference named 'b ü'" in second["problem"]
    assert "not scored" in third["problem"]


def test_a_side_file_makes_the_same_bytes_again(pictures: Path, tmp_path: Path) -> None:
    job(pictures, tmp_path / "out", Recipe(steps=(Step(method="wavelet"),)))
    recipe = Recipe.load(tmp_path / "out" / "a.png.restore.json")
    job(pictures, tmp_path / "again", recipe)
    assert (tmp_path / "again" / "a.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()
