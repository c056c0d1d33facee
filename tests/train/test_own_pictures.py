"""Training on somebody's own pictures: few, small, broken; stopped, resumed; nothing shipped is touched unasked."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from restore import pipeline, weights
from restore.errors import Cancelled, ReadError, RecipeError, WeightsError, WriteError
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.train import blind, denoise, loop, noise2score, noiser, pnnp, rampp
from restore.train.data import Photos
from restore.train.ship import save

SMALL = ((8, 12, 16), (1, 1, 1, 1, 1))


@pytest.fixture(autouse=True)
def nothing_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restore.train.options.ship", lambda *_, **__: pytest.fail("nothing is to be shipped"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of unlike sizes, one of them grey, and what is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), data.astronaut()[:203, :251, ::-1])
    cv2.imwrite(str(folder / "b.png"), data.camera()[:250, :210])
    cv2.imwrite(str(folder / "z.tif"), data.astronaut()[:130, 100:240].astype(np.uint16) * 257)
    (folder / "e.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("nor this")
    return folder


def started(folder: Path, channels: int, conditions: int, prefix: str = "") -> list[str]:
    """Write small weights to start from; return the options that say so."""
    torch.manual_seed(0)
    state = UnshuffleUNet(channels, conditions, *SMALL).state_dict()
    path = folder / f"start{channels}{conditions}.safetensors"
    save(path, {f"{prefix}{name}": value for name, value in state.items()})
    return ["--start", str(path)]


def test_few_pictures_are_enough(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [len(Photos(photos, held_out=held).pictures) for held in (False, True)] == [2, 1]
    assert "e.jpg: cannot be decoded" in capsys.readouterr().err
    assert Photos(photos, held_out=True).pictures[0].shape == (130, 140, 3)
    for name in ("b.png", "z.tif", "e.jpg"):
        (photos / name).unlink()
    assert [len(Photos(photos, held_out=held).pictures) for held in (False, True)] == [1, 1]
    assert Photos(photos).side == 203 and [part.shape for part in Photos(photos).parts(224)] == [(200, 224, 3)]


@pytest.mark.parametrize(("main", "told"), [(denoise.main, 2), (blind.main, 0)])
def test_a_training_on_few_pictures_ends_with_a_file_that_runs(
    photos: Path, tmp_path: Path, main: Callable[[list[str]], None], told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Crops of 264 pixels, which ranges for integers like, fit into none of them."""
    out = tmp_path / "mine" / "own.safetensors"
    words = [str(photos), "--patch", "48", "--batch", "2", "--steps", "2", "--run", str(tmp_path / "run")]
    main([*words, *started(tmp_path, 3, told), "--out", str(out)])
    assert capsys.readouterr().out.split() == [str(out)]
    facts = weights.metadata(out)
    assert facts["steps"] == "2" and facts["data"] == "pictures of one's own"
    step = Step(method=facts["method"], weights=str(out))
    pixels = np.random.default_rng(0).random((40, 48, 3), np.float32)
    assert np.isfinite(
        pipeline.run(Image(pixels), Recipe(steps=(step,), noise=0.1), Runtime("cpu")).picture.pixels
    ).all()


def test_what_cannot_be_learnt_from_is_said(photos: Path, tmp_path: Path) -> None:
    run = ["--run", str(tmp_path / "run"), "--steps", "1"]
    with pytest.raises(RecipeError, match="no folder of pictures"):
        blind.main([str(photos / "a.png"), *run])
    shutil.rmtree(photos)
    photos.mkdir()
    with pytest.raises(RecipeError, match="no training picture found"):
        blind.main([str(photos), *run])
    cv2.imwrite(str(photos / "a.png"), data.astronaut()[:40, :40])
    with pytest.raises(RecipeError, match="no picture has .* pixels on each side"):
        blind.main([str(photos), *run, "--patch", "64"])
    cv2.imwrite(str(photos / "a.png"), data.astronaut()[:5, :40])
    with pytest.raises(RecipeError, match="smaller than 8x8 pixels"):
        noise2score.main([str(photos), *run])
    with pytest.raises(RecipeError, match="must end in .safetensors"):
        blind.main([str(photos), *run, "--out", str(tmp_path / "a.pt")])
    with pytest.raises(WriteError, match="is no folder"):
        blind.main([str(photos), *run, "--out", str(photos / "a.png" / "a.safetensors")])
    for patch in ("0", "30"):
        with pytest.raises(RecipeError, match="multiple of 8"):
            blind.main([str(photos), *run, "--patch", patch])
    for stage in ("mac", "finetune"):
        with pytest.raises(ReadError, match=r"stage1\.pt: is not there; run --stage pretrain first"):
            rampp.main([str(photos), *run, "--stage", stage, "--widths", "8", "8", "8"])


def test_less_than_no_time_is_no_time() -> None:
    """It never ended."""
    assert loop.Budget(minutes=-1).done(loop.Progress()) == loop.Budget(minutes=5, steps=0).done(loop.Progress()) == 1


def test_weights_of_others_are_no_start(photos: Path, tmp_path: Path) -> None:
    """Without a word the training began from chance, or broke in the first step."""
    run = [str(photos), "--run", str(tmp_path / "run"), "--steps", "1"]
    for main, start in (
        (denoise.main, started(tmp_path, 4, 5)),
        (denoise.main, [*started(tmp_path, 3, 2), "--grey"]),
        (denoise.main, started(tmp_path, 3, 0)),
        (noise2score.main, started(tmp_path, 3, 5)),
        (pnnp.main, started(tmp_path, 3, 2)),
    ):
        with pytest.raises(WeightsError, match="go on"):
            main([*run, *start])


def test_options_of_a_camera_are_not_passed_over(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [str(photos), "--run", str(tmp_path / "run")]
    for words, said in (
        (["--noise", "eld"], "give its --profile"),
        (["--profile", "a.noise", "--darks", "darks"], "--darks serve --noise sfrn alone"),
    ):
        with pytest.raises(SystemExit):
            pnnp.main([*run, *words])
        assert said in capsys.readouterr().err


def test_a_run_says_where_it_goes_on_and_takes_no_other_network(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(photos), "--patch", "32", "--batch", "1", "--run", str(tmp_path / "run")]
    start = started(tmp_path, 3, 0)
    for steps in "12":
        blind.main([*words, *start, "--steps", steps])
    assert "going on from step 1 of" in capsys.readouterr().err
    blind.main([*words, *start, "--steps", "2"])
    assert "going on from step 2 of" in (said := capsys.readouterr().err) and "it is over" in said
    with pytest.raises(ReadError, match="of another network or stage; give another --run"):
        blind.main([*words, "--steps", "3", "--grey"])
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"cut off")
    with pytest.raises(ReadError, match="no checkpoint of a training, or damaged"):
        blind.main([*words, *start, "--steps", "3"])


def test_a_stopped_training_keeps_its_last_step(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(photos), "--patch", "32", "--batch", "1", "--run", str(tmp_path / "run"), *started(tmp_path, 3, 0)]
    plain = blind.loss
    calls = iter(range(9))

    def stopping(net: torch.nn.Module, batch: blind.Batch) -> torch.Tensor:
        if next(calls) == 2:
            loop.stop.set()
        return plain(net, batch)

    monkeypatch.setattr(blind, "loss", stopping)
    monkeypatch.setattr(loop, "stop", type(loop.stop)())
    with pytest.raises(Cancelled, match="stopped at step 3; the same command goes on from there"):
        blind.main([*words, "--steps", "8"])
    assert loop.steps_done(tmp_path / "run" / "checkpoint.pt") == 3
    with pytest.raises(Cancelled, match="nothing was written"):
        noiser.main(["--folder", str(tmp_path / "noiser"), "--steps", "2"])


def test_ctrl_c_stops_a_training_with_130(photos: Path, tmp_path: Path) -> None:
    words = [
        "train",
        "blind",
        str(photos),
        "--patch",
        "32",
        "--batch",
        "1",
        "--minutes",
        "5",
        "--run",
        str(tmp_path / "run"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "restore", *words, *started(tmp_path, 3, 0)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
        assert process.wait(60) == 130
    assert "error: stopped at step " in said and "Traceback" not in said
    assert loop.steps_done(tmp_path / "run" / "checkpoint.pt") >= 100


def test_noiser_is_written_into_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noiser.main(["--steps", "1", "--side", "16"])
    assert weights.metadata(tmp_path / "runs" / "noiser" / "noiser.safetensors")["method"] == "noiser"
