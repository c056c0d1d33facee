"""A file is whole or as it was before, whatever happens in the middle."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
import pytest

from restore.errors import WriteError
from restore.files import raster, read, suffix, write
from restore.files.atomic import replacing
from restore.jobs.journal import Journal
from restore.picture import Image

FORMATS = ["jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl"]
PICTURE = Image(np.random.default_rng(0).random((64, 64, 3), np.float32))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_middle_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def failing():
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        failing()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", FORMATS)
def test_an_encoder_that_fails_leaves_the_old_file(tmp_path, name, monkeypatch):
    path = write(tmp_path / f"a{suffix(name)}", PICTURE)
    old, encode = path.read_bytes(), raster._encode

    def failing(file, *args, **options):
        encode(file, *args, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(raster, "_encode", failing)
    with pytest.raises(WriteError, match="No space left"):
        write(path, PICTURE)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file size")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    code = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from restore.errors import WriteError
    from restore.files import suffix, write
    from restore.picture import Image
    picture = Image(np.random.default_rng(0).random((256, 256, 3), np.float32))
    paths = [Path(sys.argv[1]) / f"a{suffix(name)}" for name in sys.argv[2:]]
    for path in paths:
        path.write_bytes(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    for path in paths:
        try:
            write(path, picture)
        except WriteError as error:
            assert error.path == path and "File too large" in str(error), error
        else:
            raise SystemExit(f"{path} was written")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path, *FORMATS]
    subprocess.run(command, check=True, timeout=60)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}
    assert len(list(tmp_path.iterdir())) == len(FORMATS)


def test_the_result_is_whole_and_readable_by_others_as_the_mask_says(tmp_path):
    path = write(tmp_path / "a.png", PICTURE)
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert read(path).size == (64, 64)


def test_the_source_is_not_touched_by_reading_or_by_writing_elsewhere(tmp_path):
    path = write(tmp_path / "a.tif", PICTURE)
    before = path.read_bytes(), path.stat().st_mtime_ns
    write(tmp_path / "b.tif", read(path))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.fixture
def nobody(tmp_path):
    """Give a folder of somebody without the rights of root, who may not change it back."""
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        above.chmod(0o755)
    folder, me = tmp_path / "out", os.geteuid()
    folder.mkdir()
    folder.chmod(0o777)
    os.seteuid(65534 if me == 0 else me)
    yield folder
    os.seteuid(me)
    folder.chmod(0o755)


@contextmanager
def as_owner():
    me = os.geteuid()
    os.seteuid(os.getuid())
    yield
    os.seteuid(me)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_is_closed_meanwhile_is_said(nobody):
    def closed_meanwhile():
        with replacing(nobody / "a.png") as part, as_owner():
            part.write_bytes(b"half")
            nobody.chmod(0o555)

    with pytest.raises(WriteError, match="Permission denied") as raised:
        closed_meanwhile()
    assert raised.value.path == nobody / "a.png"
    assert not (nobody / "a.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_may_be_written_but_not_listed(nobody):
    with as_owner():
        nobody.chmod(0o333)
    with replacing(nobody / "a.png") as part:
        part.write_bytes(b"whole")
    Journal(nobody).__exit__()
    assert (nobody / "a.png").read_bytes() == b"whole"
