"""Noise on files: what the frames say of themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import restore
from restore.camera import Profile
from restore.camera.calibration import Plan
from restore.files.dng import write_dng
from restore.jobs.noise_files import Shoot, add, simulate


@pytest.mark.parametrize("iso", [65535.0, 102400.0, 204800.0])
def test_speeds_that_two_bytes_do_not_hold(tmp_path: Path, iso: float) -> None:
    """All of them were written as 65535, and frames of several counted as of one."""
    _, paths = simulate(Shoot(size=(64, 64), isos=(200.0, iso), darks=2, flats=0), tmp_path)
    assert [restore.read(path).meta.iso for path in paths] == [200.0, 200.0, iso, iso]
    profile = tmp_path / "a.noise"
    restore.calibrate(tmp_path / "darks", out=profile, plan=Plan(steps=0))
    assert [noise.iso for noise in Profile.load(profile).isos] == [200.0, iso]
    for source, speed in ((paths[0], iso), (paths[-1], 400.0)):
        add(source, tmp_path / "noisy.dng", profile, iso=speed, ratio=1, backend="eld", overwrite=True)
        assert restore.read(tmp_path / "noisy.dng").meta.iso == speed


def test_noise_made_bright_is_not_cut_off_below_black(tmp_path: Path) -> None:
    """The dark came out too bright: half of its noise was below what whole DN from 0 on hold."""
    _, paths = simulate(Shoot(size=(96, 128), isos=(3200.0,), darks=4, flats=0), tmp_path)
    profile = tmp_path / "a.noise"
    restore.calibrate(tmp_path / "darks", out=profile, plan=Plan(steps=0))
    frame = restore.read(paths[0])
    assert isinstance(frame, restore.RawImage)
    black = tmp_path / "black.dng"
    write_dng(black, replace(frame, mosaic=np.zeros_like(frame.mosaic)))
    seen = []
    for ratio in (1, 300):
        add(black, tmp_path / f"{ratio}.dng", profile, iso=3200, ratio=ratio, backend="gaussian")
        noisy = restore.read(tmp_path / f"{ratio}.dng")
        assert isinstance(noisy, restore.RawImage)
        assert noisy.white - noisy.black[0][0] == frame.white - frame.black[0][0]
        seen.append(noisy)
    assert seen[0].black == frame.black and seen[0].white == frame.white
    sigma = 300 * float(seen[0].mosaic.std())
    assert seen[1].mosaic.std() == pytest.approx(sigma, rel=0.03) and abs(seen[1].mosaic.mean()) < 0.05 * sigma
