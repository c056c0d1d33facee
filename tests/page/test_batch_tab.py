"""The tab for many pictures: alarms are told; archives are refused by their first bytes, however large inside."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from gradio_client import Client, handle_file
from serving import Server
from typer.testing import CliRunner

from restore.cli import app as command
from restore.jobs.plan import Work
from restore.jobs.report import Outcome, Status
from restore.page import batch

WHOLE = 1 << 30


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def bomb(path: Path) -> Path:
    """A megabyte that unpacks to a thousand."""
    part = bytes(1 << 22)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as inside:
        for _ in range(WHOLE // len(part)):
            inside.write(part)
    return path


def ordinary(path: Path, picture: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(picture, "holiday/photo.jpg")
    return path


def processes(server: Server) -> list[Path]:
    """Return the server and what it started."""
    found = [Path(f"/proc/{server.process.pid}")]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it has ended
            continue
        found += [folder] if int(stat.rpartition(")")[2].split()[1]) == server.process.pid else []
    return found


def megabytes(processes: list[Path], key: str) -> float:
    lines = (line for folder in processes for line in (folder / "status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def restored(client: Client, paths: list[Path]) -> tuple[str | None, dict[str, tuple[str, str]]]:
    """Run the tab; return its archive, and how each file ended, with its reason."""
    chosen = [handle_file(str(path)) for path in paths]
    answer = client.predict(pictures=chosen, method="none", api_name="/restore_all")
    return answer[0], {name: (status, says) for name, status, _, says in answer[3]}


def refused(name: str) -> tuple[str, str]:
    return "failed", f"{name}: is an archive, and archives are never unpacked here; unpack it first"


def test_archives_are_refused_and_stop_no_other_file(
    client: Client, server: Server, pictures: dict[str, Path], tmp_path: Path
) -> None:
    """An ordinary one and a bomb, by their own name and by that of a picture."""
    plain = [ordinary(tmp_path / name, pictures["photo.jpg"]) for name in ("pictures.zip", "pictures.dng")]
    results, rows = restored(client, [*plain, pictures["scan.png"]])
    assert rows.pop("scan.png")[0] == "done"
    assert rows == {path.name: refused(path.name) for path in plain}
    with zipfile.ZipFile(str(results)) as archive:
        assert archive.namelist() == ["scan.png", "scan.png.restore.json"]

    bombs = [bomb(tmp_path / name) for name in ("bomb.zip", "bomb.png")]
    assert max(path.stat().st_size for path in bombs) < 2 << 20
    running = processes(server)
    for folder in running:
        (folder / "clear_refs").write_text("5")  # forget the peak of memory until now
    before = megabytes(running, "VmRSS")
    results, rows = restored(client, bombs)
    assert megabytes(running, "VmHWM") - before < 100
    assert results is None
    assert rows == {path.name: refused(path.name) for path in bombs}
    assert server.is_alive()


def outcome(*evidence: dict[str, object], target: str = "a.jpg") -> Outcome:
    made = {"step": {"method": "wavelet", "strength": 1, "reason": "asked for"}, "facts": {}, "evidence": evidence}
    record = {"pages": None, "dropped": ["comments"], "reports": [made], "scores": None}
    work = Work(Path("a.jpg"), Path("a.jpg"))
    return Outcome(work, Status.DONE, Path(target), record=record)


def test_alarms_and_what_was_not_kept_are_told() -> None:
    says = {"name": "seams", "says": "a straight step", "weight": "strong"}
    alarmed, fine = outcome(says | {"is_alarm": True}, target="a.png"), outcome(says | {"is_alarm": False})
    rows = [batch._row(ended, ["a.jpg", "working", "", ""]) for ended in (alarmed, fine)]
    told = "Wavelet shrinkage: asked for; not kept: comments"
    assert rows[0][3] == f"{told}; CHECK: a straight step (strong evidence); written as a.png"
    assert rows[1][3] == told
    assert batch._told([alarmed, fine], rows, [])[0] == "**2 of 2** files: 2 done · **1 to check**"
    assert batch._told([fine], rows[1:], [])[0] == "**1 of 1** files: 1 done"


def test_the_command_and_the_page_tell_the_same(client: Client, pictures: dict[str, Path], tmp_path: Path) -> None:
    given = {"pictures": [handle_file(str(pictures["raw.dng"]))], "method": "wavelet", "format": "jpeg"}
    _, _, _, rows = client.predict(**given, api_name="/restore_all")
    options = ["run", str(pictures["raw.dng"]), "-o", str(tmp_path / "out"), "-m", "wavelet", "--format", "jpeg"]
    line = CliRunner().invoke(command, options).output
    told = rows[0][3].removesuffix("; written as raw.jpg").split("; ", 1)[1]
    assert told and f"; {told}  " in line


def test_what_cannot_be_written_is_told_without_folders(client: Client, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 40, 60), np.uint8), photometric="minisblack")
    given = {"pictures": [handle_file(str(tmp_path / "stack.tif"))], "method": "wavelet", "format": "jpeg"}
    (row,) = client.predict(**given, api_name="/restore_all")[3]
    assert row[1] == "failed" and row[3].startswith("stack.") and "one picture" in row[3] and "/" not in row[3]
