"""Frames as people have them: JPEGs beside raw files, damaged files, stacks, floats, a little light, warm sensors."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import restore
from restore.camera.calibration import Plan
from restore.camera.simulate import Sensor
from restore.cli.options import app
from restore.errors import ArrayError, ReadError, UnsupportedError
from restore.files import ifd
from restore.files.dng import write_dng
from restore.jobs.noise_files import Shoot, add, simulate

QUICK = Plan(steps=0)


def grey(count: int, *, offset: float = 100, light: float = 0) -> np.ndarray:
    """Frames of a 12-bit camera: K 0.5, read noise of 2.5 DN."""
    rng = np.random.default_rng(1)
    shot = 0.5 * rng.poisson(light / 0.5, (count, 64, 96)) if light else 0
    return np.rint(offset + shot + rng.normal(0, 2.5, (count, 64, 96))).clip(0, 4095).astype(np.uint16)


def test_what_a_folder_holds_beside_dark_frames_is_left_out_and_named(tmp_path: Path) -> None:
    """Cameras write JPEGs beside raw files; one damaged file of forty was the end of it."""
    simulate(Shoot(size=(64, 96), isos=(400,), darks=7, flats=0), tmp_path)
    darks = tmp_path / "darks"
    whole = restore.calibrate(darks, plan=QUICK)
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(darks / name), np.zeros((64, 96, 3), np.uint8))
    (darks / "iso400_bad.dng").write_bytes((darks / "iso400_000.dng").read_bytes()[:2000])
    found = restore.calibrate(darks, plan=QUICK)
    assert found.isos == whole.isos and found.notes[2:] == whole.notes
    assert found.notes[0] == (
        "a.jpg and 1 more are left out: a developed JPEG holds no sensor noise any more; give the camera's raw files"
    )
    assert found.notes[1].startswith("iso400_bad.dng is left out: ")
    with pytest.raises(UnsupportedError, match="a.jpg: a developed JPEG"):  # it was named
        restore.calibrate([darks, darks / "a.jpg"], plan=QUICK)
    for path in darks.glob("iso400_0*"):
        path.unlink()
    with pytest.raises(UnsupportedError, match="a.jpg: a developed JPEG"):
        restore.calibrate(darks, plan=QUICK)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_pages_of_a_stack_are_frames(tmp_path: Path, compression: str | None) -> None:
    files, stacks = tmp_path / "files", tmp_path / "stacks"
    for folder in (files, stacks):
        folder.mkdir()
    darks, flats = grey(7), [grey(2, light=light) for light in (300, 1200, 3000)]
    for number, page in enumerate([*darks, *(page for pair in flats for page in pair)]):
        tifffile.imwrite(files / f"{number:02}.tif", page)
    tifffile.imwrite(stacks / "darks.tif", darks, compression=compression, photometric="minisblack")
    for number, pair in enumerate(flats):
        tifffile.imwrite(stacks / f"flats{number}.tif", pair, compression=compression, photometric="minisblack")
    listed = sorted(files.iterdir())
    known = restore.calibrate(listed[:7], flats=listed[7:], iso=1, plan=QUICK)
    found = restore.calibrate(stacks / "darks.tif", flats=sorted(stacks.glob("flats*")), iso=1, plan=QUICK)
    assert found.isos == known.isos and found.isos[0].frames == 6 and found.white == 4095
    darks[1] = darks[0]
    tifffile.imwrite(stacks / "twice.tif", darks, photometric="minisblack")
    with pytest.raises(ArrayError, match=r"twice\.tif, page 2 holds the same pixels as .*twice\.tif, page 1"):
        restore.calibrate(stacks / "twice.tif", iso=1, bits=12, plan=QUICK)


def test_an_offset_without_bits_is_no_light(tmp_path: Path) -> None:
    """Scientific cameras have an offset of 100 DN, and white was taken to be at 255."""
    tifffile.imwrite(tmp_path / "darks.tif", grey(7), photometric="minisblack")
    with pytest.raises(ArrayError, match=r"or white is not at 255 DN: say the camera's bits \(--bits\)"):
        restore.calibrate(tmp_path, iso=1, plan=QUICK)
    found = restore.calibrate(tmp_path, iso=1, bits=12, plan=QUICK)
    assert found.white == 4095 and found.isos[0].black_error[0] == pytest.approx(100, abs=0.1)
    assert "which may be far off, as a gain setting need not be an ISO speed" in " ".join(found.notes)


def test_floats_are_no_dn(tmp_path: Path) -> None:
    """They were taken for values 65,535 times as large, and those for light."""
    for number, page in enumerate(grey(3)):
        tifffile.imwrite(tmp_path / f"{number}.tif", page.astype(np.float32))
    with pytest.raises(UnsupportedError, match=r"0\.tif: holds floats or more than 16 bits; give frames in whole DN"):
        restore.calibrate(tmp_path, iso=1, bits=12, plan=QUICK)


def test_ten_frames_are_the_ten_that_were_asked_for(tmp_path: Path) -> None:
    simulate(Shoot(size=(64, 96), isos=(400,), darks=10, flats=0), tmp_path)
    assert "need more frames" not in " ".join(restore.calibrate(tmp_path / "darks", plan=QUICK).notes)
    few = sorted((tmp_path / "darks").iterdir())[:7]
    assert "need more frames at ISO 400: 6 were used to learn; ten or more" in " ".join(
        restore.calibrate(few, plan=QUICK).notes
    )


def test_a_little_light_and_a_warm_sensor_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    sensor = Sensor.draw(rng, size=(128, 192), isos=(800,), split=None)
    rows, columns = np.mgrid[:128, :192]
    leak = (30 * np.exp(-(rows**2 + columns**2) / (2 * 50**2))).astype(np.float32)
    warm = replace(sensor, hot=np.where(rng.random((128, 192)) < 0.04, 400, 0).astype(np.float32))
    says = []
    for name, body, light in (("plain", sensor, 0.0), ("leak", sensor, leak), ("warm", warm, 0.0)):
        (tmp_path / name).mkdir()
        for number in range(4):
            write_dng(tmp_path / name / f"{number}.dng", body.frame(800, rng, light=light))
        says.append(" ".join(restore.calibrate(tmp_path / name, plan=QUICK).notes))
    plain, light, heat = says
    assert "in one part than in another" not in plain + heat and "hot or stuck" not in plain + light
    assert "in one part than in another, with noise of 3" in light
    assert "4% of the pixels at ISO 800 are hot or stuck" in heat


def with_serial(raw: restore.RawImage, serial: str) -> restore.RawImage:
    exif = ifd.block({ifd.EXIF: {42033: ifd.ascii_text(serial)}})
    return replace(raw, meta=replace(raw.meta, exif=exif))


def test_maps_are_of_one_body(tmp_path: Path) -> None:
    """The dark shading of one body was taken off the pictures of another, whose pattern is its own."""
    rng = np.random.default_rng(4)
    sensor = Sensor.draw(rng, size=(96, 128), isos=(800,), split=None)
    darks, shot = tmp_path / "darks", tmp_path / "shot"
    darks.mkdir()
    shot.mkdir()
    for number in range(4):
        write_dng(darks / f"{number}.dng", with_serial(sensor.frame(800, rng), "0123"))
    for serial in ("0123", "0124", ""):
        raw = sensor.frame(800, rng, light=50.0)
        write_dng(shot / f"{serial or 'unknown'}.dng", with_serial(raw, serial) if serial else raw)
    profile = tmp_path / "a.noise"
    restore.calibrate(darks, out=profile, plan=QUICK)
    run = ["run", shot, "-o", tmp_path / "out", "-m", "pnnp", "--format", "dng", "--set", f"pnnp.profile={profile}"]
    assert CliRunner().invoke(app, [str(word) for word in run]).exit_code == 0
    for name, is_of_it in (("0123", True), ("0124", False), ("unknown", True)):
        side = json.loads((tmp_path / "out" / f"{name}.dng.restore.json").read_text())
        notes = " ".join(side["reports"][0]["facts"]["notes"])
        assert ("dark shading subtracted" in notes) is is_of_it and ("of another body" in notes) is not is_of_it
        assert "noise level from the profile of Restore Simulated at ISO 800" in notes
    with pytest.raises(ReadError, match=r"0124\.dng: the noise profile is of another body of this camera"):
        add(darks / "0.dng", tmp_path / "n.dng", profile, iso=800, ratio=1, backend="sfrn", darks=[shot / "0124.dng"])
    write_dng(darks / "9.dng", with_serial(sensor.frame(800, rng), "0124"))
    with pytest.raises(ArrayError, match=r"9\.dng: hash of the serial number .* calibrate each camera"):
        restore.calibrate(darks, plan=QUICK)


def test_long_exposures_of_unlike_length_are_not_mixed(tmp_path: Path) -> None:
    """Dark current, which differs from pixel to pixel, passed for noise: three times too much of it."""
    rng = np.random.default_rng(4)
    sensor = Sensor.draw(rng, size=(96, 128), isos=(800,), split=None)
    current = rng.lognormal(-3, 1.2, (96, 128)).astype(np.float32)
    names = iter(range(99))

    def shoot(folder: Path, *exposures: float) -> Path:
        folder.mkdir(exist_ok=True)
        for exposure in exposures:
            light = sensor.K(800) * current * exposure
            write_dng(folder / f"{next(names)}.dng", sensor.frame(800, rng, light=light, exposure_s=exposure))
        return folder

    alone = restore.calibrate(shoot(tmp_path / "long", *[30.0] * 5), plan=QUICK).isos[0]
    found = restore.calibrate(shoot(tmp_path / "long", *[300.0] * 4, 0.01), plan=QUICK)
    assert found.isos == (alone,) and alone.sigma_px < 1.3 * sensor.sigma(800)
    assert found.notes[0].startswith("dark frames of ISO 800 of 0.01, 300 s are left out beside those of 30 s")
    short = restore.calibrate(shoot(tmp_path / "short", *[0.01] * 4), plan=QUICK).isos[0]
    found = restore.calibrate(shoot(tmp_path / "short", 300.0), plan=QUICK)
    assert found.isos == (short,) and "ISO 800 of 300 s are left out beside those of 0.01 s" in found.notes[0]
