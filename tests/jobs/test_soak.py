"""A share of `tests/benchmarks/soak.py`: nothing stays open or lies about after many mixed files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors on Linux")
def test_many_mixed_files_leave_nothing_open_and_nothing_behind() -> None:
    seen = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS / "fuzz")])}
    words = [sys.executable, TESTS / "benchmarks" / "soak.py", "--count", "150"]
    run = subprocess.run(words, env=seen, capture_output=True, check=False)
    assert run.stdout, run.stderr.decode()
    figures = json.loads(run.stdout)
    before, after = figures["descriptors"]
    assert after <= before
    assert figures["left"] == []
    assert figures["ends"]["done"] > 80
    assert set(figures["ends"]) <= {"done", "ReadError", "UnsupportedError"}
    assert figures["exit_code"] == 3
