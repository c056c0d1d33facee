"""The public names: removing one is a visible act."""

import subprocess
import sys

import pytest

import restore


def test_public_names() -> None:
    assert restore.__all__ == [
        "Image", "Meta", "Noise", "RawImage", "Recipe", "RestoreError", "Step",
        "adapt", "calibrate", "errors", "estimate_noise", "files", "methods", "read", "run",
        "run_with_uncertainty", "write",
    ]  # fmt: skip
    for name in restore.__all__:
        assert getattr(restore, name) is not None
    one = "import sys, restore; assert getattr(restore, sys.argv[1]) is not None"
    for name in ("errors", "files", "methods"):  # by itself: another import of the package may bring it along
        subprocess.run([sys.executable, "-c", one, name], check=True)


def test_import_is_quick_and_without_torch() -> None:
    code = (
        "import sys, time; t = time.process_time(); import restore; "
        "print(time.process_time() - t, 'torch' in sys.modules)"
    )
    best = 9.0
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert out[1] == "False"
        best = min(best, float(out[0]))
    assert best < 0.3


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = restore.nonsense
