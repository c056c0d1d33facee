"""What decoding in a process of its own costs: ``python isolation.py FILE... [--runs N]``; one JSON line a file.

Each file is read by a worker and in this process in turn; processor time is that of both processes together, by the
scheduler's own count. ``raw:MEGAPIXELS`` stands for a simulated Bayer file of that size, uncompressed: the least that
a decoder can have to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from restore import files, workers
from restore.files import Limits, raster
from restore.picture import RawImage


def spent(process: int) -> float:
    """Return the processor seconds that a process's threads have used."""
    lines = (task / "schedstat" for task in Path(f"/proc/{process}/task").iterdir())
    return sum(int(line.read_text().split()[0]) for line in lines) * 1e-9


def simulated(folder: Path, megapixels: float) -> Path:
    """Write a raw file of 3:2 with noise."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5 / 2) * 2
    mosaic = np.random.default_rng(0).normal(0.2, 0.02, (height, height * 3 // 4 * 2)).astype(np.float32)
    path = folder / f"{megapixels:g}-megapixels.dng"
    files.write(path, RawImage(mosaic, ((0, 1), (1, 2)), ((512.0,) * 2,) * 2, 16383.0))
    return path


def measured(read: Callable[[], object], worker: int) -> tuple[float, float]:
    """Return the seconds by the wall and by both processors."""
    before, cpu, begin = spent(worker), time.process_time(), time.perf_counter()
    read()
    wall = time.perf_counter() - begin
    return wall, time.process_time() - cpu + spent(worker) - before


def measure(path: Path, runs: int) -> dict[str, object]:
    begin = time.perf_counter()
    files.read(path)
    first = time.perf_counter() - begin
    worker = workers.POOL._idle[-1]._process.pid
    raster.read_here(path, Limits(), is_stack=False)
    apart, here = [], []
    for _ in range(runs):
        apart.append(measured(lambda: files.read(path), worker))
        here.append(measured(lambda: raster.read_here(path, Limits(), is_stack=False), worker))
    found: dict[str, object] = {"file": path.name, "first read s": round(first, 2)}
    for index, kind in enumerate(("wall", "processor")):
        ratio = statistics.median(a[index] / b[index] for a, b in zip(apart, here, strict=True))
        for name, times in (("apart", apart), ("here", here)):
            found[f"{kind} {name} ms"] = round(1e3 * statistics.median(t[index] for t in times), 1)
        found[f"{kind} cost"] = f"{ratio - 1:+.1%}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--runs", type=int, default=21)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.files:
            is_simulated = name.startswith("raw:")
            path = simulated(Path(folder), float(name.removeprefix("raw:"))) if is_simulated else Path(name)
            sys.stdout.write(json.dumps(measure(path, args.runs)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
