"""What the engine costs: ``python tests/benchmarks/engine.py [tiles|memory|strips|folder|ray|kill] [--files N]``.

``tiles``: 4 megapixels whole and in tiles, in turns. ``memory``: bytes a pixel of each method at two sizes, and of
``denoise`` up to 200 megapixels, each in a process of its own. ``strips``: a Restormer of 48 channels and eight blocks
on a megapixel, at once and in exact strips. ``folder``: many files of 2 megapixels, one and two at a time. ``ray``: the
same on two local workers, counted from the first result; bytes compared. ``kill``: a worker ends by SIGKILL on the way.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from restore import files, pipeline
from restore.jobs import bench
from restore.jobs.report import Options, Outcome, Report
from restore.picture import Image, Meta
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

Row = dict[str, object]

PROCESS = """
import sys, time, torch
def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
{setup}
open("/proc/self/clear_refs", "w").write("5")  # the most held so far is what is held now
before, start = held("VmRSS"), time.perf_counter()
{work}
print(before, held("VmHWM") - before, time.perf_counter() - start)
"""

RESTORE = """
from restore import pipeline
from restore.jobs import bench
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
recipe, runtime = Recipe(steps=(Step(method={method!r}),), noise=bench.SIGMA), Runtime(device="cpu")
pipeline.run(bench.picture(0.05, brightness={light}), recipe, runtime)
noisy = bench.picture({megapixels}, brightness={light})
"""

RESTORMER = """
from restore.nets.restormer import Restormer
torch.manual_seed(0)
net = Restormer(48, (1,) * 8).eval()
noisy = torch.rand(1, 3, 1024, 1024)
"""


def alone(setup: str, work: str) -> tuple[float, float, float]:
    """Return the bytes held before the work, the most above that, and seconds, of a process of its own."""
    code = PROCESS.format(setup=setup, work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, peak, seconds = map(float, done.stdout.split())
    return before, peak, seconds


def tiles(_: argparse.Namespace) -> Iterator[Row]:
    noisy, runtime = bench.picture(4), Runtime(device="cpu")
    ways = {"whole": "off", "auto": "auto", "1024": 1024, "768": 768}
    recipes = {
        way: Recipe(steps=(Step(method="denoise"),), noise=bench.SIGMA, tile=tile)  # type: ignore[arg-type]
        for way, tile in ways.items()
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    results = {}
    for turn in range(4):
        for way, recipe in recipes.items():
            start = time.perf_counter()
            results[way] = pipeline.run(noisy, recipe, runtime).picture.pixels
            if turn:
                seconds[way].append(time.perf_counter() - start)
    for way in ways:
        difference = float(np.abs(results[way] - results["whole"]).max())
        ratio = float(np.median(np.divide(seconds[way], seconds["whole"])))
        yield {
            "tiles": way,
            "s per megapixel": round(min(seconds[way]) / 4, 3),
            "of whole": round(ratio, 3),
            "max difference": difference,
        }


def memory(args: argparse.Namespace) -> Iterator[Row]:
    run = "pipeline.run(noisy, recipe, runtime)"
    cases = [(m, s) for m in ("none", "wavelet", "denoise", "blind", "noise2score", "rampp", "noiser") for s in (2, 8)]
    cases += [("denoise", size) for size in (1, 32, args.most)]
    for method, megapixels in cases:
        light = bench.NIGHT if method == "noiser" else 1.0
        setup = RESTORE.format(method=method, megapixels=megapixels, light=light)
        before, peak, seconds = alone(setup, run)
        yield {
            "method": method,
            "megapixels": megapixels,
            "MiB before": round(before / 2**20),
            "MiB above": round(peak / 2**20),
            "bytes a pixel": round(peak / megapixels / 1e6),
            "s": round(seconds, 1),
        }


def strips(_: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for rows in (0, 32):
            work = f"with torch.inference_mode(): torch.save(net(noisy, rows={rows}), '{folder}/{rows}.pt')"
            before, peak, seconds = alone(RESTORMER, work)
            found[rows] = peak
            yield {"Restormer, rows": rows, "MiB above": round(peak / 2**20), "s": round(seconds, 1)}
        whole, strip = (torch.load(f"{folder}/{rows}.pt") for rows in (0, 32))
        difference = float((whole - strip).abs().max() / whole.abs().max())
        yield {"relative difference": difference, "peak of whole": round(found[32] / found[0], 3)}


def made(folder: Path, count: int) -> None:
    """Write pictures of 2 megapixels, all different."""
    folder.mkdir(parents=True)
    noisy = bench.picture(2).pixels
    rng = np.random.default_rng(0)
    for index in range(count):
        shifted = np.roll(noisy, tuple(rng.integers(0, 1000, 2)), (0, 1))
        files.write(folder / f"p{index:03}.jpg", Image(np.ascontiguousarray(shifted), meta=Meta(bits=8)))


def command(folder: Path, out: Path, *more: str) -> tuple[float, float]:
    """Run ``restore run``; return seconds and processor seconds."""
    shutil.rmtree(out, ignore_errors=True)
    line = ["-m", "restore", "run", str(folder), "-o", str(out), "-m", "denoise", "--noise", "25/255", *more]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *line], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, busy


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.jpg"))}


def folder_jobs(args: argparse.Namespace) -> Iterator[Row]:
    top = Path(tempfile.mkdtemp())
    made(top / "in", args.files)
    found = {}
    for turn in range(args.turns):
        for jobs in (1, 2):
            seconds, busy = command(top / "in", top / f"out{jobs}", "--jobs", str(jobs))
            found[jobs] = seconds
            yield {"files": args.files, "jobs": jobs, "turn": turn, "s": round(seconds, 1)} | {
                "cores busy": round(busy / seconds, 2)
            }
        yield {"jobs 1 / jobs 2": round(found[1] / found[2], 2)}
    yield {"same bytes": hashes(top / "out1") == hashes(top / "out2")}
    shutil.rmtree(top)


class Watch:
    """Hears of every file's end, and when; kills a worker of Ray after some."""

    def __init__(self, kill_after: int = 0) -> None:
        self.kill_after, self.outcomes = kill_after, []
        self.times: list[float] = []
        self.killed: list[int] = []

    def hear(self, event: object) -> None:
        if isinstance(event, Outcome):
            self.outcomes.append(event)
            self.times.append(time.perf_counter())
            if len(self.times) == self.kill_after:
                threading.Thread(target=self._kill, daemon=True).start()

    def _kill(self) -> None:
        while not self.killed:
            listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
            self.killed += [int(pid) for pid in re.findall(r"^ *(\d+) ray::_Actor\.restore", listed, re.M)][:1]
            time.sleep(0.02)
        os.kill(self.killed[0], signal.SIGKILL)


def job(folder: Path, out: Path, watch: Watch, **options: object) -> Report:
    from restore.files.folder import find
    from restore.jobs.plan import Naming, plan
    from restore.jobs.run import run_folder

    recipe = Recipe(steps=(Step(method="denoise"),), noise=bench.SIGMA)
    shutil.rmtree(out, ignore_errors=True)
    works = plan(find([folder], output=out), recipe, Naming(out))
    return run_folder(works, recipe, Runtime(device="cpu"), Options(out, **options), watch.hear)  # type: ignore[arg-type]


def ray(args: argparse.Namespace) -> Iterator[Row]:
    top = Path(tempfile.mkdtemp())
    made(top / "in", args.files)
    rates = {}
    for name, options in {"local": {"jobs": 2}, "ray": {"jobs": 2, "engine": "ray"}}.items():
        watch, start = Watch(), time.perf_counter()
        job(top / "in", top / name, watch, **options)
        first, last = watch.times[3], watch.times[-1]
        rates[name] = (last - first) / (len(watch.times) - 4)
        yield {"engine": name, "files": args.files, "s": round(last - start, 1)} | {
            "first result": round(watch.times[0] - start, 1),
            "s a file after the fourth": round(rates[name], 3),
        }
    same = hashes(top / "local") == hashes(top / "ray")
    yield {"ray / local": round(rates["ray"] / rates["local"], 3), "same bytes": same}
    shutil.rmtree(top)


def kill(args: argparse.Namespace) -> Iterator[Row]:
    from restore.files.folder import JOURNAL

    top = Path(tempfile.mkdtemp())
    made(top / "in", min(40, args.files))
    watch = Watch(kill_after=10)
    report = job(top / "in", top / "out", watch, jobs=2, engine="ray")
    ends = Counter(
        line["source"]
        for line in map(json.loads, (top / "out" / JOURNAL).read_text().splitlines())
        if line["status"] != "started"
    )
    yield {"killed": watch.killed, "files": len(report.outcomes), "exit code": report.exit_code} | {
        "results": len(hashes(top / "out")),
        "ends a file": sorted(set(ends.values())),
        "notes": list(report.notes),
    }
    shutil.rmtree(top)


PARTS = {"tiles": tiles, "memory": memory, "strips": strips, "folder": folder_jobs, "ray": ray, "kill": kill}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--most", type=float, default=200, help="megapixels of the largest picture")
    args = parser.parse_args()
    cv2.setNumThreads(torch.get_num_threads())
    for name in args.parts or PARTS:
        for row in PARTS[name](args):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
