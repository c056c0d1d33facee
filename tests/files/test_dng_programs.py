import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from restore.files.dng import write_dng
from restore.files.sensor import read_raw

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no shared data: {name}")
    return path


def rendered(command, path, target):
    """Run a raw developer; its output must appear."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True, timeout=100)
    with Pillow.open(target) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["dcraw_emu", "rawtherapee-cli", "darktable-cli"])
@pytest.mark.parametrize("name", ["canon_bayer14_ob_colorchart.dng", "nikon_dsc1339_rggb_crop.dng"])
def test_other_programs_render_it_like_the_original(program, name, tmp_path):
    original = tmp_path / "old.dng"
    original.write_bytes(shared(f"raw/{name}").read_bytes())
    write_dng(tmp_path / "new.dng", read_raw(original))
    pictures = []
    for path in (original, tmp_path / "new.dng"):
        stem = path.with_suffix("")
        settings_at = ["--core", "--configdir", str(tmp_path / "config"), "--library", ":memory:"]
        command, target = {
            "dcraw_emu": (["dcraw_emu", "-w", "-T", path.name], Path(f"{path}.tiff")),
            "rawtherapee-cli": (
                ["rawtherapee-cli", "-Y", "-t", "-b8", "-o", f"{stem}.tif", "-c", str(path)],
                None,
            ),
            "darktable-cli": (["darktable-cli", str(path), f"{stem}.png", *settings_at], Path(f"{stem}.png")),
        }[program]
        pictures.append(rendered(command, path, target or Path(f"{stem}.tif")))
    np.testing.assert_array_equal(*pictures)
