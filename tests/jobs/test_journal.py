from pathlib import Path

import pytest

from restore import weights
from restore.errors import WriteError
from restore.jobs.journal import DONE, STARTED, Journal, Line


def done(folder: Path, source: Path, target: str = "a.png", recipe: str = "r") -> Line:
    status = source.stat()
    (folder / target).write_bytes(b"result")
    return Line(
        source=f"../in/{source.name}",
        status=DONE,
        recipe=recipe,
        sha256=weights.sha256(source),
        bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        target=target,
        target_sha256=weights.sha256(folder / target),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = tmp_path / "in" / "ä \udce4.png"
    path.write_bytes(b"picture")
    return path


def test_what_is_done_is_known_to_the_next_run(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with Journal(out) as journal:
        assert not journal.is_done(source, "r", [out / "a.png"])
        journal.write(done(out, source))
    with Journal(out) as journal:
        assert journal.is_done(source, "r", [out / "a.png"])
        assert journal.is_done(source, "r", [out / "a.dng", out / "a.png"])
        assert not journal.is_done(source, "another recipe", [out / "a.png"])
        assert not journal.is_done(source, "r", [out / "a.one.png"]), "another name was asked for"
    for content in (b"resulT", b""):
        (out / "a.png").write_bytes(content)
        with Journal(out) as journal:
            assert not journal.is_done(source, "r", [out / "a.png"])
    (out / "a.png").unlink()
    with Journal(out) as journal:
        assert not journal.is_done(source, "r", [out / "a.png"])


def test_a_changed_input_is_not_done(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with Journal(out) as journal:
        journal.write(done(out, source))
    source.write_bytes(b"another")
    with Journal(out) as journal:
        assert not journal.is_done(source, "r", [out / "a.png"])


def test_a_torn_line_costs_only_itself(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with Journal(out) as journal:
        journal.write(done(out, source))
        path = journal.path
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        with Journal(out) as journal:
            assert journal.is_done(source, "r", [out / "a.png"])
            journal.write(Line("../in/b.png", STARTED, "r", target="b.png"))
        with Journal(out) as journal:
            assert journal.last["../in/b.png"].status == STARTED
            assert journal.is_done(source, "r", [out / "a.png"])


def test_only_an_untouched_result_of_ours_may_be_replaced(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with Journal(out) as journal:
        journal.write(done(out, source))
        journal.write(Line("../in/b.png", STARTED, "r", target="b.png"))
    (out / "b.png").write_bytes(b"whole, but the run was killed before it could say so")
    (out / "c.png").write_bytes(b"the user's")
    with Journal(out) as journal:
        assert [journal.is_ours(out / name) for name in ("a.png", "b.png", "c.png")] == [True, True, False]
        (out / "a.png").write_bytes(b"edited by the user")
        assert not journal.is_ours(out / "a.png")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(WriteError, match="another run is writing"):
        Journal(tmp_path)
    with Journal(tmp_path):
        pass


def test_no_journal_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="cannot write the journal"):
        Journal(tmp_path / "file")
