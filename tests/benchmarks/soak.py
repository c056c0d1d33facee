"""Send many mixed files through one process as one folder job; print its memory, descriptors and temporary files.

``PYTHONPATH=.:tests/fuzz python tests/benchmarks/soak.py --count 2000``; ends with 1 where memory grows by more than
5 % after the first hundred files, or anything is left open or lying about.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from corpus import seeds

from restore import files, workers
from restore.files.folder import find, is_picture_name
from restore.jobs.plan import Naming, plan
from restore.jobs.report import Moved, Options, Outcome
from restore.jobs.run import run_folder
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

WARM = 100
RECIPE = Recipe(steps=(Step(method="wavelet"),), noise=0.05, precision="fp32")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory() -> float:
    """Return the mebibytes this process holds, after what is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def make(folder: Path, count: int) -> None:
    """Mix whole and broken files of every format, small but for one in fifty."""
    corpus = [(name, body) for name, body in seeds().items()]
    rng = np.random.default_rng(0)
    large = Image(rng.random((600, 800, 3), np.float32), meta=Meta(bits=8))
    for index in range(count):
        name, body = corpus[index % len(corpus)]
        if index % 50 == 49:
            files.write(folder / f"{index:05}-large{('.png', '.jpg', '.tif')[index % 3]}", large)
        else:
            whole = rng.random() < 0.9
            end = "" if is_picture_name(name) else ".dng"
            (folder / f"{index:05}-{name}{end}").write_bytes(body if whole else body[: len(body) // 2])


@dataclass
class Watch:
    """Hears every outcome, and measures now and then."""

    every: int
    ends: dict[str, int] = field(default_factory=dict)
    held: list[tuple[int, float, int, int]] = field(default_factory=list)

    def hear(self, event: Moved | Outcome) -> None:
        if isinstance(event, Outcome):
            kind = event.kind or event.status.value
            self.ends[kind] = self.ends.get(kind, 0) + 1
            number = sum(self.ends.values())
            if number % self.every == 0:
                self.held.append((number, round(memory(), 1), descriptors(), threading.active_count()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    given = parser.parse_args()
    top, begin = Path(tempfile.mkdtemp()), time.perf_counter()
    (top / "in").mkdir()
    (top / "temporary").mkdir()
    make(top / "in", given.count)
    tempfile.tempdir = str(top / "temporary")
    out, watch = top / "out", Watch(50)
    before = descriptors()
    works = plan(find([top / "in"]), RECIPE, Naming(out))
    report = run_folder(works, RECIPE, Runtime(device="cpu"), Options(out), watch.hear)
    workers.POOL.close()
    left = [str(path) for path in (top / "temporary").iterdir()] + [str(path) for path in out.glob(".restore-*")]
    left = [path for path in left if "journal" not in path]
    warm = [row for row in watch.held if row[0] > WARM]
    # what is on its way at that moment is held too: the most of some looks is compared with the most of as many
    growth = max(row[1] for row in warm[-5:]) / max(row[1] for row in warm[:5]) - 1
    figures = {
        "files": given.count, "seconds": round(time.perf_counter() - begin, 1), "ends": watch.ends,
        "memory_growth": round(growth, 4), "descriptors": [before, descriptors()], "left": left,
        "exit_code": report.exit_code, "held": watch.held[:: max(1, len(watch.held) // 12)],
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")
    shutil.rmtree(top)
    is_steady = growth <= 0.05 and descriptors() <= before and not left and "internal error" not in watch.ends
    sys.exit(0 if is_steady else 1)


if __name__ == "__main__":
    main()
