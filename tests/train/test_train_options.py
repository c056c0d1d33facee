"""Options that cannot be, folders of more pictures than memory holds, and how long two networks learn."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from restore.errors import RecipeError
from restore.train import blind, noise2score
from restore.train.data import Photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        cv2.imwrite(str(folder / f"{name}.png"), data.astronaut()[:96, :160])
    return folder


@pytest.mark.parametrize(
    "given", ["minutes nan", "minutes -1", "rate nan", "rate 0", "batch 0", "threads 0", "seed -1", "workers -1"]
)
def test_numbers_that_cannot_be_are_no_traceback(photos: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, value = given.split()
    with pytest.raises(SystemExit):
        blind.main([str(photos), f"--{name}", value])
    assert f"argument --{name}: {value} is no number from" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no device 'gpu'"):
        blind.main([str(photos), "--run", str(tmp_path / "run"), "--device", "gpu"])


def test_weights_that_nobody_taught_are_not_written(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    with pytest.raises(RecipeError, match="nothing was learnt in no time"):
        blind.main([str(photos), "--run", str(tmp_path / "run"), "--minutes", "0", "--out", str(out)])
    assert not out.exists()


def test_more_pictures_than_memory_holds(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of 500 photographs of 24 megapixels would take 36 GB."""
    whole = Photos(photos).pictures
    assert [p.shape for p in whole] == [(96, 160, 3)] * 2 and not capsys.readouterr().err
    monkeypatch.setattr("restore.train.data.MOST", 2 * 3 * 100**2)
    less = Photos(photos).pictures
    assert [p.shape for p in less] == [(96, 100, 3)] * 2 and all(p.base is None for p in less)
    assert np.array_equal(less[0], whole[0][:, 30:130])
    assert "the middle 100x100 pixels of 2 pictures are used" in capsys.readouterr().err


def test_a_short_training_of_two_networks_is_short(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one for grey took a quarter of an hour whatever was asked for."""
    budgets = []
    plain = noise2score.fit

    def noted(*given: object) -> object:
        budgets.append(given[3])
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(noise2score, "fit", noted)
    noise2score.main(
        [str(photos), "--run", str(tmp_path / "run"), "--minutes", "0.001", "--patch", "16", "--batch", "1"]
    )
    assert [b.minutes for b in budgets] == pytest.approx([0.001, 0.001 * 3 / 11])
