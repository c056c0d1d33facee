"""Score ``blind``: ``python tests/benchmarks/blind_scores.py SHARED``.

White noise: all of CBSD68, float noise, not clipped, seed 0, level not given; results clipped to 0...1, no rounding,
PSNR over RGB. Real noise: all pairs of four sets in full size, with the stride that is measured and with fixed ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from restore import files, metrics, pipeline
from restore.degrade import gaussian
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

SIGMAS = (15, 25, 50)
STRIDES = ("auto", "1", "2", "3")
MACHINE = Runtime(device="cpu")


def restored(image: Image, weights: str, stride: str) -> tuple[np.ndarray, int]:
    step = Step(method="blind", weights=weights, settings={"stride": stride})
    result = pipeline.run(image, Recipe(steps=(step,)), MACHINE)
    return np.clip(result.picture.pixels, 0, 1), result.reports[0].facts["stride"]


def white(folder: Path, weights: str, every: int) -> Iterator[dict[str, object]]:
    for sigma in SIGMAS:
        rng = np.random.default_rng(0)
        rows, used = [], Counter[int]()
        for path in sorted((folder / "test/cbsd68").glob("*.jpg"))[::every]:
            clean = files.read(path).pixels
            noisy = Image(gaussian(clean, rng, sigma=sigma / 255))
            found, stride = restored(noisy, weights, "auto")
            used[stride] += 1
            rows.append([metrics.psnr(x, clean) for x in (noisy.pixels, found)])
        before, after = np.mean(rows, 0)
        row = {"set": f"CBSD68 sigma {sigma}", "noisy": round(before, 2), "blind": round(after, 2)}
        yield row | {"pictures": len(rows), "strides": dict(used)}


def real(folder: Path, weights: str, every: int) -> Iterator[dict[str, object]]:
    for name in ("sidd", "cc", "polyu", "nam"):
        place = folder / "test/realnoise" / name
        found: dict[str, list[float]] = {}
        used = Counter[int]()
        for path in sorted((place / "noisy").iterdir())[::every]:
            truth = next(p for p in (place / "clean").iterdir() if p.stem == path.stem)
            noisy, clean = files.read(path), files.read(truth).pixels
            found.setdefault("noisy", []).append(metrics.psnr(noisy.pixels, clean))
            for stride in STRIDES:
                pixels, taken = restored(noisy, weights, stride)
                found.setdefault(f"stride {stride}", []).append(metrics.psnr(pixels, clean))
                used[taken] += stride == "auto"
        means = {way: round(float(np.mean(values)), 2) for way, values in found.items()}
        yield {"set": name, **means, "pictures": len(found["noisy"]), "strides": {k: v for k, v in used.items() if v}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder that holds data/test")
    parser.add_argument("--weights", default="blind", help="a weight file in place of the shipped one")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture only")
    parser.add_argument("--part", choices=("white", "real"), help="score one kind of noise only")
    args = parser.parse_args()
    for part in (white, real):
        if args.part in (None, part.__name__):
            for row in part(args.shared / "data", args.weights, args.every):
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
