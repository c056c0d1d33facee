"""Print what decoding in a process of its own costs: processor time of the second and later reads, and the start.

``python tests/benchmarks/isolation.py FILE...``
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from restore import files
from restore.files import Limits, isolated, raster


def spent(process: int | str) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    for name in sys.argv[1:]:
        path, runs = Path(name), 40
        begin = time.perf_counter()
        files.read(path)
        first = time.perf_counter() - begin
        worker = isolated._POOL._idle[-1]._process.pid
        raster.read_here(path, Limits(), is_stack=False)
        far, here, walls = 0.0, 0.0, ([], [])
        for _ in range(runs):
            before, begin = spent("self") + spent(worker), time.perf_counter()
            files.read(path)
            walls[0].append(time.perf_counter() - begin)
            far += spent("self") + spent(worker) - before
            before, begin = spent("self"), time.perf_counter()
            raster.read_here(path, Limits(), is_stack=False)
            walls[1].append(time.perf_counter() - begin)
            here += spent("self") - before
        apart, together = (statistics.median(wall) * 1e3 for wall in walls)
        sys.stdout.write(
            f"{path.name}: first {first:.2f} s; then {apart:.1f} ms of its own, {together:.1f} ms here; processor"
            f" time {far / runs * 1e3:.1f} against {here / runs * 1e3:.1f} ms; fastest"
            f" {min(walls[0]) * 1e3:.1f} against {min(walls[1]) * 1e3:.1f} ms"
            f" (ratio {min(walls[0]) / min(walls[1]):.3f})\n"
        )
    assert np.isfinite(first)


if __name__ == "__main__":
    main()
