"""Kill a folder run with SIGKILL at random moments and resume it; check that nothing is ever half written.

``PYTHONPATH=. python tests/benchmarks/kills.py --count 50 [--seed 0] [--engine ray]``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from restore import files
from restore.files.folder import JOURNAL
from restore.jobs.journal import DONE
from restore.picture import Image, Meta

PICTURES = 12
OPTIONS = ["--set", "wavelet.shifts=4", "--noise", "0.1", "--tile", "128", "--precision", "fp32", "--resume"]


def hashes(folder: Path) -> dict[str, str]:
    found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def make(folder: Path) -> None:
    folder.mkdir()
    for index in range(PICTURES):
        pixels = np.random.default_rng(index).random((150, 190, 3), np.float32)
        files.write(folder / f"{index:02}{('.png', '.tif', '.jpg')[index % 3]}", Image(pixels, meta=Meta(bits=8)))


def check(out: Path, expected: dict[str, str]) -> set[str]:
    """Every result there is whole; return those the journal says are done."""
    found = hashes(out) if out.exists() else {}
    wrong = [name for name, sha256 in found.items() if expected[name] != sha256]
    assert not wrong, f"half written: {wrong}"
    for side in out.glob("[!.]*.json"):
        json.loads(side.read_text())
    rows = (out / JOURNAL).read_bytes().splitlines() if (out / JOURNAL).exists() else []
    lines = []
    for row in rows:
        with suppress(ValueError):
            lines.append(json.loads(row))
    done = {line["target"] for line in lines if line["status"] == DONE}
    assert done <= found.keys(), f"said to be done, but lost: {done - found.keys()}"
    return done


def wait_a_moment(process: subprocess.Popen[bytes], out: Path, rng: random.Random) -> None:
    """Wait until the run has written some more lines of its journal, and then a little; or until it has ended."""
    path, more = out / JOURNAL, rng.choice((0, 1, 2, 3, 5, 8, 100))
    begin = path.stat().st_size if path.exists() else 0
    while process.poll() is None and (path.stat().st_size if path.exists() else 0) <= begin + 500 * more:
        time.sleep(0.002)
        if more == 0 and rng.random() < 0.001:
            return
    if process.poll() is None:
        time.sleep(rng.uniform(0, 0.15))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", default="local")
    given = parser.parse_args()
    rng, top = random.Random(given.seed), Path(tempfile.mkdtemp())
    pictures, out = top / "in", top / "out"
    make(pictures)
    before = hashes(pictures)
    words = [sys.executable, "-m", "restore", "run", pictures, "-o"]
    end = [*OPTIONS, "--json", "--engine", given.engine]
    subprocess.run([*words, top / "undisturbed", *end], check=True, capture_output=True)
    expected = hashes(top / "undisturbed")
    kills, rounds, most = 0, 0, 0
    while kills < given.count:
        rounds += 1
        shutil.rmtree(out, ignore_errors=True)
        while True:
            done = check(out, expected)
            process = subprocess.Popen(
                [*words, out, *end], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
            wait_a_moment(process, out, rng)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stdout, _ = process.communicate()
            if process.returncode:
                assert process.returncode == -signal.SIGKILL, stdout.decode()
                kills, most = kills + 1, max(most, len([*out.glob(".restore-*.part*")]))
                continue
            lines = [json.loads(line) for line in stdout.splitlines()]
            assert {Path(line["source"]).name for line in lines if line.get("status") == "skipped"} == done
            break
        assert hashes(out) == expected
        assert not [*out.glob(".restore-*.part*")]
        assert hashes(pictures) == before, "an original was lost"
        sys.stderr.write(f"{kills} kills, {rounds} rounds\n")
    figures = {"kills": kills, "rounds": rounds, "most_parts_left": most}
    sys.stdout.write(json.dumps(figures) + "\n")
    shutil.rmtree(top)


if __name__ == "__main__":
    main()
