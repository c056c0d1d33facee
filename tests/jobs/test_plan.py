from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restore import files
from restore.errors import ReadError, WriteError
from restore.files.folder import Found, find
from restore.jobs.plan import Naming, plan
from restore.jobs.report import Options
from restore.jobs.run import run_folder
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

NONE = Recipe(steps=(Step(method="none"),))


def picture(path: Path, format: str | None = None) -> Path:  # noqa: A002
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, Image(np.full((8, 8, 3), 0.5, np.float32)), format=format)
    return path


def targets(folder: Path, naming: Naming, *, is_recursive: bool = True, recipe: Recipe = NONE) -> list[str]:
    works = plan(find([folder], is_recursive=is_recursive), recipe, naming)
    return [work.target.relative_to(naming.folder).as_posix() for work in works]


def test_names_and_sub_folders_are_kept(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/ü n.tif"):
        picture(tmp_path / "in" / name)
    assert targets(tmp_path / "in", Naming(tmp_path / "out")) == ["a.JPG", "b.png", "sub/ü n.tif"]
    assert targets(tmp_path / "in", Naming(tmp_path / "out", ending="_x")) == ["a_x.JPG", "b_x.png", "sub/ü n_x.tif"]


def test_two_inputs_never_share_a_target(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.tif", "a.tif.png"):
        picture(tmp_path / "in" / name)
    named = targets(tmp_path / "in", Naming(tmp_path / "out", format="png"))
    assert named == ["a.jpg.png", "a.png", "a.tif-2.png", "a.tif.png"]
    assert targets(tmp_path / "in", Naming(tmp_path / "out")) == ["a.jpg", "a.png", "a.tif", "a.tif.png"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([".png", ".jpg", ".png.jpg", ".tif", ""])), max_size=12)
)
def test_targets_are_distinct_for_any_names(names: list[tuple[str, str]]) -> None:
    numbers = count()
    found = [Found(Path(f"/nowhere/{next(numbers)}/{stem}{end}"), Path(stem + end)) for stem, end in names]
    works = plan(found, NONE, Naming(Path("/nowhere/out"), format="png"))
    assert [work.source for work in works] == [item.path for item in found]
    assert len({work.target for work in works}) == len(found)


def test_the_name_follows_the_content(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "lie.jpg", format="png")
    assert targets(tmp_path / "in", Naming(tmp_path / "out")) == ["lie.png"]


def test_an_input_is_never_a_target(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.jpg")
    first, second = plan(find([tmp_path]), NONE, Naming(tmp_path, format="png"))
    assert isinstance(first.problem, WriteError)
    assert "is an input itself" in str(first.problem)
    assert second.problem is None


@pytest.mark.parametrize("end", [".sigma.tiff", ".restore.json"])
def test_no_input_lies_where_a_file_beside_a_result_goes(tmp_path: Path, end: str) -> None:
    sources = [picture(tmp_path / "in" / "a.png"), picture(tmp_path / "out" / f"a.png{end}", format="tiff")]
    first, _ = plan(find(sources), NONE, Naming(tmp_path / "out"))
    assert str(first.problem).startswith(f"{sources[1]}: is an input itself")


def test_an_input_is_known_through_links(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (work,) = plan(find([tmp_path / "in"]), NONE, Naming(tmp_path / "link"))
    assert isinstance(work.problem, WriteError)


@pytest.mark.parametrize("is_short", [True, False])
def test_a_name_that_leaves_none_for_the_record_is_refused_before(tmp_path: Path, is_short: bool) -> None:
    name = ("a" * 238 if is_short else "図" * 82) + ".png"
    picture(tmp_path / "in" / name)
    (work,) = plan(find([tmp_path / "in"]), NONE, Naming(tmp_path / "out"))
    (outcome,) = run_folder([work], NONE, Runtime(device="cpu"), Options(tmp_path / "out")).outcomes
    made = [path.name for path in (tmp_path / "out").glob("[!.]*")]
    assert sorted(made) == ([name, name + ".restore.json"] if is_short else [])
    assert is_short or ("8 bytes too long" in outcome.error and name in outcome.error)


def test_what_is_wrong_with_an_input_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    (work,) = plan(find([tmp_path]), NONE, Naming(tmp_path / "out"))
    assert isinstance(work.problem, ReadError)


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (NONE, ["a.png", "a.dng"]),
        (Recipe(steps=(Step(method="wavelet"),)), ["a.png"]),
        (Recipe(), ["a.png", "a.dng"]),
        (Recipe(develop=None), ["a.dng"]),
    ],
)
def test_a_raw_stays_one_where_all_steps_may_work_on_it(tmp_path: Path, recipe: Recipe, names: list[str]) -> None:
    (tmp_path / "a.raf").write_bytes(b"FUJIFILMCCD-RAW 0201")
    (work,) = plan(find([tmp_path]), recipe, Naming(tmp_path / "out"))
    assert [target.name for target in work.targets] == names
