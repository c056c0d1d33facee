"""How often alarms are right: ``python evidence.py SHARED [--every N]``; one JSON line a kind of fault.

Honest results of ``denoise`` and ``wavelet`` on the test pictures (Kodak, photos, CBSD68; limits were set on free
photos), with white noise (float, and 8 bits clipped), photon noise and camera noise, and on photographs with real
noise, levels unknown; then the same results with a fault planted: 0.5 % of white added to one channel, a step of 2 % in
one half, a blur of 1.2 pixels, no change at all. A finding claims to tell where its evidence is strong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from restore import degrade, files, methods, pipeline
from restore.degrade.simple import quantise
from restore.evidence import Promise, findings
from restore.picture import Floats, Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

KINDS = ("white 5", "white 15", "white 25", "white 50", "8 bit 15", "8 bit 25", "8 bit 50", "photons", "camera")
SETS = {"kodak": 4, "photos": 9, "cbsd68": 1}
"""How many kinds of noise each picture of a set gets."""

FAULTS = {"colour shift": "level", "seam": "seams", "over-smoothing": "detail", "no change": "removed"}
"""Which finding is to tell of a fault."""


def noisy(pixels: Floats, kind: str, rng: np.random.Generator) -> Floats:
    name, _, level = kind.rpartition(" ")
    if kind == "camera":
        return degrade.camera(pixels, rng).noisy
    if kind == "photons":
        return degrade.poisson(pixels, rng, peak=float(rng.uniform(20, 200)))
    made = degrade.gaussian(pixels, rng, sigma=int(level) / 255)
    return made if name == "white" else quantise(made)


def cases(shared: Path) -> Iterator[tuple[str, Floats]]:
    rng, kinds = np.random.default_rng(12), cycle(KINDS)
    for name, count in SETS.items():
        for path in sorted(p for p in (shared / "data/test" / name).iterdir() if p.suffix in (".png", ".jpg")):
            pixels = files.read(path).pixels
            for kind in islice(kinds, count):
                yield kind, noisy(pixels, kind, rng)
    for name in ("sidd", "cc", "polyu", "nam"):
        for path in sorted((shared / "data/test/realnoise" / name / "noisy").iterdir())[:8]:
            yield "real", files.read(path).pixels


def planted(before: Floats, after: Floats) -> Iterator[tuple[str, Floats]]:
    """Give results with faults, ``(C, H, W)``."""
    yield "colour shift", after + np.float32([[[0.005]], [[0]], [[0]]])
    seam = after.copy()
    seam[:, :, after.shape[2] // 2 :] += 0.02
    yield "seam", seam
    yield "over-smoothing", np.stack([cv2.GaussianBlur(plane, (0, 0), 1.2) for plane in after])
    yield "no change", before.copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--every", type=int, default=1, help="look at every n-th picture only")
    args = parser.parse_args()
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for kind, pixels in islice(cases(args.shared), 0, None, args.every):
        for name in ("denoise", "wavelet"):
            result = pipeline.run(Image(pixels), Recipe(steps=(Step(method=name),), precision="fp32"), Runtime("cpu"))
            report, method = result.reports[0], methods.get(name)
            noise_kind = kind if kind in ("camera", "real") else "other"
            found[name, noise_kind, "honest"].update(["results", *(["with an alarm"] if result.alarms else [])])
            if result.alarms:
                sys.stderr.write(f"{name} {kind}: {result.alarms}\n")
            before, after = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (pixels, result.picture.pixels))
            promise = Promise(method.keeps_level, method.keeps_edges)
            for fault, wrong in planted(before, after):
                seen = findings(before, wrong, report.noise, None, promise)
                told = next((item for item in seen if item.name == FAULTS[fault]), None)
                claims = told is not None and told.weight == "strong"
                end = "with an alarm" if told is not None and told.is_alarm else "missed" if claims else "cannot tell"
                found[name, noise_kind, fault].update(["results", end])
                if end == "missed":
                    sys.stderr.write(f"{name} {kind} {fault}: {told.says}\n")
    for (name, kind, fault), counts in found.items():
        sys.stdout.write(json.dumps({"method": name, "noise": kind, "result": fault} | counts) + "\n")
    honest = sum((counts for (_, _, fault), counts in found.items() if fault == "honest"), Counter[str]())
    sys.stdout.write(f"honest: {honest['with an alarm']} of {honest['results']} trip\n")


if __name__ == "__main__":
    main()
