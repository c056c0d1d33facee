"""Runs of visitors: apart from each other, unguessable, stopped and cleared away."""

import os
import stat
from pathlib import Path

import pytest

from restore.page import sessions
from restore.page.sessions import Sessions


def test_visitors_do_not_meet(tmp_path: Path) -> None:
    held = Sessions(tmp_path)
    with held.running("a", "single") as first, held.running("b", "single") as second:
        assert first.folder != second.folder
        assert len(first.folder.name) >= 24
        assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
        assert held.cancel("a", "single")
        assert first.cancelled.is_set() and not second.cancelled.is_set()
        assert not held.cancel("a", "single")
        assert not held.cancel("a", "batch") and not held.cancel(None, "single")


def test_a_new_run_replaces_the_last_of_its_tab_only(tmp_path: Path) -> None:
    held = Sessions(tmp_path)
    with held.running("a", "single") as first, held.running("a", "batch") as other:
        (first.folder / "x").touch()
        with held.running("a", "single") as second:
            assert first.cancelled.is_set() and first.folder.exists()
        assert not first.folder.exists()
        assert not other.cancelled.is_set() and other.folder.exists()
    assert second.cancelled.is_set() and second.folder.exists()


def test_a_run_that_fails_leaves_the_last_one_s_files(tmp_path: Path) -> None:
    held = Sessions(tmp_path)
    with held.running("a", "single") as first:
        pass
    for _ in range(2):
        with pytest.raises(RuntimeError), held.running("a", "single") as second:
            raise RuntimeError
        assert first.folder.exists() and not second.folder.exists()
    with pytest.raises(ZeroDivisionError), held.running("a", "single"):
        held.end("a") or 1 / 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), held.running("a", "single"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [] and not held.cancel("a", "single")


def test_who_leaves_takes_everything(tmp_path: Path) -> None:
    held = Sessions(tmp_path)
    with held.running("a", "single") as run, held.running("b", "single") as other:
        held.end("a")
        assert run.cancelled.is_set() and not run.folder.exists() and other.folder.exists()


def test_old_runs_are_swept_once_they_have_ended(tmp_path: Path) -> None:
    held = Sessions(tmp_path)
    with held.running("a", "single") as run:
        os.utime(run.folder, (0, 0))
        with held.running("b", "single"):
            assert run.folder.exists() and not run.cancelled.is_set()
    with held.running("b", "single") as fresh:
        assert not run.folder.exists() and fresh.folder.exists()


def test_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, alive = tmp_path / f"{sessions.PREFIX}999999999-x", tmp_path / f"{sessions.PREFIX}{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    root = sessions.make_root()
    assert not dead.exists() and alive.exists() and root.parent == tmp_path
