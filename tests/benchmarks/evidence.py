"""How often alarms are right: ``python tests/benchmarks/evidence.py SHARED``; prints one JSON line a kind of fault.

Honest results of ``denoise`` and ``wavelet`` on crops of Kodak and of free photos, with white noise (float, and 8 bits
clipped), photon noise and camera noise, and on photographs with real noise, levels unknown; then the same results with
a fault planted: 0.5 % of white added to one channel, a step of 2 % in one half, a blur of 1.2 pixels, no change at all.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from restore import degrade, files, methods, pipeline
from restore.degrade.simple import quantise
from restore.evidence import Promise, findings
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

SIDE = 384
KINDS = ("white 5", "white 15", "white 25", "white 50", "8 bit 15", "8 bit 25", "8 bit 50", "photons", "camera")


def clean(shared: Path) -> Iterator[Floats]:
    """Give crops, one a picture, of Kodak and of photos that no limit was set on."""
    rng = np.random.default_rng(11)
    free = [path for i, path in enumerate(sorted((shared / "data/train_free").glob("*.jpg"))) if i % 12 == 5]
    for path in [*sorted((shared / "data/test/kodak").glob("*.png")), *free]:
        pixels = files.read(path).pixels
        if min(pixels.shape[:2]) >= SIDE and pixels.shape[2] == 3:
            top, left = (int(rng.integers(n - SIDE + 1)) for n in pixels.shape[:2])
            yield pixels[top : top + SIDE, left : left + SIDE]


def noisy(pixels: Floats, kind: str, rng: np.random.Generator) -> Floats:
    name, _, level = kind.rpartition(" ")
    if kind == "camera":
        return degrade.camera(pixels, rng).noisy
    if kind == "photons":
        return degrade.poisson(pixels, rng, peak=float(rng.uniform(20, 200)))
    made = degrade.gaussian(pixels, rng, sigma=int(level) / 255)
    return made if name == "white" else quantise(made)


def cases(shared: Path) -> Iterator[tuple[str, Floats]]:
    rng = np.random.default_rng(12)
    for index, pixels in enumerate(clean(shared)):
        kind = KINDS[index % len(KINDS)]
        yield kind, noisy(pixels, kind, rng)
    for name in ("sidd", "cc", "polyu", "nam"):
        for path in sorted((shared / "data/test/realnoise" / name / "noisy").iterdir())[:4]:
            yield "real", files.read(path).pixels[:SIDE, :SIDE]


def planted(before: Floats, after: Floats) -> Iterator[tuple[str, Floats]]:
    """Give results with faults, ``(C, H, W)``."""
    yield "colour shift", after + np.float32([[[0.005]], [[0]], [[0]]])
    seam = after.copy()
    seam[:, :, after.shape[2] // 2 :] += 0.02
    yield "seam", seam
    yield "over-smoothing", np.stack([cv2.GaussianBlur(plane, (0, 0), 1.2) for plane in after])
    yield "no change", before.copy()


def main(shared: Path) -> None:
    found: dict[tuple[str, str, str], list[list[str]]] = defaultdict(list)
    looked = worked = 0.0
    for kind, pixels in cases(shared):
        for name in ("denoise", "wavelet"):
            result = pipeline.run(Image(pixels), Recipe(steps=(Step(method=name),), precision="fp32"), Runtime("cpu"))
            report, method = result.reports[0], methods.get(name)
            noise_kind = kind if kind in ("camera", "real") else "other"
            alarms = [item.name for item in report.evidence if item.is_alarm]
            found[name, noise_kind, "honest"].append(alarms)
            if alarms:
                sys.stderr.write(f"{name} {kind}: {result.alarms}\n")
            before, after = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (pixels, result.picture.pixels))
            promise = Promise(method.keeps_level, method.keeps_edges)
            start = time.perf_counter()
            for fault, wrong in planted(before, after):
                seen = findings(before, wrong, report.noise, None, promise)
                found[name, noise_kind, fault].append([item.name for item in seen if item.is_alarm])
            looked, worked = looked + (time.perf_counter() - start) / 4, worked + result.seconds
    for (name, kind, fault), lists in found.items():
        counts = Counter(alarm for alarms in lists for alarm in alarms)
        row = {"method": name, "noise": kind, "result": fault, "results": len(lists)}
        row |= {"with an alarm": sum(map(bool, lists)), "alarms": dict(counts)}
        sys.stdout.write(json.dumps(row) + "\n")
    honest = [alarms for (_, _, fault), lists in found.items() if fault == "honest" for alarms in lists]
    sys.stdout.write(f"honest: {sum(map(bool, honest))} of {len(honest)} trip; {looked / worked:.1%} of the time\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
