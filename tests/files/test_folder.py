import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restore.errors import ReadError
from restore.files.container import kind
from restore.files.folder import find


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(found) -> list[str]:
    return [item.relative.as_posix() for item in found]


def test_pictures_of_a_folder_in_order_without_our_own_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "ä b.nef", "note.txt", "a.jpg.restore.json", ".restore-x1.part.png", "._a.jpg"):
        touch(tmp_path / name)
    touch(tmp_path / ".restore-journal.jsonl")
    touch(tmp_path / "sub" / "c.tif")
    assert names(find([tmp_path])) == ["a.jpg", "b.PNG", "ä b.nef"]
    assert names(find([tmp_path], is_recursive=True)) == ["a.jpg", "b.PNG", "ä b.nef", "sub/c.tif"]


def test_named_files_are_taken_whatever_they_are_called_and_once(tmp_path: Path) -> None:
    odd = touch(tmp_path / "scan.dat")
    picture = touch(tmp_path / "a.png")
    again = tmp_path / "sub" / ".." / "a.png"
    (tmp_path / "sub").mkdir()
    assert [item.path for item in find([odd, picture, again, tmp_path, tmp_path / "missing.png"])] == [
        odd,
        picture,
        tmp_path / "missing.png",
    ]


def test_output_folder_inside_the_input_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "out" / "a.png")
    assert names(find([tmp_path], is_recursive=True, output=tmp_path / "out")) == ["a.png"]
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path / "out")
    assert names(find([tmp_path], is_recursive=True, output=linked)) == ["a.png"]


def test_results_are_no_inputs_where_the_output_is_the_input(tmp_path: Path) -> None:
    for name in ("a.png", "a_new.png", "a_new.png.restore.json"):
        touch(tmp_path / name)
    assert names(find([tmp_path], output=tmp_path)) == ["a.png"]
    assert names(find([tmp_path], output=tmp_path / "elsewhere")) == ["a.png", "a_new.png"]


def test_standard_errors_are_left_out_beside_their_result_alone(tmp_path: Path) -> None:
    for name in ("a.png", "a.png.sigma.tiff", "a.png.restore.json", "stars.sigma.tiff"):
        touch(tmp_path / name)
    assert names(find([tmp_path])) == ["a.png", "stars.sigma.tiff"]


def test_files_of_kinds_that_are_not_read_are_told_of_once(tmp_path: Path) -> None:
    ours = ("a.png.restore.json", "a.png.sigma.tiff", ".restore-x1.part.png", ".restore-journal.jsonl", ".hidden")
    for name in ("a.png", "b.GIF", "sub/c.jp2", *ours):
        touch(tmp_path / name)
    unread: set[Path] = set()
    find([tmp_path, tmp_path], unread=unread)
    assert unread == {tmp_path / "b.GIF"}
    find([tmp_path], is_recursive=True, unread=unread)
    assert unread == {tmp_path / "b.GIF", tmp_path / "sub" / "c.jp2"}


def test_links_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "twin").symlink_to(tmp_path / "sub")
    found = names(find([tmp_path], is_recursive=True))
    assert found == ["self.png", "sub/a.png"]


def test_folders_and_dangling_links_named_like_pictures_are_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    assert names(find([tmp_path])) == ["folder.png", "gone.png"]
    assert names(find([tmp_path], is_recursive=True)) == ["gone.png", "folder.png"]
    touch(tmp_path / "folder.png" / "a.png")
    assert names(find([tmp_path], is_recursive=True)) == ["gone.png", "folder.png/a.png"]


def test_a_folder_that_cannot_be_listed_is_a_problem_not_a_silence(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path / "sub" / "a.png")
    listing = Path.iterdir

    def refusing(self: Path):
        if self.name == "sub":
            raise PermissionError(13, os.strerror(13))
        return listing(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    (item,) = find([tmp_path], is_recursive=True)
    assert isinstance(item.problem, ReadError)
    assert "cannot be listed (Permission denied)" in str(item.problem)


@contextmanager
def nobody() -> Iterator[None]:
    """Do without the rights of root, where the tests have them."""
    me = os.geteuid()
    os.seteuid(65534 if me == 0 else me)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_what_may_not_be_looked_at_costs_itself(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    for name in ("in/a.png", "in/unlisted/b.png", "in/no_entry/c.png", "private/d.png"):
        touch(tmp_path / name)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "private" / "d.png")
    for name, mode in (("in/unlisted", 0o111), ("in/no_entry", 0o444), ("private", 0o000)):
        (tmp_path / name).chmod(mode)
    try:
        with nobody():
            found = find([tmp_path / "in", tmp_path / "private" / "d.png"], is_recursive=True)
            problems = {item.relative.as_posix(): item.problem and item.problem.problem for item in found}
            for item in found:
                with pytest.raises(ReadError, match=r"Permission denied|not a picture"):
                    kind(item.path)
    finally:
        for name in ("in/unlisted", "in/no_entry", "private"):
            (tmp_path / name).chmod(0o755)
    refused = "the folder cannot be listed (Permission denied); check your permission"
    assert problems == {"a.png": None, "link.png": None, "no_entry/c.png": None, "unlisted": refused, "d.png": None}


def test_a_name_that_is_too_long_is_a_file_that_is_not_there() -> None:
    long = Path("x" * 300 + ".png")
    assert [item.path for item in find([long])] == [long]
    with pytest.raises(ReadError, match="File name too long"):
        kind(long)
