"""Noise on files: what the frames say of themselves."""

from pathlib import Path

import pytest

import restore
from restore.camera import Profile
from restore.camera.calibration import Plan
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
