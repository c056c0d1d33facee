"""Broken, hostile and unusable files give typed errors and cost nothing."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made import (
    HEIGHT,
    ICC,
    WIDTH,
    XMP,
    chunk,
    exif_block,
    heic,
    needs_peak,
    peaks,
    picture,
    png,
)
from PIL import Image as Pillow

from restore.errors import (
    FileError,
    ReadError,
    TooLargeError,
    UnsupportedError,
)
from restore.files import Limits, ifd, kind, not_kept, read, suffix, write
from restore.picture import Image, Meta


def test_what_needs_an_optional_package_says_which(tmp_path):
    planes = np.zeros((3, 16, 16), "u2")
    tifffile.imwrite(tmp_path / "a.tif", planes, compression="lzw", planarconfig="separate", photometric="rgb")
    write(tmp_path / "a.jxl", picture(256, 3, has_alpha=False))
    code = """
    import sys
    sys.modules["imagecodecs"] = sys.modules["pillow_heif"] = None
    from pathlib import Path
    from restore.errors import UnsupportedError
    from restore.files import isolated, read
    isolated.enter()
    for name, extra in (("a.tif", "jxl"), ("a.jxl", "jxl"), ("a.heic", "heif")):
        try:
            read(Path(sys.argv[1]) / name)
        except UnsupportedError as error:
            assert f"pip install 'restore[{extra}]'" in str(error), error
        else:
            raise SystemExit(name)
    """
    heic(tmp_path / "a.heic")
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path], check=True, timeout=60)


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl"])
def test_every_truncation_is_an_error(tmp_path, name):
    body = write(tmp_path / f"a{suffix(name)}", picture(256, 3, has_alpha=False)).read_bytes()
    # the last byte of a BMP only fills its row up
    for length in sorted({*range(1, 40), *np.linspace(40, len(body) - 2, 60).astype(int).tolist()}):
        (tmp_path / "cut").write_bytes(body[:length])
        with pytest.raises((ReadError, UnsupportedError)):
            read(tmp_path / "cut")


def test_unusable_paths_are_named_with_what_to_do(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(40))
    (tmp_path / "zero.png").write_bytes(png(0, 5, 8, 2, b""))
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom" + bytes(40))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1 << 26))
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        "empty.jpg": (ReadError, "empty"),
        "text.png": (ReadError, "not a picture"),
        "folder.jpg": (ReadError, "folder"),
        "link.jpg": (ReadError, "nowhere.jpg, which is not there"),
        "missing.jpg": (ReadError, "no such file"),
        "pipe.png": (ReadError, "not a regular file"),
        "zero.png": (ReadError, "no pixels"),
        "a.gif": (UnsupportedError, "is a GIF, which cannot be read; convert it to PNG"),
        "film.mp4": (UnsupportedError, "not a still picture"),
        "bomb.zip": (UnsupportedError, "archives are never unpacked here"),
    }
    for name, (error, text) in cases.items():
        for door in (read, kind):
            if door is kind and name == "zero.png":
                continue
            with pytest.raises(error, match=text) as caught:
                door(tmp_path / name)
            assert caught.value.path == tmp_path / name
            assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_an_unreadable_file_is_named(tmp_path):
    path = write(tmp_path / "a.png", picture(256, 3, has_alpha=False))
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ReadError, match="ermission"):
            read(path)
    finally:
        os.seteuid(me)


BOMB = 30_000


def bombs(folder: Path) -> dict[str, bytes]:
    """Small files whose headers promise 900 megapixels."""
    packed = zlib.compress(bytes(1 << 20))
    header = struct.pack(">IIBBBBB", BOMB, BOMB, 8, 2, 0, 0, 0)
    jpeg, webp = io.BytesIO(), io.BytesIO()
    Pillow.new("RGB", (16, 16)).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0") + 5
    Pillow.new("RGB", (16, 16)).save(webp, "WEBP", exif=b"II*\0" + bytes(8))
    how = ifd.Layout()
    numbers = {256: BOMB, 257: BOMB, 259: 8, 262: 2, 273: 8, 277: 3, 278: BOMB, 279: 100}
    tags: ifd.Tree = {tag: ifd.make(ifd.LONG, value) for tag, value in numbers.items()}
    tags[258] = ifd.make(ifd.SHORT, 8, 8, 8)
    tiff = how.header(108) + bytes(100) + ifd.pack(tags, how, 108)
    side, body = (BOMB - 1), jpeg.getvalue()
    size = 0 | 2 << 1 | side << 3 | 0 << 21 | 2 << 24 | side << 26
    return {
        "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""),
        "jpeg": body[:frame] + struct.pack(">HH", BOMB, BOMB) + body[frame + 4 :],
        "webp": webp.getvalue()[:24] + side.to_bytes(3, "little") * 2 + webp.getvalue()[30:],
        "bmp": struct.pack("<2sIIIIiiHHIIiiII", b"BM", 100, 0, 54, 40, BOMB, BOMB, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(60),
        "tiff": tiff,
        "jxl": b"\xff\x0a" + size.to_bytes(8, "little") + bytes(40),
        "dng": _sensor_bomb(how),
        "lzw": how.header(108) + bytes(100) + ifd.pack(tags | {259: ifd.make(ifd.LONG, 5)}, how, 108),
        "avif": _stretched(folder / "small.avif"),
        "heic": _stretched(folder / "small.heic"),
    }


def _sensor_bomb(how: ifd.Layout) -> bytes:
    numbers = {254: 0, 256: BOMB, 257: BOMB, 258: 16, 259: 1, 262: 32803, 273: 8, 277: 1, 278: BOMB, 279: 1_800_000_000}
    tags: ifd.Tree = {tag: ifd.make(ifd.LONG, value) for tag, value in numbers.items()}
    tags |= {271: ifd.ascii_text("Maker"), 272: ifd.ascii_text("Maker 1"), 33421: ifd.make(ifd.SHORT, 2, 2)}
    tags |= {33422: ifd.make(ifd.BYTE, 0, 1, 1, 2), ifd.DNG_VERSION: ifd.make(ifd.BYTE, 1, 4, 0, 0)}
    return how.header(108) + bytes(100) + ifd.pack(tags, how, 108) + bytes(1000)


def _stretched(path: Path) -> bytes:
    """Let the size of a picture in an ISO media file lie."""
    if path.suffix == ".heic":
        heic(path)
    else:
        write(path, picture(256, 3, has_alpha=False))
    body = path.read_bytes()
    path.unlink()
    at = body.index(b"ispe") + 8
    return body[:at] + struct.pack(">II", BOMB, BOMB) + body[at + 8 :]


@needs_peak
def test_a_bomb_is_refused_from_its_header(tmp_path):
    for name, body in bombs(tmp_path).items():
        (tmp_path / name).write_bytes(body)
    code = """
    from restore import workers
    def worker():
        return f"/proc/{workers.POOL._idle[-1]._process.pid}/status"
    def far():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path(worker()).read_text())[1]) / 1024
    with workers.POOL.worker() as started:
        started._await()  # what it imports is not the bomb's
    begin, number = far(), worker()
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            read(path)
        except TooLargeError as error:
            assert "900 megapixels" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
    assert worker() == number
    print(peak() - start, far() - begin)
    """
    assert max(peaks(code, tmp_path)) < 100


@needs_peak
def test_data_that_unpack_to_more_than_the_picture_are_not_held(tmp_path):
    packed, how = zlib.compress(bytes(1 << 28), 9), ifd.Layout()
    numbers = {256: 100, 257: 100, 259: 8, 262: 2, 273: 5000, 277: 3, 278: 100, 279: len(packed)}
    tags: ifd.Tree = {tag: ifd.make(ifd.LONG, value) for tag, value in numbers.items()}
    tags[258] = ifd.make(ifd.SHORT, 8, 8, 8)
    (tmp_path / "a.tif").write_bytes((how.header(8) + ifd.pack(tags, how, 8)).ljust(5000, b"\0") + packed)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0))
    profile = chunk(b"iCCP", b"x\0\0" + packed)
    body = header + profile + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    code = """
    from restore.errors import ReadError
    for name in ("a.tif", "a.png"):
        try:
            read(Path(sys.argv[1]) / name)
        except ReadError as error:
            assert name in str(error), error
    print(peak() - start)
    """
    for without in ("", "sys.modules['imagecodecs'] = None"):
        assert peaks(without + textwrap.dedent(code), tmp_path)[0] < 100


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_whose_data_end_early_is_refused_though_its_end_mark_is_there(tmp_path, options):
    samples = np.rint(np.tile(picture(256, 3, has_alpha=False).pixels, (4, 4, 1)) * 255).astype(np.uint8)
    body = io.BytesIO()
    Pillow.fromarray(samples).save(body, "JPEG", **options)
    whole = body.getvalue()
    (tmp_path / "a.jpg").write_bytes(whole)
    assert read(tmp_path / "a.jpg").size == samples.shape[:2]
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "a.jpg").write_bytes(whole[: int(len(whole) * share)] + b"\xff\xd9")
        with pytest.raises(ReadError, match=r"truncated or damaged JPEG \(premature end"):
            read(tmp_path / "a.jpg")


def test_limits_are_the_callers_and_not_the_decoders(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", picture(256, 3, has_alpha=False))
    with pytest.raises(TooLargeError, match="max_pixels"):
        read(path, limits=Limits(max_pixels=HEIGHT * WIDTH - 1))
    with pytest.raises(TooLargeError, match="max_bytes"):
        read(path, limits=Limits(max_bytes=100))
    large = Image(np.zeros((1000, 3000, 3), np.float32))
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 500_000)
    for name in ("jpeg", "png", "tiff", "webp", "avif", "bmp"):
        assert read(write(tmp_path / f"b{suffix(name)}", large)).size == (1000, 3000)


def test_raw_containers_are_told_from_tiff_by_content(shared):
    names = {path.name: kind(path) for path in (shared / "data/raw").iterdir() if path.suffix != ".raw"}
    assert len(names) >= 5
    assert set(names.values()) == {"raw"}


def test_mutated_files_never_leak_a_librarys_exception(tmp_path):
    rng, found = random.Random(5), {"read": 0, "refused": 0}
    image = picture(256, 3, has_alpha=False, orientation=6, icc=ICC, exif=exif_block(), xmp=XMP)
    sources = [
        write(tmp_path / f"a{suffix(name)}", image) for name in ("jpeg", "png", "tiff", "webp", "avif", "bmp", "jxl")
    ]
    heic(tmp_path / "a.heic")
    samples = np.rint(image.pixels * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="rgb", compression="lzw", tile=(16, 16))
    for body in [path.read_bytes() for path in (*sources, tmp_path / "a.heic", tmp_path / "b.tif")]:
        for _ in range(70):
            mutant = bytearray(body)
            for _ in range(rng.randint(1, 5)):
                reach = len(mutant) if rng.random() < 0.5 else min(400, len(mutant))
                mutant[rng.randrange(reach)] = rng.choice((0, 255, rng.randrange(256)))
            if rng.random() < 0.3:
                del mutant[rng.randrange(len(mutant)) :]
            (tmp_path / "mutant").write_bytes(mutant)
            try:
                read(tmp_path / "mutant", limits=Limits(max_pixels=4_000_000))
                found["read"] += 1
            except FileError as error:
                found["refused"] += error.path == tmp_path / "mutant"
    assert found["refused"] > 100
    assert found["read"] > 50


def test_what_bmp_and_dng_do_not_hold_is_said():
    photo = picture(256, 3, has_alpha=False, icc=ICC, exif=exif_block(), xmp=XMP)
    assert not_kept(Path("a.bmp"), photo) == ("EXIF", "XMP")
    assert not_kept(Path("a.dng"), photo) == ("colour profile: a DNG's colours are written as those of sRGB",)
    assert not_kept(Path("a.tif"), photo) == ()


@pytest.mark.parametrize("length", [65504, 65505, 300_000])
def test_xmp_of_a_raw_that_is_too_long_for_a_jpeg_is_left_out_and_that_is_said(length, tmp_path):
    photo = picture(256, 3, has_alpha=False, format="raw", xmp=b"<x>" + b"a" * (length - 7) + b"</x>")
    fits = length == 65504
    assert not_kept(tmp_path / "a.jpg", photo) == (() if fits else ("XMP, too long for a JPEG",))
    assert read(write(tmp_path / "a.jpg", photo)).meta.xmp == (photo.meta.xmp if fits else None)
    assert read(write(tmp_path / "a.png", photo)).meta.xmp == photo.meta.xmp


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_file_that_is_cut_while_it_is_open_is_an_error(tmp_path: Path, name: str) -> None:
    """In a process of its own, which a map of the file would end."""
    path = write(tmp_path / name, picture(256, 3, has_alpha=False))
    path.write_bytes(path.read_bytes() + bytes(20_000))
    code = """
    import os, sys
    from pathlib import Path
    from restore.errors import ReadError
    from restore.files import Limits
    from restore.files.container import opened
    path = Path(sys.argv[1])
    with opened(path, Limits()) as view:
        os.truncate(path, 5000)
        assert len(view[:5000]) == 5000
        try:
            view[9000:9100]
        except ReadError as error:
            assert str(error).startswith(f"{path}: became shorter while it was read"), error
        else:
            raise SystemExit("read what is not there")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], check=True, timeout=60)


def test_what_rounding_takes_from_few_counts_is_said(tmp_path):
    rate = np.full((64, 64, 1), 0.3 / 255, np.float32)
    rate[:8] = 2.4 / 255
    few = Image(rate, meta=Meta(bits=8))
    (said,) = not_kept(tmp_path / "a.tif", few)
    written = read(write(tmp_path / "a.tif", few)).pixels
    assert f"rounding moves the mean by {written.mean() / rate.mean() - 1:+.0%}" in said
    assert not_kept(tmp_path / "a.png", few) == (said,)
    assert not_kept(tmp_path / "a.tif", few, 32) == ()
    assert not_kept(tmp_path / "a.tif", few, 16) == ()
    assert not_kept(tmp_path / "a.tif", replace(few, meta=Meta(bits=32, is_float=True))) == ()
    deep = Image(np.full((9, 9, 1), 100 / 65535, np.float32), meta=Meta(bits=16))
    assert not_kept(tmp_path / "a.tif", deep) == ()
    assert "by -100%" in not_kept(tmp_path / "a.tif", deep, 8)[0]


@needs_peak
def test_a_large_file_is_refused_by_its_header_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(30_000, 30_000, 8, 2, b""))
    os.truncate(path, 600 << 20)
    code = """
    try:
        read(Path(sys.argv[1]))
    except TooLargeError as error:
        assert "900 megapixels" in str(error), error
    else:
        raise SystemExit("it was read")
    print(peak() - start)
    """
    assert peaks(code, path)[0] < 100
