"""The Python call and the command give the same pixels; ``tests/page`` shows the same of the page."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import restore
from restore.cli import app

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.parametrize("method", ["auto", "wavelet", "noiser"])
def test_array_path_and_command_agree(tmp_path: Path, method: str) -> None:
    source = SAMPLES / "parrots-sigma25.png"
    picture = restore.read(source)
    array = np.rint(picture.pixels * 65535).astype(np.uint16)
    by_array = restore.run(array, method, strength=0.9)
    by_path = restore.run(source, method, strength=0.9)
    arguments = ["run", str(source), "-o", str(tmp_path), "--method", method, "--strength", "0.9"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    by_command = np.rint(restore.read(tmp_path / source.name).pixels * 65535).astype(np.uint16)
    assert np.array_equal(by_command, by_array)
    assert np.array_equal(np.rint(np.clip(by_path.pixels, 0, 1) * 65535).astype(np.uint16), by_array)
