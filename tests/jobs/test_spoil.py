"""The command that degrades a folder: repeatable, independent of other files, and original pictures untouched."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore import files
from restore.degrade import FROZEN, KINDS, frozen
from restore.errors import RecipeError
from restore.jobs.spoil import spoil_all
from restore.picture import Image, Meta


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        files.write(folder / f"{name}.png", Image(rng.random((48, 64, 3), np.float32)))
    return folder


def read(path: Path) -> np.ndarray:
    picture = files.read(path)
    assert isinstance(picture, Image)
    return picture.pixels


def done(inputs: list[Path], out: Path, spec: str | None = "gaussian sigma=0.1", seed: int = 3) -> int:
    return spoil_all(inputs, out, spec, seed, is_recursive=False, is_json=False)


def test_an_empty_kind_is_not_the_validation_set(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown degradation ''"):
        done([pictures], tmp_path / "out", spec="")


def test_a_file_is_degraded_alike_alone_and_among_others(pictures: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in pictures.iterdir()}
    assert done([pictures], tmp_path / "all") == 0
    assert done([pictures / "b.png"], tmp_path / "one") == 0
    assert (tmp_path / "all" / "b.png").read_bytes() == (tmp_path / "one" / "b.png").read_bytes()
    assert {p.name: p.read_bytes() for p in pictures.iterdir()} == before
    noise = [read(tmp_path / "all" / f"{n}.png") - read(pictures / f"{n}.png") for n in "ab"]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_any_name_of_a_file_will_do(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a.png").rename(pictures / os.fsdecode(b"\xff.png"))
    assert done([pictures], tmp_path / "one") == done([pictures], tmp_path / "set", None) == 0
    assert (tmp_path / "one" / os.fsdecode(b"\xff.png")).exists()


@pytest.mark.parametrize("kind", ["blur", "poisson"])
def test_a_picture_that_cannot_be_degraded_is_named_and_the_rest_is_done(
    kind: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beyond = Image(np.full((48, 64, 3), 3e38, np.float32), meta=Meta(bits=32, is_float=True))
    files.write(pictures / "0.tif", beyond)
    assert done([pictures], tmp_path / "out", kind) == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert "0.tif: " in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_said(pictures: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "out").write_text("")
    assert done([pictures], tmp_path / "out") == 1
    assert "out: the folder cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["blur", None])
def test_pictures_of_one_stem_get_a_copy_each(pictures: Path, tmp_path: Path, spec: str | None) -> None:
    files.write(pictures / "a.jpg", Image(np.zeros((48, 64, 3), np.float32)))
    long = "c" * 240 + ".png"
    (pictures / "b.png").rename(pictures / long)
    assert done([pictures], tmp_path / "out", spec) == 0
    folders = [tmp_path / "out"] if spec else [*(tmp_path / "out").iterdir()]
    for folder in folders:
        assert sorted(p.name for p in folder.iterdir()) == ["a.jpg.png", "a.png", long]


def test_no_copies_among_the_clean_pictures(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a.png").rename(pictures / "a.bmp")
    (tmp_path / "link").symlink_to(pictures)
    for inputs, out in (([pictures], pictures), ([pictures / "a.bmp"], pictures), ([pictures], tmp_path / "link")):
        with pytest.raises(RecipeError, match="give another folder"):
            done(inputs, out)
    assert sorted(p.name for p in pictures.iterdir()) == ["a.bmp", "b.png"]


def test_a_channel_that_png_has_not_is_said_without_options_of_other_commands(tmp_path: Path, capsys) -> None:
    samples = np.zeros((48, 64, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unspecified"])
    assert done([tmp_path / "a.tif"], tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "only a TIFF can hold" in said
    assert "--" not in said


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_changes_the_picture_and_seeds_repeat_it(kind: str, pictures: Path, tmp_path: Path) -> None:
    for name in "xy":
        done([pictures / "a.png"], tmp_path / name, kind)
    first = (tmp_path / "x" / "a.png").read_bytes()
    assert first == (tmp_path / "y" / "a.png").read_bytes()
    changed = not np.array_equal(read(tmp_path / "x" / "a.png"), read(pictures / "a.png"))
    assert changed or kind == "quantise"  # to 8 bits, which it had


def test_bad_files_are_named_and_the_rest_is_done(pictures: Path, tmp_path: Path, capsys) -> None:
    (pictures / "c.png").write_text("not a picture")
    assert done([pictures], tmp_path / "out") == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert "c.png" in capsys.readouterr().err
    assert done([pictures / "a.png"], tmp_path / "out") == 1  # never over what is there, and nothing was done
    assert done([pictures / "c.png"], tmp_path / "none") == 1
    with pytest.raises(RecipeError, match="rian"):
        done([pictures], tmp_path / "other", "rian")


def test_the_validation_set_is_a_folder_for_each_task_and_the_one_that_python_gives(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    assert done([pictures], out, None, 0) == 0
    assert {p.name for p in out.iterdir()} == {task.replace(" ", "_") for task in FROZEN}
    clean = files.read(pictures / "a.png")
    assert isinstance(clean, Image)
    for task, degraded in frozen(clean, "a.png"):
        assert np.allclose(read(out / task.replace(" ", "_") / "a.png"), degraded.pixels, atol=1e-6), task
